"""Rate and distortion of a model on a folder of pictures.

    python evaluate.py FOLDER --aei target/release/aei [--model FILE.aem]      files as the program writes them, decoded again by the program
    python evaluate.py FOLDER --reference FILE.aem                             the integer codec in numpy (integer.py): slow, no program needed
    python evaluate.py FOLDER --reference FILE.pt                              the float network of a checkpoint, with the entropy it estimates

Prints PSNR over RGB and MS-SSIM at each quality, means over the pictures, and BD-rates against every codec of --anchors; with --out also evaluation.json and
rd.png. MS-SSIM is averaged before it becomes dB, as for the published curves. Pictures are made 8-bit RGB first and only that is coded, so metadata counts
nothing. Estimates of the references leave out what the container costs (some tens of bytes); that of a checkpoint rounds as training does, while the codec codes by
trellis and gets along with fewer bits.

    --monotone      instead: all 64 qualities of every picture; does size, does PSNR ever fall from one to the next? Exit status 1 if so
    --robust        instead: PSNR at the top quality, the worst pictures first; for folders of what is no photograph (synthetic.py writes some)
"""
from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import calibrate
import export
import integer
import model
import rd
from data import EVALUATION, SUFFIXES, Incomplete, decode, files, pixel_digest
from verify import float_codec

QUALITIES = "0,8,16,24,32,40,48,56,63"
Result = tuple[float, np.ndarray]  # bytes, decoded picture uint8 [3, H, W]


class Program:
    """The aei program: whole files, all pictures of a quality in one call."""

    def __init__(self, aei: Path, model_file: Path | None, threads: int, pictures: list[np.ndarray], lossless: str = "never", effort: int = 0, tune: str = "psnr"):
        self.aei, self.pictures, self.count = aei, pictures, len(pictures)
        self.encoding = (f"--lossless={lossless}", f"--effort={effort}", f"--tune={tune}")
        self.options = ["--quiet", "--force", "--threads", str(threads), *(["--model", str(model_file)] if model_file else [])]
        self.folder = tempfile.TemporaryDirectory(prefix="aei-evaluate-")
        self.root = Path(self.folder.name)
        for i, picture in enumerate(pictures):
            Image.fromarray(picture.transpose(1, 2, 0)).save(self.root / f"{i:05d}.ppm")

    def call(self, *words: str) -> None:
        exact = {name: value for name, value in os.environ.items() if name != "AEI_DEVICE"}  # other devices give a few hundredths of a dB more or less
        done = subprocess.run([str(self.aei), *words, *self.options], cwd=self.root, capture_output=True, text=True, env=exact)
        if done.returncode:
            raise SystemExit(f"{self.aei} {words[0]} failed: {done.stderr.strip()}")

    def run(self, quality: int) -> Iterator[Result]:
        stems = [f"{i:05d}" for i in range(self.count)]
        for i in range(0, self.count, 500):  # no command line too long
            part = stems[i:i + 500]
            self.call("encode", "--quality-index", str(quality), *self.encoding, "-o", "coded/", *(f"{s}.ppm" for s in part))
            self.call("decode", "--format", "pnm", "-o", "decoded/", *(f"coded/{s}.aei" for s in part))
        for stem in stems:
            (path,) = (self.root / "decoded").glob(f"{stem}.p*m")
            with Image.open(path) as image:
                yield (self.root / f"coded/{stem}.aei").stat().st_size, np.asarray(image.convert("RGB")).transpose(2, 0, 1)


class Reference:
    """The integer codec of a model file, or the float network of a checkpoint."""

    def __init__(self, path: Path, pictures: list[np.ndarray]):
        self.pictures = pictures
        self.net, self.codec = (export.load(path)[0], None) if path.suffix == ".pt" else (None, integer.load(str(path)))

    def run(self, quality: int) -> Iterator[Result]:
        for picture in self.pictures:
            _, h, w = picture.shape
            padded = calibrate.pad64(picture)
            if self.net is not None:
                out, bits = float_codec(self.net, padded, quality)
            else:
                coded = self.codec.code(self.codec.analyse(padded, quality), quality)
                out, bits = self.codec.samples8(self.codec.synthesise(coded.y_hat, quality)), coded.bits
            yield bits / 8, out[:, :h, :w]


def load(folder: Path, limit: int | None = None) -> tuple[list[str], list[np.ndarray]]:
    """Names and pictures uint8 [3, H, W] of a folder; what Pillow cannot read is named on stderr."""
    names, pictures = [], []
    for path in files([folder], SUFFIXES)[:limit]:
        try:
            pictures.append(decode(path.read_bytes()).transpose(2, 0, 1))
            names.append(str(path.relative_to(folder)) if folder.is_dir() else path.name)
        except (OSError, Incomplete) as e:
            print(f"left out: {path}: {e}", file=sys.stderr)
    return names, pictures


def curve(coder: Program | Reference, names: list[str], qualities: list[int], similarity: bool = True) -> list[dict]:
    """A row for every picture and quality."""
    rows = []
    for quality in qualities:
        for name, picture, (size, out) in zip(names, coder.pictures, coder.run(quality), strict=True):
            rows.append(dict(picture=name, quality=quality, bytes=size, bpp=8 * size / picture[0].size, psnr=rd.psnr(out, picture),
                             ms_ssim=rd.ms_ssim(out, picture) if similarity else None))
    return rows


def means(rows: list[dict]) -> list[dict]:
    """By quality: means of bits per pixel, of PSNR and of MS-SSIM, the last as dB too (None where a picture is too small for it)."""
    out = []
    for quality in sorted({r["quality"] for r in rows}):
        part = [r for r in rows if r["quality"] == quality]
        similarity = None if any(r["ms_ssim"] is None for r in part) else float(np.mean([r["ms_ssim"] for r in part]))
        out.append(dict(quality=quality, bpp=float(np.mean([r["bpp"] for r in part])), psnr=float(np.mean([r["psnr"] for r in part])), ms_ssim=similarity,
                        ms_ssim_db=None if similarity is None else rd.decibels(similarity)))
    return out


def curves_of(table: list[dict]) -> dict[str, rd.Curve]:
    return {key: [(r["bpp"], r[column]) for r in table if r[column] is not None] for key, column in (("psnr", "psnr"), ("ms_ssim", "ms_ssim_db"))}


def against(ours: dict[str, rd.Curve], anchors: dict[str, dict[str, rd.Curve]]) -> list[dict]:
    """BD-rates against every anchor, the worst of us first."""
    rows = []
    for codec, points in anchors.items():
        found = {key: rd.bd_rate(points[key], ours[key]) for key in ("psnr", "ms_ssim")}
        if any(found.values()):
            rows.append(dict(codec=codec, **{key: None if b is None else vars(b) for key, b in found.items()}))
    return sorted(rows, key=lambda r: -r["psnr"]["percent"] if r["psnr"] else 1e9)


def unlike(pictures: list[np.ndarray], name: str) -> str | None:
    """A warning where these are not just the pictures of the evaluation set `name`, which the anchors are named after."""
    wanted = {n for n in EVALUATION.values() if n.startswith(f"{name}/")}
    found = [EVALUATION.get(pixel_digest(p.transpose(1, 2, 0))) for p in pictures]
    if sorted(map(str, found)) == sorted(wanted):
        return None
    return f"warning: the anchors are means over {len(wanted) or 'all'} pictures of {name}, and these are others: BD-rates against them say little"


def table_text(table: list[dict], rates: list[dict]) -> str:
    def number(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    lines = ["| quality | bits per pixel | PSNR, dB | MS-SSIM | MS-SSIM, dB |", "|--:|--:|--:|--:|--:|"]
    lines += [f"| {r['quality']} | {r['bpp']:.4f} | {r['psnr']:.3f} | {number(r['ms_ssim'], '.5f')} | {number(r['ms_ssim_db'], '.3f')} |" for r in table]
    if rates:
        lines += ["", "BD-rate, PCHIP over the common range; below zero this model needs fewer bits.", "", "| against | PSNR | over, dB | MS-SSIM | over, dB |",
                  "|---|--:|---|--:|---|"]
        for r in rates:
            cells = [f"{b['percent']:+.1f} % | {b['low']:.1f} to {b['high']:.1f}" if b else "- | -" for b in (r["psnr"], r["ms_ssim"])]
            lines.append(f"| {r['codec']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def falls(rows: list[dict]) -> list[dict]:
    """Steps from one quality to the next, on one picture, where size or PSNR falls."""
    out = []
    for name in dict.fromkeys(r["picture"] for r in rows):
        part = sorted((r for r in rows if r["picture"] == name), key=lambda r: r["quality"])
        for a, b in zip(part, part[1:]):
            for key in ("bytes", "psnr"):
                if b[key] < a[key]:
                    out.append(dict(picture=name, quality=b["quality"], what=key, before=a[key], after=b[key]))
    return out


def monotone(coder: Program | Reference, names: list[str], out: Path | None) -> int:
    rows = curve(coder, names, list(range(model.QUALITIES)), similarity=False)
    found = falls(rows)
    for f in found:
        change = f"{100 * (f['after'] / f['before'] - 1):+.3f} %" if f["what"] == "bytes" else f"{f['after'] - f['before']:+.4f} dB"
        print(f"{f['picture']} at quality {f['quality']}: {f['what']} falls from {f['before']:.3f} to {f['after']:.3f} ({change})")
    steps = len(names) * (model.QUALITIES - 1)
    count = {key: sum(f["what"] == key for f in found) for key in ("bytes", "psnr")}
    print(f"{len(names)} pictures, {steps} steps: size falls in {count['bytes']}, PSNR in {count['psnr']}")
    write(out, "monotone.json", dict(steps=steps, falls=found, rows=rows))
    return int(bool(found))


def robust(coder: Program | Reference, names: list[str], quality: int, worst: int, out: Path | None) -> int:
    rows = sorted(curve(coder, names, [quality], similarity=False), key=lambda r: r["psnr"])
    values = [r["psnr"] for r in rows]
    for r in rows[:worst]:
        print(f"{r['psnr']:7.2f} dB {r['bpp']:8.3f} bits per pixel  {r['picture']}")
    print(f"{len(rows)} pictures at quality {quality}: worst {values[0]:.2f} dB, a tenth below {np.percentile(values, 10):.2f}, median {np.median(values):.2f}")
    write(out, "robust.json", rows)
    return 0


def write(out: Path | None, name: str, content: object) -> None:
    if out:
        out.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(json.dumps(content, indent=1) + "\n")


def main(argv: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder", type=Path)
    coder = p.add_mutually_exclusive_group(required=True)
    coder.add_argument("--aei", type=Path, help="the program")
    coder.add_argument("--reference", type=Path, help="model file (.aem) or checkpoint (.pt)")
    p.add_argument("--model", type=Path, help="model file for the program [default: the one built in]")
    p.add_argument("--qualities", default=QUALITIES, help="quality indices [default: %(default)s]")
    p.add_argument("--anchors", type=Path, help="published curves: CSV with the columns codec, bpp, psnr_rgb, ms_ssim_db (benches/anchors/kodak.csv)")
    p.add_argument("--plot", metavar="CODEC,...", help="the anchors to draw, by parts of their names [default: the first 14]")
    p.add_argument("--name", default="aei", help="what the model is called in the plot")
    p.add_argument("--out", type=Path, help="folder for JSON and plot")
    p.add_argument("--limit", type=int, help="only so many pictures")
    mode = p.add_mutually_exclusive_group()
    mode.add_argument("--monotone", action="store_true")
    mode.add_argument("--robust", action="store_true")
    p.add_argument("--lossless", choices=("auto", "never"), default="never", help="whether the program may store samples as they are; never shows the network")
    p.add_argument("--effort", type=int, default=0, help="how much work the program puts into a file, 0 to 5")
    p.add_argument("--tune", choices=("psnr", "visual"), default="psnr", help="what an effort is for")
    p.add_argument("--worst", type=int, default=10, help="how many pictures --robust shows")
    p.add_argument("--threads", type=int, default=2)
    a = p.parse_args(argv)
    torch.set_num_threads(a.threads)
    start = time.time()
    if a.model and not a.aei:
        p.error("--model goes with --aei")
    names, pictures = load(a.folder, a.limit)
    if not names:
        p.error(f"no pictures in {a.folder}")
    coder = Program(a.aei.resolve(), a.model and a.model.resolve(), a.threads, pictures, a.lossless, a.effort, a.tune) if a.aei else Reference(a.reference, pictures)
    if a.monotone:
        return monotone(coder, names, a.out)
    if a.robust:
        return robust(coder, names, model.QUALITIES - 1, a.worst, a.out)
    if a.anchors and (warning := unlike(pictures, a.anchors.stem)):
        print(warning, file=sys.stderr)
    rows = curve(coder, names, [int(q) for q in a.qualities.split(",")])
    table, anchors = means(rows), rd.read_curves(a.anchors) if a.anchors else {}
    ours = curves_of(table)
    rates = against(ours, anchors)
    print(table_text(table, rates))
    print(f"\n{len(names)} pictures, {time.time() - start:.0f} s")
    kind = "program" if a.aei else a.reference.suffix[1:]
    write(a.out, "evaluation.json", dict(name=a.name, coder=kind, pictures=len(names), means=table, bd_rates=rates, rows=rows))
    if a.out:
        drawn = {k: v for k, v in anchors.items() if not a.plot or any(part in k for part in a.plot.split(","))}
        if not rd.plot(ours, a.name, drawn, a.out / "rd.png"):
            print("no plot: matplotlib is not installed", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
