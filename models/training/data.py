"""Training pictures: packing them into shards, and drawing crops from them.

    python data.py pack FOLDER... --out DIR     cut pictures into windows and write shards DIR/NAME-0000.tar of at most 40 MB
    python data.py look FILE.tar...             check shards, say what is in them
    python data.py digest FOLDER --set NAME     lines for evaluation_sets.txt

A shard is a plain tar of windows of 384 x 384 pixels, each a picture file, and `index.json` as its last member, so that one which is still arriving can be
told from a whole one. Windows are of three kinds: photo, graphics, synthetic (made by synthetic.py, never stored); a batch has a set share of each.

Evaluation sets never train. `evaluation_sets.txt` lists their pictures by SHA-256 of the file and of the decoded pixels; pictures that are on it are left out,
with a message, by packing and by training alike. That finds whole pictures under any name and in any lossless format. It cannot recognise crops, scaled
copies or lossy ones: where training pictures come from is still to be looked at.
"""
from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import sys
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

import synthetic

WINDOW = 384     # pixels; what does not fit is cut, what is a little smaller is mirrored at its edge
SMALLEST = 192   # pictures with a shorter side are left out
LIMIT_MB = 40
KINDS = ("photo", "graphics", "synthetic")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".ppm")
INDEX = "index.json"
EVALUATION_SETS = Path(__file__).with_name("evaluation_sets.txt")


class EvaluationPicture(ValueError):
    """A picture that must not train."""


class Incomplete(ValueError):
    """A file that is still arriving, or damaged."""


# Reading pictures

def decode(data: bytes) -> np.ndarray:
    """Picture file -> uint8 [H, W, 3]: upright, transparency over white. Colour profiles are not applied."""
    try:
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return np.array(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as e:  # what Pillow raises for damaged files
        raise Incomplete(str(e)) from e


def pixel_digest(pixels: np.ndarray) -> str:
    """SHA-256 of width, height and samples."""
    h, w, _ = pixels.shape
    return hashlib.sha256(b"%d %d " % (w, h) + np.ascontiguousarray(pixels).tobytes()).hexdigest()


def evaluation_digests(path: Path = EVALUATION_SETS) -> dict[str, str]:
    """Digest (of a file or of pixels) -> set and name. Lines are: SHA-256 of the file, SHA-256 of the pixels, set/name."""
    out = {}
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            of_file, of_pixels, name = line.split(maxsplit=2)
            out[of_file] = out[of_pixels] = name
    return out


EVALUATION = evaluation_digests()


def read(path: Path) -> np.ndarray:
    """Training picture, uint8 [H, W, 3]; raises EvaluationPicture or Incomplete."""
    data = path.read_bytes()
    pixels = decode(data)
    for digest in (hashlib.sha256(data).hexdigest(), pixel_digest(pixels)):
        if digest in EVALUATION:
            raise EvaluationPicture(f"{path}: this is {EVALUATION[digest]}, which is for evaluation")
    return pixels


def files(folders: Iterable[Path], suffixes: tuple[str, ...]) -> list[Path]:
    return sorted({p for f in folders for p in ([f] if f.is_file() else f.rglob("*")) if p.suffix.lower() in suffixes and not p.name.startswith(".")})


def kind_of(pixels: np.ndarray) -> str:
    """"graphics" where 40 % of all neighbours are equal, else "photo": a guess, for pictures of which nobody has said it."""
    same = (pixels[:, 1:] == pixels[:, :-1]).all(2).mean()
    return "graphics" if same > 0.4 else "photo"


# Cutting

def shrink(pixels: np.ndarray, r: np.random.Generator) -> np.ndarray:
    """A large photo made smaller by 2 or more, to a short side of about 512 to 1024: sharp, and without the traces of its compression."""
    short = min(pixels.shape[:2])
    factor = min(r.uniform(512, 1024) / short, 0.5)
    h, w = (max(WINDOW, round(n * factor)) for n in pixels.shape[:2])
    return np.asarray(Image.fromarray(pixels).resize((w, h), Image.Resampling.LANCZOS))


def mirrored(pixels: np.ndarray) -> np.ndarray:
    return np.pad(pixels, (*((0, max(0, WINDOW - n)) for n in pixels.shape[:2]), (0, 0)), mode="symmetric")


def all_windows(pixels: np.ndarray) -> list[np.ndarray]:
    """The picture in windows side by side, what is left over at the right and at the bottom is lost."""
    if min(pixels.shape[:2]) < SMALLEST:
        return []
    p = mirrored(pixels)
    return [p[r:r + WINDOW, c:c + WINDOW] for r in range(0, p.shape[0] - WINDOW + 1, WINDOW) for c in range(0, p.shape[1] - WINDOW + 1, WINDOW)]


def some_windows(pixels: np.ndarray, count: int, r: np.random.Generator) -> list[np.ndarray]:
    """At most `count` windows, none of which has half of its side in common with another: first the one with the most detail of some tries, then any that
    is not flat."""
    if min(pixels.shape[:2]) < SMALLEST:
        return []
    p = mirrored(pixels)
    chosen: list[tuple[int, int]] = []
    gray = p.astype(np.int16).sum(2)

    def detail(at: tuple[int, int]) -> float:
        part = gray[at[0]:at[0] + WINDOW, at[1]:at[1] + WINDOW]
        return float(np.abs(np.diff(part, axis=0)).mean() + np.abs(np.diff(part, axis=1)).mean())

    tries = [tuple(int(r.integers(0, n - WINDOW + 1)) for n in p.shape[:2]) for _ in range(8 * count)]
    for at in [max(tries[:8], key=detail), *tries]:
        apart = all(max(abs(at[0] - c[0]), abs(at[1] - c[1])) > WINDOW // 2 for c in chosen)
        if len(chosen) < count and apart and (not chosen or detail(at) > 2):
            chosen.append(at)
    return [p[y:y + WINDOW, x:x + WINDOW] for y, x in chosen]


# Shards

@dataclass
class Item:
    """A window in a shard: its member's name, kind, the file it came from (and that file's SHA-256), SHA-256 of its own picture file."""

    name: str
    kind: str
    source: str
    source_sha256: str
    sha256: str


class ShardWriter:
    """Writes windows into NAME-0000.tar, NAME-0001.tar, ... of at most `limit` bytes each."""

    def __init__(self, out: Path, name: str = "data", limit: int = LIMIT_MB * 1_000_000):
        self.out, self.name, self.limit = out, name, limit
        self.paths: list[Path] = []
        self.members: list[tuple[Item, bytes]] = []
        self.size = 0
        out.mkdir(parents=True, exist_ok=True)

    def add(self, data: bytes, suffix: str, kind: str, source: str, source_sha256: str) -> None:
        item = Item("", kind, source, source_sha256, hashlib.sha256(data).hexdigest())
        # a header of 512 bytes, padding to 512, and the line of the index, with room for what is not known yet
        need = len(data) + 1024 + len(json.dumps(asdict(item))) + 64
        if need + 20_480 > self.limit:
            raise ValueError(f"{source}: one window of {len(data)} bytes does not fit a shard of {self.limit}")
        if self.size + need + 20_480 > self.limit:
            self.flush()
        item.name = f"{len(self.members):05d}{suffix}"
        self.members.append((item, data))
        self.size += need

    def flush(self) -> None:
        if not self.members:
            return
        path = self.out / f"{self.name}-{len(self.paths):04d}.tar"
        part = path.with_name(path.name + ".part")
        index = json.dumps({"version": 1, "window": WINDOW, "items": [asdict(item) for item, _ in self.members]}).encode()
        with tarfile.open(part, "w", format=tarfile.USTAR_FORMAT) as tar:
            for name, data in [*((item.name, data) for item, data in self.members), (INDEX, index)]:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        os.replace(part, path)
        self.paths.append(path)
        self.members, self.size = [], 0


def read_shard(path: Path) -> Iterator[tuple[Item, bytes]]:
    """Windows of a shard as picture files; raises Incomplete before the first one if anything is missing or damaged."""
    try:
        with tarfile.open(path, "r:") as tar:
            members = {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}
        index = json.loads(members.pop(INDEX))
        items = [Item(**item) for item in index["items"]]
    except (tarfile.TarError, OSError, KeyError, TypeError, ValueError) as e:
        raise Incomplete(f"{path}: not a whole shard ({e})") from e
    for item in items:
        if item.name not in members or hashlib.sha256(members[item.name]).hexdigest() != item.sha256:
            raise Incomplete(f"{path}: {item.name} is missing or damaged")
    yield from ((item, members[item.name]) for item in items)


def encode(window: np.ndarray, jpeg: int) -> tuple[bytes, str]:
    """Picture file of a window and its suffix: lossless WebP, or JPEG 4:4:4 of a quality above 0 where that is smaller."""
    def save(**options: object) -> bytes:
        out = io.BytesIO()
        Image.fromarray(window).save(out, **options)
        return out.getvalue()

    data = save(format="WEBP", lossless=True, method=2)
    if jpeg:
        lossy = save(format="JPEG", quality=jpeg, subsampling=0, optimize=True)
        if len(lossy) < len(data):
            return lossy, ".jpg"
    return data, ".webp"


def pack(folders: list[Path], out: Path, name: str = "data", limit_mb: float = LIMIT_MB, per_picture: int = 3, kind: str | None = None,
         downscale: float = 0.75, graphics: float = 0.2, jpeg: int = 0, seed: int = 0) -> tuple[list[Path], Counter[str]]:
    """Shards of the pictures under `folders`, and counts by kind and of what was left out.

    Pictures come in a random order, so that every shard is a sample of all. Of photos whose short side is at least 1024 pixels the part `downscale` is made
    smaller first. Graphics beyond the part `graphics` of all windows are left out. A picture no larger than a window is copied as it is.
    """
    paths = files(folders, SUFFIXES)
    np.random.Generator(np.random.PCG64(seed)).shuffle(paths)
    writer, count = ShardWriter(out, name, int(limit_mb * 1_000_000)), Counter()
    for number, path in enumerate(paths):
        r = np.random.Generator(np.random.PCG64([seed, number]))
        try:
            pixels = read(path)
        except EvaluationPicture as e:
            print(f"left out: {e}", file=sys.stderr)
            count["evaluation"] += 1
            continue
        except Incomplete as e:
            print(f"left out: {path}: {e}", file=sys.stderr)
            count["unreadable"] += 1
            continue
        this = kind or kind_of(pixels)
        if this == "graphics" and kind is None and count["graphics"] + 1 > graphics * (count["graphics"] + count["photo"] + 1):
            count["too many graphics"] += 1
            continue
        source_digest = hashlib.sha256(path.read_bytes()).hexdigest()
        h, w, _ = pixels.shape
        if SMALLEST <= min(h, w) and max(h, w) <= WINDOW and path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"):
            coded = [(path.read_bytes(), path.suffix.lower())]
        else:
            if this == "photo" and min(h, w) >= 1024 and r.random() < downscale:
                pixels = shrink(pixels, r)
            coded = [encode(window, jpeg) for window in some_windows(pixels, per_picture, r)]
        for data, suffix in coded:
            writer.add(data, suffix, this, path.name, source_digest)
            count[this] += 1
        if not coded:
            count["too small"] += 1
    writer.flush()
    return writer.paths, count


# What training draws from

class Pool:
    """Windows of all kinds in memory, uint8 [N, 3, 384, 384] on a device; `scan` takes in what has come since, `draw` gives crops.

    `shares` are the parts of graphics and of synthetic pictures in what is drawn; a kind of which there is nothing leaves its part to the others. `vary` is the
    part of the batches that is cut larger and made smaller, and the part of the crops whose brightness and colour balance are changed.
    """

    def __init__(self, folders: list[Path], device: str = "cpu", shares: dict[str, float] | None = None, synthetic_count: int = 192, seed: int = 0,
                 vary: float = 0.0):
        import torch  # packing needs no PyTorch

        self.folders, self.device, self.vary = folders, device, vary
        self.shares = {"graphics": 0.0, "synthetic": 0.0} | (shares or {})
        self.windows = torch.zeros((0, 3, WINDOW, WINDOW), dtype=torch.uint8, device=device)
        self.kinds: list[str] = []
        self.seen: set[Path] = set()
        if self.shares["synthetic"] > 0:
            self.add([(synthetic.picture(seed * 1_000_003 + i, WINDOW)[1], "synthetic") for i in range(synthetic_count)])
        self.scan()

    def add(self, windows: list[tuple[np.ndarray, str]]) -> None:
        import torch

        if windows:
            new = torch.from_numpy(np.stack([w for w, _ in windows])).permute(0, 3, 1, 2).contiguous()
            self.windows = torch.cat([self.windows, new.to(self.device)])
            self.kinds += [kind for _, kind in windows]
        of_kind = Counter(self.kinds)
        share = {k: self.shares.get(k, 0.0) if of_kind[k] else 0.0 for k in KINDS}
        share["photo"] = max(0.0, 1 - share["graphics"] - share["synthetic"]) if of_kind["photo"] else 0.0
        self.weights = torch.tensor([share[k] / of_kind[k] for k in self.kinds], dtype=torch.float64)

    def scan(self) -> int:
        """Take in pictures and shards that have come since the last time; returns how many windows."""
        new = [p for p in files(self.folders, (*SUFFIXES, ".tar")) if p not in self.seen]
        found: list[tuple[np.ndarray, str]] = []
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as workers:
            for path, result in zip(new, workers.map(load, new)):
                if result is not None:
                    self.seen.add(path)
                    found += result
        self.add(found)
        return len(found)

    def describe(self) -> str:
        count = Counter(self.kinds)
        return f"{len(self.kinds)} windows ({', '.join(f'{count[k]} {k}' for k in KINDS)}) from {len(self.seen)} files"

    def draw(self, batch: int, patch: int, random: "torch.Generator") -> "torch.Tensor":
        """Random crops [B, 3, P, P] in 0..1 on the device, mirrored both ways and transposed at random, and varied."""
        import torch

        side, least = patch, min(WINDOW, patch * 5 // 4)  # less of a change would only blur
        if self.vary and least > patch and self.vary > torch.rand((), generator=random):
            side = int(torch.randint(least, WINDOW + 1, (), generator=random))
        n = torch.multinomial(self.weights, batch, replacement=True, generator=random)
        corner = torch.randint(WINDOW - side + 1, (2, batch, 1), generator=random)
        flip = torch.rand((2, batch, 1), generator=random) < 0.5
        rows, columns = corner + torch.where(flip, torch.arange(side - 1, -1, -1), torch.arange(side))
        n, rows, columns = (t.to(self.device, non_blocking=True) for t in (n, rows, columns))
        x = self.windows.permute(0, 2, 3, 1)[n[:, None, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
        if torch.rand((), generator=random) < 0.5:
            x = x.transpose(2, 3)
        x = x.float() / 255
        if side > patch:
            x = torch.nn.functional.interpolate(x.contiguous(), size=(patch, patch), mode="bicubic", antialias=True).clamp(0, 1)
        if self.vary:
            gain = (0.7 + 0.3 * torch.rand(batch, 1, 1, 1, generator=random)) * (0.9 + 0.1 * torch.rand(batch, 3, 1, 1, generator=random))
            gain = torch.where(torch.rand(batch, 1, 1, 1, generator=random) < self.vary, gain, 1.0)
            x = x * gain.to(self.device, non_blocking=True)
        return x


def load(path: Path) -> list[tuple[np.ndarray, str]] | None:
    """Windows and kinds of a picture or a shard; None if it is still arriving."""
    try:
        if path.suffix.lower() == ".tar":
            found = []
            for item, data in read_shard(path):
                pixels = decode(data)
                if {item.source_sha256, item.sha256, pixel_digest(pixels)} & EVALUATION.keys():
                    raise EvaluationPicture(f"{path}: {item.name} is from a picture for evaluation")
                found += [(window, item.kind) for window in all_windows(pixels)]
            return found
        pixels = read(path)
        return [(window, kind_of(pixels)) for window in all_windows(pixels)]
    except Incomplete:
        return None
    except EvaluationPicture as e:
        print(f"left out: {e}", file=sys.stderr, flush=True)
        return []


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = p.add_subparsers(dest="verb", required=True)
    v = verbs.add_parser("pack", description=pack.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    v.add_argument("folders", type=Path, nargs="+")
    v.add_argument("--out", type=Path, required=True)
    v.add_argument("--name", default="data", help="how the shards are called")
    v.add_argument("--limit-mb", type=float, default=LIMIT_MB, help="largest shard")
    v.add_argument("--per-picture", type=int, default=3, help="most windows of one picture")
    v.add_argument("--kind", choices=KINDS[:2], help="what all these pictures are [default: guessed by their flat parts]")
    v.add_argument("--downscale", type=float, default=0.75, help="part of the large photos that is made smaller first")
    v.add_argument("--graphics", type=float, default=0.2, help="most graphics, as a part of all windows")
    v.add_argument("--jpeg", type=int, default=0, metavar="QUALITY", help="store windows as JPEG of this quality (97: a third of the size) [default: lossless]")
    v.add_argument("--seed", type=int, default=0)
    v = verbs.add_parser("look")
    v.add_argument("shards", type=Path, nargs="+")
    v = verbs.add_parser("digest")
    v.add_argument("folder", type=Path)
    v.add_argument("--set", required=True)
    a = p.parse_args()
    if a.verb == "pack":
        paths, count = pack(a.folders, a.out, a.name, a.limit_mb, a.per_picture, a.kind, a.downscale, a.graphics, a.jpeg, a.seed)
        print(f"{len(paths)} shards, {sum(x.stat().st_size for x in paths) / 1e6:.1f} MB; " + ", ".join(f"{n} {what}" for what, n in count.items()))
        if not paths:
            sys.exit("no picture to train on was found")
    elif a.verb == "look":
        for path in a.shards:
            kinds = Counter(item.kind for item, _ in read_shard(path))
            print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, " + ", ".join(f"{n} {kind}" for kind, n in kinds.items()))
    else:
        for path in files([a.folder], SUFFIXES):
            data = path.read_bytes()
            print(hashlib.sha256(data).hexdigest(), pixel_digest(decode(data)), f"{a.set}/{path.name}")


if __name__ == "__main__":
    main()
