"""Training pictures: packing them into shards, and drawing crops from them.

    python data.py pack FOLDER... --out DIR     cut pictures into windows and write shards DIR/NAME-0000.tar of at most 40 MB
    python data.py look FILE.tar...             check shards, say what is in them
    python data.py digest FOLDER --set NAME     lines for evaluation_sets.txt

A shard is a plain tar of windows of 384 x 384 pixels, each a picture file, and `index.json` as its last member, so that one which is still arriving can be
told from a whole one. Windows are of three kinds: photo, graphics, synthetic (made by synthetic.py, never stored); a batch has a set share of each.

Evaluation sets never train. `evaluation_sets.txt` lists their pictures by SHA-256 of the file and of the decoded pixels, these in all eight orientations;
pictures that are on it are left out, with a message, by packing and by training alike. That finds whole pictures under any name and in any lossless format,
mirrored and turned ones too. It cannot recognise crops, scaled copies or lossy ones: where training pictures come from is still to be looked at.
"""
from __future__ import annotations

import argparse
import glob
import hashlib
import io
import json
import os
import re
import sys
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
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
        image = Image.open(io.BytesIO(data))
        of_16_bits = image.format in ("PNG", "PPM")
        image = ImageOps.exif_transpose(image)
        if image.mode in ("I", "F") or image.mode.startswith("I;16"):
            gray = scaled(image, of_16_bits or image.mode.startswith("I;16"))
            return np.repeat(gray[..., None], 3, 2)
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return np.array(image.convert("RGB"))
    except Exception as e:  # of damaged files Pillow raises anything
        raise Incomplete(f"{type(e).__name__}: {e}") from e


def scaled(image: Image.Image, of_16_bits: bool) -> np.ndarray:
    """Gray of more than 8 bits, uint8 [H, W]; Pillow would cut it off at 255. Where no file format says so, white is the first of 1 (of floats), 255 and 65535 that
    nothing is above."""
    values = np.nan_to_num(np.asarray(image, np.float64), nan=0.0).clip(0)
    usual = (1, 255, 65535) if image.mode == "F" else (255, 65535)
    white = 65535 if of_16_bits else next((w for w in usual if values.max() <= w), values.max())
    gray = np.rint(values * (255 / white)).clip(0, 255).astype(np.uint8)
    return np.where(values == image.info["transparency"], np.uint8(255), gray) if isinstance(image.info.get("transparency"), int) else gray


def pixel_digest(pixels: np.ndarray) -> str:
    """SHA-256 of width, height and samples."""
    h, w, _ = pixels.shape
    return hashlib.sha256(b"%d %d " % (w, h) + np.ascontiguousarray(pixels).tobytes()).hexdigest()


def orientations(pixels: np.ndarray) -> list[np.ndarray]:
    """The picture as it is, then mirrored and turned in all other ways."""
    return [p[::rows, ::columns] for p in (pixels, pixels.transpose(1, 0, 2)) for rows in (1, -1) for columns in (1, -1)]


def evaluation_digests(path: Path = EVALUATION_SETS) -> dict[str, str]:
    """Digest (of a file or of pixels) -> set and name. Lines are: SHA-256 of the file, SHA-256 of the pixels, perhaps of more orientations of them, set/name."""
    if not path.exists():
        raise SystemExit(f"{path} is missing: install the package with pip install -e, which leaves its files where they are")
    out = {}
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            digests, name = re.fullmatch(r"((?:[0-9a-f]{64} +)+)(.+)", line).groups()
            out |= dict.fromkeys(digests.split(), name)
    return out


EVALUATION = evaluation_digests()


def read(path: Path) -> np.ndarray:
    """Training picture, uint8 [H, W, 3]; raises EvaluationPicture or Incomplete."""
    try:
        data = path.read_bytes()
        pixels = decode(data)
    except (OSError, Incomplete) as e:
        raise Incomplete(f"{path}: {e}") from e
    for digest in (hashlib.sha256(data).hexdigest(), pixel_digest(pixels)):
        if digest in EVALUATION:
            raise EvaluationPicture(f"{path}: this is {EVALUATION[digest]}, which is for evaluation")
    return pixels


def files(folders: Iterable[Path], suffixes: tuple[str, ...]) -> list[Path]:
    """Files that are named so, in folders (or files themselves), which may change meanwhile."""
    below = (p for f in folders for p in ([f] if f.is_file() else (Path(root, name) for root, _, names in os.walk(f) for name in names)))
    return sorted({p for p in below if p.suffix.lower() in suffixes and not p.name.startswith(".") and p.is_file()})


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
        if not all(isinstance(v, str) for item in items for v in vars(item).values()):
            raise ValueError("what its index says is no text")
    except (tarfile.TarError, OSError, KeyError, TypeError, ValueError) as e:
        raise Incomplete(f"{path}: not a whole shard ({e})") from e
    for item in items:
        if item.name not in members or hashlib.sha256(members[item.name]).hexdigest() != item.sha256:
            raise Incomplete(f"{path}: {item.name} is missing or damaged")
        if item.kind not in KINDS:
            raise Incomplete(f"{path}: {item.name} is of an unknown kind, {item.kind}")
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
    there = sorted(out.glob(f"{glob.escape(name)}-[0-9][0-9][0-9][0-9].tar"))
    if there:
        raise FileExistsError(f"{there[0]} is there already: --name or --out for others")
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
            print(f"left out: {e}", file=sys.stderr)
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

Version = tuple[int, int]  # size and time of change of a file


@dataclass
class Found:
    """What came or changed in the folders: files, windows [384, 384, 3] of those that can be read with their kinds and files, and all of them as one tensor."""

    files: dict[Path, Version] = field(default_factory=dict)
    read: set[Path] = field(default_factory=set)
    kinds: list[str] = field(default_factory=list)
    sources: list[Path | None] = field(default_factory=list)
    windows: "torch.Tensor | None" = None


def stacked(windows: list[np.ndarray]) -> "torch.Tensor":
    import torch

    return torch.from_numpy(np.stack([w.transpose(2, 0, 1) for w in windows]))


class Pool:
    """Windows of all kinds in memory, uint8 [N, 3, 384, 384] on a device; `scan` takes in what has come since, `draw` gives crops.

    `shares` are the parts of graphics and of synthetic pictures in what is drawn, photos are the rest; a kind of which there is nothing leaves its part to the
    others. `vary` is the part of the batches that is cut larger and made smaller, and the part of the crops whose brightness and colour balance are changed.
    """

    def __init__(self, folders: list[Path], device: str = "cpu", shares: dict[str, float] | None = None, synthetic_count: int = 192, seed: int = 0,
                 vary: float = 0.0):
        import torch  # packing needs no PyTorch

        self.folders, self.device, self.vary = folders, device, vary
        self.shares = {"graphics": 0.0, "synthetic": 0.0} | (shares or {})
        self.windows = torch.zeros((0, 3, WINDOW, WINDOW), dtype=torch.uint8, device=device)
        self.kinds: list[str] = []
        self.sources: list[Path | None] = []      # the files that the windows are from
        self.seen: dict[Path, Version] = {}       # those that cannot be read too: they are tried again when they change
        self.closed = False
        made = [synthetic.picture(seed * 1_000_003 + i, WINDOW)[1] for i in range(synthetic_count if self.shares["synthetic"] > 0 else 0)]
        self.take(Found(kinds=["synthetic"] * len(made), sources=[None] * len(made), windows=stacked(made) if made else None))
        self.scan()

    def find(self, workers: int = min(8, os.cpu_count() or 1)) -> Found:
        """Read pictures and shards that have come or changed since the last time. Changes nothing and leaves the device alone, so that a thread can do it while
        training goes on; with few workers, it goes on as fast."""
        found, windows = Found(), []
        for path in files(self.folders, (*SUFFIXES, ".tar")):
            try:
                status = path.stat()
            except OSError:  # it has just gone
                continue
            if self.seen.get(path) != (status.st_size, status.st_mtime_ns):
                found.files[path] = status.st_size, status.st_mtime_ns
        if not found.files:
            return found
        with ThreadPoolExecutor(workers) as by_file, ThreadPoolExecutor(workers) as by_window:
            for path, result in zip(found.files, by_file.map(lambda path: None if self.closed else load(path, by_window.map), found.files)):
                if result is not None:
                    found.read.add(path)
                    found.sources += [path] * len(result)
                    found.kinds += [kind for _, kind in result]
                    windows += [window for window, _ in result]
        if windows:
            found.windows = stacked(windows)
        return found

    def take(self, found: Found) -> int:
        """Put what was found in the place of what the same files gave before; returns how many windows."""
        import torch

        self.seen |= found.files
        old = [i for i, source in enumerate(self.sources) if source not in found.read]
        if len(old) < len(self.kinds):
            self.windows = self.windows[torch.tensor(old, dtype=torch.long, device=self.device)]
            self.kinds, self.sources = [self.kinds[i] for i in old], [self.sources[i] for i in old]
        if found.windows is not None:
            self.windows = torch.cat([self.windows, found.windows.to(self.device)])
            self.kinds += found.kinds
            self.sources += found.sources
        of_kind = Counter(self.kinds)
        share = {k: self.shares.get(k, 0.0) if of_kind[k] else 0.0 for k in KINDS}
        rest = max(0.0, 1 - share["graphics"] - share["synthetic"])
        if of_kind["photo"]:
            share["photo"] = rest
        elif of_kind["graphics"]:
            share["graphics"] += rest
        self.weights = torch.tensor([share[k] / of_kind[k] for k in self.kinds], dtype=torch.float64)
        return len(found.kinds)

    def scan(self) -> int:
        """Take in pictures and shards that have come or changed since the last time; returns how many windows."""
        return self.take(self.find())

    def describe(self) -> str:
        count = Counter(self.kinds)
        return f"{len(self.kinds)} windows ({', '.join(f'{count[k]} {k}' for k in KINDS)}) from {len({*self.sources} - {None})} files"

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


def load(path: Path, each: Callable = map) -> list[tuple[np.ndarray, str]] | None:
    """Windows and kinds of a picture or a shard; None, with a message, if it is still arriving or damaged. `each` may do several windows at a time."""
    def of_item(item: Item, data: bytes) -> list[tuple[np.ndarray, str]]:
        try:
            pixels = decode(data)
        except Incomplete as e:
            raise Incomplete(f"{path}: {item.name}: {e}") from e
        if {item.source_sha256, item.sha256, pixel_digest(pixels)} & EVALUATION.keys():
            raise EvaluationPicture(f"{path}: {item.name} is from a picture for evaluation")
        return [(window, item.kind) for window in all_windows(pixels)]

    try:
        if path.suffix.lower() == ".tar":
            return [window for windows in each(lambda item: of_item(*item), read_shard(path)) for window in windows]
        pixels = read(path)
        if min(pixels.shape[:2]) < SMALLEST:
            print(f"left out: {path}: smaller than {SMALLEST} pixels", file=sys.stderr, flush=True)
        return [(window, kind_of(pixels)) for window in all_windows(pixels)]
    except Incomplete as e:
        print(f"left out until it changes: {e}", file=sys.stderr, flush=True)
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
        try:
            paths, count = pack(a.folders, a.out, a.name, a.limit_mb, a.per_picture, a.kind, a.downscale, a.graphics, a.jpeg, a.seed)
        except FileExistsError as e:
            sys.exit(str(e))
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
            print(hashlib.sha256(data).hexdigest(), *map(pixel_digest, orientations(decode(data))), f"{a.set}/{path.name}")


if __name__ == "__main__":
    main()
