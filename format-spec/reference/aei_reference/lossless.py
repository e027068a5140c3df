"""Tiles of lossless pictures (section 2.10) and of alpha (2.8): their streams of bits (3.4), and
what the bits say (5.6)."""

from bisect import bisect_left
from collections import defaultdict
from operator import mul
from typing import NamedTuple

import numpy as np

from .container import Refused

WORD = 0xFFFFFFFF
MULTIPLIERS = (0x9E3779B1, 0x85EBCA6B, 0xC2B2AE35)
CONTEXT_MULTIPLIER = 0x2C1B3C6D  # of context 4 of R5.22
NODES = 64  # R5.21
LEVELS = 16  # values of `a` of R5.22
CONTEXTS = (3 * 512, 3 * 15 * 15, 3 * 15 * 15 * 4, 3 * 15 * 15 * 4, 4096)  # R5.22: their values
BASES = tuple(sum(CONTEXTS[:i]) for i in range(len(CONTEXTS)))
FIRST_WEIGHT = 26214
WEIGHT_LIMIT = 1 << 20

# R5.23
SQUASH_POINTS = (1, 2, 3, 6, 10, 16, 27, 45, 73, 120, 194, 310, 488, 747, 1101, 1546, 2047, 2549,
                 2994, 3348, 3607, 3785, 3901, 3975, 4022, 4050, 4068, 4079, 4085, 4089, 4092,
                 4093, 4094)


def squash(x):
    i, f = (x >> 7) + 16, x % 128
    return (SQUASH_POINTS[i] * (128 - f) + SQUASH_POINTS[i + 1] * f + 64) >> 7


SQUASHED = [squash(x) for x in range(-2047, 2048)]  # entry x + 2047
STRETCHED = [min(bisect_left(SQUASHED, v) - 2047, 2047) for v in range(4096)]
RATES = [655360 // (10 * n + 16) for n in range(128)]  # R5.24


class BitDecoder:
    """One tile's stream of bits (section 3.4)."""

    def __init__(self, stream):
        self.words = np.frombuffer(stream, "<u4").tolist()
        self.taken = 2
        self.range = 2**64 - 1  # R3.10
        first, second = (self.words + [0, 0])[:2]
        self.offset = first << 32 | second

    def bit(self, p, given=None):
        """R3.11: a bit that is 1 with the probability p / 65536. What is `given` is for
        encoders."""
        scale = self.range >> 16
        zeros = scale * (65536 - p)
        bit = int(self.offset >= zeros)
        if bit:
            self.offset -= zeros
            self.range = scale * p
            if self.offset >= self.range:
                raise Refused("R3.11", "a tile's stream leaves the range")
        else:
            self.range = zeros
        if self.range < 0x1_0000_0000:
            word = self.words[self.taken] if self.taken < len(self.words) else 0
            self.taken += 1
            self.range <<= 32
            self.offset = self.offset << 32 | word
        return bit

    def finish(self):
        """R3.12."""
        if self.taken < len(self.words):
            raise Refused("R3.12", "a tile's stream does not end with its last bit")


class Pixel(NamedTuple):
    """What is known of a pixel that has been coded (R5.18), of three channels."""
    numbers: tuple
    residuals: tuple
    errors: tuple  # for each channel six


NO_ERRORS = (0,) * 6
BLANK = Pixel((0, 0, 0), (0, 0, 0), (NO_ERRORS,) * 3)


def repeat_of(numbers):
    """R5.19: a pixel that was coded as the same as another."""
    return Pixel(numbers, BLANK.residuals, BLANK.errors)


def pixel_hash(pixels):
    """R5.19, of pixels' numbers."""
    h = 0
    for numbers in pixels:
        f = 0
        for number, multiplier in zip(numbers, MULTIPLIERS):
            f ^= number * multiplier & WORD
        h = (h ^ f) * MULTIPLIERS[0] & WORD
        h ^= h >> 15
    return h


class FollowTable:
    """R5.19: a table of what followed neighbours like these."""

    def __init__(self):
        self.entries = {}  # by number: (pixel, check, count); none is of count 0

    def find(self, h):
        """The candidate, a pixel's numbers or None, and its count."""
        pixel, check, count = self.entries.get(h >> 18, (None, 0, 0))
        return (pixel, count) if check == h % 65536 else (None, 0)

    def learn(self, h, numbers):
        pixel, count = self.find(h)
        if pixel == numbers:
            count = min(count + 1, 15)
        elif count > 2:
            count >>= 1
        else:  # no entry, or another check, too
            pixel, count = numbers, 1
        self.entries[h >> 18] = (pixel, h % 65536, count)


class Repeats:
    """R5.19."""

    def __init__(self, bit):
        self.bit = bit
        self.tables = (FollowTable(), FollowTable())
        self.probabilities = defaultdict(lambda: 32768)  # by context
        self.last = self.last_but_one = False

    def code(self, near, given):
        """The numbers of the pixel if it is a repeat, otherwise None, and how many
        candidates were tried. `near` are the numbers of W, N, NW, NE, WW, NN."""
        w, n, nw, ne, ww, nn = near
        hashes = pixel_hash(near), pixel_hash((w, n))
        pair = (w == n, w == nw, n == ne)
        candidates = []  # with contexts
        for t in range(2):
            candidate, count = self.tables[t].find(hashes[t])
            if count:
                candidates.append((candidate, ("table", t, count, *pair)))
        for which, candidate in enumerate((w, n, ne, nw)):
            candidates.append((candidate, ("near", which, *pair, w == ww, n == nn)))

        tried, found = [], None
        for candidate, context in candidates:
            if candidate in tried:
                continue
            tried.append(candidate)
            if self._bit((*context, self.last, self.last_but_one), given == candidate):
                found = candidate
                break
        self.last, self.last_but_one = found is not None, self.last
        self.hashes = hashes
        return found, len(tried)

    def _bit(self, context, given):
        p = self.probabilities[context]
        bit = self.bit(p, given)
        p += (65520 - p) >> 5 if bit else -((p - 16) >> 5)
        self.probabilities[context] = p
        return bit

    def learn(self, numbers):
        for table, h in zip(self.tables, self.hashes):
            table.learn(h, numbers)


class Mixer:
    """R5.23, R5.24: bits whose probabilities are learnt, mixed from five contexts."""

    def __init__(self, bit):
        self.bit = bit
        self.learnt = [1 << 21] * (NODES * sum(CONTEXTS))  # L
        self.counts = bytearray(len(self.learnt))
        self.weights = [[FIRST_WEIGHT] * len(CONTEXTS) for _ in range(3 * LEVELS * NODES)]

    def select(self, channel, level, contexts):
        """Where the bits that follow belong: channel, `a`, and the contexts of R5.22."""
        self.weights_at = NODES * (LEVELS * channel + level)
        self.contexts_at = [NODES * (base + value) for base, value in zip(BASES, contexts)]

    def code(self, node, given):
        learnt, counts = self.learnt, self.counts
        places = [at + node for at in self.contexts_at]
        weights = self.weights[self.weights_at + node]
        inputs = [STRETCHED[learnt[at] >> 10] for at in places]
        total = sum(map(mul, weights, inputs)) >> 16
        m = SQUASHED[max(0, min(total + 2047, 4094))]
        bit = self.bit(16 * m, given)

        d = 8 * (4096 * bit - m)
        goal = 2**22 - 1 if bit else 0
        for i, (x, at) in enumerate(zip(inputs, places)):
            weight = weights[i] + ((x * d + 8192) >> 14)
            if abs(weight) > WEIGHT_LIMIT:
                weight = WEIGHT_LIMIT if weight > 0 else -WEIGHT_LIMIT
            weights[i] = weight
            n = counts[at]
            learnt[at] += (goal - learnt[at]) * RATES[n] >> 16
            if n < 127:
                counts[at] = n + 1
        return bit


def level(v):
    """R5.22."""
    if v < 4:
        return v
    log = v.bit_length() - 1
    return min(15, 2 * log + (v >> (log - 1)) % 2)


STEP_ENDS = (0, 1, 2, 4, 8, 16, 40)


def step(v):
    """R5.22."""
    size = bisect_left(STEP_ENDS, abs(v))
    return 7 - size if v < 0 else 7 + size


class TileModel:
    """Section 5.6: codes the pixels of a tile. `bit(p, given)` codes one bit and returns it: a
    decoder finds out what it is, an encoder is told by `given`."""

    def __init__(self, bit, columns, channels, depth, way, graphics):
        self.columns, self.channels, self.depth = columns, channels, depth
        largest = (1 << depth) - 1
        self.limits = [(-largest if c and way else 0, largest) for c in range(channels)]
        self.shift = 0 if depth == 8 else 4  # s
        self.mixer = Mixer(bit)
        self.repeats = Repeats(bit) if graphics else None
        self.row, self.above, self.above2 = [], None, None

    def code(self, given=None):
        """The three numbers of the next pixel in raster order."""
        if len(self.row) == self.columns:
            self.above2, self.above, self.row = self.above, self.row, []
        self.row.append(self._pixel(self._neighbours(len(self.row)), given))
        return self.row[-1].numbers

    def _neighbours(self, x):
        """R5.18: W, N, NW, NE, WW, NN."""
        row, above = self.row, self.above
        if above is None:
            w = row[x - 1] if x > 0 else BLANK
            return w, w, w, w, row[x - 2] if x > 1 else BLANK, w
        first, n = above[0], above[x]
        return (row[x - 1] if x > 0 else first,
                n,
                above[x - 1] if x > 0 else first,
                above[x + 1] if x + 1 < self.columns else n,
                row[x - 2] if x > 1 else first,
                self.above2[x] if self.above2 else n)

    def _pixel(self, near, given):
        tried = 0
        if self.repeats:
            numbers, tried = self.repeats.code([pixel.numbers for pixel in near], given)
            if numbers is not None:
                self.repeats.learn(numbers)
                return repeat_of(numbers)
        numbers, residuals, errors = [0, 0, 0], [0, 0, 0], [NO_ERRORS] * 3
        for c in range(self.channels):
            self._sample(c, near, tried, numbers, residuals, errors, given)
        numbers = tuple(numbers)
        if self.repeats:
            self.repeats.learn(numbers)
        return Pixel(numbers, tuple(residuals), tuple(errors))

    def _sample(self, c, near, tried, numbers, residuals, errors, given):
        """Fills in channel c of what is known of the pixel."""
        around = [pixel.numbers[c] for pixel in near]
        w, n, nw, ne, _, nn = around
        # R5.20
        guesses = (w, n, w + n - nw, w + ne - n, 2 * n - nn, w + ((ne - nw) >> 1))
        weighted = total = 0
        for guess, e_w, e_n, e_nw, e_ne in zip(guesses, *(pixel.errors[c] for pixel in near[:4])):
            e = 2 * e_w + 2 * e_n + e_nw + e_ne
            weight = max(1, (1 << 20) // (e * e + 4))
            weighted += weight * guess
            total += weight
        least, most = self.limits[c]
        bounds = (w, n, ne, w + n - nw)
        prediction = (2 * weighted + total) // (2 * total)
        prediction = max(prediction, min(bounds), least)
        prediction = min(prediction, max(bounds), most)

        self._choose_contexts(c, near, around, prediction, tried, numbers, residuals)
        residual = self._residual(None if given is None else given[c] - prediction)
        number = prediction + residual
        self._check(c, number)
        numbers[c], residuals[c] = number, residual
        errors[c] = tuple([min(255, abs(number - guess) >> self.shift) for guess in guesses])

    def _check(self, c, number):
        least, most = self.limits[c]
        if not least <= number <= most:
            raise Refused("R5.21", f"the number {number} in channel {c}")

    def _choose_contexts(self, c, near, around, prediction, tried, numbers, residuals):
        """R5.22."""
        s = self.shift
        w, n, nw, ne, _, _ = around
        r_w, r_n, r_nw, r_ne, r_ww, r_nn = [pixel.residuals[c] for pixel in near]
        a = level((abs(r_w) + abs(r_n) + ((abs(r_nw) + abs(r_ne)) >> 1)) >> s)
        q_w, q_n, q_nw, q_ne = [step((v - prediction) >> s) for v in around[:4]]
        r1, r2 = ((r_ww, r_nn), (residuals[0], r_nn), (residuals[1], residuals[0]))[c]
        if self.repeats:
            first = 4 * (8 * a + tried) + (w == prediction) + 2 * (n == prediction)
        else:
            first = 64 * (a // 2)
            for i, v in enumerate(around):
                first += (v > prediction) << i
        v = w * MULTIPLIERS[0] ^ n * MULTIPLIERS[1]
        if c > 0:
            v ^= numbers[c - 1] * MULTIPLIERS[2]
        v &= WORD
        self.mixer.select(c, a, (
            512 * c + first,
            15 * (15 * c + q_w) + q_n,
            4 * (15 * (15 * c + q_nw) + q_ne) + a // 4,
            4 * (15 * (15 * c + step(r1 >> s)) + step(r2 >> s)) + a // 4,
            (((v ^ v >> 15) + c) * CONTEXT_MULTIPLIER & WORD) >> 20))

    def _residual(self, given):
        """R5.21. Without one that is given, `size` says nothing, and decoders do not ask."""
        code = self.mixer.code
        if code(0, given == 0):
            return 0
        negative = code(1, given is not None and given < 0)
        size = 0 if given is None else abs(given)
        k = 0
        while k < self.depth and code(2 + k, size >> k > 1):
            k += 1
        value = 1
        for i in reversed(range(k)):
            node = 20 + k if i == k - 1 else 38 + k if i == k - 2 else 56 + min(i, 7)
            value = value << 1 | code(node, size >> i & 1)
        return -value if negative else value


def samples_of(numbers, way, largest):
    """R5.18: the red, green and blue of a pixel."""
    green, red, blue = numbers
    if way:
        red += green
        blue += green if way == 1 else (red + green) >> 1
    if not (0 <= red <= largest and 0 <= blue <= largest):
        raise Refused("R5.18", f"red {red}, blue {blue}")
    return red, green, blue


def to_depth(samples, stored, wanted):
    """R5.11: samples that were stored without loss, of another depth."""
    if (stored, wanted) == (8, 16):
        return 257 * samples
    if (stored, wanted) == (16, 8):
        return (255 * samples + 32767) // 65535
    return samples


def coded_samples(stream, rows, columns, colours, depth, way, graphics):
    """Sections 3.4 and 5.6: the samples [rows, columns, colours] of which the stream is."""
    bits = BitDecoder(stream)
    model = TileModel(bits.bit, columns, colours, depth, way, graphics)
    samples = np.empty((rows, columns, colours), np.int64)
    for pixel in samples.reshape(-1, colours):
        numbers = model.code()
        pixel[:] = samples_of(numbers, way, (1 << depth) - 1) if colours == 3 else numbers[0]
    bits.finish()
    return samples


def lossless_tile(head, number, properties, stream, depth):
    """R2.14: the colours of a tile, [rows, columns, colours], without the padding."""
    stored, way, graphics = properties & 0x1F, properties >> 5 & 3, properties >> 7
    colours = head.channels - head.has_alpha
    if stored not in (8, 16):
        raise Refused("R2.14", f"tile {number}: samples of {stored} bits")
    if way == 3 or way and colours != 3:
        raise Refused("R2.14", f"tile {number}: way {way} of storing {colours} colours")
    _, _, rows, columns = head.tile_in_picture(number)
    samples = coded_samples(stream, rows, columns, colours, stored, way, graphics)
    return to_depth(samples, stored, depth)


def alpha_tile(head, number, properties, stream, depth):
    """R2.12: the alpha of a tile, [rows, columns], without the padding."""
    stored, flat, graphics = properties & 0x1F, properties >> 5 & 1, properties >> 7
    if properties >> 6 & 1:
        raise Refused("R2.12", f"alpha of tile {number}: bit 30 is set")
    _, _, rows, columns = head.tile_in_picture(number)
    if flat:
        value = flat_alpha(number, stored, graphics, stream)
        samples = np.full((rows, columns), value, np.int64)
    else:
        samples = coded_samples(stream, rows, columns, 1, stored, 0, graphics)[:, :, 0]
    return to_depth(samples, stored, depth)


def flat_alpha(number, stored, graphics, words):
    """R2.12: what a flat tile is full of."""
    if graphics:
        raise Refused("R2.12", f"alpha of tile {number}: flat, and of graphics")
    if len(words) != 4:
        raise Refused("R2.12", f"alpha of tile {number}: flat, of {len(words)} bytes")
    value = int.from_bytes(words, "little")
    if value >= 1 << stored:
        raise Refused("R2.12", f"alpha of tile {number}: {value} in {stored} bits")
    return value
