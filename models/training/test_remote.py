"""Tests of training on a borrowed machine: pytest models/training."""
from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

pytest.importorskip("numpy", reason="NumPy is not installed")
pytest.importorskip("PIL", reason="Pillow is not installed")
from PIL import Image

import data
import remote
from test_data import photo

CONFIG = dict(c8=32, c16=32, m=64, nz=16, ce=16, n8=2, n16=1)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AEI_TRAIN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_pieces_join_in_any_order(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PIECE", 1000)
    source = tmp_path / "ema.pt"
    source.write_bytes(random.Random(1).randbytes(4321))
    pieces = remote.split(source, tmp_path / "pieces")
    assert len(pieces) == 5 and all(p.stat().st_size <= 1000 for p in pieces)
    assert [p.name for p in remote.split(source, tmp_path / "some", 1, 2)] == [p.name for p in pieces[1:3]]
    for piece in random.Random(2).sample(pieces, 5):
        assert not (home / "files" / "ema.pt").exists()
        remote.add([piece])
    assert (home / "files" / "ema.pt").read_bytes() == source.read_bytes()
    assert not remote.join(pieces[1:], tmp_path / "x")
    pieces[2].write_bytes(b"?" * 1000)
    with pytest.raises(ValueError, match="damaged"):
        remote.join(pieces, tmp_path / "x")
    source.write_bytes(b"newer")
    with pytest.raises(ValueError, match="2 files"):
        remote.join([*pieces, *remote.split(source, tmp_path / "pieces")], tmp_path / "x")


def test_a_run_from_start_to_join(home: Path, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    """pack, add, start, watch, stop, collect, join."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    pictures, shards, out = tmp_path / "pictures", tmp_path / "shards", tmp_path / "out"
    pictures.mkdir()
    for i in range(2):
        Image.fromarray(photo(384, 384, i)).save(pictures / f"{i}.png")
    assert remote.main(["pack", str(pictures), "--out", str(shards)]) == 0
    assert remote.main(["add", *map(str, shards.glob("*.tar"))]) == 0
    assert data.load(next((home / "data").glob("*.tar")))
    options = ["--config", json.dumps(CONFIG), "--batch", "2", "--patch", "64", "--final-patch", "64", "--threads", "1", "--synthetic-count", "2",
               "--device", "cpu", "--log-every", "1"]
    assert remote.main(["start", *options, "--minutes", "5"]) == 0
    assert remote.main(["start", *options]) == 1  # one run at a time
    for _ in range(60):
        remote.watch(0.5)
        if '"step": 3' in (home / "log").read_text():
            break
    assert remote.main(["stop"]) == 0
    assert "stopped at step" in (home / "log").read_text()
    assert remote.main(["collect", str(out)]) == 0
    assert remote.main(["join", str(out), str(out / "ema.pt")]) == 0
    state = torch.load(out / "ema.pt", weights_only=True)
    assert state["config"] == CONFIG and state["step"] >= 3 and (out / "log.jsonl").exists()
    assert "not running" in capfd.readouterr().out
