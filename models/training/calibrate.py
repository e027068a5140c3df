"""Pictures to measure ranges on, and the measuring."""
from __future__ import annotations

import hashlib
import itertools
from pathlib import Path

import numpy as np
import torch

import model
from data import decode, files, read_shard
from transforms import Ranges, Recorder, analysis_stages, entropy_stages, hyper_analysis_stages, synthesis_stages, z_context_stages

QUALITIES = (0, 16, 32, 48, 63)
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


def sample(folder: Path, count: int) -> list[Path | bytes]:
    """`count` pictures of a folder, evenly spread over its sorted paths: files, or what windows of shards have in them."""
    pictures: list[tuple[Path, int]] = []
    for path in files([folder], (*SUFFIXES, ".tar")):
        pictures += [(path, i) for i in range(sum(1 for _ in read_shard(path)) if path.suffix.lower() == ".tar" else 1)]
    step = max(1, len(pictures) / count)
    out: list[Path | bytes] = []
    for path, chosen in itertools.groupby((pictures[int(i * step)] for i in range(min(count, len(pictures)))), lambda picture: picture[0]):
        if path.suffix.lower() == ".tar":
            windows = [data for _, data in read_shard(path)]
            out += [windows[i] for _, i in chosen]
        else:
            out.append(path)
    return out


def content(picture: Path | bytes) -> bytes:
    return picture if isinstance(picture, bytes) else picture.read_bytes()


def digest(pictures: list[Path | bytes]) -> str:
    """SHA-256 over the contents of the pictures in their order."""
    return hashlib.sha256(b"".join(hashlib.sha256(content(p)).digest() for p in pictures)).hexdigest()


def load(picture: Path | bytes) -> np.ndarray:
    """8-bit picture [3, H, W], extended to multiples of 64 by repeating its edge. (The program lets it fade: format-spec/SPEC.md, section 6.)"""
    return pad64(read(picture))


def read(picture: Path | bytes) -> np.ndarray:
    """8-bit picture [3, H, W], as training reads it."""
    return decode(content(picture)).transpose(2, 0, 1)


def pad64(picture: np.ndarray) -> np.ndarray:
    _, h, w = picture.shape
    return np.pad(picture, ((0, 0), (0, -h % 64), (0, -w % 64)), mode="edge")


def extremes(size: int = 192) -> list[np.ndarray]:
    """Pictures that drive the network to its limits, uint8 [3, H, W]: saturated colours, checkerboards, stripes, noise, text-like strokes, and the signs
    of every cosine of a 16x16 block (what makes a channel of a block transform largest)."""
    random = np.random.Generator(np.random.PCG64(1))
    row, column = np.mgrid[:size, :size]
    corners = np.array([(255 * (i & 1), 255 * (i >> 1 & 1), 255 * (i >> 2)) for i in range(8)], np.uint8)
    out = []

    def add(mask: np.ndarray, one: int = 7, zero: int = 0) -> None:
        """A picture of two of the eight corners of the colour cube."""
        out.append(np.where(mask[None], corners[one][:, None, None], corners[zero][:, None, None]))

    for colour in range(8):
        add(row >= 0, colour)
    for period in (1, 2, 4, 8, 16, 32):
        add((row // period + column // period) % 2 == 0)
        add(column // period % 2 == 0)
        add(row // period % 2 == 0)
    for i in range(1, 4):
        add((row // 8 + column // 8) % 2 == 0, i, 7 - i)
        add(column < size // 2, i, 7 - i)
    for block in (8, 16):
        for i in range(4):
            for patch in (1, 3):
                signs = cosine_signs(block, patch)
                add(signs, i, 7 - i)
                add(~signs, i, 7 - i)
    out.append(corners[random.integers(0, 8, (size // 4, size // 4)).repeat(4, 0).repeat(4, 1)].transpose(2, 0, 1))
    out.append(random.integers(0, 256, (3, size, size)).astype(np.uint8))
    out.append(255 * random.integers(0, 2, (3, size, size)).astype(np.uint8))
    add(random.random((size, size)) < 0.5)
    text = random.random((size // 2, size // 2)) < 0.35
    text[np.arange(size // 2) % 8 > 5] = False
    add(text.repeat(2, 0).repeat(2, 1))
    add(~text.repeat(2, 0).repeat(2, 1))
    add(np.cos((row ** 2 + column ** 2) * np.pi / (2 * size)) > 0)
    return [pad64(p) for p in out]


def cosine_signs(block: int, patch: int) -> np.ndarray:
    """Signs of the block^2 cosine transform patterns side by side, each repeated patch x patch times: bool [block^2 * patch] squared."""
    position = np.arange(block)
    waves = np.cos(np.pi * (2 * position[None] + 1) * position[:, None] / (2 * block))  # frequency x position
    step = 1 if patch == 1 or block == 8 else 2  # every second frequency where they are repeated: a quarter of the area
    waves = np.tile(waves[::step], (1, patch))
    return (np.einsum("up,vr->upvr", waves, waves) > 0).reshape(waves.size, waves.size)


def measure(net: model.Codec, pictures: list[np.ndarray], qualities: tuple[int, ...] = QUALITIES) -> Ranges:
    """Largest size of every channel of every tensor of the network, over all pictures and qualities."""
    recorders = [Recorder(stages) for stages in (analysis_stages(net.analysis), hyper_analysis_stages(net.hyper_analysis), entropy_stages(net.entropy),
                                                 synthesis_stages(net.synthesis), z_context_stages(net.entropy))]
    for layer in net.entropy.adapt[1:]:
        recorders[2].on_output(layer, "entropy.trunk")
    for layer in net.entropy.z_adapt[1:]:
        recorders[4].on_output(layer, "entropy.z")
    with torch.no_grad():
        for picture in pictures:
            x = torch.from_numpy(picture.copy())[None].float() / 255
            for quality in qualities:
                net(x, torch.tensor([quality]))
    return {name: size for recorder in recorders for name, size in recorder.close().items()}
