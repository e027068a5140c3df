"""Tests of the measures and of the evaluation: pytest models/training."""
from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("PIL", reason="Pillow is not installed")
import numpy as np
from PIL import Image

import calibrate
import evaluate
import expected
import export
import integer
import rd
import tiny
import train
from test_data import photo

CURVES = Path(__file__).resolve().parents[2] / "benches" / "anchors" / "kodak.csv"
# The figures of src/metrics/tests.rs: width, height, strength of the disturbance; PSNR, MS-SSIM by pytorch-msssim
SIMILARITIES = [(176, 176, 6, 35.522810, 0.99893079), (211, 187, 3, 41.629242, 0.99979587), (256, 193, 25, 23.805390, 0.98634369)]
BD_RATES = [("JPEG (libjpeg-turbo)", "WebP", "psnr", -36.1764, 28.3284, 40.5567), ("JPEG (libjpeg-turbo)", "VTM 9.1 4:4:4", "psnr", -67.5842, 26.1448, 40.5567),
            ("VTM 9.1 4:4:4", "JPEG (libjpeg-turbo)", "psnr", 208.4912, 26.1448, 40.5567), ("VTM 9.1 4:4:4", "ELIC", "ms_ssim", -12.8188, 8.7212, 23.1535)]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def disturbed(width: int, height: int, amplitude: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture by formula, and a disturbed copy, uint8 [3, H, W]."""
    c, y, x = np.mgrid[:3, :height, :width]
    v = (x * y // (8 + c) + 3 * x + 5 * c * y) % 511
    v = np.where(v > 255, 510 - v, v)
    block = np.where((x // 16 + y // 16) % 2 == 0, amplitude // 2, 0)
    return v.astype(np.uint8), np.clip(v + (x * 31 + y * 17 + c * 7) % (2 * amplitude + 1) - amplitude + block, 0, 255).astype(np.uint8)


def test_psnr_and_ms_ssim_are_those_of_others() -> None:
    for width, height, amplitude, decibels, similarity in SIMILARITIES:
        a, b = disturbed(width, height, amplitude)
        assert rd.psnr(a, b) == pytest.approx(decibels, abs=1e-5)
        assert rd.ms_ssim(a, b) == pytest.approx(similarity, abs=1e-5)
    assert rd.ms_ssim(a[:, :160], b[:, :160]) is None
    assert rd.ms_ssim(a, a) == pytest.approx(1)


def test_bd_rates_are_known() -> None:
    pytest.importorskip("scipy", reason="SciPy is not installed")
    curves = rd.read_curves(CURVES)
    for anchor, codec, key, percent, low, high in BD_RATES:
        bd = rd.bd_rate(curves[anchor][key], curves[codec][key])
        assert bd.percent == pytest.approx(percent, abs=0.05) and (bd.low, bd.high) == pytest.approx((low, high), abs=1e-3)

    def line(factor: float) -> rd.Curve:
        return [(r * factor, 30 + 5 * math.log2(r)) for r in (0.1, 0.2, 0.5, 1, 2)]

    assert rd.bd_rate(line(1), line(0.5)).percent == pytest.approx(-50)
    assert rd.bd_rate(line(1), [*line(0.5), (0.9, 28.0)]).percent == pytest.approx(-50)  # a point that costs more and gives less changes nothing
    assert rd.bd_rate(line(1)[:2], line(1)) is None and rd.bd_rate(line(1), [(r, q + 100) for r, q in line(1)]) is None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pictures")
    Image.fromarray(photo(176, 192, 1)).save(out / "a.png")
    Image.fromarray(photo(170, 165, 2)).save(out / "b.png")
    return out


@pytest.fixture(scope="module")
def models(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny network, trained for some seconds, as a checkpoint and as the model file made of it."""
    out = tmp_path_factory.mktemp("models")
    large = tmp_path_factory.mktemp("training")
    Image.fromarray(photo(384, 384, 5)).save(large / "c.png")
    train.main(["--data", str(large), "--out", str(out), "--config", json.dumps(tiny.CONFIG), "--steps", "160", "--batch", "4", "--patch", "64",
                "--final-part", "0", "--lr", "3e-3", "--warmup", "10", "--synthetic", "0", "--threads", "1", "--device", "cpu", "--float32"])
    net, _ = export.load(out / "ema.pt")
    ranges = calibrate.measure(net, [calibrate.load(p) for p in sorted(folder.iterdir())], (0, 30, 63))
    export.write(export.build(net, export.header_of(net, "test"), export.encoder_header_of(net), {k: 2 * v for k, v in ranges.items()}, {"name": "test"}), out / "test.aem")
    return out / "ema.pt", out / "test.aem"


def test_integers_agree_with_the_float_network(folder: Path, models: tuple[Path, Path]) -> None:
    """From training over the export to the evaluation: with the float network coded by trellis, too, sizes are within 2 % and PSNR within 0.1 dB. Rounded as
    in training, it comes out somewhere near."""
    names, pictures = evaluate.load(folder)
    (net, _), codec = export.load(models[0]), integer.load(str(models[1]))
    coders = [evaluate.Reference(path, pictures) for path in models]
    for quality in (10, 45):
        rounded, integers = (list(coder.run(quality)) for coder in coders)
        for picture, (rounded_size, rounded_out), (integer_size, integer_out) in zip(pictures, rounded, integers, strict=True):
            height, width = picture.shape[1:]
            out, bits = expected.code(net, codec, calibrate.pad64(picture), quality)
            out = out[:, :height, :width]
            assert integer_out.shape == rounded_out.shape == picture.shape and rd.psnr(out, picture) > 25
            assert integer_size == pytest.approx(bits / 8, rel=0.02)
            assert rd.psnr(integer_out, picture) == pytest.approx(rd.psnr(out, picture), abs=0.1)
            assert 0.7 < integer_size / rounded_size < 1.1 and rd.psnr(rounded_out, picture) == pytest.approx(rd.psnr(out, picture), abs=1)


def test_evaluation_writes_its_results(folder: Path, models: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("scipy", reason="SciPy is not installed")
    options = ["--qualities", "0,20,40,63", "--anchors", str(CURVES), "--out", str(tmp_path), "--threads", "1"]
    assert evaluate.main([str(folder), "--reference", str(models[0]), *options]) == 0
    text, warnings = capsys.readouterr()
    assert "24 pictures of kodak, and these are others" in warnings
    result = json.loads((tmp_path / "evaluation.json").read_text())
    assert result["pictures"] == 2 and [r["quality"] for r in result["means"]] == [0, 20, 40, 63] and len(result["rows"]) == 8
    assert f"| 40 | {result['means'][2]['bpp']:.4f} |" in text
    mean = np.mean([r["psnr"] for r in result["rows"] if r["quality"] == 63])
    assert result["means"][3]["psnr"] == pytest.approx(mean)
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        assert not (tmp_path / "rd.png").exists()
    else:
        assert (tmp_path / "rd.png").stat().st_size > 10_000


def test_the_pictures_of_the_anchors(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = [np.full((3, 8, 9), i, np.uint8) for i in range(3)]
    listed = {evaluate.pixel_digest(p.transpose(1, 2, 0)): f"set/{i}.png" for i, p in enumerate(pictures)}
    monkeypatch.setattr(evaluate, "EVALUATION", listed | {"0" * 64: "other/x.png"})
    assert evaluate.unlike(pictures[::-1], "set") is None
    for others in (pictures[:2], [*pictures, pictures[0]], [*pictures[:2], np.zeros((3, 9, 9), np.uint8)]):
        assert "3 pictures of set" in evaluate.unlike(others, "set")
    assert evaluate.unlike(pictures, "unknown")


PROGRAM = """#!{python}
import os, pathlib, shutil, sys
verb, words = sys.argv[1], sys.argv[2:]
out = pathlib.Path(words[words.index("-o") + 1])
out.mkdir(exist_ok=True)
for name in words:
    path = pathlib.Path(name)
    if path.suffix in (".ppm", ".aei"):
        shutil.copy(path, out / (path.stem + (".aei" if verb == "encode" else ".ppm")))
if "--quality-index" in words and words[words.index("--quality-index") + 1] == "7":
    sys.exit("quality 7 is broken")
if "AEI_DEVICE" in os.environ:
    sys.exit("these are not the exact pixels")
"""


def test_the_program_is_run_on_all_pictures(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in that copies its input: the files that are measured are those it wrote."""
    monkeypatch.setenv("AEI_DEVICE", "ort-cpu")
    program = tmp_path / "aei"
    program.write_text(PROGRAM.format(python=sys.executable))
    program.chmod(0o755)
    names, pictures = evaluate.load(folder)
    coder = evaluate.Program(program, None, 1, pictures)
    rows = evaluate.curve(coder, names, [5])
    assert [r["picture"] for r in rows] == ["a.png", "b.png"]
    assert all(r["psnr"] > 100 and r["ms_ssim"] == pytest.approx(1) and 24 < r["bpp"] < 24.1 for r in rows)
    with pytest.raises(SystemExit, match="quality 7 is broken"):
        list(coder.run(7))


def test_falls_are_found() -> None:
    rows = [dict(picture=p, quality=q, bytes=b, psnr=d) for p, q, b, d in
            [("x", 0, 100, 30.0), ("x", 1, 110, 29.9), ("x", 2, 105, 31.0), ("y", 0, 90, 20.0), ("y", 1, 90, 20.0), ("y", 2, 91, 20.5)]]
    assert [(f["picture"], f["quality"], f["what"]) for f in evaluate.falls(rows)] == [("x", 1, "psnr"), ("x", 2, "bytes")]


def test_monotone_and_robust(folder: Path, models: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate.model, "QUALITIES", 4)  # four of the 64 are enough to see that all are tried
    evaluate.main([str(folder), "--reference", str(models[0]), "--monotone", "--out", str(tmp_path), "--threads", "1"])
    assert "2 pictures, 6 steps" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "monotone.json").read_text())["rows"]) == 8
    monkeypatch.undo()
    assert evaluate.main([str(folder), "--reference", str(models[0]), "--robust", "--out", str(tmp_path), "--threads", "1"]) == 0
    assert "2 pictures at quality 63: worst" in capsys.readouterr().out


def test_expected_figures_are_nearly_those_of_the_integer_codec() -> None:
    """The same search and tables: what differs is the arithmetic alone. As little sends the search another way, errors are compared, not pixels."""
    net, codec, picture = tiny.network(), integer.Codec(tiny.build(entropy="calibrated")), photo(128, 128).transpose(2, 0, 1)
    for q in (8, 40):
        out, bits = expected.code(net, codec, picture, q)
        coded = codec.code(codec.analyse(picture, q), q)
        decoded = codec.samples8(codec.synthesise(coded.y_hat, q))
        assert abs(coded.bits / bits - 1) < 0.02 and abs(rd.psnr(decoded, picture) - rd.psnr(out, picture)) < 0.1, (q, coded.bits / bits)
