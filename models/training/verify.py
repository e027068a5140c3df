"""Compare the integer codec of a model file with the float network it came from.

    python verify.py CHECKPOINT MODEL.aem PICTURE... [--qualities 8,24,40,56,63] [--expected expected.json] [--crop 1024]

For each picture and quality: bits and PSNR of (1) the float network, (2) the integer entropy network with float transforms, where `--expected`
has figures made that way, (3) the integer codec, and how many values saturated in each tensor. The float network rounds as training does, the integer codec codes by
trellis: what that saves is part of the difference.
"""
from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch

import calibrate
import export
import integer
import model
from rd import psnr


def float_codec(net: model.Codec, padded: np.ndarray, q: int) -> tuple[np.ndarray, float]:
    """(8-bit reconstruction [3, H, W], bits under the Gaussians that the network names)."""
    x = torch.from_numpy(padded.copy())[None].float() / 255
    with torch.no_grad():
        out, y_bits, z_bits = net(x, torch.tensor([q]))
    return (out[0].clamp(0, 1) * 255).round().numpy().astype(np.uint8), float(y_bits + z_bits)


def read(path: Path, crop: int) -> np.ndarray:
    """Picture uint8 [3, H, W], its middle where it is larger than `crop`."""
    picture = calibrate.read(path)
    top, left = (max(0, (n - crop) // 2) for n in picture.shape[1:])
    return picture[:, top:top + crop, left:left + crop]


def compare(rows: list[dict], other: str) -> str:
    """Total bytes and mean PSNR of the integer codec against `other` ("float" or "expected")."""
    if not rows:
        return "no figures"
    rate = sum(r["bytes"] for r in rows) / sum(r[f"{other}_bytes"] for r in rows) - 1
    gains = [r["psnr"] - r[f"{other}_psnr"] for r in rows]
    return f"{100 * rate:+.3f} % bytes, {np.mean(gains):+.4f} dB (worst {min(gains):+.4f})"


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("checkpoint", type=Path)
    p.add_argument("model", type=Path)
    p.add_argument("pictures", type=Path, nargs="+")
    p.add_argument("--qualities", default="8,24,40,56,63")
    p.add_argument("--expected", type=Path, help="figures of the integer entropy network with float transforms")
    p.add_argument("--crop", type=int, default=1024, help="larger pictures are cut to this size")
    p.add_argument("--no-skip", action="store_true", help="code every value whatever its scale index, to see the effect of the arithmetic alone")
    p.add_argument("--json", type=Path, help="write the rows here")
    a = p.parse_args()
    torch.set_num_threads(1)
    net, _ = export.load(a.checkpoint)
    codec = integer.load(str(a.model))
    if a.no_skip:
        codec.encoder = dataclasses.replace(codec.encoder, skip_below=0)
    expected = {(r["picture"], r["quality"]): r for r in json.loads(a.expected.read_text())} if a.expected else {}
    rows, saturated = [], Counter()
    for path in a.pictures:
        picture = read(path, a.crop)
        _, h, w = picture.shape
        padded = calibrate.pad64(picture)
        for q in map(int, a.qualities.split(",")):
            start = time.time()
            codec.saturated.clear()
            coded = codec.code(codec.analyse(padded, q), q)
            out = codec.samples8(codec.synthesise(coded.y_hat, q))
            taken = time.time() - start
            float_out, float_bits = float_codec(net, padded, q)
            row = dict(picture=path.name, quality=q, bytes=coded.bits / 8, psnr=psnr(out[:, :h, :w], picture), float_bytes=float_bits / 8,
                       float_psnr=psnr(float_out[:, :h, :w], picture), escapes=coded.escapes, skipped=coded.skipped / coded.y_hat.size,
                       saturated=dict(codec.saturated))
            saturated += codec.saturated
            text = (f"{path.name} q{q:2d}: {row['bytes']:9.0f} bytes ({100 * (row['bytes'] / row['float_bytes'] - 1):+.3f} % to float) {row['psnr']:.4f} dB "
                    f"({row['psnr'] - row['float_psnr']:+.4f})")
            if (path.name, q) in expected:
                e = expected[path.name, q]
                row |= dict(expected_bytes=e["bytes"], expected_psnr=e["psnr"])
                text += f" | expected {100 * (row['bytes'] / e['bytes'] - 1):+.3f} % {row['psnr'] - e['psnr']:+.4f} dB"
            print(f"{text} | {coded.escapes} escapes, {100 * row['skipped']:.1f} % skipped, saturated {sum(codec.saturated.values())} "
                  f"{dict(codec.saturated) or ''} {taken:.1f} s", flush=True)
            rows.append(row)
    print("over all pictures:")
    for q in sorted({r["quality"] for r in rows}):
        part = [r for r in rows if r["quality"] == q]
        print(f"q{q:2d} to float: {compare(part, 'float')} | to expected: {compare([r for r in part if 'expected_psnr' in r], 'expected')}")
    print("saturated:", dict(saturated))
    if a.json:
        a.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
