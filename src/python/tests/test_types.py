"""What the package says of its types: to people, to checkers, and whether that is so."""
import inspect
import subprocess
import sys
from pathlib import Path

import PIL
import pytest

import aei

PACKAGE = Path(aei.__file__).parent


@pytest.fixture
def mypy(tmp_path):
    """Runs it where nothing is that it would take for the package: to its status and what it says."""
    pytest.importorskip("mypy")
    if int(PIL.__version__.split(".")[0]) < 11:
        pytest.skip("Pillow is of a version that says nothing of its own types")

    def run(*arguments, module="mypy"):
        ran = subprocess.run([sys.executable, "-m", module, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=600)
        return ran.returncode, ran.stdout + ran.stderr

    return run


def test_checkers_are_told_to_look():
    # PEP 561: without it they take the package for untyped. Both have to be in the wheel.
    assert (PACKAGE / "py.typed").is_file() and (PACKAGE / "_aei.pyi").is_file()


def test_everything_public_is_annotated():
    functions = [getattr(aei, name) for name in aei.__all__ if inspect.isfunction(getattr(aei, name))] + [aei.DamageWarning.__init__]
    assert {"decode", "encode", "info", "preview"} <= {function.__name__ for function in functions}
    for function in functions:
        signature = inspect.signature(function)
        parameters = [parameter for name, parameter in signature.parameters.items() if name != "self"]
        assert all(parameter.annotation is not parameter.empty for parameter in parameters), function
        assert signature.return_annotation is not signature.empty, function


def test_the_stub_is_what_the_module_has(mypy):
    status, said = mypy("aei", module="mypy.stubtest")
    assert status == 0, said


def test_the_package_keeps_to_its_types(mypy):
    status, said = mypy("--strict", "-p", "aei")
    assert status == 0, said


# Checkers complain of what they are told to ignore and find nothing wrong with.
PROGRAM = """
import io
from typing import Optional, Union

import aei
import numpy as np
import numpy.typing as npt
from PIL import Image
from typing_extensions import assert_type

array = np.zeros((4, 6, 3), np.uint8)
data = aei.encode(array, 60)
assert_type(data, bytes)
aei.encode(array.astype(np.uint16), quality_index=np.int64(3), lossless=None, exif=Image.Exif(), xmp="<x/>", icc=None, tune="visual")
aei.encode(Image.fromarray(array), max_bytes=2000)
aei.encode(array, psnr=40)
aei.encode(array, ssimulacra2=np.float32(70.5))
aei.encode(array, bits_per_pixel="0.5")  # type: ignore[arg-type]
floats: npt.NDArray[np.float32] = np.zeros((4, 6), np.float32)
aei.encode(floats)  # type: ignore[arg-type]
aei.encode("photo.png")  # type: ignore[arg-type]
aei.encode(array, "60")  # type: ignore[arg-type]
aei.encode(array, quality=6.5)  # type: ignore[arg-type]
aei.encode(array, tune="nice")  # type: ignore[arg-type]
aei.encode(array, lossless="never")  # type: ignore[arg-type]
aei.encode(array, icc="sRGB")  # type: ignore[arg-type]

assert_type(aei.decode(data, depth=8), npt.NDArray[np.uint8])
assert_type(aei.decode(bytearray(data), depth=16, region=(0, 0, 2, 2)), npt.NDArray[np.uint16])
either = aei.decode(np.frombuffer(data, np.uint8), region=np.array([0, 0, 2, 2]), upright=False, salvage=True)
assert_type(either, npt.NDArray[Union[np.uint8, np.uint16]])
aei.encode(either)
aei.decode("photo.aei")  # type: ignore[call-overload]
aei.decode(io.BytesIO(data))  # type: ignore[call-overload]
aei.decode(data, 8)  # type: ignore[call-overload]
assert_type(aei.preview(data), Optional[npt.NDArray[np.uint8]])

info = aei.info(memoryview(data))
assert_type(info.width, int)
assert_type(info.preview_bytes, Optional[int])
assert_type(info.xmp, Optional[bytes])
info.width = 3  # type: ignore[misc]
assert_type(aei.DamageWarning(["a tile"]).lost, list[str])
"""


def test_programs_are_checked(mypy, tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    status, said = mypy("--strict", "program.py")
    assert status == 0, said
