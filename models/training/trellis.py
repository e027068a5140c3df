"""Trellis-coded quantisation of y (format-spec/SPEC.md, sections 3.3 and 6), with the encoder's own integers: what `Trellis` chooses is what the program chooses.

A value of y is a multiple of half the step: an even one (but for its sign, the symbol times two) in even states, an odd one or 0 in odd states. The state follows from
the symbols before it. So a decoder tells values apart that lie as densely as with half the step, while a symbol costs what one of the whole step does; which sequence
comes closest for its bits is found by Viterbi's algorithm. It looks at 1024 states for every value, hence numba. (The second of the specification's trellises, which
files without an effort have: networks and tables are made for these.)
"""
from __future__ import annotations

import numpy as np
from numba import njit

import aem

HYPER, EVEN, ODD = range(aem.QUANTISERS)  # quantisers, in the order of their tables: of z, and of y in even and in odd states
STATES = 1024
HALF = STATES // 2
BY_STATE = 0o2551 >> 1 & HALF - 1  # what an odd state adds to the next one besides its highest bit
BY_SYMBOL = 0o1636 >> 1            # what an odd symbol adds
COST_FRACTION, CANDIDATE_FRACTION, BRANCH_FRACTION = 16, 8, 5
MOST = 1 << 20                    # the most that a candidate costs
MOST_BEYOND = (32 << BRANCH_FRACTION) - 1  # the most that a branch costs beyond the cheapest of its value
IMPOSSIBLE = 16000                # the metric of a state that cannot be: more than what leads to any other one
BLOCK = 4096                      # so many values are looked at together: the path to the best of their last states is taken
SQUARED_ERROR_BITS = 14           # what an error of one squared latent is taken to be worth, in bits


@njit(cache=True)
def following(state: int, symbol: int) -> int:
    """The state after a symbol (R3.13)."""
    return state >> 1 ^ (HALF | BY_STATE if state & 1 else 0) ^ (BY_SYMBOL if symbol & 1 else 0)


@njit(cache=True)
def before(state: int, odd: int) -> int:
    """The state that leads to `state` by a symbol, odd or not."""
    by_symbol = BY_SYMBOL if odd else 0
    return 2 * (state ^ by_symbol) if state < HALF else 2 * (state - HALF ^ BY_STATE ^ by_symbol) + 1


def halves(symbols: np.ndarray, quantisers: np.ndarray) -> np.ndarray:
    """What symbols of y stand for, in halves of the step (R3.9)."""
    return 2 * symbols - np.where(quantisers == ODD, np.sign(symbols), 0)


def log2(x: int) -> int:
    """Binary logarithm of an integer of 1 to 2^31 in units of 2^-16, rounded down bit by bit."""
    log = x.bit_length() - 1
    mantissa = x << (31 - log)
    for _ in range(COST_FRACTION):
        mantissa = mantissa * mantissa >> 31
        bit = mantissa >> 32
        mantissa >>= bit
        log = 2 * log + bit
    return log


class Trellis:
    """Chooses symbols of y for residuals in units of 2^-fraction, in which half a step is `half`; `tables` are those of a model."""

    def __init__(self, tables: list[np.ndarray], fraction: int, half: int):
        even, odd = (tables[k * len(tables) // aem.QUANTISERS:(k + 1) * len(tables) // aem.QUANTISERS] for k in (EVEN, ODD))
        # All symbols from 0 on and the escape behind them, of all tables in a row. Bits of an escape without what follows it are kept at full precision.
        rows = [[(16 << COST_FRACTION) - log2(int(p)) for p in table[(len(table) - 2) // 2:]] for table in [*even, *odd]]
        self.costs = np.array([cost for row in rows for cost in row], np.int64)
        sizes = np.array([len(row) for row in rows])
        self.radius = (sizes - 2).reshape(2, -1)
        self.first = np.concatenate([[0], np.cumsum(sizes)[:-1]]).reshape(2, -1)
        self.fraction, self.half = fraction, half

    def choose(self, residuals: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(symbols, quantisers) for all values of a step that are coded, in their order, with their scale indices."""
        residuals, index = (np.ascontiguousarray(v, np.int64) for v in (residuals, index))
        return search(residuals, index, self.costs, self.first, self.radius, self.fraction, self.half)

    def branches(self, magnitude: int, index: int) -> np.ndarray:
        """[4, 2]: the best symbol of each kind for a magnitude, and what it costs. Kinds are even and odd symbols of even states, then of odd ones."""
        out = np.zeros((4, 2), np.int64)
        candidates(magnitude, index, self.costs, self.first, self.radius, self.fraction, self.half, out)
        return out


@njit(cache=True)
def branch_cost(quantiser, symbol, error, index, costs, first, radius, fraction):
    """Bits of a symbol of at least 0 in even (0) or odd (1) states, and of the error that it leaves, in units of 2^-CANDIDATE_FRACTION."""
    excess = symbol - radius[quantiser, index]
    bits = costs[first[quantiser, index] + min(symbol, radius[quantiser, index] + 1)]
    if excess > 0:
        behind = 2
        while excess > 1:
            excess >>= 1
            behind += 2
        bits += behind << COST_FRACTION
    squares = error * error * SQUARED_ERROR_BITS >> 2 * fraction - CANDIDATE_FRACTION
    return min((bits >> COST_FRACTION - CANDIDATE_FRACTION) + squares, MOST)


@njit(cache=True)
def candidates(magnitude, index, costs, first, radius, fraction, half, out):
    """Fills `out` as `Trellis.branches` says.

    Multiples of half a step belong to the kinds in turn: 0, 4, 8 and so on are even symbols in even states; 1, 5 odd ones in odd states; 2, 6 odd ones in even states;
    3, 7 even ones in odd states, which have 0 besides. Of each kind one below and one above are looked at, of equals that below is taken.
    """
    below = magnitude // half
    for kind in range(4):
        quantiser, start = kind >> 1, (0, 2, 3, 1)[kind]
        low = below - (below - start & 3)
        high = low + 4
        out[kind, 0] = (high + 1) >> 1
        out[kind, 1] = branch_cost(quantiser, (high + 1) >> 1, magnitude - high * half, index, costs, first, radius, fraction)
        if low >= 0 or start == 3:
            multiple = max(low, 0)
            symbol = (multiple + 1) >> 1
            cost = branch_cost(quantiser, symbol, magnitude - multiple * half, index, costs, first, radius, fraction)
            if cost <= out[kind, 1]:
                out[kind, 0], out[kind, 1] = symbol, cost


@njit(cache=True)
def beyond(cost, least):
    """What a candidate costs beyond the cheapest one of its value, in units of 2^-BRANCH_FRACTION."""
    shift = CANDIDATE_FRACTION - BRANCH_FRACTION
    return min(cost - least + (1 << shift >> 1) >> shift, MOST_BEYOND)


@njit(cache=True)
def search(residuals, index, costs, first, radius, fraction, half):
    """`Trellis.choose`."""
    symbols, quantisers = np.zeros_like(residuals), np.zeros_like(residuals)
    branches, costs_beyond = np.empty((min(BLOCK, len(residuals)), 4, 2), np.int64), np.empty(4, np.int64)
    odd = np.empty((len(branches), STATES), np.uint8)  # whether an odd symbol leads to a state
    metrics, pairs = np.empty(STATES, np.int64), np.empty((2, HALF), np.int64)
    state = 0
    for begin in range(0, len(residuals), BLOCK):
        size = min(BLOCK, len(residuals) - begin)
        metrics[:] = IMPOSSIBLE
        metrics[state] = 0
        for k in range(size):
            branch = branches[k]
            candidates(abs(residuals[begin + k]), index[begin + k], costs, first, radius, fraction, half, branch)
            for kind in range(4):
                costs_beyond[kind] = beyond(branch[kind, 1], branch[:, 1].min())
            for s in range(HALF):
                pairs[0, s], pairs[1, s] = metrics[2 * s], metrics[2 * s + 1]
            for q in range(2):  # even states lead to the lower half, odd ones to the upper half
                by, by_even, by_odd = BY_STATE * q, costs_beyond[2 * q], costs_beyond[2 * q + 1]
                for s in range(HALF):
                    a, b = pairs[q, s ^ by] + by_even, pairs[q, s ^ by ^ BY_SYMBOL] + by_odd
                    metrics[HALF * q + s] = min(a, b)
                    odd[k, HALF * q + s] = b < a
        state = np.argmin(metrics)
        behind = state
        for k in range(size - 1, -1, -1):
            o = odd[k, behind]
            behind = before(behind, o)
            symbol = branches[k, 2 * (behind & 1) + o, 0]
            # Of 0 the sign is +: an odd symbol has to stay odd.
            symbols[begin + k] = -symbol if residuals[begin + k] < 0 else symbol
            quantisers[begin + k] = ODD if behind & 1 else EVEN
    return symbols, quantisers
