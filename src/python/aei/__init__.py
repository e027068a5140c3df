"""aei: learned image compression that decodes to the same bits on every machine.

>>> import aei, numpy as np
>>> data = aei.encode(np.zeros((48, 64, 3), np.uint8), quality=60)
>>> aei.decode(data).shape
(48, 64, 3)

Importing it also teaches Pillow, if that is installed, to open and save .aei files.
"""
from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import index
from typing import TYPE_CHECKING, Any, Literal, SupportsFloat, SupportsIndex, Union, overload

import numpy as np
import numpy.typing as npt

from . import _aei

if TYPE_CHECKING:
    from PIL import Image
    from typing_extensions import Buffer

    from ._aei import _Decoded

    #: Checkers that think of Python before 3.12 do not know of arrays that `memoryview` takes them.
    _Bytes = Union[Buffer, npt.NDArray[np.uint8]]
else:
    # For who asks for hints at run time, as makers of documentation and of checks do.
    _Bytes = Union[bytes, bytearray, memoryview, npt.NDArray[np.uint8]]
    _Decoded = Any
    try:
        from PIL import Image
    except ImportError:

        class Image:
            Image = Exif = Any


__version__ = _aei.__version__
__all__ = ["DamageWarning", "Info", "decode", "encode", "info", "preview"]

Samples = npt.NDArray[Union[np.uint8, np.uint16]]  #: an array of either type, or one of which it is not known


@dataclass(frozen=True)
class Info:
    """What a file says about itself."""

    width: int  #: pixels, before the orientation is applied
    height: int  #: likewise
    channels: int  #: 1 gray, 2 gray and alpha, 3 RGB, 4 RGBA
    source_depth: int  #: bits per sample of the source
    orientation: int  #: 1 to 8, as EXIF tag 0x0112
    lossless: bool  #: whether the samples are those of the original
    quality_index: int  #: 0 to 63
    tile_size: int  #: side of a full tile in pixels
    tiles: int  #: number of tiles
    model_id: str  #: of the model that the file was made with: 16 hexadecimal digits
    file_bytes: int  #: size of the file
    preview_bytes: int | None  #: size of the preview
    icc: bytes | None  #: colour profile
    exif: bytes | None  #: EXIF block, from its TIFF header on
    xmp: bytes | None  #: XMP packet


class DamageWarning(UserWarning):
    """A part of a file is lost, and what is left was decoded. `lost` tells all of it, one line each, with places in the picture as stored."""

    def __init__(self, lost: Sequence[str]) -> None:
        super().__init__("; ".join([*lost[:5], *([f"and {len(lost) - 5} more"] if len(lost) > 5 else [])]))
        self.lost = list(lost)

    def __reduce__(self) -> tuple[Any, ...]:
        """To be made again of what it was made of, as where a process of a pool raises it. Else that would be the message."""
        return type(self), (self.lost,), self.__dict__


class _OfTheImage:
    def __repr__(self) -> str:
        return "of the image"


_OF_THE_IMAGE = _OfTheImage()


def _bytes(data: Any, what: str) -> bytes:
    """What has to be bytes, as those: str, paths and numbers are none, whatever `bytes` would make of them."""
    try:
        return data if isinstance(data, bytes) else bytes(memoryview(data))
    except TypeError:
        raise TypeError(f"{what} has to be bytes, not {type(data).__name__}") from None


def _block(given: Any, what: str) -> bytes | None:
    """A block of metadata as bytes, or None."""
    if isinstance(given, Mapping) and hasattr(given, "tobytes"):  # An Image.Exif.
        given = given.tobytes() if len(given) else None
    elif isinstance(given, str) and what == "xmp":
        given = given.encode()
    block = b"" if given is None else _bytes(given, what)
    if what == "exif" and block.startswith(b"Exif\0\0"):
        block = block[6:]
    return block or None


def _flag(given: Any, what: str, others: Sequence[Any] = ()) -> Any:
    """A bool. That "never" would be taken for True is nothing that a caller means."""
    if given not in (False, True, *others):
        raise TypeError(f"{what} is {given!r}, not {', '.join(map(str, others))}{', ' if others else ''}False or True")
    return given if given in others else bool(given)


def encode(
    image: Samples | Image.Image,
    quality: SupportsIndex | None = None,
    *,
    quality_index: SupportsIndex | None = None,
    tile_size: SupportsIndex = 1024,
    orientation: SupportsIndex | None = None,
    icc: _Bytes | None | _OfTheImage = _OF_THE_IMAGE,
    exif: _Bytes | Image.Exif | None | _OfTheImage = _OF_THE_IMAGE,
    xmp: _Bytes | str | None | _OfTheImage = _OF_THE_IMAGE,
    preview: bool = False,
    lossless: bool | None = None,
    effort: SupportsIndex = 0,
    tune: Literal["psnr", "visual"] = "psnr",
    keep_invisible: bool = False,
    max_bytes: SupportsIndex | None = None,
    bits_per_pixel: SupportsFloat | SupportsIndex | None = None,
    psnr: SupportsFloat | SupportsIndex | None = None,
    ssimulacra2: SupportsFloat | SupportsIndex | None = None,
) -> bytes:
    """Encode an array or a Pillow image.

    image: array of shape (height, width) or (height, width, channels) with 1 to 4 channels, uint8 or uint16; or a PIL.Image. Alpha is straight.
    icc, exif, xmp: blocks to store, as bytes; exif may be a PIL.Image.Exif, xmp a str. Those of a PIL.Image are taken along unless given here; None and b""
    leave them out.
    orientation: 1 to 8, as EXIF tag 0x0112; that of the EXIF block if not given.
    quality: 0 (smallest file) to 100 (closest to the original), 60 if not given; or quality_index: 0 to 63.
    lossless: True stores the samples as they are, False never does; None where it is worth it, as for screenshots and icons.
    effort: 0 to 5, how much work goes into a smaller file at the same quality.
    tune: what an effort above 0 is for: "psnr", or "visual", the look.
    max_bytes, bits_per_pixel: in place of a quality, the best file of at most so many bytes, or bits for each pixel. It takes several times as long.
    psnr, ssimulacra2: in place of a quality, the smallest file whose decoded picture has at least this PSNR over red, green and blue in decibels, or this score of
    SSIMULACRA2, of which 100 is the best. It takes several times as long, too, and for SSIMULACRA2 150 bytes of memory a pixel. What cannot be reached is a
    ValueError.
    keep_invisible: whether transparent pixels keep their colours as well as the quality keeps any. Otherwise those of wholly transparent ones become what costs
    least, and those of nearly transparent ones change by less than one level over any background.
    """
    given = {what: _block(block, what) for what, block in (("icc", icc), ("exif", exif), ("xmp", xmp)) if block is not _OF_THE_IMAGE}
    found: dict[str, Any] = {}
    if not isinstance(image, np.ndarray) and hasattr(image, "getbands"):
        from .pillow import array_of

        image, found = array_of(image)
        # A block that is given says itself how the picture is to be turned.
        if orientation is None and not given.get("exif"):
            orientation = found.get("orientation")
    icc, exif, xmp = (given[what] if what in given else _block(found.get(what), what) for what in ("icc", "exif", "xmp"))
    image = np.asarray(image)
    # Of either byte order.
    image = image.astype(image.dtype.newbyteorder("="), copy=False)
    if image.dtype not in (np.uint8, np.uint16):
        raise TypeError(f"samples are {image.dtype}, not uint8 or uint16")
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3 or not 1 <= image.shape[2] <= 4:
        raise ValueError(f"an array of shape {image.shape} is not (height, width) or (height, width, 1 to 4)")
    wishes = {"quality": quality, "quality_index": quality_index, "max_bytes": max_bytes, "bits_per_pixel": bits_per_pixel, "psnr": psnr, "ssimulacra2": ssimulacra2}
    wanted = [what for what, wish in wishes.items() if wish is not None]
    if len(wanted) > 1:
        raise TypeError(f"give one of these, not several: {', '.join(wanted)}")
    if quality_index is None:
        quality_index = _aei.quality_index(quality)
    height, width, channels = image.shape
    if max(height, width) > 65535:  # An array may claim much more than there is memory for.
        raise ValueError(f"a picture of {width}x{height} pixels cannot be stored: sides are 1 to 65535")
    return _aei.encode(image.tobytes(), width, height, channels, 8 * image.dtype.itemsize, quality_index,
                       tile_size, orientation, icc, exif, xmp, _flag(preview, "preview"),
                       _flag(lossless, "lossless", [None]), effort, tune, _flag(keep_invisible, "keep_invisible"), max_bytes, bits_per_pixel, psnr, ssimulacra2)


@overload
def decode(
    data: _Bytes,
    *,
    depth: Literal[8],
    region: Iterable[SupportsIndex] | None = None,
    upright: bool = True,
    max_pixels: SupportsIndex | None = None,
    max_memory: SupportsIndex | None = None,
    salvage: bool = False,
) -> npt.NDArray[np.uint8]: ...
@overload
def decode(
    data: _Bytes,
    *,
    depth: Literal[16],
    region: Iterable[SupportsIndex] | None = None,
    upright: bool = True,
    max_pixels: SupportsIndex | None = None,
    max_memory: SupportsIndex | None = None,
    salvage: bool = False,
) -> npt.NDArray[np.uint16]: ...
@overload
def decode(
    data: _Bytes,
    *,
    depth: SupportsIndex | None = None,
    region: Iterable[SupportsIndex] | None = None,
    upright: bool = True,
    max_pixels: SupportsIndex | None = None,
    max_memory: SupportsIndex | None = None,
    salvage: bool = False,
) -> Samples: ...
def decode(
    data: _Bytes,
    *,
    depth: SupportsIndex | None = None,
    region: Iterable[SupportsIndex] | None = None,
    upright: bool = True,
    max_pixels: SupportsIndex | None = None,
    max_memory: SupportsIndex | None = None,
    salvage: bool = False,
) -> Samples:
    """Decode a file to an array of shape (height, width) if gray, else (height, width, channels).

    data: bytes of the file. depth: 8 for uint8, 16 for uint16; if not given, 16 for lossless files of more than 8 bits, as these have them all, and 8 for others.
    region: (x, y, width, height) in pixels of the picture as stored; the samples equal those of the whole picture. upright: turn the picture as its
    orientation says (not with a region). max_pixels, max_memory: larger pictures, and those whose decoding takes more bytes of memory, are refused
    with a MemoryError; 2**28 and 2**31 if not given. salvage: decode what is left of a damaged file, and tell by a DamageWarning what is lost.
    """
    if region is not None:
        numbers = tuple(map(index, region))
        if len(numbers) != 4:
            raise ValueError(f"a region has x, y, width and height, not {len(numbers)} numbers")
    else:
        numbers = None
    decoded, lost = _aei.decode(_bytes(data, "a file"), depth, numbers, max_pixels, max_memory, _flag(salvage, "salvage"))
    if lost:
        warnings.warn(DamageWarning(lost), stacklevel=2)
    return _array(decoded, upright and region is None)


def preview(data: _Bytes, *, upright: bool = True) -> npt.NDArray[np.uint8] | None:
    """Decode the preview of a file, of at most 128 pixels in width and height, to an array as `decode` gives it. None if the file has no preview."""
    found = _aei.preview(_bytes(data, "a file"))
    return None if found is None else _array(found, upright)


def _array(decoded: _Decoded, upright: bool) -> npt.NDArray[Any]:
    samples, size, width, height, channels, orientation = decoded
    array: npt.NDArray[Any] = np.frombuffer(samples, np.uint8 if size == 1 else np.uint16).reshape(height, width, channels)
    if upright:
        # In rows from the top, as others want to have it: PyTorch, for one, takes no array that runs backwards.
        array = np.ascontiguousarray(turned(array, orientation))
    return array[:, :, 0] if channels == 1 else array


def turned(array: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """The array as EXIF's orientation says that it is to be displayed."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    return array


def info(data: _Bytes) -> Info:
    """What a file says about itself; nothing is decoded."""
    return Info(**_aei.info(_bytes(data, "a file")))


try:
    from . import pillow as _pillow
except ImportError:  # Pillow is not installed, which is fine.
    pass
else:
    _pillow.register()
