"""The entropy coder (section 3.1) with its tables and escapes (section 3.2)."""

from bisect import bisect_right

import numpy as np

from .container import Refused

MAX_ESCAPE_BITS = 20


class AnsDecoder:
    """One tile's stream. `tables[i]` is (cum, R) of scale index i: the cumulative table
    as a list from 0 to 65536, and the largest value that is not an escape."""

    def __init__(self, stream, tables):
        words = np.frombuffer(stream, "<u4").tolist()
        self.tables = tables
        self.words = words
        self.state = 0
        if words:  # R3.1
            self.state = words.pop()
            if self.state == 0:
                raise Refused("R3.1", "the last word of a tile is 0")
            if words:
                self.state = self.state << 32 | words.pop()

    def values(self, indices):
        """Decodes one value for each scale index of the list, in order (R3.2, R3.5).

        This loop runs about once a pixel, hence the local names. Python's integers do
        not wrap, and need not: (state >> 16) * probability + rest < 2^64."""
        tables, words, state = self.tables, self.words, self.state
        pop, find = words.pop, bisect_right
        result = []
        append = result.append
        for index in indices:
            cum, radius = tables[index]
            u = state & 0xFFFF
            symbol = find(cum, u)  # one more than the symbol's number
            low = cum[symbol - 1]
            state = (state >> 16) * (cum[symbol] - low) + u - low
            if state < 0x1_0000_0000 and words:
                state = state << 32 | pop()
            if symbol <= 2 * radius + 1:
                append(symbol - 1 - radius)
            else:
                self.state = state
                append(self._escaped(radius))
                state = self.state
        self.state = state
        return result

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
