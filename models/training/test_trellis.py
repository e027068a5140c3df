"""Tests of the trellis: pytest models/training."""
from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba", reason="numba is not installed")
import tables
import trellis
from trellis import CANDIDATE_FRACTION, EVEN, ODD, STATES, Trellis, before, beyond, following, halves

SCALES, FRACTION, HALF_STEP = 24, 8, 184  # as the defaults of the header and encoder: 23 << (8 - 5)


@pytest.fixture(scope="module")
def made() -> list[np.ndarray]:
    return tables.all_tables(SCALES, 2 * HALF_STEP / 2 ** FRACTION)


@pytest.fixture(scope="module")
def search(made: list[np.ndarray]) -> Trellis:
    return Trellis(made, FRACTION, HALF_STEP)


def plain_cost(made: list[np.ndarray], quantiser: int, symbol: int, residual: int, index: int) -> int:
    """What the trellis takes a symbol to cost, written down anew."""
    table = made[quantiser * SCALES + index]
    r = (len(table) - 2) // 2
    excess = abs(symbol) - r
    bits = (16 << 16) - trellis.log2(int(table[abs(symbol) + r if excess <= 0 else -1]))
    if excess > 0:
        bits += tables.escape_bits(excess) << 16
    error = residual - HALF_STEP * int(halves(np.array(symbol), np.array(quantiser)))
    return min((bits >> 8) + (error ** 2 * trellis.SQUARED_ERROR_BITS >> 2 * FRACTION - CANDIDATE_FRACTION), trellis.MOST)


def nearby(quantiser: int, odd: int, residual: int) -> list[int]:
    """Symbols of a kind that are looked at for a residual: of magnitudes the last that is not above and the first above."""
    values = {s: abs(residual) - HALF_STEP * int(halves(np.array(s), np.array(quantiser))) for s in around(residual) if s % 2 == odd}
    below, above = [s for s, left in values.items() if left >= 0], [s for s, left in values.items() if left < 0]
    return [-s if residual < 0 else s for s in below[-1:] + above[:1]]


def around(residual: int) -> range:
    """All that might be chosen."""
    middle = round(abs(residual) / (2 * HALF_STEP))
    return range(max(0, middle - 4), middle + 5)


def states(symbols: np.ndarray) -> list[int]:
    """States before each symbol, and behind the last one."""
    out = [0]
    for s in symbols:
        out.append(following(out[-1], s))
    return out


def test_states_and_the_ones_before_are_inverse_r3_13() -> None:
    for state in range(STATES):
        for symbol in range(-3, 4):
            next_state = following(state, symbol)
            assert 0 <= next_state < STATES and before(next_state, symbol & 1) == state
            assert next_state == state >> 1 ^ (692 if state & 1 else 0) ^ (463 if symbol & 1 else 0)
        assert {before(following(state, s), s) for s in (0, 1)} == {state}
        assert (following(state, 0) < STATES // 2) == (state % 2 == 0)


def test_values_of_symbols_r3_14() -> None:
    symbols = np.arange(-3, 4)
    assert halves(symbols, np.full(7, EVEN)).tolist() == [-6, -4, -2, 0, 2, 4, 6]
    assert halves(symbols, np.full(7, ODD)).tolist() == [-5, -3, -1, 0, 1, 3, 5]


def test_logarithms_are_rounded_down() -> None:
    assert [trellis.log2(2 ** k) for k in range(17)] == [k << 16 for k in range(17)]
    for x in (3, 5, 1000, 65535):
        assert 0 <= np.log2(x) - trellis.log2(x) / 65536 < 2 / 65536


def test_candidates_are_the_cheaper_of_two(made: list[np.ndarray], search: Trellis) -> None:
    random = np.random.Generator(np.random.PCG64(1))
    magnitudes = [*range(0, 8 * HALF_STEP, 23), *(k * HALF_STEP for k in range(9)), *random.integers(0, 200_000, 20).tolist(), 2_000_000]
    for index in (2, 9, 20):
        for magnitude in magnitudes:
            for kind, (symbol, cost) in enumerate(search.branches(magnitude, index)):
                quantiser, odd = (EVEN, ODD)[kind >> 1], kind & 1
                wanted = min((plain_cost(made, quantiser, s, magnitude, index), s) for s in nearby(quantiser, odd, magnitude))
                assert (cost, symbol) == wanted


def test_search_finds_the_best_of_all_ways(made: list[np.ndarray], search: Trellis) -> None:
    random = np.random.Generator(np.random.PCG64(2))
    for length in (1, 2, 5):
        for _ in range(8):
            index = random.integers(2, SCALES, length)
            residuals = np.rint(random.standard_normal(length) * np.minimum(2 ** FRACTION * tables.sigma(index, SCALES), 3000)).astype(np.int64)

            choices = []
            for r, i in zip(residuals.tolist(), index.tolist()):
                costs = {q: {s: plain_cost(made, q, s, r, i) for odd in (0, 1) for s in nearby(q, odd, r)} for q in (EVEN, ODD)}
                least = min(cost for of_kind in costs.values() for cost in of_kind.values())
                choices.append({q: {s: beyond(cost, least) for s, cost in of_kind.items()} for q, of_kind in costs.items()})

            def best(at: int, state: int) -> int:
                return min(cost + best(at + 1, following(state, s)) for s, cost in choices[at][(EVEN, ODD)[state & 1]].items()) if at < length else 0

            symbols, quantisers = search.choose(residuals, index)
            assert sum(choice[q][s] for q, s, choice in zip(quantisers.tolist(), symbols.tolist(), choices)) == best(0, 0)


def test_quantisers_are_those_that_a_decoder_has(search: Trellis) -> None:
    """Over more than one block, and with residuals of 0, whose symbol may be an odd one all the same."""
    random = np.random.Generator(np.random.PCG64(3))
    residuals, index = np.rint(300 * random.standard_normal(10_000)), random.integers(2, SCALES, 10_000)
    residuals[::5] = 0
    symbols, quantisers = search.choose(residuals, index)
    assert quantisers.tolist() == [(EVEN, ODD)[s & 1] for s in states(symbols)[:-1]]
    assert (symbols[::5] == 1).any() and (symbols * residuals >= 0).all()
    assert [len(v) for v in search.choose(residuals[:0], index[:0])] == [0, 0]


def test_trellis_gains_over_rounding(made: list[np.ndarray], search: Trellis) -> None:
    """At the same squared error, what it takes of a Gaussian is below what rounding with a step of its own would take; the most that could be is a quarter bit."""
    random, i = np.random.Generator(np.random.PCG64(4)), 12
    s = tables.sigma(i, SCALES)
    residuals = np.rint(random.standard_normal(30_000) * s * 2 ** FRACTION).astype(np.int64)
    index = np.full(len(residuals), i)
    symbols, quantisers = search.choose(residuals, index)
    error = ((residuals - HALF_STEP * halves(symbols, quantisers)) / 2 ** FRACTION) ** 2
    costs = {(q, v): -np.log2(made[q * SCALES + i][v + (len(made[q * SCALES + i]) - 2) // 2] / 65536) for q, v in set(zip(quantisers.tolist(), symbols.tolist()))}
    bits = np.mean([costs[pair] for pair in zip(quantisers.tolist(), symbols.tolist())])
    assert 0.12 < tables.ideal_bits(s / np.sqrt(12 * error.mean())) - bits < 0.25
