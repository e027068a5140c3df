"""The integer codec in numpy, read from a model file (format-spec/SPEC.md, sections 5 and 6): for checking exports, not for speed.

Integers travel in float64 arrays: products of 16-bit numbers add up exactly below 2^53, so matrix products run in BLAS, and a right shift is
a floor of a product with a power of two. Every result is the integer that the specification names.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

import aem
import trellis

PHASE_OF_STEP = (0, 3, 2, 1)


def groups_mask(step: int, h: int, w: int, m: int) -> np.ndarray:
    """[m, h, w]: what is coded in a step (R3.8)."""
    phase = 2 * (np.arange(h)[:, None] % 2) + np.arange(w)[None] % 2
    return phase[None] == (np.arange(m) // (m // 4) ^ PHASE_OF_STEP[step])[:, None, None]


def in_order(x: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Those of x [C, h, w] that are shown, in the order of coding: position by position, at each all channels."""
    return x.transpose(1, 2, 0)[shown.transpose(1, 2, 0)]


def put_in_order(values: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Inverse of `in_order`; what is not shown is 0."""
    out = np.zeros(shown.shape, values.dtype)
    out.transpose(1, 2, 0)[shown.transpose(1, 2, 0)] = values
    return out


def shift_round(x: np.ndarray, s: np.ndarray | int) -> np.ndarray:
    """(x + 2^(s-1)) >> s, exact for |x| < 2^52; x is overwritten."""
    scale = np.ldexp(1.0, -np.asarray(s, np.int64))
    x *= scale
    x += 0.5
    return np.floor(x, out=x)


def leaky(x: np.ndarray) -> np.ndarray:
    """R5.3."""
    return np.where(x >= 0, x, np.floor(x * 0.125))


def shuffle(x: np.ndarray, n: int) -> np.ndarray:
    """[C*n*n, H, W] -> [C, n*H, n*W] (R5.7)."""
    c, h, w = x.shape
    return x.reshape(c // (n * n), n, n, h, w).transpose(0, 3, 1, 4, 2).reshape(c // (n * n), n * h, n * w)


def unshuffle(x: np.ndarray, n: int) -> np.ndarray:
    """Inverse of `shuffle`."""
    c, h, w = x.shape
    return x.reshape(c, h // n, n, w // n, n).transpose(0, 2, 4, 1, 3).reshape(c * n * n, h // n, w // n)


@dataclass
class Coded:
    """What the encoder made of a picture: latents in units of 2^-y_fraction, bits by part, how many values were escapes and how many not coded. `symbols` and
    `z_symbols`, where they are kept, are the symbols of y and z, their quantisers and their scale indices, [3, channels, h, w]; what is not coded has the symbol 0."""

    y_hat: np.ndarray
    y_bits: float
    z_bits: float
    escapes: int = 0
    skipped: int = 0
    symbols: np.ndarray | None = None
    z_symbols: np.ndarray | None = None

    @property
    def bits(self) -> float:
        return self.y_bits + self.z_bits


class Network:
    """Runs records; counts in `saturated[name]` how many values sat16 had to limit, in `largest[name]` the largest size that came out."""

    def __init__(self) -> None:
        self.saturated: Counter[str] = Counter()
        self.largest: dict[str, float] = {}

    def sat16(self, x: np.ndarray, name: str, count: bool = True) -> np.ndarray:
        if count:
            self.largest[name] = max(self.largest.get(name, 0.0), float(x.max()), -float(x.min()))
            over = int(np.count_nonzero((x < -32768) | (x > 32767)))
            if over:
                self.saturated[name] += over
        return np.clip(x, -32768, 32767, out=x)

    def layer(self, x: np.ndarray, layer: aem.Layer, name: str, count: bool | int = True) -> np.ndarray:
        """R5.1, R5.2. `count` may be a number: only so many of the first outputs are watched for saturation."""
        if layer.depthwise:
            h, w = x.shape[1:]
            padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
            taps = layer.weights.astype(np.float64)
            acc = taps[:, 0, None, None] * padded[:, :h, :w]
            for t in range(1, 9):
                acc += taps[:, t, None, None] * padded[:, t // 3:t // 3 + h, t % 3:t % 3 + w]
        else:
            acc = (layer.weights.astype(np.float64) @ x.reshape(len(x), -1)).reshape(-1, *x.shape[1:])
        acc += layer.bias.astype(np.float64)[:, None, None]
        out = shift_round(acc, layer.shift[:, None, None])
        if isinstance(count, bool):
            return self.sat16(out, name, count)
        self.sat16(out[:count], name)
        np.clip(out[count:], -32768, 32767, out=out[count:])
        return out

    def block(self, x: np.ndarray, block: aem.Block, name: str) -> np.ndarray:
        """R5.8. The clamped half of the gate is meant to be cut, so it is not watched."""
        c, f = len(x), block.gate_fraction
        branch = self.layer(leaky(self.layer(x, block.inp, f"{name}.inp")), block.depth, f"{name}.depth")
        x = self.sat16(x + self.layer(branch, block.out, f"{name}.out"), f"{name}.sum")
        halves = self.layer(x, block.gate, f"{name}.gate", count=c)
        product = shift_round(halves[:c] * np.clip(halves[c:], -2.0 ** f, 2.0 ** f), f)
        return self.sat16(x + self.layer(product, block.mix, f"{name}.mix"), f"{name}.sum")

    def gain(self, x: np.ndarray, gain: aem.Gain, q: int, name: str, saturate: bool = True) -> np.ndarray:
        """R5.6."""
        out = shift_round(x * gain.values[q].astype(np.float64)[:, None, None], gain.shift)
        return self.sat16(out, name) if saturate else out


class Codec(Network):
    """Encoder and decoder of one model file, without the entropy coder: bits are counted from the tables."""

    def __init__(self, model: aem.Model):
        super().__init__()
        self.model, self.header = model, model.header
        self.costs, self.radius, self.offset = cost_tables(model.tables)
        if model.encoder is None:
            raise aem.ModelError("the model file has no analysis")
        self.encoder = model.encoder.header
        fraction = self.encoder.y_input_fraction
        self.trellis = trellis.Trellis(model.tables, fraction, self.header.y_half_step << fraction - self.header.y_fraction)

    def analyse(self, picture: np.ndarray, q: int) -> np.ndarray:
        """Picture uint8 [3, H, W], sides multiples of 64 -> y [m, H/16, W/16] in units of 2^-y_input_fraction."""
        h, r = self.encoder, iter(self.model.encoder.records)
        x = unshuffle((2.0 * picture - 255) * 2 ** h.input_shift, 8)
        x = self.layer(x, next(r), "analysis.stem")
        x = self.eighth(x, r, q, "analysis", h.a8_first, h.a8_second)
        x = self.layer(unshuffle(x, 2), next(r), "analysis.down")
        for i in range(h.a16):
            x = self.block(x, next(r), f"analysis.tail.{i}")
        x = self.layer(x, next(r), "analysis.latent")
        return self.gain(x, next(r), q, "analysis.y", saturate=False)

    def eighth(self, x: np.ndarray, r: Iterator[aem.Record], q: int, name: str, first: int, second: int) -> np.ndarray:
        """The blocks at 1/8, `first` and `second` many, with the gain between them."""
        for i in range(first):
            x = self.block(x, next(r), f"{name}.first.{i}")
        x = self.gain(x, next(r), q, f"{name}.mod")
        for i in range(second):
            x = self.block(x, next(r), f"{name}.second.{i}")
        return x

    def hyper_analyse(self, y: np.ndarray) -> np.ndarray:
        """y of a tile (as `analyse` gives it) -> z [nz, h/4, w/4] in units of 2^-z_shift."""
        r = self.model.encoder.records[-5:]
        x = self.sat16(self.to_y_fraction(y), "hyper.input")
        x = self.block(self.layer(x, r[0], "hyper.stem"), r[1], "hyper.0")
        x = self.block(self.layer(unshuffle(x, 2), r[2], "hyper.down"), r[3], "hyper.1")
        return self.layer(unshuffle(x, 2), r[4], "hyper.z")

    def to_y_fraction(self, y: np.ndarray) -> np.ndarray:
        drop = self.encoder.y_input_fraction - self.header.y_fraction
        return shift_round(y.copy(), drop) if drop else y.copy()

    def hyper(self, z: np.ndarray) -> np.ndarray:
        """z_hat [nz, h, w] in units of 2^-z_shift -> hyper features [ce, 4h, 4w] (R5.13)."""
        r = self.model.entropy
        x = self.sat16(z.copy(), "entropy.input")
        x = self.block(shuffle(self.layer(x, r[0], "entropy.up.0"), 2), r[1], "entropy.hyper.0")
        return self.block(shuffle(self.layer(x, r[2], "entropy.up.1"), 2), r[3], "entropy.hyper.1")

    def z_step(self, k: int, q: int, context: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(mean in 2^-z_shift, scale index), both [nz, h, w], of step k of z (R5.17)."""
        h, r = self.header, self.model.entropy[9 + self.header.n_trunk:]
        base = np.broadcast_to(self.model.z_index[q].astype(np.int64)[:, None, None], context.shape)
        if k == 0:
            return np.zeros(context.shape), base
        x = self.layer(context, r[k - 1], f"entropy.z_adapt.{k}")
        for i in range(h.n_z):
            x = self.block(x, r[3 + i], f"entropy.z.{i}")
        params = self.layer(x, r[3 + h.n_z], "entropy.z_params")
        index = np.clip(base + shift_round(params[h.nz:].copy(), h.index_shift), 0, h.scales - 1)
        return params[:h.nz], index.astype(np.int64)

    def step(self, k: int, features: np.ndarray, context: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(mean in 2^-y_fraction, scale index), both [m, h, w], of step k (R5.15)."""
        h, r = self.header, self.model.entropy
        x = np.concatenate([features, context]) if k else features
        x = self.layer(x, r[4 + k], f"entropy.adapt.{k}")
        for i in range(h.n_trunk):
            x = self.block(x, r[8 + i], f"entropy.trunk.{i}")
        params = self.layer(x, r[8 + h.n_trunk], "entropy.params")
        index = np.clip(shift_round(params[h.m:].copy(), h.index_shift) + h.index_offset, 0, h.scales - 1)
        return params[:h.m], index.astype(np.int64)

    def cost(self, symbols: np.ndarray, quantisers: np.ndarray | int, index: np.ndarray) -> tuple[np.ndarray, int]:
        """Bits of symbols under quantisers and scale indices, and how many of them were escapes."""
        v, table = symbols.astype(np.int64), quantisers * self.header.scales + index
        r = self.radius[table]
        excess = np.abs(v) - r
        escape = excess > 0
        bits = self.costs[self.offset[table] + np.where(escape, 2 * r + 1, v + r)]
        n = np.floor(np.log2(np.maximum(excess, 1)))
        return bits + np.where(escape, 2 * n + 2, 0), int(escape.sum())

    def code_tile(self, y: np.ndarray, q: int, keep: bool = False) -> Coded:
        """Everything between y and y_hat for one tile, y as `analyse` gives it."""
        h = self.header
        coded = Coded(np.zeros(y.shape), 0.0, 0.0)
        features = self.hyper(self.code_z(self.hyper_analyse(y), q, coded, keep))
        to_fine = 2.0 ** (self.encoder.y_input_fraction - h.y_fraction)
        symbols = np.zeros((3, *y.shape), np.int64) if keep else None
        for k in range(4):
            mask = groups_mask(k, *y.shape[1:], h.m)
            mean, index = self.step(k, features, np.clip(coded.y_hat, -32768, 32767))
            shown = mask & (index >= self.encoder.skip_below)
            chosen, quantisers = self.trellis.choose(in_order(y - mean * to_fine, shown), in_order(index, shown))
            bits, escapes = self.cost(chosen, quantisers, in_order(index, shown))
            coded.y_bits += float(bits.sum())
            coded.escapes += escapes
            coded.skipped += int((mask & ~shown).sum())
            coded.y_hat = np.where(mask, mean + h.y_half_step * put_in_order(trellis.halves(chosen, quantisers), shown), coded.y_hat)
            if symbols is not None:
                symbols[:, mask] = put_in_order(chosen, shown)[mask], put_in_order(quantisers, shown)[mask], index[mask]
        coded.symbols = symbols
        return coded

    def code_z(self, z: np.ndarray, q: int, coded: Coded, keep: bool = False) -> np.ndarray:
        """z as `hyper_analyse` gives it -> z_hat, its bits and symbols in `coded`."""
        h = self.header
        z_hat, symbols = np.zeros(z.shape), np.zeros((3, *z.shape), np.int64) if keep else None
        for k in range(4):
            mask = groups_mask(k, *z.shape[1:], h.nz)
            mean, index = self.z_step(k, q, np.clip(z_hat, -32768, 32767))
            value = np.where(index < self.encoder.skip_below, 0, np.floor((z - mean) * 2.0 ** -h.z_shift + 0.5))
            shown = mask & (index >= self.encoder.skip_below)
            bits, escapes = self.cost(value[shown], trellis.HYPER, index[shown])
            coded.z_bits += float(bits.sum())
            coded.escapes += escapes
            z_hat = np.where(mask, value * 2.0 ** h.z_shift + mean, z_hat)
            if symbols is not None:
                symbols[0, mask], symbols[1, mask], symbols[2, mask] = value[mask], trellis.HYPER, index[mask]
        coded.z_symbols = symbols
        return z_hat

    def code(self, y: np.ndarray, q: int, tile: int = 1024) -> Coded:
        """The same for a picture cut into tiles of `tile` pixels."""
        side = tile // 16
        whole = Coded(np.zeros(y.shape), 0.0, 0.0)
        for r in range(0, y.shape[1], side):
            for c in range(0, y.shape[2], side):
                part = self.code_tile(y[:, r:r + side, c:c + side], q)
                whole.y_hat[:, r:r + side, c:c + side] = part.y_hat
                whole.y_bits += part.y_bits
                whole.z_bits += part.z_bits
                whole.escapes += part.escapes
                whole.skipped += part.skipped
        return whole

    def synthesise(self, y_hat: np.ndarray, q: int) -> np.ndarray:
        """y_hat [m, h, w] in 2^-y_fraction -> samples [3, 16h, 16w] in 2^-pixel_fraction of an 8-bit level (R5.9)."""
        h, r = self.header, iter(self.model.synthesis)
        x = self.gain(y_hat, next(r), q, "synthesis.latent")
        x = self.layer(x, next(r), "synthesis.head")
        for i in range(h.n16):
            x = self.block(x, next(r), f"synthesis.head.{i}")
        x = shuffle(self.layer(x, next(r), "synthesis.up"), 2)
        x = self.eighth(x, r, q, "synthesis", h.n8_first, h.n8_second)
        return shuffle(self.layer(x, next(r), "synthesis.pixels"), 8)

    def samples8(self, v: np.ndarray) -> np.ndarray:
        """R5.11 for colour: uint8."""
        return np.clip(shift_round(v.copy(), self.header.pixel_fraction), 0, 255).astype(np.uint8)


def cost_tables(tables: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(bits of every symbol of every table in a row, R of each table, where each begins)."""
    costs = np.concatenate([16 - np.log2(p) for p in tables])
    sizes = np.array([len(p) for p in tables])
    return costs, (sizes - 2) // 2, np.concatenate([[0], np.cumsum(sizes)[:-1]])


def load(path: str) -> Codec:
    with open(path, "rb") as file:
        return Codec(aem.Model.from_bytes(file.read()))
