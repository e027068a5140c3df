"""Packages of Debian as a source of pictures: a small package from a mirror that is a folder."""
from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

import fetch

FILES = {"./usr/share/doc/photos/copyright": b"CC0", "./usr/share/photos/a/x.jpg": b"picture 1", "./usr/share/photos/b/x.jpg": b"picture 2",
         "./usr/share/photos/other.jpg": b"not wanted", "../../escape.jpg": b"not wanted either"}
POOL = "pool/main/p/photos_1_all.deb"


def deb(files: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    out = b"!<arch>\n"
    for name, content in (("debian-binary", b"2.0\n"), ("control.tar.xz", b"odd"), ("data.tar.xz", data.getvalue())):
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode() + content + b"\n" * (len(content) % 2)
    return out


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror with one package, and the list that names it."""
    package = tmp_path / "mirror" / POOL
    package.parent.mkdir(parents=True)
    package.write_bytes(deb(FILES))
    entry(tmp_path, package.read_bytes(), monkeypatch)
    return tmp_path / "mirror"


def entry(folder: Path, package: bytes, monkeypatch: pytest.MonkeyPatch, *more: str) -> None:
    lines = ["# a comment", "", "package photos 1 CC0, public domain", f"from {POOL} {len(package)} {hashlib.sha256(package).hexdigest()}",
             "in usr/share/photos/a", "x.jpg", "in usr/share/photos/b", "x.jpg", *more]
    (folder / "list.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(fetch, "LIST", folder / "list.txt")


def run(out: Path, mirror: Path, *more: str) -> int:
    with pytest.raises(SystemExit) as end:
        fetch.main(["--out", str(out), "--mirror", mirror.as_uri(), *more])
    return int(end.value.code or 0)


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_pictures_and_licences_come(mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run(out, mirror) == 0
    assert files_in(out) == {"photos/a_x.jpg": b"picture 1", "photos/b_x.jpg": b"picture 2", "photos/copyright": b"CC0"}
    assert "2 of 2 pictures fetched (CC0, public domain)" in capsys.readouterr().out
    # what is there is not fetched again, what is missing is
    (out / "photos/b_x.jpg").unlink()
    assert run(out, mirror, "--only", "photos") == 0 and "1 of 2" in capsys.readouterr().out
    (mirror / POOL).unlink()
    assert run(out, mirror) == 0 and "0 of 2" in capsys.readouterr().out


def test_another_package_is_refused(mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = (mirror / POOL).read_bytes()
    for wrong in (good[:-1], good + b"x", good[:-1] + bytes([good[-1] ^ 1])):
        (mirror / POOL).write_bytes(wrong)
        assert run(tmp_path / "out", mirror) == 1
        assert "not the package" in capsys.readouterr().err
    (mirror / POOL).unlink()
    assert run(tmp_path / "out", mirror) == 1
    assert f"--mirror {fetch.OLD}" in capsys.readouterr().err
    assert files_in(tmp_path / "out") == {}


def test_broken_packages_and_lists(mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    good = (mirror / POOL).read_bytes()
    for package, message in ((b"no package" * 9, "no Debian package"), (good[:70], "no files"), (good[:len(good) * 2 // 3], "photos:")):
        (mirror / POOL).write_bytes(package)
        entry(tmp_path, package, monkeypatch)
        assert run(tmp_path / "out", mirror) == 1
        assert message in capsys.readouterr().err
    (mirror / POOL).write_bytes(good)
    entry(tmp_path, good, monkeypatch, "absent.jpg")
    assert run(tmp_path / "out", mirror) == 1
    assert "b/absent.jpg" in capsys.readouterr().err
    assert run(tmp_path / "out", mirror, "--only", "photos", "paintings") == 2
    assert "no package paintings" in capsys.readouterr().err
    with pytest.raises(fetch.FetchError, match="line 1"):
        fetch.packages("x.jpg")


def test_the_list_of_the_project() -> None:
    listed = fetch.packages(fetch.LIST.read_text(encoding="utf-8"))
    assert len(listed) == len({p.name for p in listed}) >= 9
    for package in listed:
        outputs = package.outputs(Path("out"))
        assert len(set(outputs.values())) == len(outputs) == len(package.pictures) + 1 > 1
        assert len(package.sha256) == 64 and package.size > 0 and package.path.startswith("pool/main/") and package.licence
