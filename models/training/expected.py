"""Figures that the codec must reproduce (tests/data/expected.json).

    python expected.py CHECKPOINT MODEL.aem OUT.json PICTURE...

For each picture at qualities 8, 24, 40 and 56: bytes of coded values and PSNR, all networks in floating point as they were trained. From the model file come only
the tables and the step of y: what values cost, and with that which ones the encoder's search chooses. So the figures know nothing of the integer networks, nor of
the program.
"""
from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

import calibrate
import export
import integer
import model
import trellis
from integer import in_order, put_in_order
from rd import psnr

QUALITIES = (8, 24, 40, 56)


@torch.no_grad()
def code(net: model.Codec, codec: integer.Codec, padded: np.ndarray, q: int) -> tuple[np.ndarray, float]:
    """(8-bit reconstruction [3, H, W], bits) of a picture uint8 [3, H, W] whose sides are multiples of 64."""
    e, quality = codec.encoder, torch.tensor([q])
    y = net.analysis(torch.from_numpy(padded.copy())[None].float() / 255, quality)
    z = net.hyper_analysis(y * net.entropy.context_gain) * 4
    bits = 0.0
    base, z_hat = torch.from_numpy(codec.model.z_index[q].astype(np.float32))[None, :, None, None], torch.zeros_like(z)
    for k in range(4):
        mask = model.groups_mask(k, *z.shape[2:], z.shape[1], z.device)[0]
        mean, index = (v[0] for v in net.entropy.z_step(k, z_hat, base))
        index = index.round().long().numpy()
        shown = mask.numpy() & (index >= e.skip_below)
        values = torch.where(torch.from_numpy(shown), (z[0] - mean).round(), 0.0)
        bits += codec.cost(values.numpy()[shown], trellis.HYPER, index[shown])[0].sum()
        z_hat[0] = torch.where(mask, values + mean, z_hat[0])
    features = net.entropy.hyper(z_hat / 4)
    y_hat = torch.zeros_like(y)
    for k in range(4):
        mask = model.groups_mask(k, *y.shape[2:], y.shape[1], y.device)[0]
        mean, index = (v[0] for v in net.entropy.step(k, features, y_hat))
        index = index.round().long().numpy()
        shown = mask.numpy() & (index >= e.skip_below)
        residuals, indices = np.rint(in_order((y[0] - mean).double().numpy(), shown) * 2 ** e.y_input_fraction), in_order(index, shown)
        symbols, quantisers = codec.trellis.choose(residuals, indices)
        bits += codec.cost(symbols, quantisers, indices)[0].sum()
        values = put_in_order(trellis.halves(symbols, quantisers), shown) * (codec.header.y_step / 2)
        y_hat[0] = torch.where(mask, torch.from_numpy(values).float() + mean, y_hat[0])
    out = net.synthesis(y_hat, quality)[0].clamp(0, 1) * 255
    return out.round().numpy().astype(np.uint8), float(bits)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("checkpoint", type=Path)
    p.add_argument("model", type=Path)
    p.add_argument("out", type=Path)
    p.add_argument("pictures", type=Path, nargs="+")
    a = p.parse_args()
    torch.set_num_threads(1)
    net, _ = export.load(a.checkpoint)
    codec = integer.load(str(a.model))
    rows = []
    for path in a.pictures:
        picture = calibrate.read(path)
        padded = calibrate.pad64(picture)
        for q in QUALITIES:
            out, bits = code(net, codec, padded, q)
            _, height, width = picture.shape
            rows.append(dict(picture=path.name, quality=q, bytes=round(bits / 8, 1), bpp=round(bits / (height * width), 5),
                             psnr=round(psnr(out[:, :height, :width], picture), 4)))
            print(rows[-1], flush=True)
    a.out.write_text(json.dumps(rows, indent=0) + "\n")


if __name__ == "__main__":
    main()
