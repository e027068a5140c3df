"""The model file `.aem` (format-spec/SPEC.md, section 4): records, reader and writer.

Everything a codec computes with is in here as integers. The reader checks every rule of section 4, so that a file it accepts cannot overflow
a 32-bit accumulator; the writer goes through the same checks.
"""
from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, fields

import numpy as np

SIGNATURE = b"\x89AEM\r\n\x1a\n"
DENSE, DEPTHWISE = 1, 3
MAX_SHIFT, MAX_GAIN_SHIFT, MAX_GATE_FRACTION = 24, 40, 14
ACCUMULATOR = 2 ** 31
QUANTISERS = 3  # that have tables of their own: of z, and of y in even and in odd states


class ModelError(ValueError):
    """The bytes are no valid model file, or the records given cannot be written as one."""


def require(condition: bool, message: str) -> None:
    if not condition:
        raise ModelError(message)


@dataclass(frozen=True)
class Header:
    """`MHDR` (4.1), in the order of the file. The defaults of the constants are those of `aei1`."""

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
    qualities: int = 64
    scales: int = 64
    y_fraction: int = 5
    y_half_step: int = 23
    z_shift: int = 7
    index_shift: int = 6
    index_offset: int = 16
    pixel_fraction: int = 6
    name: str = "aei1"

    VERSION = 1
    WIDE = ("c8", "c16", "m", "nz", "ce")
    BLOCKS = ("n8_first", "n8_second", "n16", "n_trunk", "n_z")

    def check(self) -> None:
        for key in self.WIDE:
            step = 64 if key == "m" else 16
            value = getattr(self, key)
            require(value % step == 0 and step <= value <= 1024, f"{key} = {value} is not a multiple of {step} in {step}..1024")
        limits = dict.fromkeys(self.BLOCKS, (0, 16)) | dict(qualities=(64, 64), scales=(1, 64), y_fraction=(0, 6))
        limits |= dict(y_half_step=(1, 63), z_shift=(0, 8), index_shift=(1, 14), index_offset=(0, 63), pixel_fraction=(1, 6))
        check_limits(self, limits)
        require(1 <= len(self.name.encode()) <= 32, "the name has 1 to 32 bytes")

    @property
    def y_step(self) -> float:
        """The whole step of y's quantisers, in latents."""
        return 2 * self.y_half_step / 2 ** self.y_fraction

    def to_bytes(self) -> bytes:
        self.check()
        wide = [getattr(self, key) for key in self.WIDE]
        narrow = [getattr(self, f.name) for f in fields(self) if f.name not in self.WIDE and f.name != "name"]
        name = self.name.encode()
        return struct.pack("<6H", self.VERSION, *wide) + bytes(narrow) + bytes([len(name)]) + name

    @classmethod
    def from_bytes(cls, data: bytes) -> Header:
        reader = Reader(data)
        version, *wide = reader.unpack("<6H")
        require(version == cls.VERSION, f"version {version} of the model file is unknown")
        narrow = reader.unpack("<13B")
        (length,) = reader.unpack("<B")
        name = reader.take(length)
        reader.finish("MHDR")
        try:
            header = cls(*wide, *narrow, name=name.decode())
        except UnicodeDecodeError as error:
            raise ModelError("the name is not UTF-8") from error
        header.check()
        return header


@dataclass(frozen=True)
class EncoderHeader:
    """The beginning of `enco` (4.4), in the order of the file: what encoding alone needs. The defaults of the constants are those of `aei1`."""

    a8_first: int
    a8_second: int
    a16: int
    skip_below: int = 3
    input_shift: int = 6
    y_input_fraction: int = 8

    BLOCKS = ("a8_first", "a8_second", "a16")
    BYTES = 6

    def check(self, h: Header) -> None:
        check_limits(self, dict.fromkeys(self.BLOCKS, (0, 16)) | dict(skip_below=(0, h.scales), input_shift=(0, 6), y_input_fraction=(h.y_fraction, 12)))

    def to_bytes(self, h: Header) -> bytes:
        self.check(h)
        return bytes(getattr(self, f.name) for f in fields(self))

    @classmethod
    def read(cls, reader: Reader, h: Header) -> EncoderHeader:
        header = cls(*reader.take(cls.BYTES))
        header.check(h)
        return header


def check_limits(header: Header | EncoderHeader, limits: dict[str, tuple[int, int]]) -> None:
    for key, (low, high) in limits.items():
        require(low <= getattr(header, key) <= high, f"{key} = {getattr(header, key)} is not in {low}..{high}")


@dataclass
class Layer:
    """A 1x1 convolution (weights [O, I]) or a depthwise 3x3 one (weights [C, 9]); `shift` and `bias` are [O] (R5.1, R5.2)."""

    weights: np.ndarray
    bias: np.ndarray
    shift: np.ndarray
    depthwise: bool = False

    @property
    def outputs(self) -> int:
        return self.weights.shape[0]

    @property
    def inputs(self) -> int:
        return self.weights.shape[0] if self.depthwise else self.weights.shape[1]

    def bound(self) -> np.ndarray:
        """Left side of R4.1 for every output: the largest size that the accumulator can reach, rounding term included."""
        weights, bias, shift = (x.astype(np.int64) for x in (self.weights, self.bias, self.shift))
        return np.abs(weights).sum(1) * 2 ** 15 + np.abs(bias) + (1 << (shift - 1))

    def check(self) -> None:
        types = self.weights.dtype, self.bias.dtype, self.shift.dtype
        require(types == (np.int16, np.int32, np.uint8), "a layer has i16 weights, i32 biases, u8 shifts")
        require(self.shift.shape == self.bias.shape == (self.outputs,), "one shift and one bias an output")
        require(not self.depthwise or self.weights.shape[1] == 9, "a depthwise layer has 9 taps")
        require(bool(((self.shift >= 1) & (self.shift <= MAX_SHIFT)).all()), "R4.1: a shift is not in 1..24")
        require(bool((self.bound() < ACCUMULATOR).all()), "R4.1: an accumulator could overflow")

    def to_bytes(self) -> bytes:
        self.check()
        head = struct.pack("<BBHH", DEPTHWISE if self.depthwise else DENSE, 0, self.outputs, self.inputs)
        return head + self.shift.tobytes() + self.bias.astype("<i4").tobytes() + self.weights.astype("<i2").tobytes()

    @classmethod
    def read(cls, reader: Reader) -> Layer:
        kind, zero, outputs, inputs = reader.unpack("<BBHH")
        require(kind in (DENSE, DEPTHWISE) and zero == 0, f"a layer of the unknown kind {kind}")
        require(kind == DENSE or inputs == outputs, "a depthwise layer has as many inputs as outputs")
        taps = inputs if kind == DENSE else 9
        shift = reader.array("u1", (outputs,)).astype(np.uint8)
        bias = reader.array("<i4", (outputs,)).astype(np.int32)
        weights = reader.array("<i2", (outputs, taps)).astype(np.int16)
        layer = cls(weights, bias, shift, kind == DEPTHWISE)
        layer.check()
        return layer


@dataclass
class Block:
    """Residual block (R5.8): `out(depth(leaky(inp(x))))`, then `mix(gate(x))`."""

    gate_fraction: int
    inp: Layer
    depth: Layer
    out: Layer
    gate: Layer
    mix: Layer

    def layers(self) -> tuple[Layer, ...]:
        return self.inp, self.depth, self.out, self.gate, self.mix

    def check(self) -> None:
        require(1 <= self.gate_fraction <= MAX_GATE_FRACTION, "gate_fraction is not in 1..14")
        c = self.inp.inputs
        shapes = [(layer.outputs, layer.inputs, layer.depthwise) for layer in self.layers()]
        require(shapes == [(c, c, False), (c, c, True), (c, c, False), (2 * c, c, False), (c, c, False)], "the layers of a block do not fit each other")

    def to_bytes(self) -> bytes:
        self.check()
        return bytes([self.gate_fraction]) + b"".join(layer.to_bytes() for layer in self.layers())

    @classmethod
    def read(cls, reader: Reader) -> Block:
        (gate_fraction,) = reader.unpack("<B")
        block = cls(gate_fraction, *(Layer.read(reader) for _ in range(5)))
        block.check()
        return block


@dataclass
class Gain:
    """Factor of each channel at each quality (R5.6): `values` [qualities, channels] in units of `2^-shift`."""

    shift: int
    values: np.ndarray

    def check(self) -> None:
        require(1 <= self.shift <= MAX_GAIN_SHIFT, "the shift of a gain is not in 1..40")
        require(self.values.dtype == np.uint32 and bool((self.values < 2 ** 24).all()), "R4.2: a gain is not below 2^24")

    def to_bytes(self) -> bytes:
        self.check()
        return struct.pack("<BBH", self.shift, 0, self.values.shape[1]) + self.values.astype("<u4").tobytes()

    @classmethod
    def read(cls, reader: Reader, qualities: int) -> Gain:
        shift, zero, channels = reader.unpack("<BBH")
        require(zero == 0, "the second byte of a gain is not 0")
        gain = cls(shift, reader.array("<u4", (qualities, channels)).astype(np.uint32))
        gain.check()
        return gain


Record = Layer | Block | Gain


def entropy_layout(h: Header) -> Iterator[tuple[type, int, int]]:
    """(kind, outputs, inputs) of every record of `ENTR` (4.4)."""
    yield Layer, 4 * h.ce, h.nz
    yield Block, h.ce, h.ce
    yield Layer, 4 * h.ce, h.ce
    yield Block, h.ce, h.ce
    for k in range(4):
        yield Layer, h.ce, h.ce + (h.m if k else 0)
    for _ in range(h.n_trunk):
        yield Block, h.ce, h.ce
    yield Layer, 2 * h.m, h.ce
    for _ in range(3):
        yield Layer, h.nz, h.nz
    for _ in range(h.n_z):
        yield Block, h.nz, h.nz
    yield Layer, 2 * h.nz, h.nz


def synthesis_layout(h: Header) -> Iterator[tuple[type, int, int]]:
    """(kind, outputs, inputs) of every record of `SYNT` (4.4)."""
    yield Gain, h.m, h.m
    yield Layer, h.c16, h.m
    for _ in range(h.n16):
        yield Block, h.c16, h.c16
    yield Layer, 4 * h.c8, h.c16
    yield from _at_eighth(h, h.n8_first, h.n8_second)
    yield Layer, 192, h.c8


def encoder_layout(h: Header, e: EncoderHeader) -> Iterator[tuple[type, int, int]]:
    """(kind, outputs, inputs) of every record of `enco` (4.4): analysis, then hyper-analysis."""
    yield Layer, h.c8, 192
    yield from _at_eighth(h, e.a8_first, e.a8_second)
    yield Layer, h.c16, 4 * h.c8
    for _ in range(e.a16):
        yield Block, h.c16, h.c16
    yield Layer, h.m, h.c16
    yield Gain, h.m, h.m
    yield Layer, h.ce, h.m
    yield Block, h.ce, h.ce
    yield Layer, h.ce, 4 * h.ce
    yield Block, h.ce, h.ce
    yield Layer, h.nz, 4 * h.ce


def _at_eighth(h: Header, first: int, second: int) -> Iterator[tuple[type, int, int]]:
    for _ in range(first):
        yield Block, h.c8, h.c8
    yield Gain, h.c8, h.c8
    for _ in range(second):
        yield Block, h.c8, h.c8


def shape_of(record: Record) -> tuple[type, int, int]:
    if isinstance(record, Layer):
        return Layer, record.outputs, record.inputs
    channels = record.inp.inputs if isinstance(record, Block) else record.values.shape[1]
    return type(record), channels, channels


def write_records(records: list[Record], layout: Iterator[tuple[type, int, int]], chunk: str) -> bytes:
    require([shape_of(r) for r in records] == list(layout), f"the records of {chunk} are not those that the header announces")
    return b"".join(r.to_bytes() for r in records)


def read_records(data: bytes, layout: Iterator[tuple[type, int, int]], chunk: str, qualities: int) -> list[Record]:
    reader, records = Reader(data), []
    for expected in layout:
        kind = expected[0]
        record = Gain.read(reader, qualities) if kind is Gain else kind.read(reader)
        require(shape_of(record) == expected, f"{chunk}: record {len(records)} has not the size that the header announces")
        records.append(record)
    reader.finish(chunk)
    return records


@dataclass
class Encoder:
    """What encoding alone needs: `enco`."""

    header: EncoderHeader
    records: list[Record]

    def to_bytes(self, h: Header) -> bytes:
        return self.header.to_bytes(h) + write_records(self.records, encoder_layout(h, self.header), "enco")

    @classmethod
    def from_bytes(cls, data: bytes, h: Header) -> Encoder:
        header = EncoderHeader.read(Reader(data), h)
        return cls(header, read_records(data[EncoderHeader.BYTES:], encoder_layout(h, header), "enco", h.qualities))


@dataclass
class Model:
    """A whole model file. `tables[quantiser * scales + i]` holds the 2R + 2 probabilities (unit 1/65536) of scale index i under a quantiser (`trellis.HYPER`, that of z,
    `EVEN` and `ODD`, those of y), `z_index` is u8 [qualities, nz]."""

    header: Header
    tables: list[np.ndarray]
    z_index: np.ndarray
    entropy: list[Record]
    synthesis: list[Record]
    encoder: Encoder | None = None
    note: dict[str, str] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        h = self.header
        out = [SIGNATURE, chunk(b"MHDR", h.to_bytes()), chunk(b"TABL", write_tables(self.tables, h.scales))]
        require(self.z_index.shape == (h.qualities, h.nz) and bool((self.z_index < h.scales).all()), "z_index is u8 [qualities, nz], below `scales`")
        out.append(chunk(b"ZIDX", self.z_index.astype(np.uint8).tobytes()))
        out.append(chunk(b"ENTR", write_records(self.entropy, entropy_layout(h), "ENTR")))
        out.append(chunk(b"SYNT", write_records(self.synthesis, synthesis_layout(h), "SYNT")))
        if self.encoder is not None:
            out.append(chunk(b"enco", self.encoder.to_bytes(h)))
        if self.note:
            out.append(chunk(b"note", "".join(f"{key}: {value}\n" for key, value in self.note.items()).encode()))
        return b"".join([*out, chunk(b"MEND", b"")])

    @classmethod
    def from_bytes(cls, data: bytes) -> Model:
        chunks = read_chunks(data)
        h = Header.from_bytes(chunks["MHDR"])
        z_index = np.frombuffer(chunks["ZIDX"], np.uint8)
        require(z_index.size == h.qualities * h.nz and bool((z_index < h.scales).all()), "ZIDX has the wrong size or an index beyond the scales")
        note = dict(line.split(": ", 1) for line in chunks.get("note", b"").decode().splitlines())
        return cls(
            h, read_tables(chunks["TABL"], h.scales), z_index.reshape(h.qualities, h.nz),
            read_records(chunks["ENTR"], entropy_layout(h), "ENTR", h.qualities),
            read_records(chunks["SYNT"], synthesis_layout(h), "SYNT", h.qualities),
            Encoder.from_bytes(chunks["enco"], h) if "enco" in chunks else None, note)


def chunk(kind: bytes, payload: bytes) -> bytes:
    return kind + struct.pack("<I", len(payload)) + payload + struct.pack("<I", zlib.crc32(kind + payload))


def read_chunks(data: bytes) -> dict[str, bytes]:
    """Type -> payload, with the order, the check sums and the end of the file checked."""
    require(data[:8] == SIGNATURE, "this is no model file")
    reader, chunks = Reader(data[8:]), {}
    order = ["MHDR", "TABL", "ZIDX", "ENTR", "SYNT", "enco", "note", "MEND"]
    seen: list[str] = []
    while not seen or seen[-1] != "MEND":
        kind, length = reader.unpack("<4sI")
        payload = reader.take(length)
        (crc,) = reader.unpack("<I")
        require(crc == zlib.crc32(kind + payload), f"the chunk {kind!r} is damaged")
        name = kind.decode("latin-1")
        if name in order:
            seen.append(name)
            chunks[name] = payload
        else:
            require(name[0].islower(), f"the critical chunk {name} is unknown")
    require(seen == [n for n in order if n in seen], "chunks in the wrong order or twice")
    require(all(n in seen for n in order if n[0].isupper()), "a chunk is missing")
    reader.finish("the file")
    return chunks


def model_id(data: bytes) -> str:
    """The id of a model file, 16 digits: of the SHA-256 of the file without its ancillary chunks, so that it names what decodes."""
    reader, digest, name = Reader(data[8:]), hashlib.sha256(data[:8]), b""
    while name != b"MEND":
        start = reader.at
        name, length = reader.unpack("<4sI")
        reader.take(length + 4)
        if name[:1].isupper():
            digest.update(reader.data[start:reader.at])
    return digest.hexdigest()[:16]


def write_tables(tables: list[np.ndarray], scales: int) -> bytes:
    require(len(tables) == QUANTISERS * scales, "one table a scale for z, and for each quantiser of y")
    out = []
    for p in tables:
        check_table(p)
        out.append(struct.pack("<H", (len(p) - 2) // 2) + p.astype("<u2").tobytes())
    return b"".join(out)


def read_tables(data: bytes, scales: int) -> list[np.ndarray]:
    reader, tables = Reader(data), []
    for _ in range(QUANTISERS * scales):
        (r,) = reader.unpack("<H")
        tables.append(reader.array("<u2", (2 * r + 2,)).astype(np.int64))
        check_table(tables[-1])
    reader.finish("TABL")
    return tables


def check_table(p: np.ndarray) -> None:
    require(len(p) % 2 == 0 and 4 <= len(p) <= 2 * 8191 + 2, "R is not in 1..8191")
    require(int(p.min()) >= 1 and int(p.sum()) == 65536, "the probabilities of a table are at least 1 and add up to 65536")


class Reader:
    """A cursor over bytes that refuses to run past the end or to stop before it."""

    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def take(self, n: int) -> bytes:
        require(self.at + n <= len(self.data), "the file ends too early")
        self.at += n
        return self.data[self.at - n:self.at]

    def unpack(self, code: str) -> tuple:
        return struct.unpack(code, self.take(struct.calcsize(code)))

    def array(self, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
        return np.frombuffer(self.take(int(np.prod(shape)) * np.dtype(dtype).itemsize), dtype).reshape(shape)

    def finish(self, what: str) -> None:
        require(self.at == len(self.data), f"{what} is longer than its content")
