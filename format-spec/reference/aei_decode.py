#!/usr/bin/env python3
"""Decodes an aei picture: aei_decode.py [--model model.aem] file.aei [out.png|.ppm|.pgm]

Exit codes: 0 decoded, 1 the file or the model is refused, 2 wrong usage.
"""

import argparse
import hashlib
import struct
import sys
import zlib
from pathlib import Path

from aei_reference.container import Refused
from aei_reference.decode import MAX_PIXELS, decode
from aei_reference.model import parse_model

DEFAULT_MODEL = Path(__file__).resolve().parents[2] / "models" / "aei1" / "model.aem"


def digest(samples):
    """`<sha256>  <width>x<height>x<channels>` of the raw samples."""
    height, width, channels = samples.shape
    return f"{hashlib.sha256(samples.tobytes()).hexdigest()}  {width}x{height}x{channels}"


def pnm_bytes(samples):
    height, width, channels = samples.shape
    header = b"P%d\n%d %d\n%d\n" % (5 if channels == 1 else 6, width, height, largest(samples))
    return header + big_endian(samples)


def largest(samples):
    return 255 if samples.itemsize == 1 else 65535


def big_endian(samples):
    return samples.astype(samples.dtype.newbyteorder(">")).tobytes()


def png_bytes(samples):
    height, width, channels = samples.shape
    line = width * channels * samples.itemsize
    raw = big_endian(samples)
    # Every line begins with its filter's number: 0, none.
    lines = b"".join(b"\0" + raw[at:at + line] for at in range(0, len(raw), line))

    def chunk(chunk_type, payload):
        crc = zlib.crc32(payload, zlib.crc32(chunk_type))
        return struct.pack(">I", len(payload)) + chunk_type + payload + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, 8 * samples.itemsize,
                         {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
            + chunk(b"IDAT", zlib.compress(lines, 6)) + chunk(b"IEND", b""))


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Reference decoder of the aei format.")
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL)
    parser.add_argument("--digest", action="store_true",
                        help="print the SHA-256 of the decoded samples and their dimensions")
    parser.add_argument("--max-pixels", type=int, default=MAX_PIXELS,
                        help="refuse larger pictures (default: %(default)s)")
    parser.add_argument("--depth", type=int, choices=(8, 16), default=8,
                        help="bits of a sample (default: %(default)s)")
    parser.add_argument("file", type=Path)
    parser.add_argument("out", type=Path, nargs="?", help=".png, .ppm (RGB) or .pgm (gray)")
    options = parser.parse_args(arguments)
    if options.out is None and not options.digest:
        parser.error("name an output file or give --digest")
    suffix = options.out.suffix.lower() if options.out else ".png"
    if suffix not in (".png", ".ppm", ".pgm"):
        parser.error("the output file must be .png, .ppm or .pgm")
    try:
        data = options.file.read_bytes()
        model_data = options.model.read_bytes()
    except OSError as error:
        parser.error(str(error))
    try:
        _, samples = decode(data, parse_model(model_data), options.max_pixels, options.depth)
    except Refused as refusal:
        print(f"refused: {refusal}", file=sys.stderr)
        return 1
    wanted = {".ppm": (3,), ".pgm": (1,), ".png": (1, 2, 3, 4)}[suffix]
    if samples.shape[2] not in wanted:
        parser.error(f"a picture of {samples.shape[2]} channels cannot be written as {suffix}")
    if options.out:
        try:
            options.out.write_bytes(png_bytes(samples) if suffix == ".png"
                                    else pnm_bytes(samples))
        except OSError as error:
            parser.error(str(error))
    if options.digest:
        print(digest(samples))
    return 0


if __name__ == "__main__":
    sys.exit(main())
