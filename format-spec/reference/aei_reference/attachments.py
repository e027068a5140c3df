"""What stands beside the tiles: metadata, alpha, preview (sections 2.7 to 2.9)."""

import zlib

import numpy as np

from .container import METADATA, Refused, parse_file


def inflate(stream, length, rule):
    """A zlib stream of exactly that length; never unpacks more (section 7)."""
    unpacker = zlib.decompressobj()
    try:
        # One byte more, to see whether there is more. A stream of nothing is legal.
        data = unpacker.decompress(stream, length + 1)
    except zlib.error as error:
        raise Refused(rule, f"zlib: {error}") from None
    if len(data) != length:
        raise Refused(rule, f"zlib: not the length of {length} bytes")
    if not unpacker.eof or unpacker.unused_data or unpacker.unconsumed_tail:
        raise Refused(rule, "zlib: no proper end, or bytes behind it")
    return data


def metadata(file, limit=1 << 26):
    """R2.10: the blocks by chunk type."""
    blocks = {}
    for chunk_type in METADATA:
        payload = file.metadata.get(chunk_type)
        if payload is None:
            continue
        if payload[0] == 0:
            blocks[chunk_type] = bytes(payload[1:])
            continue
        length = int.from_bytes(payload[1:5], "little")
        if length > limit:
            raise Refused("7", f"{length} bytes of metadata")
        blocks[chunk_type] = inflate(payload[5:], length, "R2.10")
    return blocks


def paeth(a, b, c):
    p = a + b - c
    return min((a, b, c), key=lambda v: abs(p - v))  # the first of several


PREDICTORS = (lambda a, b, c: 0, lambda a, b, c: a, lambda a, b, c: b,
              lambda a, b, c: (a + b) >> 1, paeth)


def packed_rows(stream, rows, width, depth):
    """R2.12: samples [rows, width], of which the stream has the filtered rows."""
    size = depth // 8
    line = width * size
    data = inflate(stream, rows * (line + 1), "R2.12")
    above = bytes(line)
    plane = bytearray()
    for at in range(0, len(data), line + 1):
        if data[at] >= len(PREDICTORS):
            raise Refused("R2.12", f"filter {data[at]}")
        predictor = PREDICTORS[data[at]]
        raw = bytearray(data[at + 1:at + 1 + line])
        for i in range(line):
            a, c = (raw[i - size], above[i - size]) if i >= size else (0, 0)
            raw[i] = (raw[i] + predictor(a, above[i], c)) & 0xFF
        plane += raw
        above = raw
    samples = np.frombuffer(bytes(plane), ">u2" if depth == 16 else "u1")
    return samples.reshape(rows, width).astype(np.int64)


def to_depth(samples, stored, wanted):
    """R5.11: samples that were stored without loss, of another depth."""
    if (stored, wanted) == (8, 16):
        return 257 * samples
    if (stored, wanted) == (16, 8):
        return (255 * samples + 32767) // 65535
    return samples


def alpha_plane(file, depth):
    """The alpha plane [height, width] with samples of the depth (R5.11)."""
    head, size = file.head, 1 << file.head.tile_log2
    bands = [packed_rows(stream, min(size, head.height - number * size), head.width,
                         file.alpha_depth)
             for number, stream in enumerate(file.alpha)]
    return to_depth(np.concatenate(bands), file.alpha_depth, depth)


def check_preview(file, orientation):
    """R2.13, of the file inside the chunk of a picture of this orientation."""
    if max(file.head.width, file.head.height) > 256:
        raise Refused("R2.13", "a preview of more than 256 pixels a side")
    if file.head.orientation != orientation:
        raise Refused("R2.13", "a preview of another orientation than the picture's")
    if file.metadata or file.alpha or file.preview is not None:
        raise Refused("R2.13", "a preview with alpha, metadata or a preview")


def preview_file(file):
    """R2.13: the bytes of the preview's file; None if there is none."""
    if file.preview is None:
        return None
    if not file.preview_intact:
        raise Refused("R2.13", "chunk prev: wrong CRC")
    data = bytes(file.preview)
    check_preview(parse_file(data), file.head.orientation)
    return data
