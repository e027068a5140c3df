"""Self-tests: python3 -m unittest (in this folder).

They need no model file and no encoder: a small random model, an entropy encoder and a
picture of random symbols are made here, the way SPEC.md defines them.
"""

import contextlib
import hashlib
import io
import struct
import tempfile
import unittest
import zlib
from pathlib import Path

import numpy as np

import aei_decode
import check_vectors
from aei_reference import decode, network
from aei_reference.attachments import metadata, preview_file
from aei_reference.container import FILE_SIGNATURE, Refused, parse_file, parse_head
from aei_reference.entropy import AnsDecoder, half_steps, next_state
from aei_reference.lossless import (STRETCHED, BitDecoder, FollowTable, TileModel,
                                    alpha_tile, level, lossless_tile, pixel_hash, squash, step)
from aei_reference.model import (MODEL_SIGNATURE, Block, Dense, Depthwise, Gain, Tables,
                                 parse_model)

BIT = [0, 32768, 65536]  # R3.3


# --- An entropy encoder: R3.2 and R3.5 the other way round -------------------------------

def coded_symbols(value, cum, radius):
    """The (cum, symbol) pairs that R3.5 reads for a value."""
    if abs(value) <= radius:
        return [(cum, value + radius)]
    number = abs(value) - radius  # 2^n + b
    n = number.bit_length() - 1
    bits = [1] * n + [0] + [number >> i & 1 for i in reversed(range(n))] + [int(value < 0)]
    return [(cum, 2 * radius + 1)] + [(BIT, bit) for bit in bits]


def encode_symbols(symbols):
    """The words of the stream that decodes to these (cum, symbol) pairs."""
    state, words = 0, []
    for cum, symbol in reversed(symbols):
        probability = cum[symbol + 1] - cum[symbol]
        if state >= probability << 48:  # the new state would not fit 64 bits
            words.append(state & 0xFFFFFFFF)
            state >>= 32
        state = (state // probability << 16) + cum[symbol] + state % probability
    while state:
        words.append(state & 0xFFFFFFFF)
        state >>= 32
    return np.array(words, "<u4").tobytes()


def encode_values(pairs):
    """The stream of values, each with its table."""
    return encode_symbols([pair for table, value in pairs
                           for pair in coded_symbols(value, *table)])


class RandomSource:
    """In place of AnsDecoder: chooses the values that are asked for, and remembers them. So any
    symbols are an encoding of some picture."""

    def __init__(self, rng):
        self.rng = rng
        self.chosen = []  # (table, value)

    def value(self, table):
        radius = table[1]
        kind = self.rng.random()
        reach = radius if kind < 0.98 else radius + 40 if kind < 0.999 else 1 << 20
        value = int(self.rng.integers(-reach, reach + 1))
        self.chosen.append((table, value))
        return value

    def stream(self):
        return encode_values(self.chosen)


class GivenSource:
    """In place of AnsDecoder: gives these values, and remembers the tables."""

    def __init__(self, values):
        self.left, self.tables = list(values), []

    def value(self, table):
        self.tables.append(table)
        return self.left.pop(0)


# --- An encoder of lossless tiles: sections 3.4 and 5.6 the other way round ----------------

class BitEncoder:
    """R3.10, R3.11. `low` is the least number that all words together may be."""

    def __init__(self):
        self.low, self.range, self.taken = 0, 2**64 - 1, 2

    def bit(self, p, given):
        scale = self.range >> 16
        zeros = scale * (65536 - p)
        if given:
            self.low += zeros
        self.range = scale * p if given else zeros
        if self.range < 1 << 32:
            self.low <<= 32
            self.range <<= 32
            self.taken += 1
        return int(given)

    def stream(self):
        """The shortest one: a number in the range with as many words of 0 at its end as can
        be, which are left out."""
        for zeros in reversed(range(32 * self.taken + 1)):
            number = -(-self.low >> zeros) << zeros
            if number < self.low + self.range:
                break
        words = [number >> 32 * i & 0xFFFFFFFF for i in reversed(range(self.taken))]
        while words and words[-1] == 0:
            words.pop()
        return np.array(words, "<u4").tobytes()


class CarelessModel(TileModel):
    """Codes numbers outside the range of their channel."""

    def _check(self, c, number):
        pass


def lossless_numbers(pixel, way):
    """R5.18."""
    if len(pixel) == 1:
        return (pixel[0], 0, 0)
    red, green, blue = pixel
    if way:
        blue -= green if way == 1 else (red + green) >> 1
        red -= green
    return green, red, blue


def code_lossless(picture, depth, way=0, graphics=0, model=TileModel):
    """The BitEncoder that has coded a picture, [row][column][colour]."""
    bits = BitEncoder()
    pixels = model(bits.bit, len(picture[0]), len(picture[0][0]), depth, way, graphics)
    for row in picture:
        for pixel in row:
            pixels.code(lossless_numbers(pixel, way))
    return bits


def properties(depth, way=0, graphics=0):
    """R2.14."""
    return depth | way << 5 | graphics << 7


def code_alpha(plane, depth, graphics=0, model=TileModel):
    """The BitEncoder that has coded alpha, [row][column]."""
    return code_lossless([[(a,) for a in row] for row in plane], depth, 0, graphics, model)


def alpha_properties(depth=8, flat=0, bit30=0, graphics=0):
    """R2.11, R2.12."""
    return depth | flat << 5 | bit30 << 6 | graphics << 7


# --- Files ------------------------------------------------------------------------------

def chunk(chunk_type, payload=b""):
    crc = zlib.crc32(chunk_type + payload)
    return chunk_type + struct.pack("<I", len(payload)) + payload + struct.pack("<I", crc)


def head(width=64, height=64, version=1, flags=0, channels=3, depth=8, orientation=1,
         tile_log2=8, quality=0, trellis=0, model_id=bytes(8)):
    return struct.pack("<BBIIBBBBBB8s", version, flags, width, height, channels, depth,
                       orientation, tile_log2, quality, trellis, model_id)


def tile(number, stream=b""):
    return chunk(b"TILE", struct.pack("<I", number) + stream)


def alph(number, stream=b"", *how, **named):
    return chunk(b"ALPH", struct.pack("<I", number | alpha_properties(*how, **named) << 24)
                 + stream)


def flat_alph(number, alpha, depth=8):
    return alph(number, struct.pack("<I", alpha), depth, flat=1)


def tidx(*streams):
    return chunk(b"TIDX", b"".join(struct.pack("<I", 4 + len(s)) for s in streams))


def aei_file(*chunks):
    return FILE_SIGNATURE + b"".join(chunks) + chunk(b"IEND")


# --- A small random model ---------------------------------------------------------------

SMALL = {"version": 1, "c8": 16, "c16": 32, "m": 64, "nz": 16, "ce": 48, "n8_first": 1,
         "n8_second": 2, "n16": 1, "n_trunk": 1, "n_z": 1, "qualities": 64, "scales": 5,
         "y_fraction": 5, "y_half_step": 23, "z_shift": 7, "index_shift": 12, "index_offset": 2,
         "pixel_fraction": 6}
# What encoders need besides.
ENCODER = {"a8_first": 2, "a8_second": 0, "a16": 2, "skip_below": 2, "input_shift": 6,
           "y_input_fraction": 8}
SKIP_BELOW = 2


class ModelMaker:
    """Section 4 the other way round."""

    def __init__(self, seed=1, **changes):
        self.rng = np.random.default_rng(seed)
        self.e = {n: changes.pop(n, value) for n, value in ENCODER.items()}
        self.d = {**SMALL, **changes}

    def layer(self, kind, inputs, outputs):
        taps = inputs if kind == 1 else 9
        # Mostly of unit gain, so that neither zero nor saturation takes over.
        weights = self.rng.integers(-400, 401, (outputs, taps))
        spread = 231 * taps**0.5
        shift = int(np.ceil(np.log2(spread)))
        shifts = self.rng.integers(shift, shift + 2, outputs)
        biases = self.rng.integers(-2000, 2001, outputs) << shift
        return (struct.pack("<BBHH", kind, 0, outputs, inputs) + shifts.astype("u1").tobytes()
                + biases.astype("<i4").tobytes() + weights.astype("<i2").tobytes())

    def dense(self, inputs, outputs):
        return self.layer(1, inputs, outputs)

    def block(self, c):
        return (bytes([int(self.rng.integers(8, 15))]) + self.dense(c, c)
                + self.layer(3, c, c) + self.dense(c, c) + self.dense(c, 2 * c)
                + self.dense(c, c))

    def gain(self, channels):
        values = self.rng.integers(2**15, 2**17, (64, channels))
        return struct.pack("<BBH", 16, 0, channels) + values.astype("<u4").tobytes()

    def tables(self):
        records = []
        for index in range(3 * self.d["scales"]):
            radius = 1 + index * index % 31
            weights = self.rng.random(2 * radius + 2)
            p = 1 + (weights / weights.sum() * 60000).astype(int)
            p[radius] += 65536 - p.sum()
            records.append(struct.pack("<H", radius) + p.astype("<u2").tobytes())
        return b"".join(records)

    def chunks(self, name=b"small"):
        d = self.d
        mhdr = struct.pack("<6H13B", *d.values()) + bytes([len(name)]) + name
        zidx = self.rng.integers(0, d["scales"], (64, d["nz"])).astype("u1").tobytes()
        m, c8, c16, ce, nz = d["m"], d["c8"], d["c16"], d["ce"], d["nz"]
        entr = (self.dense(nz, 4 * ce) + self.block(ce) + self.dense(ce, 4 * ce)
                + self.block(ce) + self.dense(ce, ce)
                + b"".join(self.dense(ce + m, ce) for _ in range(3))
                + b"".join(self.block(ce) for _ in range(d["n_trunk"]))
                + self.dense(ce, 2 * m) + b"".join(self.dense(nz, nz) for _ in range(3))
                + b"".join(self.block(nz) for _ in range(d["n_z"])) + self.dense(nz, 2 * nz))

        def blocks(count, c):
            return b"".join(self.block(c) for _ in range(count))

        synt = (self.gain(m) + self.dense(m, c16) + blocks(d["n16"], c16)
                + self.dense(c16, 4 * c8) + blocks(d["n8_first"], c8) + self.gain(c8)
                + blocks(d["n8_second"], c8) + self.dense(c8, 192))
        e = self.e
        enco = (bytes(e.values()) + self.dense(192, c8) + blocks(e["a8_first"], c8)
                + self.gain(c8) + blocks(e["a8_second"], c8) + self.dense(4 * c8, c16)
                + blocks(e["a16"], c16) + self.dense(c16, m) + self.gain(m)
                + self.dense(m, ce) + self.block(ce) + self.dense(4 * ce, ce)
                + self.block(ce) + self.dense(4 * ce, nz))
        return {b"MHDR": mhdr, b"TABL": self.tables(), b"ZIDX": zidx, b"ENTR": entr,
                b"SYNT": synt, b"enco": enco, b"note": b"source: random", b"MEND": b""}


def model_file(chunks):
    return MODEL_SIGNATURE + b"".join(chunk(t, p) for t, p in chunks.items())


class TestCase(unittest.TestCase):
    @contextlib.contextmanager
    def refuses(self, rule):
        with self.assertRaises(Refused) as caught:
            yield
        self.assertEqual(caught.exception.rule, rule, caught.exception)


class EntropyTest(TestCase):
    TABLES = [([0, 20000, 30000, 60000, 65536], 1),
              ([0, 1, 2, 65533, 65534, 65535, 65536], 2)]

    @staticmethod
    def decoded(pairs):
        source = AnsDecoder(encode_values(pairs))
        result = [(table, source.value(table)) for table, _ in pairs]
        source.finish()
        return result

    def test_empty_stream(self):
        source = AnsDecoder(b"")
        source.finish()
        # A state of 0 stays 0 and gives symbol 0 for ever: -R, and bits 0.
        self.assertEqual([source.value(table) for table in self.TABLES], [-1, -2])
        self.assertEqual(source.bit(), 0)
        source.finish()

    def test_stream_by_hand(self):
        # State 3 * 65536 + 25000 gives symbol 1 of table 0, and 3 * 10000 + 5000 is left:
        # which is symbol 2, and 0 * 30000 + 5000 is left: symbol 0, and 5000 is left.
        source = AnsDecoder(struct.pack("<I", 3 * 65536 + 25000))
        self.assertEqual([source.value(self.TABLES[0]) for _ in range(3)], [0, 1, -1])
        self.assertEqual(source.state, 5000)
        with self.refuses("R3.4"):
            source.finish()

    def test_words_are_read_from_the_end(self):
        source = AnsDecoder(struct.pack("<3I", 7, 8, 9))
        self.assertEqual((source.state, source.words), (9 << 32 | 8, [7]))
        self.assertEqual(source.bit(), 0)  # the state falls to 2^31 * 9 + 8: no refill
        self.assertEqual((source.state, source.words), (9 << 31 | 8, [7]))
        source.state = (1 << 32) + 32768 + 5
        self.assertEqual(source.bit(), 1)  # 2^31 + 5 is below 2^32: refill
        self.assertEqual((source.state, source.words), ((2**31 + 5) << 32 | 7, []))

    def test_round_trips(self):
        rng = np.random.default_rng(2)
        for count in (1, 2, 3, 4, 5, 10, 3000):
            source = RandomSource(rng)
            for index in rng.integers(0, 2, count).tolist():
                source.value(self.TABLES[index])
            self.assertEqual(self.decoded(source.chosen), source.chosen)

    def test_escapes(self):
        largest = 1 + 2**20 + (2**20 - 1)  # R = 1, n = 20, every bit of b set
        values = [2, -2, 3, -3, 4, -4, 5, -5, 0, 1000, -1000, largest, -largest]
        pairs = [(self.TABLES[0], value) for value in values]
        self.assertEqual(self.decoded(pairs), pairs)

    def test_refusals(self):
        with self.refuses("R3.1"):
            AnsDecoder(struct.pack("<2I", 5, 0))
        table = self.TABLES[0]
        stream = encode_values([(table, 2 + 2**21)])
        with self.refuses("R3.5"):
            AnsDecoder(stream).value(table)
        source = AnsDecoder(encode_values([(table, 1)] * 99))
        for _ in range(98):
            source.value(table)
        with self.refuses("R3.4"):
            source.finish()


class StatesTest(TestCase):
    """R3.13, and what R3.9 says of symbols."""

    # The tables that test_order_of_steps asks for; their contents are not looked at.
    TABLES = Tables(["z 0", "z 1"], ["even 0", "even 1"], ["odd 0", "odd 1"])

    def test_by_hand(self):
        state, states = 0, []
        for symbol in (0, 1, 0, -1, 3, 2, -3, 4, -2):
            state = next_state(state, symbol)
            states.append(state)
        # 0 >> 1; 0 xor 121; 60 xor 166; 77 xor 121; 26 xor 121; 49 xor 166;
        # 75 xor 166 xor 121; 148 >> 1; 74 >> 1.
        self.assertEqual(states, [0, 121, 154, 52, 99, 151, 148, 74, 37])

    def test_code(self):
        """The octal numbers of the codes, and that trellises come of them: two symbols lead to
        two states, to each state lead two, and all are reached."""
        codes = ((256, 0o515, 0o362), (1024, 0o2551, 0o1636), (4096, 0o10773, 0o5112),
                 (16384, 0o52747, 0o33212))
        for trellis, (states, by_state, by_symbol) in enumerate(codes):
            self.assertEqual((next_state(1, 0, trellis), next_state(0, 1, trellis)),
                             (by_state >> 1, by_symbol >> 1))
            followers = [next_state(state, symbol, trellis)
                         for state in range(states) for symbol in (0, 1)]
            self.assertEqual(sorted(followers), sorted([*range(states)] * 2))
            reached = {0}
            for _ in range(20):
                reached |= {next_state(s, symbol, trellis) for s in reached for symbol in (0, 1)}
            self.assertEqual(len(reached), states)
        for state in range(256):
            self.assertNotEqual(next_state(state, 0), next_state(state, 1))
            for symbol in range(-9, 10):  # only its lowest bit counts
                self.assertEqual(next_state(state, symbol), next_state(state, symbol & 1))
            for symbol in (2**21 + 8190, -2**21 - 8190, -2**21 - 8189):
                self.assertEqual(next_state(state, symbol), next_state(state, symbol & 1))

    def test_half_steps(self):
        symbols = [-3, -2, -1, 0, 1, 2, 3]
        for even, odd in ((0, 1), (254, 255)):
            self.assertEqual([half_steps(even, s) for s in symbols], [-6, -4, -2, 0, 2, 4, 6])
            self.assertEqual([half_steps(odd, s) for s in symbols], [-5, -3, -1, 0, 1, 3, 5])
        # What R3.9 says of magnitudes: of the largest R, escape, half step and mean.
        self.assertLess(half_steps(0, 8191 + 2**20 + 2**20 - 1) * 63 + 2**15, 2**28)

    def test_order_of_steps(self):
        """The states are those of the symbols that are coded, skipping leaves them as they are,
        and each step begins in state 0."""
        source = GivenSource([1, 0, -1, 3, -2, 1, 0, 2] * 2)
        index = np.array([[[1, 0, 1]], [[0, 0, 1]], [[1, 1, 1]], [[0, 1, 1]]])
        for _ in range(2):
            source.tables.clear()
            # In states 0, 121, 154, 52, 99, 151, 148 and 74.
            self.assertEqual(decode.read_y(source, self.TABLES, index, 1).tolist(),
                             [[[2, 0, 0]], [[0, 0, -2]], [[6, -3, 1]], [[0, 0, 4]]])
            self.assertEqual(source.tables, ["even 1", "odd 1", "even 1", "even 1",
                                             "odd 1", "odd 1", "even 1", "even 1"])
        # Another trellis, in states 0, 463 and 231 xor 692.
        source = GivenSource([1, 2, -3])
        self.assertEqual(decode.read_y(source, self.TABLES, index[2], 1, 1).tolist(), [[2, 3, -5]])
        source = GivenSource([3, 2, 1])
        self.assertEqual(decode.read_y(source, self.TABLES, index[0], 0).tolist(), [[6, 3, 2]])
        self.assertEqual(source.tables, ["even 1", "odd 0", "even 1"])
        source = GivenSource([3, -3])
        self.assertEqual(decode.read_z(source, self.TABLES, index[0], 1).tolist(), [[3, 0, -3]])
        self.assertEqual(source.tables, ["z 1", "z 1"])
        self.assertEqual(decode.read_y(None, self.TABLES, index, 2).tolist(),
                         np.zeros((4, 1, 3)).tolist())


class NetworkTest(TestCase):
    def setUp(self):
        self.rng = np.random.default_rng(3)

    def features(self, rows, columns, channels):
        return self.rng.integers(-32768, 32768, (rows, columns, channels)).astype(np.int16)

    def layer_arrays(self, outputs, taps):
        return (self.rng.integers(-300, 300, (outputs, taps)),
                self.rng.integers(-2**20, 2**20, outputs), self.rng.integers(1, 14, outputs))

    @staticmethod
    def finished(total, bias, shift):
        return max(-32768, min(32767, (total + bias + (1 << shift - 1)) >> shift))

    def test_dense(self):
        x = self.features(50, 45, 7)  # more positions than are done at once
        w, bias, s = (a.tolist() for a in self.layer_arrays(5, 7))
        layer = Dense(np.array(w, float).T, np.array(bias) + (1.0 * 2 ** (np.array(s) - 1)),
                      np.array(s, np.int32))
        naive = [[[self.finished(sum(w[o][k] * v for k, v in enumerate(position)), bias[o], s[o])
                   for o in range(5)] for position in row] for row in x.tolist()]
        self.assertEqual(network.dense(layer, x).tolist(), naive)

    def test_depthwise(self):
        for rows, columns in ((60, 40), (1, 1), (2, 3)):
            x = self.features(rows, columns, 3)
            w, bias, s = self.layer_arrays(3, 9)
            layer = Depthwise(w.T.astype(np.int32), (bias + (1 << s - 1)).astype(np.int32),
                              s.astype(np.int32))
            result = network.depthwise(layer, x)
            for c in range(3):
                for r in range(rows):
                    for k in range(columns):
                        total = 0
                        for i in range(3):
                            for j in range(3):
                                if 0 <= r + i - 1 < rows and 0 <= k + j - 1 < columns:
                                    total += int(w[c, 3 * i + j]) * int(x[r + i - 1, k + j - 1, c])
                        self.assertEqual(result[r, k, c],
                                         self.finished(total, int(bias[c]), int(s[c])))

    def test_shuffle(self):
        for n in (2, 8):
            x = self.features(3, 2, 3 * n * n)
            out = network.shuffle(x, n)
            self.assertEqual(out.shape, (3 * n, 2 * n, 3))
            for c, i, j, r, k in np.ndindex(3, n, n, 3, 2):
                self.assertEqual(out[n * r + i, n * k + j, c], x[r, k, (c * n + i) * n + j])

    def test_pointwise(self):
        x = np.array([-32768, -9, -8, -1, 0, 1, 9, 32767], np.int16)
        self.assertEqual(network.leaky(x).tolist(), [-4096, -2, -1, -1, 0, 1, 9, 32767])
        y = np.array([-1, 5, -5, 5, -5, 0, 0, 1], np.int16)
        self.assertEqual(network.added(x, y).tolist(), [-32768, -4, -13, 4, -5, 1, 9, 32767])

    def test_gate(self):
        x = self.features(4, 5, 6)
        x[0, 0] = [-32768, 32767, -32768, -32768, -32768, 32767]
        for f in (1, 7, 14):
            naive = [[[min(32767, (p[c] * max(-2**f, min(2**f, p[3 + c])) + 2**(f - 1)) >> f)
                       for c in range(3)] for p in row] for row in x.tolist()]
            self.assertEqual(network.gated(x, f).tolist(), naive)

    def test_gain(self):
        x = np.array([[[2**29, -2**29, 5, -5]]], np.int32)
        gain = Gain(40, np.array([[0] * 4, [2**24 - 1, 2**24 - 1, 2**24 - 1, 1]]))
        self.assertEqual(network.gained(gain, 1, x).tolist(), [[[8192, -8192, 0, 0]]])
        gain = Gain(1, np.array([[3, 3, 3, 3]]))
        self.assertEqual(network.gained(gain, 0, x).tolist(), [[[32767, -32768, 8, -7]]])

    def test_block(self):
        # With every layer but one giving 0, the two sums of R5.8 can be told apart.
        def dense(weight, bias, outputs=1):
            return Dense(np.full((1, outputs), float(weight)), np.array(bias, float) + 1,
                         np.full(outputs, 1, np.int32))
        x = np.full((1, 1, 1), 100, np.int16)
        depth = Depthwise(np.full((9, 1), 2, np.int32), np.array([1], np.int32),
                          np.array([1], np.int32))
        b = Block(3, dense(-2, [0]), depth, dense(4, [0]), dense(0, [160, 8], 2), dense(2, [6]))
        # inp -100, leaky -13, depth -13, out -26: x1 = 74; gate (80, 4): 40; mix 43.
        self.assertEqual(network.block(b, x).tolist(), [[[117]]])

    def test_samples(self):
        v = np.array([[[-100, 31, 32], [16352, 16287, 20000]]], np.int16)
        self.assertEqual(decode.to_samples(v, 3, 6).tolist(), [[[0, 0, 1], [255, 254, 255]]])
        self.assertEqual(decode.to_samples(v, 1, 6).tolist(), [[[0], [255]]])
        v = np.array([[[50, 40, 6], [50, 40, 5]]], np.int16)
        self.assertEqual(decode.to_samples(v, 1, 6).tolist(), [[[1], [0]]])
        v = np.array([[[-100, 31, 32], [16352, 6433, 32767]]], np.int16)
        self.assertEqual(decode.to_samples(v, 3, 6, 16).tolist(),
                         [[[0, 124, 129], [65535, 25833, 65535]]])
        self.assertEqual(decode.to_samples(v, 1, 6, 16).tolist(), [[[0], [65535]]])


class ContainerTest(TestCase):
    GOOD = (chunk(b"HEAD", head()), chunk(b"prev", b"x"), tile(0), chunk(b"abc ", b"y"))

    def test_accepted(self):
        file = parse_file(aei_file(*self.GOOD) + b"behind the picture")
        self.assertEqual((file.head.width, file.head.channels, len(file.tiles)), (64, 3, 1))
        self.assertEqual((bytes(file.preview), file.preview_intact), (b"x", True))
        file = parse_file(aei_file(
            chunk(b"HEAD", head(width=300, height=513)), tidx(*[b"abcd" * n for n in range(6)]),
            *(tile(n | n << 24, b"abcd" * n) for n in range(6))))
        found = file.head
        self.assertEqual([(skip, len(s)) for skip, s in file.tiles],
                         [(n, 4 * n) for n in range(6)])
        self.assertEqual([found.tile_rectangle(n) for n in (0, 1, 5)],
                         [(0, 0, 256, 256), (0, 256, 256, 64), (512, 256, 64, 64)])

    def test_every_truncation(self):
        data = aei_file(*self.GOOD)
        for length in range(len(data)):
            with self.refuses("R2.1" if length < 8 else "R2.5"):
                parse_file(data[:length])

    def test_every_flipped_bit(self):
        data = aei_file(self.GOOD[0], *self.GOOD[2:])  # without the preview
        for bit in range(8 * len(data)):
            damaged = bytearray(data)
            damaged[bit // 8] ^= 1 << bit % 8
            with self.assertRaises(Refused):
                parse_file(bytes(damaged))

    def test_head(self):
        for change in ({"version": 0}, {"version": 2}, {"flags": 2}, {"flags": 1}, {"width": 0},
                       {"width": 65536}, {"height": 0}, {"height": 65536}, {"channels": 0},
                       {"channels": 5}, {"depth": 0}, {"depth": 17},
                       {"orientation": 0}, {"orientation": 9}, {"tile_log2": 7},
                       {"tile_log2": 13}, {"quality": 64}, {"trellis": 4},
                       {"flags": 1, "quality": 63, "trellis": 1}):
            with self.subTest(change), self.refuses("R2.6"):
                parse_file(aei_file(chunk(b"HEAD", head(**change)), tile(0)))
        for payload in (b"", head()[:-1], head() + b"\0"):
            with self.refuses("R2.6"):
                parse_file(aei_file(chunk(b"HEAD", payload), tile(0)))
        for payload in (b"\2", head(version=2) + b"\0"):
            with self.assertRaisesRegex(Refused, "R2.6: HEAD: format version 2"):
                parse_file(aei_file(chunk(b"HEAD", payload), tile(0)))

    def test_damaged_preview(self):
        """R2.3, R2.13: its CRC is the preview's own affair."""
        data = bytearray(aei_file(*self.GOOD))
        data[8 + 36 + 8] ^= 1
        file = parse_file(bytes(data))
        self.assertFalse(file.preview_intact)
        with self.refuses("R2.13"):
            preview_file(file)

    def test_metadata(self):
        packed = zlib.compress(b"abc" * 9)
        cases = [(b"\0abc", b"abc"), (b"\0", b""), (b"\1\x1B\0\0\0" + packed, b"abc" * 9),
                 (b"\1\0\0\0\0" + zlib.compress(b""), b"")]
        for payload, block in cases:
            file = parse_file(aei_file(self.GOOD[0], chunk(b"XMP ", payload), tile(0)))
            self.assertEqual(metadata(file), {b"XMP ": block})
        for stream in (packed[:-1], packed + b"\0", packed[1:], b"",
                       zlib.compress(b"abc" * 8), zlib.compress(b"abc" * 10)):
            file = parse_file(aei_file(
                self.GOOD[0], chunk(b"XMP ", b"\1\x1B\0\0\0" + stream), tile(0)))
            with self.refuses("R2.10"):
                metadata(file)

    def test_alpha(self):
        """R2.11: a chunk for each tile. What R2.12 says is not looked at yet."""
        four = chunk(b"HEAD", head(300, 300, channels=2))
        for depth in (8, 16):
            alpha = (alph(0, b"", depth, 1, 1, 1), alph(1, b"abcdefgh", depth, graphics=1),
                     alph(2, b"abcd", depth), alph(3, b"abcd", depth, flat=1))
            # Chunks that may be skipped may stand anywhere in front of TIDX.
            file = parse_file(aei_file(four, chunk(b"EXIF", b"\0"), *alpha[:2], chunk(b"abcd"),
                                       *alpha[2:], tidx(*4 * (b"",)), *map(tile, range(4))))
            self.assertEqual(file.alpha_depth, depth)
            self.assertEqual(file.alpha, [(depth | 7 << 5, b""), (depth | 4 << 5, b"abcdefgh"),
                                          (depth, b"abcd"), (depth | 1 << 5, b"abcd")])
        for channels in (2, 4):  # of one tile, that is, without TIDX
            one = chunk(b"HEAD", head(channels=channels))
            self.assertEqual(len(parse_file(aei_file(one, alph(0), tile(0))).alpha), 1)

    def test_refusals(self):
        h, t, end = chunk(b"HEAD", head()), tile(0), chunk(b"IEND")
        h2, index = chunk(b"HEAD", head(width=500)), tidx(b"", b"")
        a, a2 = (chunk(b"HEAD", head(width, channels=4)) for width in (64, 500))
        rest2 = index, t, tile(1)
        cases = [
            ("R2.1", b"\x89PNG\r\n\x1a\n" + h + t + end),
            ("R2.2", aei_file(h, chunk(b"a1cd"), t)),
            ("R2.2", aei_file(h, chunk(b" abc"), t)),
            ("R2.2", aei_file(h, b"abcd" + struct.pack("<I", 2**31), t)),
            ("R2.5", aei_file(h, b"abcd" + struct.pack("<I", 2**31 - 1), t)),
            ("R2.3", aei_file(h, chunk(b"abcd")[:-1] + b"\x55", t)),
            ("R2.4", aei_file(h, chunk(b"EXIT"), t)),
            ("R2.4", aei_file(h, t, chunk(b"PREV"))),
            ("R2.5", aei_file(h, t, chunk(b"XMP ", b"\0"))),
            ("R2.5", aei_file(h, chunk(b"EXIF", b"\0"), chunk(b"EXIF", b"\0"), t)),
            ("R2.10", aei_file(h, chunk(b"EXIF"), t)),
            ("R2.10", aei_file(h, chunk(b"EXIF", b"\2\0\0\0\0"), t)),
            ("R2.10", aei_file(h, chunk(b"EXIF", b"\1\0\0\0"), t)),
            ("R2.11", aei_file(h, alph(0), t)),
            ("R2.11", aei_file(a, t)),
            ("R2.11", aei_file(a, chunk(b"ALPH"), t)),
            ("R2.11", aei_file(a, chunk(b"ALPH", b"\0\0\x08"), t)),
            *(("R2.11", aei_file(a, alph(0, bytes(n)), t)) for n in (1, 2, 3, 5)),
            ("R2.11", aei_file(a, alph(0, bytes(5), flat=1), t)),
            ("R2.11", aei_file(a, alph(1), t)),
            ("R2.11", aei_file(a, alph(1 << 23), t)),
            *(("R2.11", aei_file(a, alph(0, b"", depth), t))
              for depth in range(32) if depth not in (8, 16)),
            *(("R2.11", aei_file(a, alph(0, b"", 0, **{bit: 1}), t))
              for bit in ("flat", "bit30", "graphics")),
            ("R2.11", aei_file(a, alph(0), alph(0), t)),
            ("R2.11", aei_file(a, alph(0), alph(1), t)),
            ("R2.11", aei_file(a2, *rest2)),
            ("R2.11", aei_file(a2, alph(0), *rest2)),
            ("R2.11", aei_file(a2, alph(1), *rest2)),
            ("R2.11", aei_file(a2, alph(1), alph(0), *rest2)),
            ("R2.11", aei_file(a2, alph(0), alph(0), *rest2)),
            ("R2.11", aei_file(a2, alph(0), alph(1), alph(2), *rest2)),
            ("R2.11", aei_file(a2, alph(0), alph(1, b"", 16), *rest2)),
            ("R2.11", aei_file(a2, alph(0, b"", 16), alph(1), *rest2)),
            ("R2.5", aei_file(a, alph(0), chunk(b"XMP ", b"\0"), t)),
            ("R2.5", aei_file(a, alph(0), t, alph(0))),
            ("R2.5", aei_file(a2, alph(0), alph(1), index, alph(2), t, tile(1))),
            ("R2.5", aei_file(t, h)),
            ("R2.5", aei_file(chunk(b"abcd"), h, t)),
            ("R2.5", aei_file(h, h, t)),
            ("R2.5", aei_file()),
            ("R2.5", aei_file(h2, tile(0), chunk(b"abcd"), tile(1))[:8] + h2 + index
             + tile(0) + chunk(b"abcd") + tile(1) + end),
            ("R2.5", aei_file(h2, index, index, tile(0), tile(1))),
            ("R2.5", aei_file(h2, index, chunk(b"abcd"), tile(0), tile(1))),
            ("R2.5", aei_file(h, t, tidx(b""))),
            ("R2.7", aei_file(h, tidx(b""), t)),
            ("R2.7", aei_file(h2, tile(0), tile(1))),
            ("R2.7", aei_file(h2, tidx(b""), tile(0), tile(1))),
            ("R2.7", aei_file(h2, tidx(b"", b"1234"), tile(0), tile(1))),
            ("R2.8", aei_file(h, chunk(b"TILE", b""))),
            ("R2.8", aei_file(h, chunk(b"TILE", bytes(7)))),
            ("R2.8", aei_file(chunk(b"HEAD", head(flags=1, quality=63)),
                              chunk(b"TILE", b"\0\0\0\x08" + bytes(3)))),
            ("R2.8", aei_file(h, tile(1))),
            ("R2.8", aei_file(h, t, t)),
            ("R2.8", aei_file(h, t, tile(1))),
            ("R2.8", aei_file(h)),
            ("R2.8", aei_file(h2, index, tile(1), tile(0))),
            ("R2.8", aei_file(h2, index, tile(0))),
            ("R2.8", aei_file(h2, index)),
            ("R2.9", FILE_SIGNATURE + h + t + chunk(b"IEND", b"x")),
            # Of two broken rules, the one that is noticed first.
            ("R2.9", FILE_SIGNATURE + h2 + index + tile(0) + chunk(b"IEND", b"x")),
            ("R2.3", aei_file(a, t[:-1] + bytes([t[-1] ^ 1]))),
            ("R2.3", aei_file(h2, t[:-1] + bytes([t[-1] ^ 1]))),
            ("R2.11", aei_file(a, chunk(b"TILE"))),
            ("R2.11", aei_file(a, t, alph(0))),
            ("R2.11", aei_file(a, alph(0), alph(1), chunk(b"abcd")[:-1] + b"\x55", t)),
            ("R2.11", aei_file(a2, alph(0), tidx(b""))),
            ("R2.11", aei_file(a2, t)),
            ("R2.7", aei_file(a2, alph(0, bytes(4), 8, 1, 1, 1), alph(1), t)),
            ("R2.3", aei_file(a, alph(1)[:-1] + b"\0")),
            ("R2.8", aei_file(a, alph(0, b"", 8, 1, 1, 1))),
            ("R2.7", aei_file(h2, chunk(b"TILE"))),
            ("R2.8", aei_file(h2, index, tile(1, b"1234"))),
        ]
        for number, (rule, data) in enumerate(cases):
            with self.subTest(number), self.refuses(rule):
                parse_file(data)


class LosslessTest(TestCase):
    @staticmethod
    def decoded(picture_like, stream, stored, *how, depth=None):
        """A tile of the size and the colours of a picture."""
        height, width, channels = np.shape(picture_like)
        found = parse_head(head(width, height, channels=channels, flags=1, quality=63))
        return lossless_tile(found, 0, properties(stored, *how), stream, depth or stored).tolist()

    @staticmethod
    def pictures(depth, channels):
        """By name; a black one has the pixels that are already known at the start."""
        largest, rng = (1 << depth) - 1, np.random.default_rng(8)
        y, x = np.mgrid[:9, :11, :channels][:2]
        noise = rng.integers(0, largest + 1, (9, 11, channels))
        palette = rng.integers(0, largest + 1, (3, channels))
        opposite = np.arange(channels) % 2  # green is what red and blue are not
        return {
            "black": np.zeros((5, 6, channels), int), "white": np.full((5, 6, channels), largest),
            "one": noise[:1, :1], "row": noise[:1], "column": noise[:, :1],
            "two": noise[:2, :2], "noise": noise,
            "gradient": (largest // 300 + 1) * (3 * x + 5 * y),
            "palette": palette[rng.integers(0, 3, (9, 11))],
            "pattern": palette[(x + y // 2)[:, :, 0] % 3],
            "checkers": (x + y + opposite) % 2 * largest,
            "extremes": rng.integers(0, 2, (9, 11, channels)) * largest,
        }

    def test_round_trips(self):
        for depth, channels in ((8, 1), (16, 1), (8, 3), (16, 3)):
            for way in range(3 if channels == 3 else 1):
                for graphics in range(2):
                    for name, picture in self.pictures(depth, channels).items():
                        with self.subTest(name, depth=depth, channels=channels, way=way,
                                          graphics=graphics):
                            picture = picture.tolist()
                            how = depth, way, graphics
                            stream = code_lossless(picture, *how).stream()
                            self.assertEqual(self.decoded(picture, stream, *how), picture)

    def test_learning(self):
        """What repeats is soon cheap: flat pictures, and three pixels again and again."""
        pixels = ((9, 200, 30), (8, 7, 250), (90, 91, 92))
        flat, pattern = ([[pixels[(x + y) % n] for x in range(60)] for y in range(20)]
                         for n in (1, 3))
        for picture, graphics, most in ((flat, 0, 80), (flat, 1, 24), (pattern, 1, 60)):
            stream = code_lossless(picture, 8, 0, graphics).stream()
            self.assertLess(len(stream), most)

    def test_depths(self):
        """R5.11."""
        stream = code_lossless([[(0,), (7,), (255,)]], 8).stream()
        self.assertEqual(self.decoded([[(0,)] * 3], stream, 8, depth=16),
                         [[[0], [7 * 257], [65535]]])
        stream = code_lossless([[(0,), (128,), (129,), (65535,)]], 16).stream()
        self.assertEqual(self.decoded([[(0,)] * 4], stream, 16, depth=8),
                         [[[0], [0], [1], [255]]])

    def test_file(self):
        """Two tiles, of which the padding is not coded, and alpha."""
        picture = np.random.default_rng(2).integers(0, 256, (3, 258, 4)) // 4 * 4
        picture[:, 256:, 3] = 7
        colours, alpha = picture[:, :, :3], picture[:, :, 3]
        streams = [code_lossless(colours[:, :256].tolist(), 8, 2, 0).stream(),
                   code_lossless(colours[:, 256:].tolist(), 8, 1, 1).stream()]
        data = aei_file(
            chunk(b"HEAD", head(258, 3, flags=1, channels=4, quality=63)),
            alph(0, code_alpha(alpha[:, :256].tolist(), 8).stream()), flat_alph(1, 7),
            tidx(*streams),
            tile(0 | properties(8, 2, 0) << 24, streams[0]),
            tile(1 | properties(8, 1, 1) << 24, streams[1]))
        for depth, factor in ((8, 1), (16, 257)):
            samples = decode.decode(data, None, depth=depth)[1]
            self.assertEqual(samples.tolist(), (factor * picture).tolist())

    def test_bits_by_hand(self):
        """R3.10 to R3.12."""
        bits = BitDecoder(struct.pack("<3I", 0x7FFFFFFF, 0xFFFF8000, 5))
        # scale = 2^48 - 1; zeros = 2^63 - 2^15, which is what offset is.
        self.assertEqual(bits.bit(32768), 1)
        self.assertEqual((bits.offset, bits.range, bits.taken), (0, 2**63 - 2**15, 2))
        self.assertEqual(bits.bit(65535), 0)  # scale = 2^47 - 1
        self.assertEqual((bits.offset, bits.range, bits.taken), (0, 2**47 - 1, 2))
        with self.refuses("R3.12"):
            bits.finish()
        self.assertEqual(bits.bit(65535), 0)  # scale = 2^31 - 1: a word is due
        self.assertEqual((bits.offset, bits.range, bits.taken), (5, (2**31 - 1) << 32, 3))
        bits.finish()
        for p in (65535, 1):
            bits = BitDecoder(b"\xff" * 8)
            with self.refuses("R3.11"):
                bits.bit(p)

    def test_empty_stream(self):
        """Its bits are all 0, and each residual is 1; in a tile of graphics it is no repeat."""
        for graphics in range(2):
            for depth in (8, 16):
                self.assertEqual(self.decoded([[(0,)] * 4], b"", depth, 0, graphics),
                                 [[[1], [2], [3], [4]]])
            for way, expected in enumerate(([[1, 1, 1], [2, 2, 2]], [[2, 1, 2], [4, 2, 4]],
                                            [[2, 1, 2], [4, 2, 5]])):
                self.assertEqual(self.decoded([[(0, 0, 0)] * 2], b"", 8, way, graphics),
                                 [expected])

    def test_neighbours(self):
        """R5.18: W, N, NW, NE, WW, NN."""
        model = TileModel(None, 4, 1, 8, 0, 0)
        model.row = list("abc")
        blank = model._neighbours(0)[0]
        self.assertEqual(blank, ((0,) * 3, (0,) * 3, ((0,) * 6,) * 3))
        self.assertEqual([model._neighbours(x) for x in range(3)], [
            (blank,) * 6, ("a", "a", "a", "a", blank, "a"), ("b", "b", "b", "b", "a", "b")])
        model.above = list("klmn")
        self.assertEqual(["".join(model._neighbours(x)) for x in range(4)],
                         ["kkklkk", "alkmkl", "bmlnam", "cnmnbn"])
        model.above2 = list("wxyz")
        self.assertEqual(["".join(model._neighbours(x)) for x in range(4)],
                         ["kkklkw", "alkmkx", "bmlnay", "cnmnbz"])

    def test_numbers(self):
        """R5.19, R5.22, R5.23: functions."""
        self.assertEqual([level(v) for v in (0, 3, 4, 5, 6, 7, 8, 12, 191, 192, 9999)],
                         [0, 3, 4, 4, 5, 5, 6, 7, 14, 15, 15])
        for sign in (1, -1):
            self.assertEqual(
                [sign * (step(sign * v) - 7) for v in (0, 1, 2, 3, 4, 5, 8, 9, 16, 17, 40, 41)],
                [0, 1, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7])
        self.assertEqual([squash(x) for x in (-2047, -1984, 0, 64, 2047)],
                         [1, 2, 2047, 2298, 4094])
        for v in range(4096):
            x = STRETCHED[v]
            self.assertTrue(squash(x) >= v or x == 2047)
            self.assertTrue(x == -2047 or squash(x - 1) < v)
        first = 0x9E3779B1 ** 2 & 0xFFFFFFFF
        self.assertEqual(pixel_hash([(1, 0, 0)]), first ^ first >> 15)
        self.assertEqual(pixel_hash([(0, -1, 0)]), pixel_hash([(0, 2**32 - 1, 0)]))

    def test_follow_table(self):
        """R5.19."""
        table = FollowTable()
        self.assertEqual(table.find(0)[1], 0)
        for count in [*range(1, 16), 15]:
            table.learn(0x10002, "a")
            self.assertEqual(table.find(0x10002), ("a", count))
        self.assertEqual(table.find(0x10003)[1], 0)
        for expected in (("a", 7), ("a", 3), ("a", 1), ("b", 1)):
            table.learn(0x10002, "b")
            self.assertEqual(table.find(0x10002), expected)
        table.learn(0x10003, "b")
        self.assertEqual((table.find(0x10003), table.find(0x10002)[1]), (("b", 1), 0))

    def test_refused_tiles(self):
        gray, colour = [[(5,), (9,)]], [[(5, 6, 7), (9, 9, 9)]]
        for picture, *how in ((gray, 9), (gray, 0), (colour, 31), (colour, 8, 3), (gray, 8, 1),
                              (gray, 16, 2, 1)):
            with self.refuses("R2.14"):
                self.decoded(picture, b"", *how, depth=8)
        # Words of 0 up to what is read may be there or not; one more may not.
        bits = code_lossless(colour, 8)
        stream = bits.stream().ljust(4 * bits.taken, b"\0")
        self.assertEqual(self.decoded(colour, stream, 8), [list(map(list, colour[0]))])
        for more in (bytes(4), b"\1\0\0\0"):
            with self.refuses("R3.12"):
                self.decoded(colour, stream + more, 8)
        with self.refuses("R3.11"):
            self.decoded(colour, b"\xff" * 8, 8)

    def test_refused_numbers(self):
        """R5.18, R5.21. An empty stream makes all numbers of a row grow by 1 a pixel."""
        self.decoded([[(0,)] * 255], b"", 8)
        with self.refuses("R5.21"):
            self.decoded([[(0,)] * 256], b"", 8)
        self.decoded([[(0,) * 3] * 127], b"", 8, 1)
        with self.refuses("R5.18"):
            self.decoded([[(0,) * 3] * 128], b"", 8, 1)
        for depth in (8, 16):
            largest = (1 << depth) - 1
            for graphics in range(2):
                for way, pixel, rule in (
                        (0, (0, -1, 0), "R5.21"), (0, (0, largest + 1, 0), "R5.21"),
                        (0, (-1, 0, 0), "R5.21"), (0, (0, 0, largest + 1), "R5.21"),
                        (1, (largest + 1, 0, 0), "R5.21"), (1, (0, 0, largest + 1), "R5.21"),
                        (1, (largest + 1, 1, 0), "R5.18"), (1, (-1, 0, 0), "R5.18"),
                        (2, (0, 0, -1), "R5.18"), (2, (largest, largest, largest + 1), "R5.18")):
                    picture = [[pixel]]
                    bits = code_lossless(picture, depth, way, graphics, CarelessModel)
                    with self.subTest(pixel, way=way), self.refuses(rule):
                        self.decoded(picture, bits.stream(), depth, way, graphics)

    def test_random_streams(self):
        """Whatever the words are, there is a picture, or a rule is broken."""
        rng, decoded = np.random.default_rng(3), 0
        picture = np.zeros((3, 4, 3))
        for _ in range(60):
            stream = rng.integers(0, 256, 4 * rng.integers(1, 6), np.uint8).tobytes()
            try:
                self.decoded(picture, stream, 8, int(rng.integers(3)), int(rng.integers(2)))
                decoded += 1
            except Refused as refusal:
                self.assertIn(refusal.rule, ("R3.11", "R3.12", "R5.18", "R5.21"))
        self.assertGreater(decoded, 0)


class AlphaTest(TestCase):
    @staticmethod
    def decoded(shape, stream, *how, depth=8, **named):
        """A tile of so many rows and columns."""
        found = parse_head(head(shape[1], shape[0], channels=2))
        return alpha_tile(found, 0, alpha_properties(*how, **named), stream, depth).tolist()

    def test_flat(self):
        for stored, depth, values in ((8, 8, {0: 0, 7: 7, 255: 255}),
                                      (8, 16, {0: 0, 7: 7 * 257, 255: 65535}),
                                      (16, 16, {0: 0, 256: 256, 65535: 65535}),
                                      (16, 8, {0: 0, 128: 0, 129: 1, 65535: 255})):
            for value, expected in values.items():
                words = struct.pack("<I", value)
                self.assertEqual(self.decoded((2, 3), words, stored, 1, depth=depth),
                                 2 * [3 * [expected]])

    def test_refused_flat(self):
        for stored in (8, 16):
            for value in (1 << stored, 1 << 24, 0xFFFFFFFF):
                with self.subTest(value, stored=stored), self.refuses("R2.12"):
                    self.decoded((2, 3), struct.pack("<I", value), stored, 1)
            for words in (b"", bytes(8), b"\1\0\0\0\0\0\0\0", bytes(12)):
                with self.subTest(words, stored=stored), self.refuses("R2.12"):
                    self.decoded((2, 3), words, stored, 1)
            with self.refuses("R2.12"):
                self.decoded((2, 3), bytes(4), stored, 1, graphics=1)

    def test_bit_30(self):
        """Whatever else there is. Without it, all but the last are tiles."""
        for words, flat, graphics in ((bytes(4), 1, 0), (b"", 0, 0), (b"", 0, 1),
                                      (bytes(4), 1, 1)):
            for stored in (8, 16):
                with self.refuses("R2.12"):
                    self.decoded((1, 2), words, stored, flat, 1, graphics)
                if not (flat and graphics):
                    self.decoded((1, 2), words, stored, flat, 0, graphics)

    def test_round_trips(self):
        for depth in (8, 16):
            for graphics in range(2):
                for name, picture in LosslessTest.pictures(depth, 1).items():
                    with self.subTest(name, depth=depth, graphics=graphics):
                        plane = picture[:, :, 0].tolist()
                        stream = code_alpha(plane, depth, graphics).stream()
                        self.assertEqual(self.decoded(np.shape(plane), stream, depth, depth=depth,
                                                      graphics=graphics), plane)

    def test_gray_tile(self):
        """Bits are those of a gray tile: with the same stream, the same comes out, or is
        refused, whether the words make sense or not."""
        def outcome(decoded, *arguments):
            try:
                return np.reshape(decoded(*arguments), (3, 4)).tolist()
            except Refused as refusal:
                return refusal.rule

        rng, found = np.random.default_rng(9), []
        for _ in range(60):
            stream = rng.integers(0, 256, 4 * rng.integers(4), np.uint8).tobytes()
            graphics = int(rng.integers(2))
            found.append(outcome(self.decoded, (3, 4), stream, 8, 0, 0, graphics))
            self.assertEqual(found[-1], outcome(LosslessTest.decoded, np.zeros((3, 4, 1)), stream,
                                                8, 0, graphics))
        self.assertEqual({type(x) for x in found}, {str, list})

    def test_depths(self):
        """R5.11."""
        stream = code_alpha([[0, 7, 255]], 8).stream()
        self.assertEqual(self.decoded((1, 3), stream, 8, depth=16), [[0, 7 * 257, 65535]])
        stream = code_alpha([[0, 128, 129, 65535]], 16).stream()
        self.assertEqual(self.decoded((1, 4), stream, 16, depth=8), [[0, 0, 1, 255]])

    def test_refused_streams(self):
        """What breaks within the stream of bits keeps its own rules."""
        plane = [[5, 9, 200]]
        for graphics in range(2):
            with self.refuses("R3.11"):
                self.decoded((1, 3), b"\xff" * 8, graphics=graphics)
            bits = code_alpha(plane, 8, graphics)
            stream = bits.stream().ljust(4 * bits.taken, b"\0")
            self.assertEqual(self.decoded((1, 3), stream, graphics=graphics), plane)
            with self.refuses("R3.12"):
                self.decoded((1, 3), stream + bytes(4), graphics=graphics)
            for depth in (8, 16):
                for value in (-1, 1 << depth):
                    stream = code_alpha([[value]], depth, graphics, CarelessModel).stream()
                    with self.refuses("R5.21"):
                        self.decoded((1, 1), stream, depth, graphics=graphics)
        # A stream without words is one: each residual is 1.
        self.assertEqual(self.decoded((1, 4), b""), [[1, 2, 3, 4]])

    def test_tiles(self):
        """Four of them, each with its own model, of which the padding is not coded."""
        rng = np.random.default_rng(10)
        plane = rng.integers(0, 8, (259, 258)) << 13 | 1
        plane[:256, :256] = 40000
        parts = [plane[:256, 256:], plane[256:, :256], plane[256:, 256:]]
        chunks = [flat_alph(0, 40000, 16)]
        for number, graphics in ((1, 1), (2, 0), (3, 1)):
            stream = code_alpha(parts[number - 1].tolist(), 16, graphics).stream()
            chunks.append(alph(number, stream, 16, graphics=graphics))
        file = parse_file(aei_file(chunk(b"HEAD", head(258, 259, channels=2)), *chunks,
                                   tidx(*4 * (b"",)), *map(tile, range(4))))
        found = decode.alpha_plane(file, 16)
        self.assertEqual((found.dtype, found.tolist()), (np.uint16, plane.tolist()))
        found = decode.alpha_plane(file, 8)
        self.assertEqual((found.dtype, found.tolist()),
                         (np.uint8, ((255 * plane + 32767) // 65535).tolist()))


class ModelTest(TestCase):
    def changed(self, chunk_type, offset, replacement):
        chunks = ModelMaker().chunks()
        payload = bytearray(chunks[chunk_type])
        payload[offset:offset + len(replacement)] = replacement
        chunks[chunk_type] = bytes(payload)
        return model_file(chunks)

    @staticmethod
    def table_end(chunks, count):
        """Where so many tables end in TABL."""
        end = 0
        for _ in range(count):
            end += 2 + 2 * (2 * struct.unpack_from("<H", chunks[b"TABL"], end)[0] + 2)
        return end

    def test_accepted(self):
        maker = ModelMaker()
        chunks = maker.chunks("né".encode())
        model = parse_model(model_file(chunks))
        self.assertEqual(model.dims.name, "né")
        self.assertEqual({n: getattr(model.dims, n) for n in maker.d}, maker.d)
        self.assertEqual(model.z_index.tobytes(), chunks[b"ZIDX"])
        self.assertEqual([len(tables) for tables in model.tables], [5, 5, 5])
        records = b"".join(struct.pack("<H", radius) + np.diff(cum).astype("<u2").tobytes()
                           for cum, radius in sum(model.tables, []))
        self.assertEqual(records, chunks[b"TABL"])
        # The first layer of ENTR, element by element.
        entr, layer = chunks[b"ENTR"], model.entropy.up1
        self.assertEqual(layer.shifts.tolist(), list(entr[6:6 + 192]))
        self.assertEqual(layer.offsets[3] - 2 ** (entr[9] - 1),
                         struct.unpack_from("<i", entr, 6 + 192 + 12)[0])
        self.assertEqual(layer.weights[5, 7],
                         struct.unpack_from("<h", entr, 6 + 192 * 5 + 2 * (7 * 16 + 5))[0])
        # The id is of what decodes: what encoders need and notes do not count.
        del chunks[b"enco"], chunks[b"note"]
        bare = model_file(chunks)
        self.assertEqual(model.id, hashlib.sha256(bare).digest()[:8])
        for data in (bare, model_file({b"abcd": b"unknown", **chunks})):
            self.assertEqual(parse_model(data).id, model.id)
        self.assertNotEqual(parse_model(model_file(ModelMaker().chunks())).id, model.id)
        for n in ("n8_first", "n8_second", "n16", "n_trunk", "n_z", "a8_first",
                  "a8_second", "a16"):
            parse_model(model_file(ModelMaker(**{n: 0}).chunks()))
        for y_half_step in (1, 63):
            self.assertEqual(parse_model(model_file(
                ModelMaker(y_half_step=y_half_step).chunks())).dims.y_half_step, y_half_step)

    def test_refusals(self):
        for rule, change in (
                ("4.1", (b"MHDR", 0, b"\2")),
                ("4.1", (b"MHDR", 2, b"\x18")),
                ("4.1", (b"MHDR", 6, b"\x50")),
                ("4.1", (b"MHDR", 17, b"\x3f")),
                ("4.1", (b"MHDR", 16, b"\x11")),
                ("4.1", (b"MHDR", 19, b"\7")),
                ("4.1", (b"MHDR", 20, b"\0")),
                ("4.1", (b"MHDR", 20, b"\x40")),
                ("4.1", (b"MHDR", 25, b"\0")),
                ("4.1", (b"MHDR", 26, b"\xff")),
                ("4", (b"MHDR", 25, b"\7")),
                ("4", (b"MHDR", 25, b"\4")),
                ("4.2", (b"TABL", 0, b"\0\0")),
                ("4.2", (b"TABL", 0, b"\0\x20")),
                ("4.2", (b"TABL", 2, b"\0\0")),
                ("4.2", (b"TABL", 2, b"\1\0")),
                ("4", (b"ZIDX", 9, b"\5")),
                ("4.3", (b"ENTR", 0, b"\3")),
                ("4.3", (b"ENTR", 1, b"\1")),
                ("4.3", (b"ENTR", 4, b"\x20")),
                ("R4.1", (b"ENTR", 6, b"\0")),
                ("R4.1", (b"ENTR", 6, b"\x19")),
                ("R4.1", (b"ENTR", 6 + 192, struct.pack("<i", -2**31))),
                ("R4.1", (b"ENTR", 6 + 192 * 5, struct.pack("<2h", -32768, -32768))),
                ("4.3", (b"SYNT", 0, b"\0")),
                ("4.3", (b"SYNT", 0, b"\x29")),
                ("R4.2", (b"SYNT", 4, b"\0\0\0\1")),
                ("4.4", (b"enco", 0, b"\x11")),
                ("4.4", (b"enco", 3, b"\6")),
                ("4.4", (b"enco", 5, b"\4")),
                ("R4.1", (b"enco", 12, b"\0"))):
            with self.subTest(change), self.refuses(rule):
                parse_model(self.changed(*change))

    def test_chunks(self):
        good = ModelMaker().chunks()
        data = model_file(good)
        with self.refuses("4"):
            parse_model(b"\x89AEI" + data[4:])
        for length in (8, 9, 100, len(data) - 1):
            with self.refuses("4"):
                parse_model(data[:length])
        damaged = bytearray(data)
        damaged[5000] ^= 4
        with self.refuses("R2.3"):
            parse_model(bytes(damaged))
        for missing in (b"MHDR", b"TABL", b"ZIDX", b"ENTR", b"SYNT"):
            with self.refuses("4"):
                parse_model(model_file({t: p for t, p in good.items() if t != missing}))
        with self.refuses("4"):  # tables of z and of y in even states only
            parse_model(model_file({**good, b"TABL": good[b"TABL"][:self.table_end(good, 10)]}))
        with self.refuses("4"):
            parse_model(model_file({b"note": b"", **good}))
        with self.refuses("R2.4"):
            parse_model(model_file({b"ABCD": b"", **good}))
        with self.refuses("4"):
            parse_model(model_file({**good, b"note": b"\xff\xfe"}))
        end = len(data) - 12
        for twice in (b"enco", b"note", b"SYNT"):
            with self.refuses("4"):
                parse_model(data[:end] + chunk(twice, good[twice]) + data[end:])
        # R2.3: what is excepted in a picture is not in a model.
        preview = chunk(b"prev", b"?")
        parse_model(data[:8] + preview + data[8:] + b"behind the end")
        with self.refuses("R2.3"):
            parse_model(data[:8] + preview[:-1] + b"\0" + data[8:])
        for grown in (b"MHDR", b"TABL", b"ZIDX", b"ENTR", b"SYNT", b"enco", b"MEND"):
            with self.refuses("4"):
                parse_model(model_file({**good, grown: good[grown] + b"\0"}))


class PictureTest(TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model_data = model_file(ModelMaker().chunks())
        cls.model = parse_model(cls.model_data)

    def picture(self, seed=4, channels=3, model=None, alpha=()):
        """A file of 300 x 70 pixels (two tiles) and the latents of its tiles."""
        rng = np.random.default_rng(seed)
        model = model or self.model
        streams, latents = [], []
        for columns in (16, 4):
            source = RandomSource(rng)
            latents.append(decode.decode_latents(
                model, 9, 8, columns, source, SKIP_BELOW))
            streams.append(source.stream())
        data = aei_file(
            chunk(b"HEAD", head(300, 70, channels=channels, quality=9, model_id=model.id)),
            *alpha, tidx(*streams),
            *(tile(n | SKIP_BELOW << 24, s) for n, s in enumerate(streams)))
        return data, latents

    def test_random_symbols_come_back(self):
        data, latents = self.picture()
        for number, ((skip, stream), columns) in enumerate(zip(parse_file(data).tiles, (16, 4))):
            self.assertEqual(skip, SKIP_BELOW)
            source = AnsDecoder(stream)
            y_hat = decode.decode_latents(self.model, 9, 8, columns, source, skip)
            source.finish()
            self.assertTrue(np.array_equal(y_hat, latents[number]))
        self.assertGreater(len(np.unique(y_hat)), 300)  # the test is not an empty one

        # The picture, from the joined latents, in one piece and without decode().
        joined = np.concatenate(latents, axis=1)
        whole = decode.synthesise(self.model, 9, joined)
        _, samples = decode.decode(data, self.model)
        self.assertEqual(samples.shape, (70, 300, 3))
        self.assertTrue(np.array_equal(
            samples, decode.to_samples(whole, 3, 6)[:70, :300]))
        self.assertGreater(len(np.unique(samples)), 100)

    def test_alpha(self):
        """It is not turned into anything by the model, and colours do not depend on it."""
        plane = np.full((70, 300), 255)
        plane[:, 256:] = np.add.outer(np.arange(70), np.arange(44)) // 9
        stream = code_alpha(plane[:, 256:].tolist(), 8).stream()
        for channels in (4, 2):
            bare = self.picture(channels=channels - 1)[0]
            data = self.picture(channels=channels,
                                alpha=(flat_alph(0, 255), alph(1, stream)))[0]
            for depth, factor in ((8, 1), (16, 257)):
                samples = decode.decode(data, self.model, depth=depth)[1]
                colours = decode.decode(bare, self.model, depth=depth)[1]
                self.assertTrue(np.array_equal(samples[:, :, :-1], colours))
                self.assertTrue(np.array_equal(samples[:, :, -1], factor * plane))
        other = parse_model(model_file(ModelMaker(seed=2).chunks()))
        for second, rule in ((flat_alph(1, 256), "R2.12"), (alph(1, b"", flat=1), "R2.12"),
                             (alph(1, stream, bit30=1), "R2.12"), (alph(1, b"\xff" * 8), "R3.11"),
                             (alph(1, stream + bytes(40)), "R3.12")):
            data = self.picture(channels=4, alpha=(flat_alph(0, 255), second))[0]
            with self.refuses(rule):
                decode.decode(data, self.model)
            with self.refuses("R2.6"):  # which is noticed before
                decode.decode(data, other)

    def test_order_of_symbols(self):
        """R3.6 to R3.9 and R3.13, position by position and channel by channel, with a model that
        skips nothing and with one that skips."""
        for skip_below in (0, 2):
            model = parse_model(model_file(
                ModelMaker(y_fraction=6, y_half_step=41).chunks()))
            source = RandomSource(np.random.default_rng(5))
            y_hat = decode.decode_latents(
                model, 0, 4, 8, source, skip_below).astype(np.int64)
            d, net, taken = model.dims, model.entropy, iter(source.chosen)

            def value(tables, index):
                if index < skip_below:
                    return None
                used, chosen = next(taken)
                self.assertIs(used, tables[index])
                return chosen

            def scale(raw, offset):
                index = ((raw + 2**(d.index_shift - 1)) >> d.index_shift) + int(offset)
                return max(0, min(d.scales - 1, index))

            z = np.zeros((1, 2, d.nz), np.int64)
            for step in range(4):
                params = np.zeros((1, 2, 2 * d.nz), int).tolist()
                if step > 0:
                    x = network.dense(net.z_adapt[step - 1], network.sat16(z))
                    x = network.blocks(net.z_trunk, x)
                    params = network.dense(net.z_params, x).astype(int).tolist()
                for k in range(2):
                    group = k ^ [0, 3, 2, 1][step]
                    for c in range(group * d.nz // 4, (group + 1) * d.nz // 4):
                        index = scale(params[0][k][d.nz + c], model.z_index[0][c])
                        s = value(model.tables.z, index) or 0
                        z[0, k, c] = s * 2**d.z_shift + params[0][k][c]
            hyper = decode.hyper_features(model, z)
            self.assertEqual(hyper.shape, (4, 8, d.ce))
            done = np.zeros((4, 8, d.m), np.int64)
            for step in range(4):
                x = hyper if step == 0 else np.concatenate((hyper, network.sat16(done)), 2)
                x = network.blocks(net.trunk, network.dense(net.adapt[step], x))
                params = network.dense(net.params, x).astype(int).tolist()
                t = 0
                for r in range(4):
                    for k in range(8):
                        group = (2 * (r % 2) + k % 2) ^ [0, 3, 2, 1][step]
                        for c in range(group * d.m // 4, (group + 1) * d.m // 4):
                            index = scale(params[r][k][d.m + c], d.index_offset)
                            done[r, k, c] = params[r][k][c]
                            s = value(model.tables.odd if t % 2 else model.tables.even, index)
                            if s is None:
                                continue
                            done[r, k, c] += d.y_half_step * (
                                2 * s - t % 2 * int(np.sign(s)))
                            t = t // 2 ^ t % 2 * 0b10100110 ^ s % 2 * 0b01111001
            self.assertIsNone(next(taken, None))
            self.assertTrue(np.array_equal(done, y_hat))

    def test_strips(self):
        """R5.10."""
        y_hat = np.random.default_rng(6).integers(-9000, 9000, (24, 4, 64)).astype(np.int32)
        header = parse_file(aei_file(chunk(b"HEAD", head(40, 23 * 16, tile_log2=9)), tile(0),
                                     chunk(b"abcd"))).head
        whole = decode.synthesise_picture(self.model, header, y_hat)
        self.addCleanup(setattr, decode, "STRIP", decode.STRIP)
        for decode.STRIP in (1, 4, 9):
            strips = decode.synthesise_picture(self.model, header, y_hat)
            self.assertTrue(np.array_equal(strips, whole))

    def test_refusals(self):
        data, _ = self.picture()
        with self.refuses("R2.6"):
            decode.decode(data, parse_model(model_file(ModelMaker(seed=2).chunks())))
        with self.refuses("7"):
            decode.decode(data, self.model, 300 * 70)
        # The largest picture there is, in a few bytes, must not cost memory.
        huge = chunk(b"HEAD", head(65535, 65535, model_id=self.model.id))
        with self.refuses("R2.8"):
            decode.decode(aei_file(huge, chunk(b"TIDX", bytes(4 * 65536))), self.model)
        # One more word, and one word less.
        streams = [stream for _, stream in parse_file(data).tiles]
        for first in (b"\1\0\0\0" + bytes(streams[0]), streams[0][4:]):
            bad = aei_file(data[8:8 + 36], tidx(first, streams[1]), tile(2 << 24, bytes(first)),
                           tile(1 | 2 << 24, bytes(streams[1])))
            with self.assertRaises(Refused) as caught:
                decode.decode(bad, self.model)
            self.assertIn(caught.exception.rule, ("R3.4", "R3.5"))

    def test_commands(self):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "model.aem").write_bytes(self.model_data)
            color, _ = self.picture()
            gray, _ = self.picture(channels=1)
            other = ModelMaker(seed=7).chunks()
            (folder / "other.aem").write_bytes(model_file(other))
            (folder / "color.aei").write_bytes(color)
            (folder / "gray.aei").write_bytes(gray)
            (folder / "other.aei").write_bytes(
                self.picture(model=parse_model(model_file(other)))[0])
            (folder / "bad.aei").write_bytes(color[:-1] + b"\0")

            def run(command, *arguments):
                out, err = io.StringIO(), io.StringIO()
                with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                    try:
                        code = command(["--model", str(folder / "model.aem"), *arguments])
                    except SystemExit as stop:
                        code = stop.code
                return code, out.getvalue(), err.getvalue()

            def path(name):
                return str(folder / name)

            lines = []
            for kind, suffix, size in (("color", "ppm", 300 * 70 * 3), ("gray", "pgm", 300 * 70)):
                code, out, _ = run(aei_decode.main, "--digest", path(f"{kind}.aei"),
                                   path(f"{kind}.{suffix}"))
                self.assertEqual(code, 0)
                self.assertEqual(
                    len((folder / f"{kind}.{suffix}").read_bytes()),
                    size + len("P6\n300 70\n255\n"))
                code, _, _ = run(aei_decode.main, path(f"{kind}.aei"), path(f"{kind}.png"))
                self.assertEqual(code, 0)
                png = (folder / f"{kind}.png").read_bytes()
                self.assertEqual(png[:8], b"\x89PNG\r\n\x1a\n")
                raw = zlib.decompress(png[41:-16])
                line = len(raw) // 70
                self.assertEqual(
                    b"".join(raw[at + 1:at + line] for at in range(0, len(raw), line)),
                    (folder / f"{kind}.{suffix}").read_bytes()[-size:])
                digest, size_text = out.split()
                lines.append(f"{digest}  {kind}.aei  {size_text}  # a comment")
            code, _, err = run(aei_decode.main, "--digest", path("bad.aei"))
            self.assertEqual((code, err), (1, "refused: R2.3: chunk IEND: wrong CRC\n"))
            self.assertEqual(run(aei_decode.main, path("color.aei"))[0], 2)
            self.assertEqual(run(aei_decode.main, path("none.aei"), path("x.png"))[0], 2)

            other_digest = aei_decode.digest(decode.decode(
                (folder / "other.aei").read_bytes(), parse_model(model_file(other)))[1]).split()
            lines += ["refused R2.3  bad.aei", "model other.aem  other.aei",
                      f"{other_digest[0]}  other.aei  {other_digest[1]}", "# a comment"]
            (folder / "digests.txt").write_text("\n".join(lines))
            code, out, err = run(check_vectors.main, name)
            self.assertEqual((code, out.splitlines()[-1]), (0, "4 passed, 0 failed"), out + err)
            lines[2] = "refused R2.5  bad.aei"
            (folder / "digests.txt").write_text("\n".join(lines[1:] + [f"{'0' * 64} no.aei 1x1x1"]))
            code, out, err = run(check_vectors.main, name, "--jobs", "2")
            self.assertEqual((code, out.splitlines()[-1]), (1, "2 passed, 3 failed"), out + err)


if __name__ == "__main__":
    unittest.main()
