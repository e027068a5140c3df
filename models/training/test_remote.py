"""Tests of training on a borrowed machine: pytest models/training."""
from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

pytest.importorskip("numpy", reason="NumPy is not installed")
pytest.importorskip("PIL", reason="Pillow is not installed")
from PIL import Image

import data
import remote
from test_data import photo

CONFIG = dict(c8=32, c16=32, m=64, nz=16, ce=16, n8=2, n16=1)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AEI_TRAIN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_pieces_join_in_any_order(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PIECE", 1000)
    source = tmp_path / "ema.pt"
    source.write_bytes(random.Random(1).randbytes(4321))
    pieces = remote.split(source, tmp_path / "pieces")
    assert len(pieces) == 5 and all(p.stat().st_size <= 1000 for p in pieces)
    assert [p.name for p in remote.split(source, tmp_path / "some", 1, 2)] == [p.name for p in pieces[1:3]]
    for piece in random.Random(2).sample(pieces, 5):
        assert not (home / "files" / "ema.pt").exists()
        remote.add([piece])
    assert (home / "files" / "ema.pt").read_bytes() == source.read_bytes()
    assert not remote.join(pieces[1:], tmp_path / "x")
    pieces[2].write_bytes(b"?" * 1000)
    with pytest.raises(ValueError, match="damaged"):
        remote.join(pieces, tmp_path / "x")
    source.write_bytes(b"newer")
    with pytest.raises(ValueError, match="2 files"):
        remote.join([*pieces, *remote.split(source, tmp_path / "pieces")], tmp_path / "x")


def test_pieces_of_shards_and_damaged_pieces(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(remote, "PIECE", 1000)
    shard, file = tmp_path / "data-0000.tar", tmp_path / "last.pt"
    shard.write_bytes(b"s" * 2500)
    file.write_bytes(b"f" * 1500)
    damaged, rest = remote.split(file, tmp_path / "pieces")
    damaged.write_bytes(b"?" * 1000)
    paths = [tmp_path / "missing.tar", damaged, rest, *remote.split(shard, tmp_path / "pieces")]
    assert remote.main(["add", *map(str, paths)]) == 1  # and what is whole is taken in
    assert (home / "data" / "data-0000.tar").read_bytes() == shard.read_bytes() and not (home / "files" / "last.pt").exists()
    said = capfd.readouterr()
    assert "damaged" in said.err and "missing.tar" in said.err and "data/data-0000.tar is whole" in said.out
    assert remote.main(["add", str(remote.split(file, tmp_path / "pieces")[0])]) == 0 and (home / "files" / "last.pt").exists()
    assert remote.main(["join", str(tmp_path / "pieces"), str(tmp_path / "best.pt")]) == 1 and "no pieces of best.pt" in capfd.readouterr().err


def test_collected_pieces_are_of_one_version(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(remote, "PIECE", 1000)
    out, run = tmp_path / "out", home / "run"
    run.mkdir(parents=True)
    assert remote.main(["collect", str(out)]) == 1 and "ema.pt is not there" in capfd.readouterr().err
    assert remote.main(["watch", "0", "--collect", str(out)]) == 1 and "ema.pt is not there" in capfd.readouterr().err
    (run / "last.pt").write_bytes(b"1" * 4500)
    assert remote.main(["collect", str(out), "--file", "last.pt"]) == 0 and "1 more from --first 4" in capfd.readouterr().out
    (run / "last.pt").write_bytes(b"2" * 4500)
    assert remote.main(["collect", str(out), "--file", "last.pt", "--first", "4"]) == 0
    assert remote.main(["join", str(out), str(tmp_path / "last.pt")]) == 0 and (tmp_path / "last.pt").read_bytes() == b"1" * 4500
    assert remote.main(["collect", str(tmp_path / "again"), "--file", "last.pt"]) == 0
    assert (tmp_path / "again").joinpath(next((tmp_path / "again").glob("last.pt.*000of005")).name).read_bytes() == b"2" * 1000


def test_an_older_run_is_moved(home: Path) -> None:
    (home / "run").mkdir(parents=True)
    (home / "run-1").mkdir()
    assert remote.aside(["--minutes", "5"])[0] is None  # nothing in it
    (home / "run" / "last.pt").write_bytes(b"")
    assert remote.aside(["--cont", "--minutes", "5"])[0] is None
    words = ["--resume", "run/last.pt", f"--resume={home}/run/ema.pt", "--config", "{}", "--minutes", "5", "files/run/x"]
    moved, followed = remote.aside(words)
    assert moved == home / "run-2" and (moved / "last.pt").exists() and not (home / "run").exists()
    assert followed == ["--resume", f"{moved}/last.pt", f"--resume={moved}/ema.pt", *words[3:]]


def test_paths_are_found_from_the_folder_at_hand(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trainer works in another folder than the command that starts it."""
    (tmp_path / "here" / "models").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    Path("models/checkpoint.pt").write_bytes(b"")
    Path("5").write_bytes(b"")
    whole = str(tmp_path / "here" / "models" / "checkpoint.pt")
    words = ["--minutes", "5", "--resume", "models/checkpoint.pt", "--resume=models/checkpoint.pt", "--resume", "files/x.pt"]
    assert remote.checkpoint_at_hand(words) == ["--minutes", "5", "--resume", whole, f"--resume={whole}", "--resume", "files/x.pt"]
    (home / "models").mkdir(parents=True)
    (home / "models" / "checkpoint.pt").write_bytes(b"")
    assert remote.checkpoint_at_hand(words) == words  # what is there comes first
    monkeypatch.setenv("AEI_TRAIN_HOME", "train-home")
    assert remote.home() == tmp_path / "here" / "train-home"


def test_a_run_from_start_to_join(home: Path, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    """pack, add, start, watch, stop, collect, join."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    pictures, shards, out = tmp_path / "pictures", tmp_path / "shards", tmp_path / "out"
    pictures.mkdir()
    for i in range(2):
        Image.fromarray(photo(384, 384, i)).save(pictures / f"{i}.png")
    assert remote.main(["pack", str(pictures), "--out", str(shards)]) == 0
    assert remote.main(["add", *map(str, shards.glob("*.tar"))]) == 0
    assert data.load(next((home / "data").glob("*.tar")))
    options = ["--config", json.dumps(CONFIG), "--batch", "2", "--patch", "64", "--final-patch", "64", "--threads", "1", "--synthetic-count", "2",
               "--device", "cpu", "--log-every", "1"]
    (home / "run").mkdir()
    (home / "run" / "log.jsonl").write_text("{}\n")
    assert remote.main(["start", *options, "--patch", "100"]) == 1  # what ends at once is said, and the old run stays where it was
    assert "multiples of 64" in capfd.readouterr().err and (home / "run" / "log.jsonl").exists()
    assert remote.main(["start", *options, "--minutes", "5"]) == 0
    assert (home / "run-1" / "log.jsonl").exists() and "is run-1 now" in capfd.readouterr().out
    assert remote.main(["start", *options]) == 1  # one run at a time
    for _ in range(60):
        remote.watch(0.5)
        if '"step": 3' in (home / "log").read_text():
            break
    assert remote.main(["stop"]) == 0
    assert "stopped at step" in (home / "log").read_text()
    assert remote.main(["collect", str(out)]) == 0
    assert remote.main(["join", str(out), str(out / "ema.pt")]) == 0
    state = torch.load(out / "ema.pt", weights_only=True)
    assert state["config"] == CONFIG and state["step"] >= 3 and (out / "log.jsonl").exists()
    assert "not running" in capfd.readouterr().out
    assert remote.main(["watch", "60", "--collect", str(tmp_path / "same")]) == 0  # the run has ended: no waiting
    assert {p.name: p.read_bytes() for p in (tmp_path / "same").iterdir()} == {p.name: p.read_bytes() for p in out.iterdir() if p.name != "ema.pt"}
