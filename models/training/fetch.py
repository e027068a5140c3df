"""Get the photographs of Debian's packages that aei1 was trained on.

    python fetch.py --out DIR [--only PACKAGE ...] [--mirror URL]

`pictures.txt` names the packages, with SHA-256 and licences, and the pictures in them. Each package is fetched from a mirror of Debian, checked, read without
installing anything or running any of its scripts, and removed; its pictures are DIR/PACKAGE/NAME. What is there already is not fetched again. The
licences' texts are in the packages' own copyright files, which come along as DIR/PACKAGE/copyright.
"""
from __future__ import annotations

import argparse
import hashlib
import io
import os
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

MIRROR = "http://deb.debian.org/debian"  # what comes from there is checked by digest
OLD = "https://snapshot.debian.org/archive/debian/20261126T000000Z"  # keeps what mirrors drop when a package changes
LIST = Path(__file__).with_name("pictures.txt")
LARGEST_PICTURE = 64 << 20
PIECE = 1 << 20


class FetchError(Exception):
    """What went wrong, in words for the user."""


@dataclass
class Package:
    name: str
    version: str
    licence: str
    path: str = ""      # on a mirror
    size: int = 0
    sha256: str = ""
    pictures: list[str] = field(default_factory=list)  # paths in the package

    def outputs(self, folder: Path) -> dict[str, Path]:
        """Where each file of the package goes. Names are those of the package's folders and file, as several folders may have a file of one name."""
        common = os.path.commonpath([PurePosixPath(p).parent for p in self.pictures])
        out = {p: folder / self.name / str(PurePosixPath(p).relative_to(common)).replace("/", "_") for p in self.pictures}
        return out | {f"usr/share/doc/{self.name}/copyright": folder / self.name / "copyright"}


def packages(text: str) -> list[Package]:
    """The packages of a list: lines `package NAME VERSION LICENCE`, `from PATH SIZE SHA256`, `in FOLDER`, then a file's path below that folder on each line."""
    found: list[Package] = []
    folder = ""
    for number, line in enumerate(text.splitlines(), 1):
        kind, _, rest = line.partition(" ")
        if not line or kind == "#":
            continue
        if kind == "package":
            found.append(Package(*rest.split(" ", 2)))
        elif not found:
            raise FetchError(f"line {number}: there is no package before this")
        elif kind == "from":
            path, size, found[-1].sha256 = rest.split(" ")
            found[-1].path, found[-1].size = path, int(size)
        elif kind == "in":
            folder = rest
        else:
            found[-1].pictures.append(f"{folder}/{line}")
    return found


def download(package: Package, mirror: str, to: BinaryIO) -> None:
    """Writes the package to a file and checks it."""
    url = f"{mirror.rstrip('/')}/{package.path}"
    digest, done = hashlib.sha256(), 0
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            while done <= package.size and (piece := response.read(PIECE)):
                to.write(piece)
                digest.update(piece)
                done += len(piece)
    except (urllib.error.URLError, OSError) as error:
        raise FetchError(f"{url}: {error}; if the mirror has a newer version only, try --mirror {OLD}") from error
    if done != package.size or digest.hexdigest() != package.sha256:
        raise FetchError(f"{url}: this is not the package that was trained on ({done} bytes, expected {package.size}); try again, or another --mirror")


def data_of(package: BinaryIO) -> BinaryIO:
    """The archive of a .deb's files. A .deb is an `ar` archive: headers of 60 bytes, each member padded to an even length (deb(5), ar(5))."""
    if package.read(8) != b"!<arch>\n":
        raise FetchError("this is no Debian package")
    while len(header := package.read(60)) == 60:
        name, size = header[:16].decode("ascii", "replace").strip(" /"), int(header[48:58])
        if name.startswith("data.tar"):
            return package  # tarfile ends with its own archive
        package.seek(size + size % 2, io.SEEK_CUR)
    raise FetchError("the package has no files")


def extract(package: BinaryIO, wanted: dict[str, Path]) -> set[str]:
    """Writes the wanted files of a .deb, and gives their paths in it. Nothing else in the package decides where anything is written."""
    done: set[str] = set()
    with tarfile.open(fileobj=data_of(package), mode="r|*") as archive:
        for member in archive:
            path = member.name.removeprefix("./")
            if path not in wanted or not member.isfile():
                continue
            if member.size > LARGEST_PICTURE:
                raise FetchError(f"{path} has {member.size} bytes")
            content = archive.extractfile(member)
            assert content is not None, "a file has content"
            wanted[path].parent.mkdir(parents=True, exist_ok=True)
            part = wanted[path].with_name(wanted[path].name + ".part")
            part.write_bytes(content.read())
            part.replace(wanted[path])
            done.add(path)
            if len(done) == len(wanted):
                break  # the rest need not be unpacked
    return done


def fetch(package: Package, folder: Path, mirror: str) -> int:
    """Gets what is missing of a package; the number of its pictures that came."""
    missing = {inside: path for inside, path in package.outputs(folder).items() if not path.exists()}
    if not missing:
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        download(package, mirror, file)
        file.seek(0)
        try:
            done = extract(file, missing)
        except (tarfile.TarError, EOFError, ValueError, FetchError) as error:
            raise FetchError(f"{package.name}: {error}") from error
    if left := sorted(set(missing) - done):
        raise FetchError(f"{package.name}: {len(left)} files are not in the package: {', '.join(left[:3])} ...")
    return len([path for path in done if path in package.pictures])


def main(arguments: list[str] | None = None) -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    p.add_argument("--only", nargs="+", metavar="PACKAGE", help="these packages alone")
    p.add_argument("--mirror", default=MIRROR, metavar="URL", help="a mirror of Debian [default: %(default)s]")
    a = p.parse_args(arguments)
    if not LIST.exists():
        p.error(f"{LIST} is missing: install the package with pip install -e, which leaves its files where they are")
    listed = packages(LIST.read_text(encoding="utf-8"))
    if unknown := set(a.only or ()) - {package.name for package in listed}:
        p.error(f"{LIST.name} has no package {', '.join(sorted(unknown))}")
    failed = False
    for package in listed:
        if a.only and package.name not in a.only:
            continue
        try:
            count = fetch(package, a.out, a.mirror)
        except FetchError as error:
            print(f"aei-fetch: {error}", file=sys.stderr)
            failed = True
            continue
        print(f"{package.name} {package.version}: {count} of {len(package.pictures)} pictures fetched ({package.licence})", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
