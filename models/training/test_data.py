"""Tests of shards, of what is drawn from them, and of what must not train: pytest models/training."""
from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import pytest

np = pytest.importorskip("numpy", reason="NumPy is not installed")
pytest.importorskip("PIL", reason="Pillow is not installed")
from PIL import Image

import data
import synthetic


def photo(h: int, w: int, seed: int = 1) -> np.ndarray:
    """Smooth with some grain, uint8 [h, w, 3]."""
    r = np.random.Generator(np.random.PCG64(seed))
    row, column = np.mgrid[:h, :w]
    base = np.stack([row * 200 / h, 128 + 90 * np.sin(column / 37 + seed), 255 - column * 200 / w], 2)
    return np.clip(base + 6 * r.standard_normal((h, w, 3)), 0, 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two photos (one large), a drawing, one too small, one damaged."""
    out = tmp_path / "pictures"
    out.mkdir()
    Image.fromarray(photo(500, 420)).save(out / "a.png")
    Image.fromarray(photo(1300, 1100, 2)).save(out / "large.jpg", quality=90)
    drawing = np.full((400, 400, 3), 255, np.uint8)
    drawing[100:120, 50:300] = (200, 0, 0)
    Image.fromarray(drawing).save(out / "drawing.png")
    Image.fromarray(photo(100, 300)).save(out / "small.png")
    (out / "damaged.jpg").write_bytes((out / "large.jpg").read_bytes()[:5000])
    return out


def test_shards_round_trip(folder: Path, tmp_path: Path) -> None:
    paths, count = data.pack([folder], tmp_path / "shards", per_picture=3, graphics=1.0)
    assert count["unreadable"] == 1 and count["too small"] == 1 and count["graphics"] == 1 and count["photo"] >= 2
    (path,) = paths
    windows = [(item, data.decode(content)) for item, content in data.read_shard(path)]
    assert all(w.shape == (384, 384, 3) for _, w in windows) and len(windows) == count["photo"] + count["graphics"]
    whole = photo(500, 420)
    parts = [w for item, w in windows if item.source == "a.png"]
    assert parts and all(any((whole[r:r + 384, c:c + 384] == w).all() for r in range(117) for c in range(37)) for w in parts)  # lossless
    again, _ = data.pack([folder], tmp_path / "again", per_picture=3, graphics=1.0)
    assert again[0].read_bytes() == path.read_bytes()


def test_shards_keep_their_limit(tmp_path: Path) -> None:
    writer = data.ShardWriter(tmp_path, "x", limit=200_000)
    for i in range(40):
        writer.add(bytes([i]) * 15_000, ".webp", "photo", f"{i}.png", "0" * 64)
    writer.flush()
    assert len(writer.paths) > 2 and all(p.stat().st_size <= 200_000 for p in writer.paths)
    assert sum(1 for p in writer.paths for _ in data.read_shard(p)) == 40
    with pytest.raises(ValueError, match="does not fit"):
        writer.add(bytes(200_000), ".webp", "photo", "huge.png", "0" * 64)


def test_a_shard_that_is_still_arriving_is_left_for_later(folder: Path, tmp_path: Path) -> None:
    paths, _ = data.pack([folder], tmp_path / "shards")
    whole = paths[0].read_bytes()
    part = tmp_path / "part.tar"
    for size in (0, 100, len(whole) // 2, len(whole) - 12_000):
        part.write_bytes(whole[:size])
        with pytest.raises(data.Incomplete):
            list(data.read_shard(part))
        assert data.load(part) is None
    damaged = bytearray(whole)
    damaged[5000] ^= 1
    part.write_bytes(damaged)
    with pytest.raises(data.Incomplete, match="damaged"):
        list(data.read_shard(part))
    part.write_bytes(whole)
    assert data.load(part)


def test_evaluation_pictures_are_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    held_out = photo(500, 420)
    monkeypatch.setattr(data, "EVALUATION", {data.pixel_digest(held_out): "set/a.png"})
    with pytest.raises(data.EvaluationPicture, match="set/a.png"):
        data.read(folder / "a.png")
    Image.fromarray(held_out).save(folder / "another name.webp", lossless=True)  # other bytes, same pixels
    assert data.load(folder / "another name.webp") == []
    assert "for evaluation" in capsys.readouterr().err
    paths, count = data.pack([folder], tmp_path / "shards")
    assert count["evaluation"] == 2
    assert not {item.source for p in paths for item, _ in data.read_shard(p)} & {"a.png", "another name.webp"}


def test_shards_with_evaluation_pictures_are_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,), _ = data.pack([folder], tmp_path / "shards")
    item, _ = next(data.read_shard(path))
    monkeypatch.setattr(data, "EVALUATION", {item.source_sha256: "set/name"})
    assert data.load(path) == []


def test_the_list_of_evaluation_pictures() -> None:
    listed = data.evaluation_digests()
    assert {f"kodak/kodim{i:02d}.png" for i in range(1, 25)} <= set(listed.values())
    assert all(len(d) == 64 for d in listed) and len(listed) == 24 * 9
    with pytest.raises(SystemExit, match="install"):
        data.evaluation_digests(Path("missing.txt"))


def test_evaluation_pictures_are_found_in_every_orientation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    pixels = photo(200, 210)
    (tmp_path / "in").mkdir()
    Image.fromarray(pixels).save(tmp_path / "in" / "a b.png")
    monkeypatch.setattr("sys.argv", ["data.py", "digest", str(tmp_path / "in"), "--set", "set"])
    data.main()
    (tmp_path / "list.txt").write_text("# words\n" + capsys.readouterr().out + f"{'0' * 64} {'1' * 64} older/two digests.png\n")
    listed = data.evaluation_digests(tmp_path / "list.txt")
    assert len(listed) == 11 and set(listed.values()) == {"set/a b.png", "older/two digests.png"}
    monkeypatch.setattr(data, "EVALUATION", listed)
    for i in range(8):
        Image.fromarray(pixels).transpose(Image.Transpose(i) if i < 7 else Image.Transpose.ROTATE_180).save(tmp_path / "x.webp", lossless=True)
        assert data.load(tmp_path / "x.webp") == []


def test_gray_of_many_bits(tmp_path: Path) -> None:
    wanted = np.arange(256, dtype=np.uint8).reshape(16, 16)

    def decoded(values: np.ndarray, form: str, **options: object) -> np.ndarray:
        out = io.BytesIO()
        Image.fromarray(values).save(out, form, **options)
        pixels = data.decode(out.getvalue())
        assert pixels.shape == (16, 16, 3) and pixels.dtype == np.uint8 and (pixels == pixels[..., :1]).all()
        return pixels[..., 0]

    deep = wanted.astype(np.uint16) * 257
    for form in ("PNG", "TIFF", "PPM"):
        assert (decoded(deep, form) == wanted).all()
        assert (decoded(deep // 257 // 4 * 257, form) == wanted // 4).all()  # a dark one stays dark
    assert (decoded(wanted.astype(np.int32) * 257, "TIFF") == wanted).all() and (decoded(wanted.astype(np.float32) / 255, "TIFF") == wanted).all()
    assert decoded(np.zeros((16, 16), np.float32), "TIFF").max() == 0
    turned = Image.Exif()
    turned[0x0112] = 8
    assert (decoded(deep, "PNG", exif=turned) == np.rot90(wanted)).all()
    assert decoded(deep, "PNG", transparency=0)[0, 0] == 255


def test_kinds() -> None:
    assert data.kind_of(photo(200, 200)) == "photo" and data.kind_of(np.zeros((200, 200, 3), np.uint8)) == "graphics"


def test_large_photos_become_smaller() -> None:
    r = np.random.Generator(np.random.PCG64(0))
    for _ in range(5):
        small = data.shrink(photo(1300, 1100), r)
        assert 512 <= min(small.shape[:2]) <= 550 and abs(small.shape[0] / small.shape[1] - 1300 / 1100) < 0.01


def test_synthetic_pictures_are_what_their_seed_says() -> None:
    seen = set()
    for seed in range(60):
        kind, pixels = synthetic.picture(seed, 96)
        assert pixels.shape == (96, 96, 3) and pixels.dtype == np.uint8
        assert (synthetic.picture(seed, 96)[1] == pixels).all()
        seen.add(kind)
    assert seen == set(synthetic.NAMES)
    assert sum(share for _, share in synthetic.KINDS.values()) == 100


def test_pool_draws_its_shares_and_takes_in_what_arrives(folder: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    arriving = tmp_path / "arriving"
    arriving.mkdir()
    pool = data.Pool([arriving], shares=dict(graphics=0.1, synthetic=0.25), synthetic_count=4)
    assert pool.kinds == ["synthetic"] * 4 and pool.scan() == 0
    (path,), _ = data.pack([folder], tmp_path / "shards", graphics=1.0)
    path.rename(arriving / path.name)
    Image.fromarray(photo(400, 800)).save(arriving / "loose.png")
    assert pool.scan() == len(pool.kinds) - 4 > 2 and pool.scan() == 0 and "from 2 files" in pool.describe()
    random = torch.Generator().manual_seed(1)
    drawn = torch.multinomial(pool.weights, 4000, replacement=True, generator=random).tolist()
    share = {kind: sum(pool.kinds[i] == kind for i in drawn) / 4000 for kind in data.KINDS}
    assert abs(share["synthetic"] - 0.25) < 0.03 and abs(share["graphics"] - 0.1) < 0.03
    for patch in (128, 256, 384):
        x = pool.draw(3, patch, random)
        assert x.shape == (3, 3, patch, patch) and 0 <= float(x.min()) and float(x.max()) <= 1


def test_pool_says_what_it_cannot_take_and_takes_what_changes(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    (shard,), _ = data.pack([folder], tmp_path / "shards", graphics=1.0)
    there = tmp_path / "there"
    (there / "folder.png").mkdir(parents=True)
    (there / "gone.png").symlink_to(there / "nowhere")
    Image.fromarray(photo(100, 300)).save(there / "small.png")
    (there / "damaged.jpg").write_bytes(b"no picture")
    with tarfile.open(shard) as tar:
        members = {m.name: tar.extractfile(m).read() for m in tar}
    for name, change in (("odd.tar", dict(kind="drawing")), ("list.tar", dict(source_sha256=[]))):
        index = json.loads(members[data.INDEX])
        index["items"][0] |= change
        with tarfile.open(there / name, "w") as tar:
            for member, content in (members | {data.INDEX: json.dumps(index).encode()}).items():
                info = tarfile.TarInfo(member)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    (there / "data.tar").write_bytes(shard.read_bytes()[:9000])
    pool = data.Pool([there])
    said = capsys.readouterr().err
    assert not pool.kinds and all(name in said for name in ("small.png: smaller", "damaged.jpg", "unknown kind, drawing", "list.tar", "data.tar")) and "gone" not in said
    assert pool.scan() == 0 and not capsys.readouterr().err  # said once
    (there / "data.tar").write_bytes(shard.read_bytes())
    count = pool.scan()
    assert count == len(pool.kinds) == len(pool.windows) > 2
    (other,), _ = data.pack([folder], tmp_path / "other", per_picture=1, kind="photo")  # replaced: its windows take the place of the old ones
    os.replace(other, there / "data.tar")
    Image.fromarray(photo(384, 384)).save(there / "good.png")
    assert pool.scan() == len(pool.kinds) == len(pool.windows) == len(pool.weights) and "from 2 files" in pool.describe() and set(pool.kinds) == {"photo"}
    (there / "data.tar").write_bytes(b"half")  # what is there stays until the new one is whole
    assert pool.scan() == 0 and "from 2 files" in pool.describe()


def test_the_parts_go_to_what_there_is(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    Image.fromarray(np.zeros((384, 384, 3), np.uint8)).save(tmp_path / "flat.png")
    pool = data.Pool([tmp_path], shares=dict(graphics=0.0, synthetic=0.0))
    assert pool.kinds == ["graphics"] and pool.weights.tolist() == [1.0]
    pool = data.Pool([tmp_path], shares=dict(graphics=0.1, synthetic=0.25), synthetic_count=1)
    assert pool.weights.tolist() == [0.25, 0.75]


def test_shards_are_not_overwritten(folder: Path, tmp_path: Path) -> None:
    (path,), _ = data.pack([folder], tmp_path)
    with pytest.raises(FileExistsError, match="--name"):
        data.pack([folder], tmp_path, seed=1)
    assert data.pack([folder], tmp_path, name="data-2")[0]


def test_crops_are_parts_of_windows(tmp_path: Path) -> None:
    """Every crop, mirrored or transposed back, is found in its window."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    row, column = np.mgrid[:384, :384]
    where = np.stack([row // 2, column // 2, (row % 2) * 2 + column % 2], 2).astype(np.uint8)  # every pixel says where it is
    Image.fromarray(where).save(tmp_path / "where.png")
    pool = data.Pool([tmp_path])
    random = torch.Generator().manual_seed(2)
    forms = set()
    for _ in range(12):
        x = (pool.draw(2, 64, random) * 255).round().int().numpy()
        for crop in x:
            r, c = 2 * crop[0] + crop[2] // 2, 2 * crop[1] + crop[2] % 2
            steps = [tuple(int(abs(v)) for v in (np.diff(a, axis=0).mean(), np.diff(a, axis=1).mean())) for a in (r, c)]
            assert steps in ([(1, 0), (0, 1)], [(0, 1), (1, 0)])
            forms.add((steps[0], bool(r[0, 0] < r[-1, -1]), bool(c[0, 0] < c[-1, -1])))
    assert len(forms) == 8


def test_shard_members_are_plain(folder: Path, tmp_path: Path) -> None:
    (path,), _ = data.pack([folder], tmp_path)
    with tarfile.open(path) as tar:
        names = tar.getnames()
        assert names[-1] == data.INDEX and names[0] == "00000" + Path(names[0]).suffix and all(m.isfile() and m.mtime == 0 for m in tar)
