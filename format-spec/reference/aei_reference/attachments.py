"""What stands beside the tiles: metadata, preview (sections 2.7, 2.9)."""

import zlib

from .container import METADATA, Refused, parse_file


def inflate(stream, length):
    """R2.10: a zlib stream of exactly that length; never unpacks more (section 7)."""
    unpacker = zlib.decompressobj()
    try:
        # One byte more, to see whether there is more. A stream of nothing is legal.
        data = unpacker.decompress(stream, length + 1)
    except zlib.error as error:
        raise Refused("R2.10", f"zlib: {error}") from None
    if len(data) != length:
        raise Refused("R2.10", f"zlib: not the length of {length} bytes")
    if not unpacker.eof or unpacker.unused_data or unpacker.unconsumed_tail:
        raise Refused("R2.10", "zlib: no proper end, or bytes behind it")
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
        blocks[chunk_type] = inflate(payload[5:], length)
    return blocks


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
