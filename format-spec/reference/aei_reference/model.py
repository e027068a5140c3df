"""The model file (section 4)."""

import hashlib
import itertools
import struct
import zlib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .container import Refused, is_critical, read_chunks

MODEL_SIGNATURE = b"\x89AEM\r\n\x1a\n"
DENSE, DEPTHWISE = 1, 3


@dataclass(frozen=True)
class Dimensions:
    """MHDR (section 4.1); the fields stand in the file's order."""
    version: int
    c8: int
    c16: int
    m: int
    nz: int
    ce: int
    n8_first: int
    n8_second: int
    n16: int
    n_trunk: int
    n_z: int
    qualities: int
    scales: int
    y_fraction: int
    y_half_step: int
    z_shift: int
    index_shift: int
    index_offset: int
    pixel_fraction: int
    name: str


@dataclass(frozen=True)
class Dense:
    """`weights` is float64 [inputs, outputs] for network.dense, which says why that is
    exact; `offsets` is bias + 2^(s-1) (R5.1), float64 likewise."""
    weights: np.ndarray
    offsets: np.ndarray
    shifts: np.ndarray


@dataclass(frozen=True)
class Depthwise:
    """`weights` is int32 [9, channels]; `offsets` as in Dense, but int32."""
    weights: np.ndarray
    offsets: np.ndarray
    shifts: np.ndarray


@dataclass(frozen=True)
class Block:
    fraction: int
    inp: Dense
    depth: Depthwise
    out: Dense
    gate: Dense
    mix: Dense


@dataclass(frozen=True)
class Gain:
    """`values` is int64 [qualities, channels]."""
    shift: int
    values: np.ndarray


class Tables(NamedTuple):
    """Of each kind a list: (cum, R) for each scale index."""
    z: list
    even: list  # y in even states
    odd: list


@dataclass(frozen=True)
class EntropyNetwork:
    up1: Dense
    block1: Block
    up2: Dense
    block2: Block
    adapt: list
    trunk: list
    params: Dense
    z_adapt: list
    z_trunk: list
    z_params: Dense


@dataclass(frozen=True)
class SynthesisNetwork:
    gain16: Gain
    inp: Dense
    blocks16: list
    up: Dense
    blocks8_first: list
    gain8: Gain
    blocks8_second: list
    out: Dense


@dataclass(frozen=True)
class Model:
    id: bytes
    dims: Dimensions
    tables: Tables
    z_index: np.ndarray  # u8 [qualities, nz]
    entropy: EntropyNetwork
    synthesis: SynthesisNetwork


class Reader:
    """Reads the records (section 4.3) of one chunk. Every size is known from MHDR, and
    is checked against the bytes that are there before anything is allocated."""

    def __init__(self, payload, chunk, section):
        self.payload = payload
        self.chunk = chunk
        self.section = section
        self.position = 0

    def refuse(self, message, rule=None):
        raise Refused(rule or self.section, f"model, {self.chunk}: {message}")

    def take(self, size):
        if size > len(self.payload) - self.position:
            self.refuse("a record goes beyond the end of the chunk", "4")
        start = self.position
        self.position += size
        return self.payload[start:self.position]

    def unpack(self, layout):
        return struct.unpack(layout, self.take(struct.calcsize(layout)))

    def array(self, dtype, *shape):
        count = int(np.prod(shape))
        taken = self.take(count * np.dtype(dtype).itemsize)
        return np.frombuffer(taken, dtype).reshape(shape)

    def end(self):
        if self.position != len(self.payload):
            self.refuse("bytes behind the last record", "4")

    def _layer(self, kind, inputs, outputs):
        found = self.unpack("<BBHH")
        if found != (kind, 0, outputs, inputs):
            self.refuse(f"layer {found} where {(kind, 0, outputs, inputs)} is due", "4.3")
        shifts = self.array("u1", outputs).astype(np.int32)
        biases = self.array("<i4", outputs).astype(np.int64)
        weights = self.array("<i2", outputs, inputs if kind == DENSE else 9)
        if shifts.min() < 1 or shifts.max() > 24:
            self.refuse("a layer's shift is not in 1 ... 24", "R4.1")
        halves = np.left_shift(1, shifts.astype(np.int64) - 1)
        sums = np.abs(weights.astype(np.int64)).sum(axis=1)
        if np.any((sums << 15) + np.abs(biases) + halves >= 2**31):
            self.refuse("a layer's sums may overflow 32 bits", "R4.1")
        return weights, biases + halves, shifts

    def dense(self, inputs, outputs):
        weights, offsets, shifts = self._layer(DENSE, inputs, outputs)
        return Dense(np.ascontiguousarray(weights.T, np.float64),
                     offsets.astype(np.float64), shifts)

    def depthwise(self, channels):
        weights, offsets, shifts = self._layer(DEPTHWISE, channels, channels)
        return Depthwise(np.ascontiguousarray(weights.T, np.int32),
                         offsets.astype(np.int32), shifts)

    def up(self, inputs, outputs):
        return self.dense(inputs, 4 * outputs)

    def down(self, inputs, outputs):
        return self.dense(4 * inputs, outputs)

    def block(self, c):
        (fraction,) = self.unpack("<B")
        if not 1 <= fraction <= 14:
            self.refuse(f"gate_fraction is {fraction}", "4.3")
        return Block(fraction, self.dense(c, c), self.depthwise(c), self.dense(c, c),
                     self.dense(c, 2 * c), self.dense(c, c))

    def blocks(self, count, c):
        return [self.block(c) for _ in range(count)]

    def gain(self, qualities, channels):
        shift, zero, found = self.unpack("<BBH")
        if not 1 <= shift <= 40 or zero != 0 or found != channels:
            self.refuse(f"gain record {(shift, zero, found)}", "4.3")
        values = self.array("<u4", qualities, channels).astype(np.int64)
        if values.max() >= 2**24:
            self.refuse("a gain is 2^24 or more", "R4.2")
        return Gain(shift, values)


def parse_mhdr(payload):
    """Section 4.1."""
    reader = Reader(payload, "MHDR", "4.1")
    fields = reader.unpack("<6H13B")
    (length,) = reader.unpack("<B")
    if not 1 <= length <= 32:
        reader.refuse(f"a name of {length} bytes")
    try:
        name = bytes(reader.take(length)).decode("utf-8")
    except UnicodeDecodeError:
        reader.refuse("the name is not UTF-8")
    reader.end()
    dims = Dimensions(*fields, name)
    channels = range(16, 1025, 16)
    blocks = range(0, 17)
    for field, allowed in (
            ("version", (1,)),
            ("c8", channels),
            ("c16", channels),
            ("m", range(64, 1025, 64)),
            ("nz", channels),
            ("ce", channels),
            ("n8_first", blocks),
            ("n8_second", blocks),
            ("n16", blocks),
            ("n_trunk", blocks),
            ("n_z", blocks),
            ("qualities", (64,)),
            ("scales", range(1, 65)),
            ("y_fraction", range(0, 7)),
            ("y_half_step", range(1, 64)),
            ("z_shift", range(0, 9)),
            ("index_shift", range(1, 15)),
            ("index_offset", range(0, 64)),
            ("pixel_fraction", range(1, 7))):
        value = getattr(dims, field)
        if value not in allowed:
            reader.refuse(f"{field} is {value}")
    return dims


def parse_tabl(payload, dims):
    """Section 4.2."""
    reader = Reader(payload, "TABL", "4.2")
    tables = Tables([], [], [])
    for kind, index in itertools.product(Tables._fields, range(dims.scales)):
        (radius,) = reader.unpack("<H")
        if not 1 <= radius <= 8191:
            reader.refuse(f"{kind}, table {index}: R is {radius}")
        probabilities = reader.array("<u2", 2 * radius + 2)
        cum = [0] + np.cumsum(probabilities, dtype=np.int64).tolist()
        if probabilities.min() < 1 or cum[-1] != 65536:
            reader.refuse(f"{kind}, table {index}: a probability of 0 or a sum other than 65536")
        getattr(tables, kind).append((cum, radius))
    reader.end()
    return tables


def parse_zidx(payload, dims):
    reader = Reader(payload, "ZIDX", "4")
    z_index = reader.array("u1", dims.qualities, dims.nz)
    reader.end()
    if z_index.max() >= dims.scales:
        reader.refuse("a scale index that has no tables")
    return z_index


def parse_entr(payload, d):
    """Section 4.4. Arguments are evaluated, hence records read, from left to right."""
    reader = Reader(payload, "ENTR", "4.4")
    network = EntropyNetwork(
        up1=reader.up(d.nz, d.ce),
        block1=reader.block(d.ce),
        up2=reader.up(d.ce, d.ce),
        block2=reader.block(d.ce),
        adapt=[reader.dense(d.ce + (d.m if step else 0), d.ce) for step in range(4)],
        trunk=reader.blocks(d.n_trunk, d.ce),
        params=reader.dense(d.ce, 2 * d.m),
        z_adapt=[reader.dense(d.nz, d.nz) for _ in range(3)],
        z_trunk=reader.blocks(d.n_z, d.nz),
        z_params=reader.dense(d.nz, 2 * d.nz))
    reader.end()
    return network


def parse_synt(payload, d):
    """Section 4.4."""
    reader = Reader(payload, "SYNT", "4.4")
    network = SynthesisNetwork(
        gain16=reader.gain(d.qualities, d.m),
        inp=reader.dense(d.m, d.c16),
        blocks16=reader.blocks(d.n16, d.c16),
        up=reader.up(d.c16, d.c8),
        blocks8_first=reader.blocks(d.n8_first, d.c8),
        gain8=reader.gain(d.qualities, d.c8),
        blocks8_second=reader.blocks(d.n8_second, d.c8),
        out=reader.dense(d.c8, 192))
    reader.end()
    return network


def check_enco(payload, d):
    """What encoders need (section 4.4) is not kept: only checked, R4.1 and R4.2 being
    said of every layer and gain of a model."""
    reader = Reader(payload, "enco", "4.4")
    a8_first, a8_second, a16, skip_below, input_shift, y_input_fraction = reader.unpack("<6B")
    for value, allowed in (
            (a8_first, range(0, 17)),
            (a8_second, range(0, 17)),
            (a16, range(0, 17)),
            (skip_below, range(0, d.scales + 1)),
            (input_shift, range(0, 7)),
            (y_input_fraction, range(d.y_fraction, 13))):
        if value not in allowed:
            reader.refuse(f"{value} is not in {allowed.start} ... {allowed.stop - 1}")
    reader.dense(192, d.c8)
    reader.blocks(a8_first, d.c8)
    reader.gain(d.qualities, d.c8)
    reader.blocks(a8_second, d.c8)
    reader.down(d.c8, d.c16)
    reader.blocks(a16, d.c16)
    reader.dense(d.c16, d.m)
    reader.gain(d.qualities, d.m)
    reader.dense(d.m, d.ce)
    reader.block(d.ce)
    reader.down(d.ce, d.ce)
    reader.block(d.ce)
    reader.down(d.ce, d.nz)
    reader.end()


def framed(chunk_type, payload):
    """The parts of a chunk as it stands in the file (R2.2)."""
    crc = zlib.crc32(payload, zlib.crc32(chunk_type))
    return chunk_type, struct.pack("<I", len(payload)), payload, struct.pack("<I", crc)


def parse_model(data):
    """Section 4."""
    if bytes(data[:8]) != MODEL_SIGNATURE:
        raise Refused("4", "not a model file: wrong signature")
    order = (b"MHDR", b"TABL", b"ZIDX", b"ENTR", b"SYNT", b"enco", b"note", b"MEND")
    chunks = {}
    last = -1
    name = hashlib.sha256(MODEL_SIGNATURE)
    for chunk_type, payload, _ in read_chunks(data, b"MEND", "4"):
        if is_critical(chunk_type):
            for part in framed(chunk_type, payload):
                name.update(part)
        if chunk_type not in order:
            if is_critical(chunk_type):
                raise Refused("R2.4", f"model: unknown critical chunk {chunk_type.decode()}")
            continue
        place = order.index(chunk_type)
        if place <= last:
            raise Refused("4", f"model: chunk {chunk_type.decode()} is out of order")
        if any(is_critical(missing) for missing in order[last + 1:place]):
            raise Refused("4", f"model: a chunk before {chunk_type.decode()} is missing")
        last = place
        chunks[chunk_type] = payload
    if len(chunks[b"MEND"]):
        raise Refused("4", "model: MEND has a payload")
    try:
        bytes(chunks.get(b"note", b"")).decode("utf-8")
    except UnicodeDecodeError:
        raise Refused("4", "model: the note is not UTF-8") from None
    dims = parse_mhdr(chunks[b"MHDR"])
    if b"enco" in chunks:
        check_enco(chunks[b"enco"], dims)
    return Model(
        id=name.digest()[:8],
        dims=dims,
        tables=parse_tabl(chunks[b"TABL"], dims),
        z_index=parse_zidx(chunks[b"ZIDX"], dims),
        entropy=parse_entr(chunks[b"ENTR"], dims),
        synthesis=parse_synt(chunks[b"SYNT"], dims))
