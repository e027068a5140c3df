"""aei: learned image compression that decodes to the same bits on every machine.

>>> import aei, numpy as np
>>> data = aei.encode(np.zeros((48, 64, 3), np.uint8), quality=60)
>>> aei.decode(data).shape
(48, 64, 3)

Importing it also teaches Pillow, if that is installed, to open and save .aei files.
"""
from dataclasses import dataclass

import numpy as np

from . import _aei

__version__ = _aei.__version__
__all__ = ["Info", "decode", "encode", "info"]


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
    file_bytes: int  #: size of the file
    icc: "bytes | None"  #: colour profile
    exif: "bytes | None"  #: EXIF block, from its TIFF header on
    xmp: "bytes | None"  #: XMP packet


class _OfTheImage:
    def __repr__(self):
        return "of the image"


_OF_THE_IMAGE = _OfTheImage()


def encode(image, quality=None, *, quality_index=None, tile_size=1024, orientation=None, icc=_OF_THE_IMAGE, exif=_OF_THE_IMAGE, xmp=_OF_THE_IMAGE, preview=False,
           lossless=None, effort=0, tune="psnr", keep_invisible=False) -> bytes:
    """Encode an array or a Pillow image.

    image: array of shape (height, width) or (height, width, channels) with 1 to 4 channels, uint8 or uint16; or a PIL.Image. Alpha is straight.
    icc, exif, xmp: blocks to store. Those of a PIL.Image are taken along unless given here; None and b"" leave them out.
    orientation: 1 to 8, as EXIF tag 0x0112; that of the EXIF block if not given.
    quality: 0 (smallest file) to 100 (closest to the original), 60 if not given; or quality_index: 0 to 63.
    lossless: True stores the samples as they are, False never does; None where it is worth it, as for screenshots and icons.
    effort: 0 to 5, how much work goes into a smaller file at the same quality.
    tune: what an effort above 0 is for: "psnr", or "visual", the look.
    keep_invisible: whether wholly transparent pixels keep their colours, which nobody sees, as well as the quality keeps any. Otherwise they become what costs least.
    """
    found = {}
    if not isinstance(image, np.ndarray) and hasattr(image, "getbands"):
        from .pillow import array_of

        image, found = array_of(image)
        # A block that is given says itself how the picture is to be turned.
        if orientation is None and (exif is _OF_THE_IMAGE or not exif):
            orientation = found.get("orientation")
    icc, exif, xmp = ((found.get(kind) if given is _OF_THE_IMAGE else given) or None for kind, given in (("icc", icc), ("exif", exif), ("xmp", xmp)))
    if exif and bytes(exif[:6]) == b"Exif\0\0":
        exif = exif[6:]
    image = np.asarray(image)
    # Of either byte order.
    image = image.astype(image.dtype.newbyteorder("="), copy=False)
    if image.dtype not in (np.uint8, np.uint16):
        raise TypeError(f"samples are {image.dtype}, not uint8 or uint16")
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3 or not 1 <= image.shape[2] <= 4:
        raise ValueError(f"an array of shape {image.shape} is not (height, width) or (height, width, 1 to 4)")
    if quality is not None and quality_index is not None:
        raise TypeError("give quality or quality_index, not both")
    if quality_index is None:
        quality_index = _aei.quality_index(quality)
    height, width, channels = image.shape
    return _aei.encode(image.tobytes(), width, height, channels, 8 * image.dtype.itemsize, quality_index,
                       tile_size, orientation, icc, exif, xmp, bool(preview),
                       None if lossless is None else bool(lossless), effort, tune, bool(keep_invisible))


def decode(data, *, depth=8, region=None, upright=True) -> np.ndarray:
    """Decode a file to an array of shape (height, width) if gray, else (height, width, channels).

    data: bytes of the file. depth: 8 for uint8, 16 for uint16. region: (x, y, width, height) in pixels of the picture as stored; the samples equal those
    of the whole picture. upright: turn the picture as its orientation says (not with a region).
    """
    if region is not None:
        region = tuple(int(number) for number in region)
        if len(region) != 4:
            raise ValueError(f"a region has x, y, width and height, not {len(region)} numbers")
    samples, width, height, channels, orientation = _aei.decode(bytes(data), depth, region)
    array = np.frombuffer(samples, np.uint8 if depth == 8 else np.uint16).reshape(height, width, channels)
    if upright and region is None:
        array = turned(array, orientation)
    return array[:, :, 0] if channels == 1 else array


def turned(array, orientation):
    """The array as EXIF's orientation says that it is to be displayed."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    return array


def info(data) -> Info:
    """What a file says about itself; nothing is decoded."""
    return Info(**_aei.info(bytes(data)))


try:
    from . import pillow as _pillow
except ImportError:  # Pillow is not installed, which is fine.
    pass
else:
    _pillow.register()
