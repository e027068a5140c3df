"""The container: signature, chunks and what is in them (section 2)."""

import struct
import zlib
from dataclasses import dataclass, field

FILE_SIGNATURE = b"\x89AEI\r\n\x1a\n"
MAX_PAYLOAD = 2**31 - 1
METADATA = (b"ICCP", b"EXIF", b"XMP ")
KNOWN = (b"HEAD", *METADATA, b"ALPH", b"TIDX", b"TILE", b"IEND")
LETTERS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


class Refused(Exception):
    """The file breaks a rule. `rule` is the rule's label in SPEC.md, or the number
    of the section where SPEC.md gives the requirement no label."""

    def __init__(self, rule, message):
        super().__init__(f"{rule}: {message}")
        self.rule = rule
        self.message = message

    def __reduce__(self):  # so that it travels between processes
        return Refused, (self.rule, self.message)


def is_critical(chunk_type):
    """R2.4: an upper-case first letter."""
    return chunk_type[0] < ord("a")


def read_chunks(data, end_type, truncated_rule, excepted=()):
    """Yields (type, payload, whether the CRC is right) of each chunk behind the signature,
    the last one being `end_type`. Only the excepted types are yielded with a wrong CRC (R2.3).
    Nothing is copied: a claimed length costs no memory (section 7)."""
    view = memoryview(data)
    position = 8
    while True:
        if len(view) - position < 8:
            raise Refused(truncated_rule, f"truncated: no {end_type.decode()} chunk")
        chunk_type = bytes(view[position:position + 4])
        (length,) = struct.unpack_from("<I", view, position + 4)
        if not LETTERS.issuperset(chunk_type[:3]) or chunk_type[3] not in LETTERS | {0x20}:
            raise Refused("R2.2", f"{chunk_type!r} is not a chunk type")
        if length > MAX_PAYLOAD:
            raise Refused("R2.2", f"chunk {chunk_type!r}: length {length} is above 2^31 - 1")
        end = position + 8 + length
        if len(view) < end + 4:
            raise Refused(truncated_rule, f"truncated inside chunk {chunk_type.decode()}")
        (crc,) = struct.unpack_from("<I", view, end)
        payload = view[position + 8:end]
        intact = zlib.crc32(payload, zlib.crc32(chunk_type)) == crc
        if not intact and chunk_type not in excepted:
            raise Refused("R2.3", f"chunk {chunk_type.decode()}: wrong CRC")
        yield chunk_type, payload, intact
        if chunk_type == end_type:
            return  # R2.5: what follows IEND is ignored
        position = end + 4


@dataclass(frozen=True)
class Head:
    width: int
    height: int
    channels: int
    bit_depth: int
    orientation: int
    tile_log2: int
    quality: int
    model_id: bytes
    lossless: bool = False
    trellis: int = 0

    @property
    def has_alpha(self):
        return self.channels in (2, 4)

    @property
    def padded_width(self):
        return -(-self.width // 64) * 64

    @property
    def padded_height(self):
        return -(-self.height // 64) * 64

    @property
    def tiles_across(self):
        return -(-self.padded_width >> self.tile_log2)  # rounded up

    @property
    def tiles_down(self):
        return -(-self.padded_height >> self.tile_log2)

    @property
    def tile_count(self):
        return self.tiles_across * self.tiles_down

    def tile_rectangle(self, number):
        """(top, left, height, width) of a tile in pixels (section 2.2)."""
        size = 1 << self.tile_log2
        top = number // self.tiles_across * size
        left = number % self.tiles_across * size
        return (top, left, min(size, self.padded_height - top),
                min(size, self.padded_width - left))

    def tile_in_picture(self, number):
        """(top, left, height, width) of a tile without the padding (section 5.6)."""
        top, left, height, width = self.tile_rectangle(number)
        return top, left, min(height, self.height - top), min(width, self.width - left)


def parse_head(payload):
    """R2.6."""
    if len(payload) and payload[0] != 1:  # what else it says may differ, its length too
        raise Refused("R2.6", f"HEAD: format version {payload[0]} is not known here")
    if len(payload) != 24:
        raise Refused("R2.6", f"HEAD has {len(payload)} bytes instead of 24")
    (_, flags, width, height, channels, bit_depth, orientation, tile_log2, quality,
     trellis, model_id) = struct.unpack("<BBIIBBBBBB8s", payload)
    for name, value, allowed in (
            ("flags", flags, (0, 1)),
            ("width", width, range(1, 65536)),
            ("height", height, range(1, 65536)),
            ("channels", channels, (1, 2, 3, 4)),
            ("bit depth", bit_depth, range(1, 17)),
            ("orientation", orientation, range(1, 9)),
            ("tile size", tile_log2, range(8, 13)),
            ("quality index", quality, range(64)),
            ("trellis", trellis, range(4))):
        if value not in allowed:
            raise Refused("R2.6", f"HEAD: {name} is {value}")
    lossless = flags == 1
    if lossless and (quality != 63 or trellis or any(model_id)):
        raise Refused("R2.6", "HEAD: a lossless picture with a quality, a trellis or a model")
    return Head(width, height, channels, bit_depth, orientation, tile_log2, quality, model_id,
                lossless, trellis)


@dataclass
class File:
    """What a file holds; payloads as they are in it."""
    head: Head
    tiles: list = field(default_factory=list)  # (what is beside the number, the stream)
    metadata: dict = field(default_factory=dict)  # payloads by chunk type
    alpha: list = field(default_factory=list)  # the same of ALPH chunks
    alpha_depth: int | None = None
    preview: memoryview | None = None
    preview_intact: bool = True


def take_metadata(file, chunk_type, payload):
    """R2.10, as far as it is seen without unpacking."""
    name = chunk_type.decode()
    if chunk_type in file.metadata or file.alpha:
        raise Refused("R2.5", f"second or late {name}")
    if len(payload) == 0 or payload[0] > 1 or payload[0] == 1 and len(payload) < 5:
        raise Refused("R2.10", f"{name}: no method that is known, or no length")
    file.metadata[chunk_type] = payload


def take_alpha(file, payload):
    """R2.11."""
    if not file.head.has_alpha:
        raise Refused("R2.11", "ALPH in a picture without alpha")
    if len(file.alpha) == file.head.tile_count:
        raise Refused("R2.11", "more ALPH chunks than tiles")
    if len(payload) < 4 or len(payload) % 4:
        raise Refused("R2.11", f"ALPH has {len(payload)} bytes")
    (word,) = struct.unpack_from("<I", payload)
    number, depth = word & 0xFFFFFF, word >> 24 & 0x1F
    if number != len(file.alpha):
        raise Refused("R2.11", f"alpha of tile {number} in place {len(file.alpha)}")
    if depth not in (8, 16) or file.alpha_depth not in (None, depth):
        raise Refused("R2.11", f"alpha of {depth} bits")
    file.alpha_depth = depth
    file.alpha.append((word >> 24, payload[4:]))


def check_alpha(file):
    """R2.11, when all that stands in front of the tiles has been read."""
    if len(file.alpha) != (file.head.tile_count if file.head.has_alpha else 0):
        raise Refused("R2.11", f"{len(file.alpha)} ALPH chunks are present")


def parse_file(data):
    """The File of a file's bytes."""
    if bytes(data[:8]) != FILE_SIGNATURE:
        raise Refused("R2.1", "not an aei file: wrong signature")
    file = None
    lengths = None  # of the TILE payloads, from TIDX
    for chunk_type, payload, intact in read_chunks(data, b"IEND", "R2.5", (b"prev",)):
        if is_critical(chunk_type) and chunk_type not in KNOWN:
            raise Refused("R2.4", f"unknown critical chunk {chunk_type.decode()}")
        if file is None:
            if chunk_type != b"HEAD":
                raise Refused("R2.5", f"chunk {chunk_type.decode()} before HEAD")
            file = File(parse_head(payload))
            continue
        count = file.head.tile_count
        inside = (lengths is not None or file.tiles) and len(file.tiles) < count
        if chunk_type == b"TILE":
            take_tile(file, payload, lengths)
        elif chunk_type == b"HEAD":
            raise Refused("R2.5", "second HEAD")
        elif chunk_type == b"IEND":
            if len(payload):
                raise Refused("R2.9", "IEND has a payload")
        elif inside:
            raise Refused("R2.5", f"chunk {chunk_type.decode()} between TIDX and the last TILE")
        elif file.tiles:
            if is_critical(chunk_type):
                raise Refused("R2.5", f"chunk {chunk_type.decode()} behind the tiles")
        elif chunk_type == b"TIDX":
            check_alpha(file)
            if count < 2:
                raise Refused("R2.7", "TIDX in a picture of one tile")
            if len(payload) != 4 * count:
                raise Refused("R2.7", f"TIDX has {len(payload)} bytes for {count} tiles")
            lengths = payload
        elif chunk_type in METADATA:
            take_metadata(file, chunk_type, payload)
        elif chunk_type == b"ALPH":
            take_alpha(file, payload)
        elif chunk_type == b"prev" and file.preview is None:
            file.preview, file.preview_intact = payload, intact
    if len(file.tiles) != file.head.tile_count:
        raise Refused("R2.8", f"{len(file.tiles)} of {file.head.tile_count} tiles are present")
    return file


def take_tile(file, payload, lengths):
    """R2.7, R2.8."""
    count, expected = file.head.tile_count, len(file.tiles)
    if expected == 0 and lengths is None:
        check_alpha(file)
    if expected < count and count > 1 and lengths is None:
        raise Refused("R2.7", "TIDX is missing")
    if len(payload) < 4 or len(payload) % 4:
        raise Refused("R2.8", f"TILE has {len(payload)} bytes")
    (word,) = struct.unpack_from("<I", payload)
    number = word & 0xFFFFFF
    if number != expected or number >= count:
        raise Refused("R2.8", f"tile number {number} in place {expected} of {count}")
    if lengths is not None:
        (length,) = struct.unpack_from("<I", lengths, 4 * number)
        if length != len(payload):
            raise Refused("R2.7", f"tile {number}: TIDX says {length} bytes, "
                                  f"the chunk has {len(payload)}")
    file.tiles.append((word >> 24, payload[4:]))
