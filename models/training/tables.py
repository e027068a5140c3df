"""Probability tables of the entropy coder (format-spec/SPEC.md, sections 3.2 and 4.2).

Table i is a zero-mean Gaussian of standard deviation `sigma(i)`, integrated over bins, for the values -R..R; everything outside is the escape. Bins are what is
nearest to a quantiser's values, of one step each but for the two innermost of the odd one; functions here take sigma in steps. R is the one with the fewest expected
bits: a wide table spends at least 1/65536 on each of its symbols, a narrow one pays for escapes.
All of it is float64 with ties broken by position, so it comes out the same wherever `math.erfc` is right to a few units in the last place.

`measured_tables` fits the tables to the values that an encoder really wrote: what the network calls sigma is a Gaussian only more or less, with longer tails, and
what the search through the trellis takes is often not the nearest value, more often a smaller one than a larger one, as it costs less.
"""
from __future__ import annotations

import functools
import heapq
import math

import numpy as np

import aem

SCALE_MIN, SCALE_MAX = 0.11, 256.0
TOTAL = 65536


def sigma(index: int, scales: int = 64) -> float:
    return SCALE_MIN * (SCALE_MAX / SCALE_MIN) ** (index / (scales - 1))


def edge(v: int, odd: bool = False) -> float:
    """Where the bin of the magnitude v ends, in steps: halfway to the next value. Those of the odd quantiser are 0, 1/2, 3/2, 5/2 and so on."""
    return max(0.25, float(v)) if odd else v + 0.5


def bin_mass(v: int, s: float, odd: bool = False) -> float:
    """Probability of the bin of v (v >= 0), from upper tails so that it keeps its digits far out."""
    return upper_tail(edge(v - 1, odd) if v else -edge(0, odd), s) - upper_tail(edge(v, odd), s)


def upper_tail(x: float, s: float) -> float:
    return 0.5 * math.erfc(x / (s * math.sqrt(2)))


def escape_bits(excess: int) -> int:
    """Bits behind an escape for the value +-(R + excess), excess >= 1 (R3.5): n ones, a zero, n bits, the sign."""
    return 2 * (excess.bit_length() - 1) + 2


def integer_probabilities(p: list[float]) -> list[int]:
    """Integers >= 1 with sum 65536 that cost the fewest expected bits: floor first, then one unit at a time where it helps most or hurts least."""
    n = [max(1, math.floor(x * TOTAL)) for x in p]
    rest = TOTAL - sum(n)
    if rest >= 0:
        heap = [(-p[i] * math.log2((n[i] + 1) / n[i]), i) for i in range(len(p))]
        heapq.heapify(heap)
        for _ in range(rest):
            _, i = heap[0]
            n[i] += 1
            heapq.heapreplace(heap, (-p[i] * math.log2((n[i] + 1) / n[i]), i))
    else:
        heap = [(p[i] * math.log2(n[i] / (n[i] - 1)), i) for i in range(len(p)) if n[i] > 1]
        heapq.heapify(heap)
        for _ in range(-rest):
            _, i = heapq.heappop(heap)
            n[i] -= 1
            if n[i] > 1:
                heapq.heappush(heap, (p[i] * math.log2(n[i] / (n[i] - 1)), i))
    return n


def table(s: float, r: int, odd: bool = False) -> list[int]:
    """The 2R + 2 integer probabilities, the escape last."""
    p = [bin_mass(abs(v), s, odd) for v in range(-r, r + 1)]
    return integer_probabilities([*p, 2 * upper_tail(edge(r, odd), s)])


def expected_bits(s: float, n: list[int], odd: bool = False) -> float:
    """Bits per symbol that the table spends on its own Gaussian, escapes included."""
    r = (len(n) - 2) // 2
    total = 0.0
    for v in range(-r, r + 1):
        total -= bin_mass(abs(v), s, odd) * math.log2(n[v + r] / TOTAL)
    escape = -math.log2(n[-1] / TOTAL)
    for excess in range(1, math.ceil(12 * s) + 16):
        total += 2 * bin_mass(r + excess, s, odd) * (escape + escape_bits(excess))
    return total


def ideal_bits(s: float, odd: bool = False) -> float:
    """Entropy of the Gaussian over the bins."""
    total = 0.0
    for v in range(0, math.ceil(12 * s) + 16):
        p = bin_mass(v, s, odd)
        if p > 0:
            total -= (1 if v == 0 else 2) * p * math.log2(p)
    return total


@functools.cache
def best_table(s: float, odd: bool = False) -> list[int]:
    """The table with the fewest expected bits over R; R is sought on a grid of a fiftieth of s, since the minimum is flat."""
    step = max(1, round(s / 50))
    low, high = max(1, math.floor(2 * s)), max(3, math.ceil(6 * s))
    candidates = [table(s, r, odd) for r in range(low, high + 1, step)]
    return min(candidates, key=lambda n: (round(expected_bits(s, n, odd), 9), len(n)))


def kinds(scales: int, y_step: float) -> list[tuple[float, bool]]:
    """(sigma in steps, whether the quantiser is the odd one) of each table of a model, in their order: of z, whose step is 1, then of y in even and in odd states."""
    sigmas = [sigma(i, scales) for i in range(scales)]
    return [(s / step, odd) for step, odd in ((1.0, False), (y_step, False), (y_step, True)) for s in sigmas]


def all_tables(scales: int, y_step: float) -> list[np.ndarray]:
    return [np.array(best_table(s, odd), np.int64) for s, odd in kinds(scales, y_step)]


WIDTHS = (0.25, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 5.0)  # components of the smooth part of a measured table, in sigmas
PRIOR = 100            # observations of the Gaussian itself that are added to what was counted


def smooth(counts: np.ndarray, s: float, odd: bool = False) -> np.ndarray:
    """Mixture of Gaussians (by expectation-maximisation) for counts of magnitudes, [len(counts)] probabilities of magnitudes."""
    sides = np.where(np.arange(len(counts)) == 0, 1.0, 2.0)
    parts = np.array([[bin_mass(v, s * w, odd) for v in range(len(counts))] for w in WIDTHS]) * sides
    observed = counts + PRIOR * parts[WIDTHS.index(1.0)]
    weights = np.array([0.93 if w == 1.0 else 0.01 for w in WIDTHS])
    for _ in range(60):
        mixed = np.maximum(weights @ parts, 1e-300)
        weights *= (parts * (observed / mixed)).sum(1) / observed.sum()
    return weights @ parts


def measured_table(counts: np.ndarray, s: float, odd: bool = False) -> list[int]:
    """Table for magnitudes that were counted so often, [largest + 1], under a sigma: what was counted, with as many smooth observations as its width calls for."""
    length = max(len(counts), math.ceil(12 * s) + 16)
    counts = np.pad(counts.astype(np.float64), (0, length - len(counts)))
    p = counts + 2000 * (1 + s) * smooth(counts, s, odd)
    p /= p.sum()
    one = np.concatenate([p[:1], p[1:] / 2])  # of each of the two values
    tail = np.concatenate([np.cumsum(p[::-1])[::-1][1:], [0.0]])  # of all magnitudes above
    escapes = np.array([0.0, *(escape_bits(excess) for excess in range(1, length))])

    def expected(r: int) -> tuple[float, list[int]]:
        n = integer_probabilities([*one[r:0:-1], *one[:r + 1], max(tail[r], 0.0)])
        cost = 16 - np.log2(n)
        inside = p[0] * cost[r] + (p[1:r + 1] * cost[r + 1:2 * r + 1]).sum()
        return inside + tail[r] * cost[-1] + (p[r + 1:] * escapes[1:length - r]).sum(), n

    low, high = max(1, math.floor(1.5 * s)), min(max(4, math.ceil(9 * s)), length - 1)
    return min((expected(r) for r in range(low, high + 1, max(1, round(s / 8)))), key=lambda e: (round(e[0], 9), len(e[1])))[1]


def measured_tables(counts: list[np.ndarray], y_step: float) -> list[np.ndarray]:
    """Tables for `counts[table][magnitude]`, in the order of a model's tables."""
    return [np.array(measured_table(c, s, odd), np.int64) for c, (s, odd) in zip(counts, kinds(len(counts) // aem.QUANTISERS, y_step), strict=True)]


if __name__ == "__main__":
    size = 0
    for k, (s, odd) in enumerate(kinds(64, 46 / 32)):
        n = best_table(s, odd)
        size += 2 * len(n) + 2
        cost, ideal = expected_bits(s, n, odd), ideal_bits(s, odd)
        print(f"{'zeo'[k // 64]} {k % 64:2d} sigma {s:8.3f} R {(len(n) - 2) // 2:5d} escape {n[-1]:3d} bits {cost:.5f} ideal {ideal:.5f} "
              f"+{100 * (cost / ideal - 1):.3f} %")
    print(size, "bytes")
