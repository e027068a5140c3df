"""Pillow reads and writes .aei files once this package is imported."""
from io import BytesIO

import numpy as np
from PIL import Image, ImageFile

from . import _aei

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
SIGNATURE = b"\x89AEI\r\n\x1a\n"
ORIENTATION = 0x0112


def array_of(image):
    """The samples of a Pillow image and what goes with them."""
    found = {}
    if image.mode in ("I;16", "I;16L", "I;16B", "I"):
        array = np.asarray(image)
        if image.mode == "I" and (array.min() < 0 or array.max() > 65535):
            raise ValueError("samples of mode I are beyond 16 bits")
        array = array.astype(np.uint16)
    else:
        if image.mode not in MODES.values():
            transparent = image.has_transparency_data if hasattr(image, "has_transparency_data") else "transparency" in image.info
            gray = image.mode in ("1", "La")
            image = image.convert(("LA" if gray else "RGBA") if transparent or image.mode in ("PA", "La", "RGBa") else ("L" if gray else "RGB"))
        array = np.asarray(image)
    exif = image.getexif()
    if exif:
        found["orientation"] = exif.get(ORIENTATION, 1)
    raw = image.info.get("exif")
    if raw:
        found["exif"] = raw[6:] if raw.startswith(b"Exif\0\0") else raw
    xmp = image.info.get("xmp")
    if xmp:
        found["xmp"] = xmp if isinstance(xmp, bytes) else xmp.encode()
    if image.info.get("icc_profile"):
        found["icc"] = image.info["icc_profile"]
    return array, found


class AeiImageFile(ImageFile.ImageFile):
    """An .aei file. Samples are as stored; `ImageOps.exif_transpose` turns them upright."""

    format = "AEI"
    format_description = "aei learned image"

    def _open(self):
        self._data = self.fp.read()
        try:
            about = _aei.info(self._data)
        except ValueError as error:
            raise SyntaxError(str(error)) from error
        self._size = (about["width"], about["height"])
        self._mode = MODES[about["channels"]]
        if about["icc"]:
            self.info["icc_profile"] = about["icc"]
        if about["xmp"]:
            self.info["xmp"] = about["xmp"]
        if about["exif"] or about["orientation"] != 1:
            exif = Image.Exif()
            if about["exif"]:
                exif.load(b"Exif\0\0" + about["exif"])
            if about["orientation"] != 1:
                exif[ORIENTATION] = about["orientation"]
            self.info["exif"] = exif.tobytes()

    def load(self):
        if self._data is not None:
            samples, *_ = _aei.decode(self._data, 8, None)
            self._data = None
            if self.fp and self._exclusive_fp:
                self.fp.close()
            self.fp = BytesIO(samples)
            self.tile = [("raw", (0, 0) + self.size, 0, self.mode)]
        return super().load()

    def load_seek(self, pos):
        """The samples start where the stand-in for the file does."""


def save(image, file, _filename):
    from . import encode

    options = dict(image.encoderinfo)
    known = {name: options[name] for name in ("quality", "quality_index", "tile_size", "preview", "lossless", "effort", "tune", "xmp") if name in options}
    exif = options.get("exif")
    if exif:
        exif = exif.tobytes() if isinstance(exif, Image.Exif) else exif
        known["exif"] = exif[6:] if exif.startswith(b"Exif\0\0") else exif
    file.write(encode(image, icc=options.get("icc_profile"), **known))


def register():
    Image.register_open(AeiImageFile.format, AeiImageFile, lambda prefix: prefix.startswith(SIGNATURE))
    Image.register_save(AeiImageFile.format, save)
    Image.register_extension(AeiImageFile.format, ".aei")
    Image.register_mime(AeiImageFile.format, "image/x-aei")
