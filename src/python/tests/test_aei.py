import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

import aei

ROOT = Path(__file__).resolve().parents[3]
PHOTO = ROOT / "tests/data/budgie.jpg"


def smooth(height, width, channels, dtype=np.uint8):
    y, x = np.mgrid[0:height, 0:width]
    top = np.iinfo(dtype).max
    planes = [(top * (0.2 + 0.6 * x / width)), (top * (0.3 + 0.4 * y / height)), top * (0.5 + 0.2 * (x - y) / (width + height)), (x * 7 + y * 13) % (top + 1)]
    chosen = {1: planes[:1], 2: [planes[0], planes[3]], 3: planes[:3], 4: planes}[channels]
    return np.stack(chosen, -1).astype(dtype)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_arrays_round_trip(channels, dtype):
    array = smooth(50, 70, channels, dtype)
    data = aei.encode(array, quality_index=50)
    depth = 8 * array.itemsize
    back = aei.decode(data, depth=depth)
    if channels == 1:
        back = back[:, :, None]
    assert back.shape == array.shape and back.dtype == dtype
    if channels in (2, 4):
        assert (back[..., -1] == array[..., -1]).all()
        back, array = back[..., :-1], array[..., :-1]
    assert np.abs(back.astype(float) - array).mean() / np.iinfo(dtype).max < 0.01


def test_two_dimensions_and_gaps():
    array = smooth(40, 30, 3)
    assert (aei.decode(aei.encode(array[:, :, 0])) == aei.decode(aei.encode(np.ascontiguousarray(array[:, :, 0])))).all()
    assert aei.decode(aei.encode(array[:, :, 0])).shape == (40, 30)


def test_region_is_a_crop():
    data = aei.encode(smooth(300, 400, 3), tile_size=256)
    whole = aei.decode(data)
    assert (aei.decode(data, region=(120, 60, 200, 33)) == whole[60:93, 120:320]).all()


def test_info_and_metadata():
    data = aei.encode(smooth(20, 30, 3), quality=60, orientation=6, xmp=b"<x/>", preview=True, lossless=False)
    info = aei.info(data)
    assert (info.width, info.height, info.channels, info.orientation, info.quality_index) == (30, 20, 3, 6, 38)
    assert not info.lossless and info.xmp == b"<x/>" and info.icc is None and info.file_bytes == len(data)
    assert aei.decode(data).shape == (30, 20, 3)
    assert aei.decode(data, upright=False).shape == (20, 30, 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_lossless(dtype):
    array = smooth(50, 70, 4, dtype)
    data = aei.encode(array, lossless=True)
    assert aei.info(data).lossless and (aei.decode(data, depth=8 * array.itemsize) == array).all()
    page = np.repeat(np.array([[255, 20], [20, 255]], np.uint8), 40, 0)
    assert aei.info(aei.encode(page)).lossless and not aei.info(aei.encode(page, lossless=False)).lossless


def test_effort():
    array = smooth(50, 70, 3)
    data = aei.encode(array, quality=40, lossless=False, effort=2)
    assert data != aei.encode(array, quality=40, lossless=False) and aei.decode(data).shape == array.shape
    with pytest.raises(ValueError, match="effort 6 does not exist: 0 to 5"):
        aei.encode(array, effort=6)
    assert data == aei.encode(array, quality=40, lossless=False, effort=2, tune="psnr") != aei.encode(array, quality=40, lossless=False, effort=2, tune="visual")
    with pytest.raises(ValueError, match='tune "nice" does not exist'):
        aei.encode(array, effort=2, tune="nice")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_as_pillow_does_it(orientation):
    array = smooth(24, 40, 3)
    data = aei.encode(array, orientation=orientation)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert (aei.decode(data) == np.asarray(expected)).all()


def test_pillow_opens_and_saves():
    photo = Image.open(PHOTO)
    file = io.BytesIO()
    photo.save(file, "AEI", quality=60)
    opened = Image.open(io.BytesIO(file.getvalue()))
    assert opened.format == "AEI" and opened.size == photo.size and opened.mode == "RGB"
    assert (np.asarray(opened) == aei.decode(file.getvalue(), upright=False)).all()
    assert file.getvalue() == aei.encode(photo, quality=60)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_pillow_modes(mode):
    image = Image.open(PHOTO).convert("L").convert("I;16") if mode == "I;16" else Image.open(PHOTO).convert("RGBA").convert(mode)
    opened = Image.open(io.BytesIO(aei.encode(image)))
    assert opened.size == image.size
    opened.load()


def test_pillow_keeps_metadata():
    image = Image.fromarray(smooth(20, 30, 3))
    exif = Image.Exif()
    exif[0x010E] = "budgerigar"
    exif[0x0112] = 8
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    file = io.BytesIO()
    image.save(file, "AEI", exif=exif, icc_profile=profile)
    opened = Image.open(io.BytesIO(file.getvalue()))
    assert opened.info["icc_profile"] == profile
    assert opened.getexif()[0x010E] == "budgerigar" and opened.getexif()[0x0112] == 8


def test_errors():
    data = aei.encode(smooth(20, 30, 3))
    for wrong in (b"", b"no picture", data[:-9], data[:60] + b"\x00" + data[61:]):
        with pytest.raises(ValueError):
            aei.decode(wrong)
    with pytest.raises(ValueError):
        aei.decode(data, region=(0, 0, 31, 1))
    with pytest.raises(TypeError):
        aei.encode(np.zeros((4, 4), np.float32))
    with pytest.raises(ValueError):
        aei.encode(np.zeros((4, 4, 5), np.uint8))
    with pytest.raises(TypeError):
        aei.encode(np.zeros((4, 4), np.uint8), 60, quality_index=3)
    with pytest.raises(OSError):
        Image.open(io.BytesIO(b"\x89AEI\r\n\x1a\n damaged"))


def test_the_same_pixels_as_the_vectors_say():
    import hashlib

    for line in (ROOT / "format-spec/vectors/digests.txt").read_text().splitlines():
        digest, name, *rest = line.split()
        if len(digest) == 64 and name.startswith(("rgb-97", "gray-", "tiles-")):
            array = aei.decode((ROOT / "format-spec/vectors" / name).read_bytes(), upright=False)
            assert hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest() == digest
