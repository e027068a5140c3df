"""Pillow reads and writes .aei files once this package is imported."""
from __future__ import annotations

import struct
from io import BytesIO
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from . import _aei

if TYPE_CHECKING:
    from PIL._imaging import PixelAccess

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
SIGNATURE = b"\x89AEI\r\n\x1a\n"
ORIENTATION = 0x0112
PREFIX = b"Exif\0\0"  #: Pillow's, in front of the TIFF header
UNLIMITED = (1 << 63) - 1


def array_of(image: Image.Image) -> tuple[npt.NDArray[Any], dict[str, Any]]:
    """The samples of a Pillow image and what goes with them."""
    bits = stored_bits(image)
    image.load()  # Some plugins find metadata behind the pixels.
    found = metadata_of(image)
    transparency = image.info.get("transparency")
    if image.mode in ("I;16", "I;16L", "I;16B", "I;16N", "I"):
        array = np.asarray(image)
        if image.mode == "I" and array.size and (array.min() < 0 or array.max() > 65535):
            raise ValueError("samples of mode I are beyond 16 bits")
        array = array.astype(np.uint16)
        if isinstance(transparency, int):
            array = np.stack([array, np.where(array == transparency, 0, 65535).astype(np.uint16)], -1)
    elif image.mode == "F":
        raise TypeError("samples of mode F are floating point: convert the image, to mode L or I;16 for example")
    else:
        if image.mode == "CMYK" and "icc" in found:
            image = in_srgb(image, found["icc"])
        elif image.mode in ("L", "RGB") and transparency is not None:
            image = with_alpha(image, transparency, bits)
        elif image.mode not in MODES.values():
            alpha = image.has_transparency_data or image.mode in ("PA", "La", "RGBa")
            gray = image.mode in ("1", "La")
            image = image.convert(("LA" if gray else "RGBA") if alpha else ("L" if gray else "RGB"))
        array = np.asarray(image)
        # Gray of 16 bits with alpha, which Pillow reads as RGBA.
        if image.mode in ("RGB", "RGBA") and found.get("icc", b"")[16:20] == b"GRAY" and (array[..., :2] == array[..., 1:3]).all():
            array = array[..., 2] if image.mode == "RGB" else array[..., 2:]
    # A profile is for the colours that it was made for.
    colours = 1 if array.ndim == 2 or array.shape[2] == 2 else 3
    if found.get("icc", b"")[16:20] != {1: b"GRAY", 3: b"RGB "}[colours]:
        found.pop("icc", None)
    return array, found


def metadata_of(image: Image.Image) -> dict[str, Any]:
    found: dict[str, Any] = {}
    exif: Image.Exif | dict[int, Any]
    try:
        exif = image.getexif()
    except Exception:  # The block is damaged. It is stored as it is; what it says is not known.
        exif = {}
    if exif:
        stated = exif.get(ORIENTATION, 1)
        if isinstance(stated, bytes) and len(stated) == 1:
            stated = stated[0]  # What Pillow makes of the type BYTE.
        found["orientation"] = int(stated) if stated in range(1, 9) else 1  # Of the type RATIONAL it is no int.
    raw = image.info.get("exif")
    if raw:
        found["exif"] = raw.tobytes() if isinstance(raw, Image.Exif) else raw
    xmp = image.info.get("xmp")
    if xmp:
        found["xmp"] = xmp if isinstance(xmp, bytes) else xmp.encode()
    if image.info.get("icc_profile"):
        found["icc"] = image.info["icc_profile"]
    return found


def in_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """An image in CMYK as RGB, by its profile where that is of use."""
    try:
        from PIL import ImageCms
    except ImportError:
        return image.convert("RGB")
    try:
        srgb = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, ImageCms.ImageCmsProfile(BytesIO(profile)), srgb, outputMode="RGB")
        assert converted is not None  # as it is where the image itself is changed
        return converted
    except (ImportError, OSError, ImageCms.PyCMSError):  # Pillow may say of its own modules only now that they are missing.
        return image.convert("RGB")


def stored_bits(image: Image.Image) -> int:
    """How many bits the samples have in a PNG file that is not loaded yet; 8 otherwise."""
    tile = (getattr(image, "tile", None) or [None])[0]
    raw = tile[3] if tile and len(tile) > 3 else None
    raw = raw[0] if isinstance(raw, tuple) and raw else raw
    end = raw.rpartition(";")[2].rstrip("BLN") if isinstance(raw, str) and ";" in raw else ""
    return int(end) if getattr(image, "format", None) == "PNG" and end in ("1", "2", "4", "16") else 8


def with_alpha(image: Image.Image, key: Any, bits: int) -> Image.Image:
    """A gray or RGB image with the alpha that its transparent colour stands for, if there is a pixel of it. Pillow makes samples of PNG to eight bits, but not that
    colour."""
    if image.mode == "L" and isinstance(key, int):
        key = (key,)
    if not isinstance(key, (tuple, list)):
        return image
    if bits == 16 or any(number > 255 for number in key):
        key = [number >> 8 for number in key]
    elif bits < 8:
        key = [number * 255 // ((1 << bits) - 1) for number in key]
    samples = np.asarray(image).reshape(image.height, image.width, -1)
    clear = (samples == np.asarray(key)).all(-1)
    if not clear.any():
        return image
    with_alpha = image.convert("LA" if image.mode == "L" else "RGBA")
    with_alpha.putalpha(Image.fromarray(np.where(clear, 0, 255).astype(np.uint8)))
    return with_alpha


def turned(block: bytes, orientation: int) -> bytes | None:
    """An EXIF block, from its TIFF header on, with another orientation; all else stays. None if it cannot be written in place."""
    try:
        order = {b"II": "<", b"MM": ">"}[bytes(block[:2])]
        (directory,) = struct.unpack_from(order + "I", block, 4)
        (entries,) = struct.unpack_from(order + "H", block, directory)
        for entry in range(directory + 2, directory + 2 + 12 * entries, 12):
            tag, kind, count = struct.unpack_from(order + "HHI", block, entry)
            # Pillow does not take a BYTE for one.
            if tag == ORIENTATION and kind in (3, 4) and count == 1:
                changed = bytearray(block)
                struct.pack_into(order + {3: "H", 4: "I"}[kind], changed, entry + 8, orientation)
                return bytes(changed)
    except (KeyError, struct.error):
        pass
    return None


def exif_of(block: bytes | None, orientation: int, xmp: bytes | None = None) -> bytes | None:
    """What goes into `info["exif"]` for a file's EXIF block, or None, and its orientation. The block's own orientation is 1."""
    # Where EXIF says nothing, Pillow believes XMP, which is not how the picture is stored.
    silent = orientation == 1 and not (xmp and b"Orientation" in xmp)
    if block is None and silent:
        return None
    if block is not None:
        same = block if silent else turned(block, orientation)
        if same is not None:
            return PREFIX + same
    exif = Image.Exif()
    try:
        if block:
            exif.load(PREFIX + block)
        exif[ORIENTATION] = orientation
        return exif.tobytes()
    except Exception:  # It is damaged, and how the picture stands is worth more.
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        return exif.tobytes()


class AeiImageFile(ImageFile.ImageFile):
    """An .aei file. Samples are as stored; `ImageOps.exif_transpose` turns them upright."""

    format = "AEI"
    format_description = "aei learned image"
    _data: bytes | None = None  #: the file, until its samples are asked for

    def _open(self) -> None:
        assert self.fp is not None
        self._data = self.fp.read()
        # Nobody else reads what starts with the signature, so that what is wrong may be said: as an OSError, as Pillow's own plugins do.
        try:
            about = _aei.info(self._data, bool(ImageFile.LOAD_TRUNCATED_IMAGES))
        except (ValueError, NotImplementedError) as error:
            raise OSError(str(error)) from error
        self._size = (about["width"], about["height"])
        self._mode = MODES[about["channels"]]
        # Pillow has no 16 bits of other channels.
        if self._mode == "L" and about["lossless"] and about["source_depth"] > 8:
            self._mode = "I;16"
        if about["icc"]:
            self.info["icc_profile"] = about["icc"]
        if about["xmp"]:
            self.info["xmp"] = about["xmp"]
        exif = exif_of(about["exif"], about["orientation"], about["xmp"])
        if exif is not None:
            self.info["exif"] = exif

    def load(self) -> PixelAccess | None:
        if self._data is not None:
            try:
                # Pillow has refused what is larger than `Image.MAX_IMAGE_PIXELS`, or its caller wants that.
                depth = 16 if self.mode == "I;16" else 8
                (samples, *_), _ = _aei.decode(self._data, depth, None, UNLIMITED, UNLIMITED, bool(ImageFile.LOAD_TRUNCATED_IMAGES))
            except (ValueError, NotImplementedError) as error:
                raise OSError(str(error)) from error
            self._data = None
            if self.fp and self._exclusive_fp:
                self.fp.close()
            self.fp = BytesIO(samples)
            # Older versions of Pillow have no type of their own for it.
            self.tile = [("raw", (0, 0) + self.size, 0, "I;16N" if self.mode == "I;16" else self.mode)]  # type: ignore[list-item]
        return super().load()

    def load_seek(self, pos: int) -> None:
        """The samples start where the stand-in for the file does."""


def save(image: Image.Image, file: IO[bytes], _filename: str | bytes) -> None:
    from . import encode

    options = dict(image.encoderinfo)
    names = ("quality", "quality_index", "tile_size", "preview", "lossless", "effort", "tune", "keep_invisible", "max_bytes", "bits_per_pixel", "psnr", "ssimulacra2",
             "orientation", "xmp", "exif")
    known = {name: options[name] for name in names if name in options}
    if "icc_profile" in options:
        known["icc"] = options["icc_profile"]
    try:
        coded = encode(image, **known)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise OSError(str(error)) from error
    file.write(coded)


def register() -> None:
    Image.register_open(AeiImageFile.format, AeiImageFile, lambda prefix: prefix.startswith(SIGNATURE))
    Image.register_save(AeiImageFile.format, save)
    Image.register_extension(AeiImageFile.format, ".aei")
    Image.register_mime(AeiImageFile.format, "image/x-aei")
