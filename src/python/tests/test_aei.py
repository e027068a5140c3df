import concurrent.futures
import copy
import functools
import io
import itertools
import multiprocessing
import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile, ImageOps

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


def test_samples_of_the_other_byte_order():
    array = smooth(40, 30, 3, np.uint16)
    for order in "<>":
        assert aei.encode(array.astype(array.dtype.newbyteorder(order))) == aei.encode(array)


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
    assert 0 < info.preview_bytes < len(data) and len(info.model_id) == 16
    assert aei.preview(data).shape == (30, 20, 3) and aei.preview(data, upright=False).shape == (20, 30, 3)
    without = aei.encode(smooth(20, 30, 3))
    assert aei.preview(without) is None and aei.info(without).preview_bytes is None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_lossless(dtype):
    array = smooth(50, 70, 4, dtype)
    data = aei.encode(array, lossless=True)
    # With all the bits that it has.
    back = aei.decode(data)
    assert aei.info(data).lossless and back.dtype == dtype and (back == array).all()
    assert aei.decode(data, region=(3, 4, 5, 6)).dtype == dtype and aei.decode(data, depth=8).dtype == np.uint8
    assert aei.decode(aei.encode(array, lossless=False)).dtype == np.uint8
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


def test_keep_invisible():
    array = np.dstack([smooth(64, 64, 3), np.zeros((64, 64), np.uint8)])
    array[:, :32, 3] = 255
    array[:, 32:, :3] = np.random.default_rng(1).integers(0, 256, (64, 32, 3))
    less, more = (aei.encode(array, lossless=False, keep_invisible=keep) for keep in (False, True))
    assert len(less) < len(more) / 2
    assert (aei.decode(less)[..., 3] == array[..., 3]).all()
    assert less == aei.encode(array, lossless=False)


def test_at_most_so_many_bytes():
    rng = np.random.default_rng(1)
    array = np.kron(rng.integers(0, 256, (20, 30, 3), np.uint8), np.ones((10, 10, 1), np.uint8)) // 2 + rng.integers(0, 99, (200, 300, 3), np.uint8)
    data = aei.encode(array, max_bytes=6000)
    assert 5000 < len(data) <= 6000 and aei.decode(data).shape == array.shape
    file = io.BytesIO()
    Image.fromarray(array).save(file, "AEI", max_bytes=6000)
    assert file.getvalue() == data
    with pytest.raises(ValueError, match="10 bytes"):
        aei.encode(array, max_bytes=10)
    with pytest.raises(ValueError, match="-1 does not exist"):
        aei.encode(array, max_bytes=-1)
    for twice in ({"quality": 3}, {"quality_index": 3}):
        with pytest.raises(TypeError, match="max_bytes"):
            aei.encode(array, max_bytes=6000, **twice)


def psnr(a, b):
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2))


def test_a_wanted_psnr():
    array = np.asarray(Image.open(PHOTO))[100:300, 100:300]
    low, high = (aei.encode(array, psnr=wanted, lossless=False) for wanted in (32, np.float32(38.5)))
    assert 32 <= psnr(array, aei.decode(low)) < 34 and 38.5 <= psnr(array, aei.decode(high)) < 40 and len(low) < len(high)
    # The smallest file that has it.
    below = aei.encode(array, quality_index=aei.info(low).quality_index - 1, lossless=False)
    assert psnr(array, aei.decode(below)) < 32
    file = io.BytesIO()
    Image.fromarray(array).save(file, "AEI", psnr=32, lossless=False)
    assert file.getvalue() == low
    for beyond in (200, float("inf"), 1 << 2000):
        with pytest.raises(ValueError, match="cannot be reached with this picture"):
            aei.encode(array, psnr=beyond, lossless=False)
    # All is reached without loss, which is allowed if nothing else is said.
    assert (aei.decode(aei.encode(array[:40, :40], psnr=200)) == array[:40, :40]).all()


def test_a_wanted_ssimulacra2():
    array = np.asarray(Image.open(PHOTO))[100:300, 100:300]
    low, high = (aei.encode(array, ssimulacra2=wanted, lossless=False) for wanted in (40, 70.5))
    assert len(low) < len(high) and 28 < psnr(array, aei.decode(low)) < psnr(array, aei.decode(high))
    assert low == aei.encode(array, quality_index=aei.info(low).quality_index, lossless=False)
    file = io.BytesIO()
    Image.fromarray(array).save(file, "AEI", ssimulacra2=40, lossless=False)
    assert file.getvalue() == low
    # What is said to be the best is reached, and nothing above it.
    with pytest.raises(ValueError, match=r"an SSIMULACRA2 score of 99.9 cannot be reached with this picture: [89]\d\.\d\d is the best") as told:
        aei.encode(array, ssimulacra2=99.9, lossless=False)
    best = float(str(told.value).split(": ")[1].split(" is")[0])
    assert aei.info(aei.encode(array, ssimulacra2=best - 0.01, lossless=False)).quality_index > aei.info(high).quality_index
    with pytest.raises(ValueError, match="cannot be reached"):
        aei.encode(array, ssimulacra2=best + 0.01, lossless=False)
    with pytest.raises(ValueError, match="100 is the best"):
        aei.encode(array, ssimulacra2=101)


def test_wanted_bits_per_pixel():
    array = np.asarray(Image.open(PHOTO))[100:300, 100:300]
    data = aei.encode(array, bits_per_pixel=0.75)
    assert data == aei.encode(array, max_bytes=3750) and 3400 < len(data) <= 3750
    file = io.BytesIO()
    Image.fromarray(array).save(file, "AEI", bits_per_pixel=0.75)
    assert file.getvalue() == data
    with pytest.raises(ValueError, match="the file cannot be made as small"):
        aei.encode(array, bits_per_pixel=0)


def test_targets_that_make_no_sense():
    array = smooth(16, 16, 3)
    given = {"max_bytes": 2000, "bits_per_pixel": 2.0, "psnr": 30.0, "ssimulacra2": 50.0}
    for one, other in itertools.combinations(given, 2):
        with pytest.raises(TypeError, match=f"give one of these, not several: {one}, {other}"):
            aei.encode(array, **{one: given[one], other: given[other]})
        with pytest.raises(OSError, match=f"{one}, {other}"):
            saved(Image.fromarray(array), **{one: given[one], other: given[other]})
    for target in given:
        for wrong in ("30", b"30", [30], 1j):
            with pytest.raises(TypeError, match=type(wrong).__name__):
                aei.encode(array, **{target: wrong})
        for quality in ("quality", "quality_index"):
            with pytest.raises(TypeError, match=f"{quality}, {target}"):
                aei.encode(array, **{target: given[target], quality: 3})
    for target in ("bits_per_pixel", "psnr", "ssimulacra2"):
        with pytest.raises(ValueError, match="cannot be"):
            aei.encode(array, **{target: float("nan")})
    for wrong in (-1, float("inf")):
        with pytest.raises(ValueError, match="bits per pixel cannot be"):
            aei.encode(array, bits_per_pixel=wrong)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_as_pillow_does_it(orientation):
    array = smooth(24, 40, 3)
    data = aei.encode(array, orientation=orientation)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert (aei.decode(data) == np.asarray(expected)).all()
    assert aei.decode(data).flags.c_contiguous and aei.decode(data).flags.writeable


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


@pytest.mark.parametrize("channels, lossless, mode", [(1, True, "I;16"), (1, False, "L"), (2, True, "LA"), (3, True, "RGB")])
def test_sixteen_bits_in_pillow(channels, lossless, mode):
    array = smooth(20, 30, channels, np.uint16)
    opened = Image.open(io.BytesIO(aei.encode(array, lossless=lossless)))
    assert opened.mode == mode and opened.size == (30, 20)
    if mode == "I;16":
        assert (np.asarray(opened) == array[..., 0]).all()
        again = saved(opened, lossless=True)
        assert again.mode == mode and (np.asarray(again) == array[..., 0]).all()
    else:
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
    assert aei.info(file.getvalue()).orientation == 8
    # Again, from what was opened: as it is, with its orientation.
    again = saved(opened)
    assert again.getexif()[0x0112] == 8 and again.info["exif"] == opened.info["exif"] and again.info["icc_profile"] == profile


def saved(image, **options):
    file = io.BytesIO()
    image.save(file, "AEI", **options)
    return Image.open(io.BytesIO(file.getvalue()))


def with_metadata():
    image = Image.fromarray(smooth(20, 30, 3))
    exif = Image.Exif()
    exif[0x010F] = "maker"
    exif[0x0112] = 6
    image.info["exif"] = exif.tobytes()
    image.info["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image.info["xmp"] = b"<x/>"
    return image


@pytest.mark.parametrize("nothing", [None, b""])
def test_metadata_that_is_not_wanted_is_left_out(nothing):
    image = with_metadata()
    assert {"exif", "icc_profile", "xmp"} <= set(saved(image).info)
    opened = saved(image, exif=nothing, icc_profile=nothing, xmp=nothing)
    assert not {"icc_profile", "xmp"} & set(opened.info) and dict(opened.getexif()) == {0x0112: 6}
    info = aei.info(aei.encode(image, exif=nothing))
    assert info.exif is None and info.icc and info.xmp == b"<x/>"
    # How the picture stands is not lost with it.
    assert info.orientation == 6
    assert dict(saved(image, exif=Image.Exif()).getexif()) == {0x0112: 6}


def test_the_block_that_is_given_says_how_the_picture_stands():
    for stated in (1, 3):
        exif = Image.Exif()
        exif[0x0112] = stated
        data = aei.encode(with_metadata(), exif=exif.tobytes())
        assert aei.info(data).orientation == stated
        # Blocks as Pillow has them.
        assert aei.encode(with_metadata(), exif=exif) == data == aei.encode(with_metadata(), exif=memoryview(exif.tobytes()))
    assert aei.info(aei.encode(with_metadata(), exif=Image.Exif())).orientation == 6
    assert saved(with_metadata(), orientation=5).getexif()[0x0112] == 5
    assert aei.info(aei.encode(smooth(8, 8, 1), xmp="<\xe4/>")).xmp == "<\xe4/>".encode()
    assert saved(with_metadata(), xmp="<y/>").info["xmp"] == b"<y/>"
    with pytest.raises(TypeError, match="icc has to be bytes, not str"):
        aei.encode(smooth(8, 8, 1), icc="sRGB")
    changed = with_metadata().convert("P")
    changed.getexif()[0x0112] = 1
    assert aei.info(aei.encode(changed)).orientation == 1


def test_exif_goes_through_byte_for_byte():
    # A directory behind the first, as of thumbnails, and an orientation of each byte order.
    for order, mark in (("little", b"II*\0"), ("big", b"MM\0*")):
        number = lambda value, size: value.to_bytes(size, order)
        entry = number(0x0112, 2) + number(3, 2) + number(1, 4) + number(6, 2) + b"\0\0"
        block = mark + number(8, 4) + number(1, 2) + entry + number(26, 4) + number(0, 2) + number(0, 4) + b"the rest"
        data = aei.encode(smooth(8, 8, 1), exif=block)
        opened = Image.open(io.BytesIO(data))
        assert opened.info["exif"] == b"Exif\0\0" + block and aei.info(data).orientation == 6
        assert aei.encode(smooth(8, 8, 1), exif=b"Exif\0\0" + block) == data


def orientation_block(kind, value):
    """An EXIF block of nothing but an orientation of 6, of some type."""
    return struct.pack("<2sHIHHHI4sI", b"II", 42, 8, 1, 0x0112, kind, 1, value.ljust(4, b"\0"), 0) + struct.pack("<II", 6, 1)


@pytest.mark.parametrize("kind, value", [(1, b"\6"), (3, b"\6"), (4, b"\6"), (5, struct.pack("<I", 26)), (6, b"\6"), (11, struct.pack("<f", 6))])
def test_orientations_of_every_type(kind, value):
    block = orientation_block(kind, value)
    image = Image.fromarray(smooth(20, 30, 3))
    image.info["exif"] = b"Exif\0\0" + block
    data = aei.encode(image)
    assert aei.info(data).orientation == 6
    # What aei takes for the orientation, Pillow does too, also when the picture is saved again.
    data = aei.encode(smooth(20, 30, 3), exif=block, orientation=6)
    for opened in (Image.open(io.BytesIO(data)), saved(Image.open(io.BytesIO(data)))):
        assert ImageOps.exif_transpose(opened).size == (20, 30)


def test_xmp_does_not_say_how_the_picture_stands():
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    exif = Image.Exif()
    exif[0x010F] = "maker"
    for block in (None, exif.tobytes(), orientation_block(3, b"\6")):
        data = aei.encode(smooth(20, 30, 3), xmp=xmp, exif=block, orientation=1)
        opened = Image.open(io.BytesIO(data))
        assert ImageOps.exif_transpose(opened).size == (30, 20) and opened.info["xmp"] == xmp
        assert aei.decode(data).shape == (20, 30, 3) and aei.info(aei.encode(opened)).orientation == 1
        assert block is None or len(block) < 60 or opened.getexif()[0x010F] == "maker"


def test_damaged_exif_is_no_hindrance():
    data = aei.encode(smooth(20, 30, 3), exif=b"garbage", orientation=6)
    opened = Image.open(io.BytesIO(data))
    assert opened.getexif()[0x0112] == 6
    assert Image.open(io.BytesIO(aei.encode(smooth(20, 30, 3), exif=b"garbage"))).info["exif"] == b"Exif\0\0garbage"
    image = Image.fromarray(smooth(20, 30, 3))
    image.info["exif"] = b"Exif\0\0garbage"
    assert aei.info(aei.encode(image)).exif == b"garbage"


@pytest.mark.filterwarnings("ignore:.*(tag|EXIF|TIFF).*")
def test_any_bytes_may_be_an_exif_block():
    exif = Image.Exif()
    exif[0x010F], exif[0x011A], exif[0x0213] = "maker", 72.0, 1
    block, random = exif.tobytes()[6:], np.random.default_rng(1)
    for _ in range(300):
        damaged = bytearray(block)
        for at in random.integers(8, len(block), 3):
            damaged[at] = random.integers(256)
        opened = Image.open(io.BytesIO(aei.encode(np.zeros((1, 1), np.uint8), exif=bytes(damaged), orientation=6)))
        assert opened.size == (1, 1) and "exif" in opened.info
        aei.encode(opened)


def test_profiles_are_for_their_colours():
    photo = Image.open(PHOTO)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    gray = photo.convert("L")
    gray.info["icc_profile"] = profile
    assert aei.info(aei.encode(gray)).icc is None
    # Pillow reads gray PNG of 16 bits with alpha as RGBA.
    for mode, channels in (("RGB", 1), ("RGBA", 2)):
        same = photo.convert("L").convert(mode)
        same.info["icc_profile"] = profile[:16] + b"GRAY" + profile[20:]
        data = aei.encode(same, lossless=True)
        assert aei.info(data).icc == same.info["icc_profile"] and aei.info(data).channels == channels
        assert (aei.decode(data).reshape(384, 384, channels)[..., 0] == np.asarray(photo.convert("L"))).all()
    coloured = photo.copy()
    coloured.info["icc_profile"] = same.info["icc_profile"]
    assert aei.info(aei.encode(coloured)).icc is None and aei.info(aei.encode(coloured)).channels == 3
    cmyk = photo.convert("CMYK")
    cmyk.info["icc_profile"] = profile[:16] + b"CMYK" + profile[20:]  # No profile that can be used.
    info = aei.info(aei.encode(cmyk))
    assert info.icc is None and info.channels == 3


def png(width, height, bits, transparent, rows):
    """A gray PNG."""
    def chunk(kind, payload):
        return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))

    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)) + chunk(b"tRNS", transparent)
            + chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b""))


def test_a_transparent_colour_becomes_alpha():
    rgb = smooth(20, 30, 3)
    rgb[3:7, 4:9] = (1, 2, 3)
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "PNG", transparency=(1, 2, 3))
    back = aei.decode(aei.encode(Image.open(file), lossless=True))
    assert back.shape == (20, 30, 4) and (back[..., :3] == rgb).all()
    assert ((back[..., 3] == 0) == (rgb == (1, 2, 3)).all(-1)).all()
    file = io.BytesIO()
    Image.fromarray(rgb[..., 0]).save(file, "PNG", transparency=1)
    back = aei.decode(aei.encode(Image.open(file), lossless=True))
    assert back.shape == (20, 30, 2) and ((back[..., 1] == 0) == (rgb[..., 0] == 1)).all()
    # Gray of two bits, whose samples Pillow widens.
    ramp = np.tile(np.arange(4, dtype=np.uint8), (4, 2))
    file = io.BytesIO(png(8, 4, 2, b"\0\2", [bytes([0, 0b00011011, 0b00011011])] * 4))
    back = aei.decode(aei.encode(Image.open(file), lossless=True))
    assert (back[..., 0] == ramp * 85).all() and ((back[..., 1] == 0) == (ramp == 2)).all()
    assert aei.decode(aei.encode(Image.open(io.BytesIO(png(8, 4, 2, b"\0\1", [bytes(3)] * 4))))).shape == (4, 8)
    deep = Image.fromarray(rgb[..., 0].astype(np.uint16) * 257)
    deep.info["transparency"] = 257
    back = aei.decode(aei.encode(deep, lossless=True), depth=16)
    assert back.shape == (20, 30, 2) and ((back[..., 1] == 0) == (rgb[..., 0] == 1)).all()


def test_copies_of_opened_images():
    data = aei.encode(smooth(20, 30, 3))
    for loaded in (False, True):
        opened = Image.open(io.BytesIO(data))
        if loaded:
            opened.load()
        for other in (pickle.loads(pickle.dumps(opened)), copy.deepcopy(opened), copy.copy(opened)):
            assert (np.asarray(other) == aei.decode(data)).all()


def test_floating_point_images_are_refused():
    image = Image.fromarray(np.zeros((4, 4), np.float32))
    with pytest.raises(TypeError, match="floating point"):
        aei.encode(image)
    with pytest.raises(OSError, match="floating point"):
        saved(image)


def test_decoded_arrays_can_be_written_to():
    for depth in (8, 16):
        array = aei.decode(aei.encode(smooth(20, 30, 3)), depth=depth)
        array[0, 0] = 0
        assert (array[0, 0] == 0).all()


def test_damage_is_an_oserror_for_pillow():
    data = bytearray(aei.encode(smooth(200, 300, 3), lossless=False))
    data[-40] ^= 1
    with pytest.raises(OSError, match="damaged"):
        Image.open(io.BytesIO(bytes(data))).load()
    with pytest.raises(OSError, match="newer version"):
        Image.open(ROOT / "format-spec/vectors/x-version.aei")


def test_salvage(monkeypatch):
    array = smooth(600, 300, 3)
    whole = aei.encode(array, lossless=False, tile_size=256, xmp=b"<x/>")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = aei.decode(whole, salvage=True)
    assert (expected == aei.decode(whole)).all()
    # Without its end: the first tile is as it was.
    cut = whole[:-60]
    with pytest.raises(ValueError, match="truncated"):
        aei.decode(cut)
    with pytest.warns(aei.DamageWarning, match="tile") as told:
        left = aei.decode(cut, salvage=True)
    assert left.shape == array.shape and (left[:100] == expected[:100]).all() and (left != expected).any()
    assert len(told) == 1 and any("tile" in line for line in told[0].message.lost) and told[0].filename == __file__
    assert str(aei.DamageWarning([str(n) for n in range(9)])) == "0; 1; 2; 3; 4; and 4 more"
    # As others copy it, and processes send it.
    for same in (copy.deepcopy(told[0].message), pickle.loads(pickle.dumps(told[0].message))):
        assert (str(same), same.lost) == (str(told[0].message), told[0].message.lost)
    # Pillow's way to ask for it.
    with pytest.raises(OSError, match="truncated"):
        Image.open(io.BytesIO(cut))
    for wanted in (True, 1):
        monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", wanted)
        opened = Image.open(io.BytesIO(cut))
        assert (np.asarray(opened) == left).all() and opened.info["xmp"] == b"<x/>"


@pytest.mark.parametrize("wrong", [{"quality": -1}, {"quality": 256}, {"quality_index": -1}, {"quality_index": 64}, {"effort": -1}, {"orientation": -1},
                                   {"orientation": 256}, {"tile_size": -1}, {"tile_size": 1 << 32}, {"quality": 1 << 70}, {"quality": -1 << 70},
                                   {"tile_size": 1 << 70}, {"effort": 1 << 70}, {"orientation": 1 << 70}])
def test_numbers_out_of_range(wrong):
    with pytest.raises(ValueError):
        aei.encode(smooth(8, 8, 3), **wrong)


def test_regions_out_of_range():
    data = aei.encode(smooth(20, 30, 3))
    for wrong in ((-1, 0, 4, 4), (0, 0, 1 << 33, 1), (0, 0, 1 << 70, 1), (0, 0, 4)):
        with pytest.raises(ValueError):
            aei.decode(data, region=wrong)
    with pytest.raises(ValueError):
        aei.decode(data, depth=-8)
    assert (aei.decode(data, region=np.array([3, 4, 5, 6])) == aei.decode(data)[4:10, 3:8]).all()
    assert (aei.decode(data, region=[3, 4, 5, 6]) == aei.decode(data)[4:10, 3:8]).all()


@pytest.mark.parametrize("option", ["lossless", "preview", "keep_invisible"])
def test_what_is_neither_true_nor_false_is_refused(option):
    # "never" would be true.
    for wrong in ("never", 2, b""):
        with pytest.raises(TypeError, match=option):
            aei.encode(smooth(8, 8, 3), **{option: wrong})
    assert aei.encode(smooth(8, 8, 3), **{option: np.bool_(True)}) == aei.encode(smooth(8, 8, 3), **{option: 1})


def test_arguments_of_other_types_say_so():
    data = aei.encode(smooth(8, 8, 3))
    for wrong in ("photo.aei", Path("photo.aei"), 5, None, io.BytesIO(data)):
        for call in (aei.decode, aei.info, aei.preview):
            with pytest.raises(TypeError, match=f"a file has to be bytes, not {type(wrong).__name__}"):
                call(wrong)
    for right in (bytearray(data), memoryview(data), np.frombuffer(data, np.uint8)):
        assert (aei.decode(right) == aei.decode(data)).all()
    with pytest.raises(TypeError):
        aei.decode(data, region=(0.5, 0, 2, 2))
    # Refused before such an array is copied.
    with pytest.raises(ValueError, match="1048576x1048576"):
        aei.encode(np.broadcast_to(np.uint8(0), (1 << 20, 1 << 20)))
    with pytest.raises(ValueError, match="0x0"):
        aei.encode(Image.new("I", (0, 0)))


def test_limits(monkeypatch):
    data = aei.encode(smooth(100, 200, 3), lossless=False)
    for limit in ({"max_pixels": 19999}, {"max_memory": 100000}, {"max_pixels": 0}):
        with pytest.raises(MemoryError, match="allowed"):
            aei.decode(data, **limit)
    with pytest.raises(ValueError):
        aei.decode(data, max_pixels=-1)
    assert aei.decode(data, max_pixels=20000, max_memory=1 << 70).shape == (100, 200, 3)
    # Pillow has its own limit, which users raise.
    with monkeypatch.context() as changed:
        changed.setattr(Image, "MAX_IMAGE_PIXELS", 9999)
        with pytest.raises(Image.DecompressionBombError):
            Image.open(io.BytesIO(data))
    limits, decode = [], aei.pillow._aei.decode
    monkeypatch.setattr(aei.pillow._aei, "decode", lambda *given: limits.extend(given[3:5]) or decode(*given))
    Image.open(io.BytesIO(data)).load()
    assert limits == [2**63 - 1] * 2


@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals")
@pytest.mark.parametrize("work", ["encode", "decode"])
def test_work_can_be_interrupted(work, request):
    # A shell lets what it starts in the background ignore control-C.
    request.addfinalizer(functools.partial(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler)))
    array = np.random.default_rng(1).integers(0, 256, (1500, 1500, 3), np.uint8)
    data = aei.encode(array, lossless=False)
    call = {"encode": lambda: aei.encode(array, lossless=False, effort=5), "decode": lambda: [aei.decode(data) for _ in range(200)]}[work]
    start = time.perf_counter()
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        call()
    assert time.perf_counter() - start < 10
    timer.join()
    assert aei.decode(aei.encode(array[:9, :9])).shape == (9, 9, 3)


def test_work_may_be_under_way_when_the_interpreter_ends():
    # Others run while the sleep lasts, and find that there is no interpreter any more.
    program = """
import sys, threading, time
import numpy as np
import aei

class Last:
    def __del__(self, sleep=time.sleep, say=sys.stdout.write, ends=sys.is_finalizing):
        sleep(1)
        say(f"{ends()}")

array = np.random.default_rng(1).integers(0, 256, (1200, 1200, 3), np.uint8)
threading.Thread(target=lambda: aei.encode(array, lossless=False, effort=5), daemon=True).start()
time.sleep(0.3)
sys.modules["last"] = Last()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True", "")


def test_metadata_that_no_decoder_would_take():
    with pytest.raises(ValueError, match="67108864"):
        aei.encode(smooth(8, 8, 1), xmp=bytes((64 << 20) + 1))


def test_other_threads_go_on_while_metadata_is_read():
    data, longest, done = aei.encode(smooth(8, 8, 1), xmp=bytes(60 << 20)), [0.0], threading.Event()

    def watch():
        while not done.is_set():
            start = time.perf_counter()
            time.sleep(0.001)
            longest[0] = max(longest[0], time.perf_counter() - start)

    thread = threading.Thread(target=watch)
    thread.start()
    start = time.perf_counter()
    aei.info(data)
    took = time.perf_counter() - start
    done.set()
    thread.join()
    # What remains is the copying into Python's memory.
    assert took < 0.1 or longest[0] < 0.95 * took


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
def test_memory_that_runs_out_is_an_error():
    # In a process of its own: with this much more memory than there is, calls go well or say that it is not enough.
    script = """
import os, resource, sys
import numpy as np
import aei
from aei import _aei

def ends(call):
    statuses = set()
    for room in range(8 << 20, 136 << 20, 40 << 20):
        child = os.fork()
        if child == 0:
            taken = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGESIZE")
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_AS, (taken + room, taken + room))
            status = 1
            try:
                call()
                status = 0
            except MemoryError:
                status = 3
            finally:
                os._exit(status)
        statuses.add(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    return statuses

# Most of the memory for this is what SSIMULACRA2 takes, which would end the process; before others leave behind what it could have.
photo = np.random.default_rng(1).integers(0, 256, (700, 700, 3), np.uint8)
aei.encode(photo[:64, :64], lossless=False)
ended = {"score": ends(lambda: aei.encode(photo, ssimulacra2=-1000, lossless=False))}
samples = bytes(5000 * 5000 * 3)
encode = lambda: _aei.encode(samples, 5000, 5000, 3, 8, 30, 1024, None, None, None, None, False, True, 0, "psnr", False, None, None, None, None)
small = aei.encode(np.zeros((8, 8, 3), np.uint8), xmp=bytes(60 << 20))
data = encode()
calls = {"encode": encode, "decode": lambda: _aei.decode(data, 8, None, None, None, False), "info": lambda: _aei.info(small)}
ended.update({name: ends(call) for name, call in calls.items()})
print(ended)
sys.exit(not all(statuses <= {0, 3} for statuses in ended.values()) or 3 not in ended["encode"] or ended["score"] != {0, 3})
"""
    environment = {**os.environ, "RUST_BACKTRACE": "0"}
    ran = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_many_calls_at_once():
    array = smooth(200, 300, 3)
    data = aei.encode(array, lossless=False)
    expected = aei.decode(data)
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        assert all((decoded == expected).all() for decoded in pool.map(aei.decode, [data] * 64))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks")
def test_processes_that_fork_after_decoding():
    data = aei.encode(smooth(200, 300, 3), lossless=False)
    expected = aei.decode(data)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        decoded = pool.map_async(aei.decode, [data] * 4).get(timeout=60)
    assert all((one == expected).all() for one in decoded)


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


@pytest.mark.parametrize("pillow", [True, False])
def test_hints_can_be_asked_for(pillow):
    code = "" if pillow else "import sys; sys.modules['PIL'] = None; "
    code += "import aei, typing; print(*(len(typing.get_type_hints(getattr(aei, name))) for name in aei.__all__ if name != 'DamageWarning'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["15", "8", "18", "2", "3"], done.stderr
