"""Probability tables of the entropy coder (format-spec/SPEC.md, sections 3.2 and 4.2).

Table i is a zero-mean Gaussian of standard deviation `sigma(i)`, integrated over unit bins, for the values -R..R; everything outside is the
escape. R is the one with the fewest expected bits: a wide table spends at least 1/65536 on each of its symbols, a narrow one pays for escapes.
All of it is float64 with ties broken by position, so it comes out the same wherever `math.erfc` is right to a few units in the last place.
"""
from __future__ import annotations

import functools
import heapq
import math

import numpy as np

SCALE_MIN, SCALE_MAX = 0.11, 256.0
TOTAL = 65536


def sigma(index: int, scales: int = 64) -> float:
    return SCALE_MIN * (SCALE_MAX / SCALE_MIN) ** (index / (scales - 1))


def bin_mass(v: int, s: float) -> float:
    """Probability of the bin v - 1/2 .. v + 1/2 (v >= 0), from upper tails so that it keeps its digits far out."""
    return upper_tail(v - 0.5, s) - upper_tail(v + 0.5, s)


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


def table(s: float, r: int) -> list[int]:
    """The 2R + 2 integer probabilities, the escape last."""
    p = [bin_mass(abs(v), s) for v in range(-r, r + 1)]
    return integer_probabilities([*p, 2 * upper_tail(r + 0.5, s)])


def expected_bits(s: float, n: list[int]) -> float:
    """Bits per symbol that the table spends on its own Gaussian, escapes included."""
    r = (len(n) - 2) // 2
    total = 0.0
    for v in range(-r, r + 1):
        total -= bin_mass(abs(v), s) * math.log2(n[v + r] / TOTAL)
    escape = -math.log2(n[-1] / TOTAL)
    for excess in range(1, math.ceil(12 * s) + 16):
        total += 2 * bin_mass(r + excess, s) * (escape + escape_bits(excess))
    return total


def ideal_bits(s: float) -> float:
    """Entropy of the Gaussian over unit bins."""
    total = 0.0
    for v in range(0, math.ceil(12 * s) + 16):
        p = bin_mass(v, s)
        if p > 0:
            total -= (1 if v == 0 else 2) * p * math.log2(p)
    return total


@functools.cache
def best_table(s: float) -> list[int]:
    """The table with the fewest expected bits over R; R is sought on a grid of a fiftieth of s, since the minimum is flat."""
    step = max(1, round(s / 50))
    low, high = max(1, math.floor(2 * s)), max(3, math.ceil(6 * s))
    candidates = [table(s, r) for r in range(low, high + 1, step)]
    return min(candidates, key=lambda n: (round(expected_bits(s, n), 9), len(n)))


def all_tables(scales: int = 64) -> list[np.ndarray]:
    return [np.array(best_table(sigma(i, scales)), np.int64) for i in range(scales)]


if __name__ == "__main__":
    size = 0
    for i in range(64):
        s = sigma(i)
        n = best_table(s)
        size += 2 * len(n) + 2
        cost, ideal = expected_bits(s, n), ideal_bits(s)
        print(f"{i:2d} sigma {s:8.3f} R {(len(n) - 2) // 2:5d} escape {n[-1]:3d} bits {cost:.5f} ideal {ideal:.5f} +{100 * (cost / ideal - 1):.3f} %")
    print(size, "bytes")
