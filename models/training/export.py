"""Write the model file of a trained network.

    python export.py CHECKPOINT OUT.aem --calibrate FOLDER [--name aei1]

The file has the format of format-spec/SPEC.md, section 4; beside it goes OUT.aem.id, the model id. The same
checkpoint and pictures give the same bytes: the float network runs on one thread, and what is measured only decides quarter powers of two.
"""
from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np
import torch

import aem
import calibrate
import integer
import model
import quantise
import tables
import transforms
from transforms import Ranges, Scales

TABLE_QUALITIES = (0, 10, 20, 30, 40, 50, 63)
LARGEST_COUNTED = 4095
# Room above the largest size seen in photographs, and the most room there is for synthetic extremes, by part of the network: these may saturate, which costs them
# quality but harms nothing. More room is coarser steps. The hyper-analysis has little above photographs and none for extremes: its steps decide which z are sent,
# and coarse ones cost photographs at low qualities up to 3 %.
PHOTO_MARGIN = {"analysis": 2.0, "hyper": 1.25, "entropy": 2.0, "synthesis": 2.0}
EXTREME_MARGIN = {"analysis": 8.0, "hyper": 1.25, "entropy": 8.0, "synthesis": 4.0}


def load(path: Path) -> tuple[model.Codec, int]:
    """Network (moving average of the weights if the file has one, float32) and its training step."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    net = model.load(model.Codec(**state["config"]), state.get("ema", state["net"]))
    return net.eval(), int(state.get("step", 0))


def header_of(net: model.Codec, name: str, **constants: int) -> aem.Header:
    c = net.counts
    blocks = c["n8"] // 2, c["n8"] - c["n8"] // 2, c["n16"], c["n_trunk"], c["n_z"]
    return aem.Header(c["c8"], c["c16"], c["m"], c["nz"], c["ce"], *blocks, name=name, **constants)


def encoder_header_of(net: model.Codec, **constants: int) -> aem.EncoderHeader:
    c = net.counts
    return aem.EncoderHeader(c["a8"] // 2, c["a8"] - c["a8"] // 2, c["a16"], **constants)


def build(net: model.Codec, header: aem.Header, encoder: aem.EncoderHeader, ranges: Ranges | None, note: dict[str, str], entropy: str = "q9") -> aem.Model:
    """The model file of a network; without ranges every tensor of the transforms has 11 fractional bits.

    `entropy` is "q9" (six integer and nine fractional bits throughout) or "calibrated" (from the ranges, like the transforms).
    """
    scales = Scales(ranges)
    if entropy == "calibrated":
        entropy_net = transforms.entropy_records(net, header, scales)
    else:
        entropy_net = quantise.entropy_records(net.entropy)
    return aem.Model(header, tables.all_tables(header.scales, header.y_step), quantise.z_index(net.entropy.z_scale), entropy_net,
                     transforms.synthesis_records(net, header, scales), aem.Encoder(encoder, transforms.encoder_records(net, header, encoder, scales)), note)


def measure(net: model.Codec, paths: list[Path | bytes]) -> Ranges:
    """Ranges with their margins: PHOTO_MARGIN times what photographs need, or what the synthetic extremes need, but at most EXTREME_MARGIN times what
    photographs need."""
    photographs = calibrate.measure(net, [calibrate.load(p) for p in paths])
    extremes = calibrate.measure(net, calibrate.extremes())
    least, most = ({k: margins[k.partition(".")[0]] for k in photographs} for margins in (PHOTO_MARGIN, EXTREME_MARGIN))
    return {k: np.maximum(least[k] * photographs[k], np.minimum(extremes[k], most[k] * photographs[k])) for k in photographs}


def count_values(built: aem.Model, latents: list[tuple[int, np.ndarray]]) -> list[np.ndarray]:
    """How often each magnitude is coded under each table, in pictures given by (quality, y)."""
    codec, scales = integer.Codec(built), built.header.scales
    counts = np.zeros((len(built.tables), LARGEST_COUNTED + 1), np.int64)
    for q, y in latents:
        coded = codec.code_tile(y, q, keep=True)
        for symbols, quantisers, index in (coded.symbols, coded.z_symbols):
            shown = index >= built.encoder.header.skip_below
            table, magnitude = quantisers[shown] * scales + index[shown], np.minimum(np.abs(symbols[shown]), LARGEST_COUNTED)
            counts += np.bincount(table * counts.shape[1] + magnitude, minlength=counts.size).reshape(counts.shape)
    return list(counts)


def measure_tables(built: aem.Model, paths: list[Path | bytes]) -> None:
    """Replace the Gaussian tables by those of the values that the encoder codes in photographs. What it codes depends on the tables, so this is done three times."""
    codec = integer.Codec(built)
    pictures = [calibrate.load(p) for p in paths]
    latents = [(q, codec.analyse(x, q)) for x in pictures for q in TABLE_QUALITIES]
    for _ in range(3):
        built.tables = tables.measured_tables(count_values(built, latents), built.header.y_step)


def write(built: aem.Model, out: Path) -> str:
    """Write the file and its id; returns the id."""
    data = built.to_bytes()
    name = aem.model_id(data)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(data)
    out.with_name(out.name + ".id").write_text(name + "\n")
    return name


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("checkpoint", type=Path)
    p.add_argument("out", type=Path)
    p.add_argument("--calibrate", type=Path, metavar="FOLDER", help="photographs, or shards of them, to measure the ranges of tensors on; "
                   "without it 11 fractional bits everywhere")
    p.add_argument("--pictures", type=int, default=48, help="how many of them")
    p.add_argument("--name", default="aei1")
    p.add_argument("--entropy", choices=("q9", "calibrated"), default="q9",
                   help="arithmetic of the entropy network: Q6.9 throughout, or scales from calibration")
    p.add_argument("--tables", choices=("gaussian", "measured"), default="gaussian", help="tables of the entropy coder: from the formula, or from values counted in "
                   "every third of the pictures")
    p.add_argument("--skip-below", type=int, default=2, help="scale indices below this one are not coded")
    a = p.parse_args()
    torch.set_num_threads(1)
    net, step = load(a.checkpoint)
    note = {"name": a.name, "checkpoint-sha256": hashlib.sha256(a.checkpoint.read_bytes()).hexdigest(), "checkpoint-step": str(step)}
    ranges = None
    if a.calibrate:
        paths = calibrate.sample(a.calibrate, a.pictures)
        if not paths:
            p.error(f"no pictures in {a.calibrate}")
        note |= {"calibration-pictures": str(len(paths)), "calibration-sha256": calibrate.digest(paths)}
        ranges = measure(net, paths)
    elif a.entropy == "calibrated" or a.tables == "measured":
        p.error("--entropy calibrated and --tables measured need --calibrate")
    note |= {"entropy-network": a.entropy, "tables": a.tables}
    built = build(net, header_of(net, a.name), encoder_header_of(net, skip_below=a.skip_below), ranges, note, a.entropy)
    if a.tables == "measured":
        measure_tables(built, paths[::3])
    name = write(built, a.out)
    print(f"{a.out}: {a.out.stat().st_size} bytes, model id {name}")


if __name__ == "__main__":
    main()
