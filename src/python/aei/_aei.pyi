"""The native module: src/python/mod.rs. It takes and gives samples as bytes, in the machine's order."""

from typing import Literal, SupportsFloat, SupportsIndex, TypedDict

__all__ = ["__version__", "encode", "decode", "preview", "info", "quality_index"]

__version__: str

#: Samples, bytes of each, width, height, channels, orientation.
_Decoded = tuple[bytearray, int, int, int, int, int]

class _About(TypedDict):
    width: int
    height: int
    channels: int
    source_depth: int
    orientation: int
    lossless: bool
    quality_index: int
    tile_size: int
    tiles: int
    model_id: str
    file_bytes: int
    preview_bytes: int | None
    icc: bytes | None
    exif: bytes | None
    xmp: bytes | None

def encode(
    samples: bytes,
    width: int,
    height: int,
    channels: int,
    depth: int,
    quality: SupportsIndex,
    tile_size: SupportsIndex,
    orientation: SupportsIndex | None,
    icc: bytes | None,
    exif: bytes | None,
    xmp: bytes | None,
    preview: bool,
    lossless: bool | None,
    effort: SupportsIndex,
    tune: Literal["psnr", "visual"],
    keep_invisible: bool,
    max_bytes: SupportsIndex | None,
    bits_per_pixel: SupportsFloat | SupportsIndex | None,
    psnr: SupportsFloat | SupportsIndex | None,
    ssimulacra2: SupportsFloat | SupportsIndex | None,
) -> bytes: ...
def decode(
    file: bytes,
    depth: SupportsIndex | None,
    region: tuple[SupportsIndex, SupportsIndex, SupportsIndex, SupportsIndex] | None,
    max_pixels: SupportsIndex | None,
    max_memory: SupportsIndex | None,
    salvage: bool,
) -> tuple[_Decoded, list[str]]: ...
def preview(file: bytes) -> _Decoded | None: ...
def info(file: bytes, salvage: bool = False) -> _About: ...
def quality_index(quality: SupportsIndex | None = None) -> int: ...
