"""Pictures made by code: what photographs never show and users send all the same.

    python synthetic.py OUT [--count 64] [--seed 0] [--side 384]

Zone plates, gratings, gradients, checkerboards, noise, text, flat extreme colours, line art, and halves of two of them. A picture depends on its
seed and side alone (and, where there is text, on the version of Pillow). Networks that were trained on photographs alone leave their usual range on such
pictures; a small share of them in every batch is the cure.
"""
from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Random = np.random.Generator
LEVELS = (0, 40, 128, 220, 255)
WORDS = ("the quick brown fox jumps over the lazy dog 0123456789 fn main() { let x = 42; } Lorem ipsum dolor sit AMET "
         "File Edit View Help 100 % $9.99 #ff0000 https://example.org/a?b=c").split()


def colour(r: Random) -> np.ndarray:
    """Float64 [3] in 0..255: a gray, a corner of the colour cube, or anything."""
    which = r.random()
    if which < 0.25:
        return np.full(3, float(r.choice(LEVELS)))
    return 255.0 * r.integers(0, 2, 3) if which < 0.5 else r.uniform(0, 255, 3)


def pair(r: Random) -> tuple[np.ndarray, np.ndarray]:
    """Two colours that differ."""
    while True:
        a, b = colour(r), colour(r)
        if np.abs(a - b).max() >= 8:
            return a, b


def mix(r: Random, t: np.ndarray) -> np.ndarray:
    """Weights 0..1 [H, W] between two colours, [H, W, 3]."""
    a, b = pair(r)
    return a + (b - a) * t[..., None]


def grid(side: int) -> tuple[np.ndarray, np.ndarray]:
    row, column = np.mgrid[:side, :side].astype(np.float64)
    return row, column


def zone_plate(r: Random, side: int) -> np.ndarray:
    """Rings whose frequency grows to that of single pixels, and beyond."""
    row, column = grid(side)
    centre = r.uniform(-0.3, 1.3, 2) * side
    t = np.cos(r.uniform(0.2, 1.0) * math.pi / side * ((row - centre[0]) ** 2 + (column - centre[1]) ** 2))
    return mix(r, t > 0 if r.random() < 0.25 else 0.5 + 0.5 * t)


def grating(r: Random, side: int) -> np.ndarray:
    row, column = grid(side)
    angle, frequency = r.uniform(0, math.pi), math.exp(r.uniform(math.log(0.02), math.log(math.pi)))
    t = np.cos(frequency * (math.cos(angle) * column + math.sin(angle) * row))
    return mix(r, t > 0 if r.random() < 0.4 else 0.5 + 0.5 * t)


def gradient(r: Random, side: int) -> np.ndarray:
    row, column = grid(side)
    angle = r.uniform(0, 2 * math.pi)
    t = math.cos(angle) * column + math.sin(angle) * row if r.random() < 0.7 else np.hypot(row - r.uniform(0, side), column - r.uniform(0, side))
    picture = mix(r, ((t - t.min()) / np.ptp(t)) ** r.uniform(0.5, 2))
    return picture + r.normal(0, r.uniform(0.3, 3), picture.shape) if r.random() < 0.4 else picture


def checkerboard(r: Random, side: int) -> np.ndarray:
    row, column = grid(side)
    n = int(r.choice((1, 2, 3, 4, 5, 8, 13, 16, 32)))
    m = n if r.random() < 0.6 else int(r.choice((1, 2, 4, 8, 2 * side)))
    return mix(r, (column // n + row // m) % 2)


def noise(r: Random, side: int) -> np.ndarray:
    grain = int(r.choice((1, 1, 2, 4)))
    shape = (-(-side // grain), -(-side // grain), int(r.choice((1, 3))))
    size = r.uniform(5, 120)
    values = (r.normal(0, size, shape), r.uniform(-size, size, shape), 510.0 * r.integers(0, 2, shape) - 255)[r.choice(3, p=(0.5, 0.3, 0.2))]
    return np.broadcast_to(colour(r) + values.repeat(grain, 0).repeat(grain, 1)[:side, :side], (side, side, 3))


def ink(r: Random) -> tuple[int, ...]:
    return tuple(int(v) for v in colour(r))


def text(r: Random, side: int) -> np.ndarray:
    paper, letters = (tuple(int(v) for v in c) for c in pair(r))
    image = Image.new("RGB", (side, side), paper)
    draw = ImageDraw.Draw(image)
    draw.fontmode = "1" if r.random() < 0.2 else "L"
    y = int(r.integers(-4, 8))
    while y < side:
        size = int(r.choice((9, 10, 11, 12, 12, 13, 14, 16, 20, 28, 48)))
        line = " ".join(r.choice(WORDS, 24))
        draw.text((int(r.integers(-20, 30)), y), line, font=ImageFont.load_default(size), fill=letters if r.random() < 0.8 else ink(r))
        y += size + int(r.integers(2, 9))
    return np.asarray(image, np.float64)


def line_art(r: Random, side: int) -> np.ndarray:
    image = Image.new("RGB", (side, side), ink(r))
    draw = ImageDraw.Draw(image)
    for _ in range(int(r.integers(5, 80))):
        ends, fill = r.integers(-side // 10, side + side // 10, (2, 2)), ink(r)
        kind = r.random()
        if kind < 0.5:
            draw.line([tuple(int(v) for v in e) for e in ends], fill=fill, width=int(r.choice((1, 1, 1, 2, 3, 6))))
        else:
            box = [tuple(int(v) for v in ends.min(0)), tuple(int(v) for v in ends.max(0))]
            (draw.rectangle if kind < 0.75 else draw.ellipse)(box, outline=fill, fill=fill if r.random() < 0.4 else None)
    return np.asarray(image, np.float64)


def flat(r: Random, side: int) -> np.ndarray:
    """One colour, mostly an extreme one, perhaps with a small box of another."""
    corner = r.random() < 0.7
    picture = np.broadcast_to(255.0 * r.integers(0, 2, 3) if corner else colour(r), (side, side, 3)).copy()
    if r.random() < 0.5:
        high, wide = r.choice((1, 2, 7, 50), 2)
        top, left = r.integers(0, side, 2)
        picture[top:top + high, left:left + wide] = colour(r)
    return picture


KINDS: dict[str, tuple[Callable[[Random, int], np.ndarray], int]] = {  # what makes it, and how many of 100
    "zone_plate": (zone_plate, 15), "grating": (grating, 13), "gradient": (gradient, 11), "checkerboard": (checkerboard, 11), "noise": (noise, 10),
    "text": (text, 18), "line_art": (line_art, 14), "flat": (flat, 8)}
NAMES = tuple(KINDS)
HALVES = 0.15  # share of pictures of which a part comes from a second kind


def picture(seed: int, side: int = 384) -> tuple[str, np.ndarray]:
    """(kind, uint8 [side, side, 3])."""
    r = np.random.Generator(np.random.PCG64([seed, 0xAE1]))
    kind = str(r.choice(NAMES, p=[KINDS[name][1] / 100 for name in NAMES]))
    out = KINDS[kind][0](r, side)
    if r.random() < HALVES:
        row, column = grid(side)
        other = KINDS[str(r.choice(("zone_plate", "gradient", "flat", "text")))][0](r, side)
        out = np.where((column + row * r.uniform(-1, 1) > side / 2)[..., None], out, other)
    return kind, np.clip(np.rint(out), 0, 255).astype(np.uint8)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out", type=Path)
    p.add_argument("--count", type=int, default=64)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--side", type=int, default=384)
    a = p.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    for i in range(a.count):
        kind, pixels = picture(a.seed + i, a.side)
        Image.fromarray(pixels).save(a.out / f"{a.seed + i:05d}_{kind}.png")
    print(f"{a.count} pictures in {a.out}")


if __name__ == "__main__":
    main()
