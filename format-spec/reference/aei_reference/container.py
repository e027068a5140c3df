"""The container: signature, chunks, HEAD, TIDX, TILE, IEND (section 2)."""

import struct
import zlib
from dataclasses import dataclass

FILE_SIGNATURE = b"\x89AEI\r\n\x1a\n"
MAX_PAYLOAD = 2**31 - 1
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


def read_chunks(data, end_type, truncated_rule):
    """Yields (type, payload) of each chunk behind the signature, the last one being
    `end_type`. Nothing is copied: a claimed length costs no memory (section 7)."""
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
        if zlib.crc32(payload, zlib.crc32(chunk_type)) != crc:
            raise Refused("R2.3", f"chunk {chunk_type.decode()}: wrong CRC")
        yield chunk_type, payload
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


def parse_head(payload):
    """R2.6."""
    if len(payload) != 24:
        raise Refused("R2.6", f"HEAD has {len(payload)} bytes instead of 24")
    (version, flags, width, height, channels, bit_depth, orientation, tile_log2, quality,
     reserved, model_id) = struct.unpack("<BBIIBBBBBB8s", payload)
    for name, value, allowed in (
            ("format version", version, (1,)),
            ("flags", flags, (0,)),
            ("width", width, range(1, 65536)),
            ("height", height, range(1, 65536)),
            ("channels", channels, (1, 3)),
            ("bit depth", bit_depth, range(1, 17)),
            ("orientation", orientation, range(1, 9)),
            ("tile size", tile_log2, range(8, 13)),
            ("quality index", quality, range(64)),
            ("reserved byte", reserved, (0,))):
        if value not in allowed:
            raise Refused("R2.6", f"HEAD: {name} is {value}")
    return Head(width, height, channels, bit_depth, orientation, tile_log2, quality, model_id)


def parse_file(data):
    """The file's Head and, tile by tile, the bytes of the entropy coder's words."""
    if bytes(data[:8]) != FILE_SIGNATURE:
        raise Refused("R2.1", "not an aei file: wrong signature")
    head = None
    lengths = None  # of the TILE payloads, from TIDX
    streams = []
    tiles_closed = False  # another chunk followed the TILE chunks
    for chunk_type, payload in read_chunks(data, b"IEND", "R2.5"):
        known = chunk_type in (b"HEAD", b"TIDX", b"TILE", b"IEND")
        if is_critical(chunk_type) and not known:
            raise Refused("R2.4", f"unknown critical chunk {chunk_type.decode()}")
        if head is None:
            if chunk_type != b"HEAD":
                raise Refused("R2.5", f"chunk {chunk_type.decode()} before HEAD")
            head = parse_head(payload)
        elif chunk_type == b"HEAD":
            raise Refused("R2.5", "second HEAD")
        elif chunk_type == b"TIDX":
            if lengths is not None or streams:
                raise Refused("R2.5", "second TIDX" if lengths is not None
                              else "TIDX behind a TILE")
            if head.tile_count < 2:
                raise Refused("R2.7", "TIDX in a picture of one tile")
            if len(payload) != 4 * head.tile_count:
                raise Refused("R2.7", f"TIDX has {len(payload)} bytes for "
                                      f"{head.tile_count} tiles")
            lengths = payload
        elif chunk_type == b"TILE":
            if tiles_closed:
                raise Refused("R2.5", "TILE chunks do not stand together")
            if head.tile_count > 1 and lengths is None:
                raise Refused("R2.7", "TIDX is missing")
            if len(payload) < 4 or len(payload) % 4:
                raise Refused("R2.8", f"TILE has {len(payload)} bytes")
            expected = len(streams)
            (number,) = struct.unpack_from("<I", payload)
            if number != expected or number >= head.tile_count:
                raise Refused("R2.8", f"tile number {number} in place {expected} "
                                      f"of {head.tile_count}")
            if lengths is not None:
                (length,) = struct.unpack_from("<I", lengths, 4 * number)
                if length != len(payload):
                    raise Refused("R2.7", f"tile {number}: TIDX says {length} bytes, "
                                          f"the chunk has {len(payload)}")
            streams.append(payload[4:])
        elif chunk_type == b"IEND":
            if len(payload):
                raise Refused("R2.9", "IEND has a payload")
        elif streams:
            tiles_closed = True
        elif lengths is not None:
            raise Refused("R2.5", f"chunk {chunk_type.decode()} between TIDX and TILE")
    if len(streams) != head.tile_count:
        raise Refused("R2.8", f"{len(streams)} of {head.tile_count} tiles are present")
    return head, streams
