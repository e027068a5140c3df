"""The entropy coder (section 3.1) with its tables and escapes (section 3.2), and the states of
values of y (section 3.3)."""

from bisect import bisect_right

import numpy as np

from .container import Refused

MAX_ESCAPE_BITS = 20


# R3.13: what is added behind an odd state and behind an odd symbol, for each trellis.
TRELLISES = ((166, 121), (692, 463), (2301, 1317), (10995, 6981))


def next_state(state, symbol, trellis=0):
    """R3.13: the state behind a symbol."""
    by_state, by_symbol = TRELLISES[trellis]
    return state >> 1 ^ (by_state if state & 1 else 0) ^ (by_symbol if symbol & 1 else 0)


def half_steps(state, symbol):
    """R3.9: how many halves of y's step a symbol stands for."""
    if state & 1:
        return 2 * symbol - (symbol > 0) + (symbol < 0)
    return 2 * symbol


class AnsDecoder:
    """One tile's stream."""

    def __init__(self, stream):
        words = np.frombuffer(stream, "<u4").tolist()
        self.words = words
        self.state = 0
        if words:  # R3.1
            self.state = words.pop()
            if self.state == 0:
                raise Refused("R3.1", "the last word of a tile is 0")
            if words:
                self.state = self.state << 32 | words.pop()

    def value(self, table):
        """Decodes one value (R3.2, R3.5). `table` is (cum, R): the cumulative table as a list
        from 0 to 65536, and the largest value that is not an escape.

        Python's integers do not wrap, and need not: (state >> 16) * probability + rest < 2^64."""
        cum, radius = table
        state = self.state
        u = state & 0xFFFF
        symbol = bisect_right(cum, u)  # one more than the symbol's number
        low = cum[symbol - 1]
        state = (state >> 16) * (cum[symbol] - low) + u - low
        if state < 0x1_0000_0000 and self.words:
            state = state << 32 | self.words.pop()
        self.state = state
        if symbol <= 2 * radius + 1:
            return symbol - 1 - radius
        return self._escaped(radius)

    def bit(self):
        """R3.3."""
        u = self.state & 0xFFFF
        self.state = (self.state >> 16 << 15) + (u & 0x7FFF)
        if self.state < 0x1_0000_0000 and self.words:
            self.state = self.state << 32 | self.words.pop()
        return u >> 15

    def _escaped(self, radius):
        """R3.5: the value behind an escape symbol."""
        length = 0
        while self.bit():
            length += 1
            if length > MAX_ESCAPE_BITS:
                raise Refused("R3.5", "escape of more than 20 bits")
        number = 1
        for _ in range(length):
            number = number << 1 | self.bit()  # 2^n + b
        return -(radius + number) if self.bit() else radius + number

    def finish(self):
        """R3.4."""
        if self.words or self.state:
            raise Refused("R3.4", "a tile's stream does not end with its last symbol")
