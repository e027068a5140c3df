"""Tests of the trainer on a tiny network: pytest models/training."""
from __future__ import annotations

import json
import math
import shutil
import threading
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("PIL", reason="Pillow is not installed")
import numpy as np
from PIL import Image

import curves
import export
import model
import tiny
import train
from data import Pool
from test_data import photo
from test_soap import FakeGraphs


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pictures")
    for i in range(2):
        Image.fromarray(photo(384, 384, i)).save(out / f"{i}.png")
    return out


def arguments(out: Path, pictures: Path, *more: str):
    return train.arguments(["--data", str(pictures), "--out", str(out), "--config", json.dumps(tiny.CONFIG), "--steps", "8", "--batch", "4", "--patch", "64",
                            "--final-patch", "128", "--final-part", "0.3", "--warmup", "2", "--synthetic-count", "3", "--synthetic", "0.2", "--threads", "1",
                            "--device", "cpu", "--float32", "--minutes", "1e9", *more])


def pool_of(a) -> Pool:
    return Pool(a.data, a.device, dict(graphics=a.graphics, synthetic=a.synthetic), a.synthetic_count, a.seed, a.vary)


def weights(t: train.Trainer) -> torch.Tensor:
    return torch.cat([w.detach().flatten() for w in [*t.weights, *t.average]])


def test_shapes() -> None:
    net = model.Codec(**tiny.CONFIG)
    x_hat, y_bits, z_bits = net(torch.rand(3, 3, 128, 192), torch.tensor([0, 31, 63]))
    assert x_hat.shape == (3, 3, 128, 192) and y_bits.shape == z_bits.shape == (3,)
    assert net.analysis(torch.rand(1, 3, 64, 128), torch.tensor([5])).shape == (1, 64, 4, 8)


def test_products_are_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is computed on CUDA, here on a processor: the same, and in channels_last all along."""
    monkeypatch.setattr(torch, "rand_like", lambda t: torch.full_like(t, 0.3))
    torch.manual_seed(0)
    net = model.init_linear(model.Codec(**tiny.CONFIG)).to(memory_format=torch.channels_last)
    for block in net.modules():
        if isinstance(block, model.Block):  # they start as nothing
            block.out.weight.data.normal_(std=0.05)
            block.mix.weight.data.normal_(std=0.05)
    x, q = torch.rand(2, 3, 128, 64).contiguous(memory_format=torch.channels_last), torch.tensor([10.0, 50.0])

    def results() -> list[torch.Tensor]:
        x_hat, y_bits, z_bits = net(x, q)
        return [x_hat, y_bits, z_bits, *torch.autograd.grad(1000 * x_hat.square().mean() + (y_bits + z_bits).mean(), list(net.parameters()))]

    expected = results()
    monkeypatch.setattr(model, "as_products", lambda x: True)
    orders = []
    for layer in net.modules():
        if isinstance(layer, model.Pointwise):
            layer.register_forward_pre_hook(lambda _, inputs: orders.append(inputs[0].is_contiguous(memory_format=torch.channels_last)))
    for ours, theirs in zip(results(), expected):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3 * float(theirs.detach().abs().max()))
    assert len(orders) > 50 and all(orders)


def test_compiled_parts_are_shared() -> None:
    """Blocks of one shape are compiled once, and nothing changes."""
    net = model.Codec(**tiny.CONFIG)
    count = []
    compiler = lambda graph, inputs: count.append(1) or graph.forward
    x, q = torch.rand(1, 3, 64, 64), torch.tensor([30.0])
    torch.manual_seed(0)
    expected = net(x, q)
    with pytest.MonkeyPatch.context() as patch:
        whole = torch.compile
        patch.setattr(torch, "compile", lambda f, **options: whole(f, backend=compiler, **options))
        names = list(net.state_dict())
        net.compile_parts()
    torch.manual_seed(0)
    for ours, theirs in zip(net(x, q), expected):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert list(net.state_dict()) == names and 4 <= len(count) <= 10


def test_weighted_alike() -> None:
    """The tilt: what a good codec needs at each lambda comes to about the same loss."""
    x = torch.zeros(4, 3, 8, 8)
    for lam, bpp, mse in ((0.0005, 0.061, 177.0), (0.0146, 0.468, 34.7), (0.103, 1.48, 7.06), (1.1, 3.1, 2.22)):
        x_hat = torch.full_like(x, mse ** 0.5 / 255)
        loss = train.losses(torch.full((4,), lam), x, x_hat, torch.full((4,), bpp * 64), 4.0)[0]
        assert 0.5 < float(loss) < 1.5


def test_lambdas() -> None:
    assert math.isclose(float(model.lambda_of(0)), 0.001, rel_tol=1e-5) and math.isclose(float(model.lambda_of(63)), 0.5, rel_tol=1e-5)
    q = torch.arange(64)
    assert torch.allclose(model.lambda_of(q), 0.001 * 500 ** (q / 63), rtol=1e-5)
    bent = model.lambda_of(q, [(0, 0.0005), (14, 0.004), (47, 0.1), (63, 2.0)])
    assert torch.allclose(bent[[0, 14, 47, 63]], torch.tensor([0.0005, 0.004, 0.1, 2.0]), rtol=1e-5) and (bent.diff() > 0).all()
    for wrong in ([(0, 0.001)], [(0, 0.5), (63, 0.1)], [(1, 0.1), (63, 0.5)], [(0, 0.0), (63, 0.5)]):
        with pytest.raises(ValueError, match="lambdas"):
            model.Codec(**tiny.CONFIG, lambdas=wrong)


def test_a_grown_network_computes_the_same() -> None:
    net = model.Codec(**tiny.CONFIG).eval()
    for p in net.parameters():  # blocks that add something
        torch.nn.init.normal_(p, std=0.1)
    bigger = model.grow(net, n8=5, n16=3, a8=4, n_trunk=4).eval()
    assert bigger.config == tiny.CONFIG | dict(n8=5, n16=3, a8=4, n_trunk=4)
    there, back = bigger.analysis, bigger.synthesis
    parts = there.first, there.second, there.tail, back.first, back.second, back.head, bigger.entropy.trunk
    assert [len(part) for part in parts] == [2, 2, 4, 2, 3, 5, 4]
    x, q = torch.rand(2, 3, 64, 128), torch.tensor([3.0, 50.0])
    for a, b in zip(net(x, q), bigger(x, q)):
        assert torch.equal(a, b)
    for wrong in (dict(n8=1), dict(a16=1), dict(m=128), dict(n_trunk=1)):
        with pytest.raises(ValueError, match="grows"):
            model.grow(net, **wrong)


def test_gains_move_with_the_lambdas() -> None:
    net = model.Codec(**tiny.CONFIG)
    before = net.analysis.gain(torch.arange(64))[:, 0, 0, 0].detach().clone()
    model.move_gains(net, model.LAMBDAS, model.LAMBDAS)
    after = net.analysis.gain(torch.arange(64))[:, 0, 0, 0]
    assert torch.allclose(after, before, rtol=1e-4)
    longer = [(0, 0.001), (63, 4.0)]
    model.move_gains(net, model.LAMBDAS, longer)
    after = net.analysis.gain(torch.arange(64))[:, 0, 0, 0].detach()
    slope = math.log(35 / 1.6) / math.log(500)  # the gains started as a power of lambda
    assert torch.allclose(after, 1.6 * (model.lambda_of(torch.arange(64), longer) / 0.001) ** slope, rtol=1e-3)


def test_bits_have_a_gradient_where_they_are_limited() -> None:
    value, scale = torch.tensor([0.3, 2.0, 60.0], requires_grad=True), torch.tensor([0.5, 0.11, 1.0], requires_grad=True)
    bits = model.bits(value, scale)
    with torch.no_grad():
        assert torch.equal(model.bits(value, scale), bits) and torch.allclose(bits[1:], torch.tensor(-math.log2(1e-9)))
    bits.sum().backward()
    assert (value.grad > 0).all() and (scale.grad[1:] < 0).all() and torch.isfinite(scale.grad).all()


def test_qualities_are_stratified() -> None:
    random = torch.Generator().manual_seed(0)
    for batch in (4, 8, 32):
        q = train.draw_qualities(batch, random)
        assert sorted((q * batch / 64).long().tolist()) == list(range(batch)) and q.max() <= 63


def test_one_extreme_crop_does_not_take_the_whole_gradient() -> None:
    x, lam = torch.zeros(4, 3, 8, 8), torch.full((4,), 0.02)
    x_hat = torch.full((4, 3, 8, 8), 2 / 255, requires_grad=True)
    with torch.no_grad():
        x_hat[3] = 1.0
    shares = {}
    for cap in (0.0, 4.0):
        train.losses(lam, x, x_hat, torch.ones(4), cap)[0].backward()
        size = x_hat.grad.abs().sum((1, 2, 3))
        shares[cap] = float(size[3] / size.sum())
        x_hat.grad = None
    assert shares[0.0] > 0.95 and shares[4.0] < 0.5


def test_varied_crops(pictures: Path) -> None:
    """Part of the batches is made smaller, part of the crops darker, and all stay pictures."""
    pool = Pool([pictures], "cpu", {}, 0, 0, vary=0.5)
    random = torch.Generator().manual_seed(3)
    batches = [pool.draw(8, 64, random) for _ in range(40)]
    assert all(b.shape == (8, 3, 64, 64) and b.min() >= 0 and b.max() <= 1 for b in batches)
    on_the_grid = lambda t: bool(((t * 255 - (t * 255).round()).abs() < 1e-3).all())
    plain = [sum(on_the_grid(crop) for crop in b) for b in batches]  # crops that are neither smaller nor darker
    assert 8 < sum(n == 0 for n in plain) < 32 and 40 < sum(plain) < 140


def test_schedule(tmp_path: Path, pictures: Path) -> None:
    t = train.Trainer(arguments(tmp_path, pictures, "--lr", "1e-3"))
    assert t.sizes(0) == (4, 64) and t.sizes(0.71) == (2, 128)
    t.step = 100
    assert t.learning_rate(0) == pytest.approx(1e-3) and t.learning_rate(0.5) == pytest.approx(5e-4, rel=0.01) and t.learning_rate(1) == pytest.approx(1e-6)
    t.step = 0
    assert t.learning_rate(0) == pytest.approx(5e-4)  # the first of two steps of warm-up


def test_the_moving_average_follows_a_short_run(tmp_path: Path, pictures: Path) -> None:
    t = train.Trainer(arguments(tmp_path, pictures))

    def left(steps: int, resumed: bool) -> float:
        """How much of what the average was is left after so many steps."""
        t.resumed, kept = resumed, 1.0
        for t.step in range(1, steps + 1):
            kept *= t.keep
        return kept

    assert left(1, False) < 0.1 and 0.9 < left(1, True) < 1
    assert left(100, True) < 0.01 and left(300, True) < 1e-5
    assert t.keep < 0.98
    t.step = 20_000
    assert t.keep == train.EMA


def test_overfits_a_tiny_set(tmp_path: Path, pictures: Path) -> None:
    """The first step makes the loss on its own crops smaller, and many make it much smaller."""
    t = train.Trainer(arguments(tmp_path, pictures, "--lr", "1e-3"))
    x, q = pool_of(t.a).draw(4, 64, t.random), torch.tensor([0.0, 20, 40, 63])

    def loss() -> float:
        with torch.no_grad():
            torch.manual_seed(0)
            x_hat, y_bits, z_bits = t.net(x, q)
            return float(train.losses(model.lambda_of(q), x, x_hat, y_bits + z_bits, 0)[0])

    start = loss()
    t.train_step(x, q, 1e-3)
    first = loss()
    for _ in range(60):
        assert t.train_step(x, q, 1e-3) is not None
    assert first < start and loss() < 0.75 * start


def test_steps_that_are_not_finite_change_nothing(tmp_path: Path, pictures: Path) -> None:
    t = train.Trainer(arguments(tmp_path, pictures))
    before = weights(t)
    assert t.train_step(torch.full((2, 3, 64, 64), math.nan), torch.tensor([1.0, 60.0]), 1e-3) is None
    assert t.skipped == 1 and torch.equal(weights(t), before)


def test_steps_that_are_not_finite_are_not_in_the_log() -> None:
    sums, q = train.Sums("cpu"), torch.tensor([1.0, 60.0])
    good = torch.tensor(2.0), torch.tensor([0.5, 1.5]), torch.tensor([9.0, 1.0]), torch.tensor(0.7)
    sums.add(q, good)
    for bad in (math.nan, math.inf):
        sums.add(q, (torch.tensor(bad), torch.tensor([0.5, bad]), torch.tensor([bad, 1.0]), torch.tensor(bad)))
    row = sums.row()
    assert (row["loss"], row["bpp"], row["mse"], row["norm"]) == (2.0, 1.0, 5.0, 0.7) and row["bpp_band"] == [0.5, 0.0, 0.0, 1.5]


def test_captured_steps(tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps by CUDA graphs, with graphs that a processor has too."""
    plain, captured = (train.Trainer(arguments(tmp_path, pictures)) for _ in range(2))
    captured.capture = True

    def again() -> None:
        for part in captured.captured.values():
            for old, new in zip(part.result, captured.gradients(part.x, part.q, part.lam)):
                old.copy_(new)

    fake = FakeGraphs(monkeypatch, again)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda t: t)
    monkeypatch.setattr(torch, "rand_like", lambda t: torch.full_like(t, 0.3))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(captured.optimiser, "capture", lambda: None)  # test_soap.py has that
    x, q = pool_of(plain.a).draw(4, 64, plain.random), torch.tensor([0.0, 20, 40, 63])
    for i in range(3):
        for t in (plain, captured):
            result = t.train_step(x, q, 1e-3)
        assert torch.equal(weights(plain), weights(captured)) and fake.graph.replays == i + 1
    assert captured.capture and len(captured.captured) == 1 and result[1].shape == (4,)
    monkeypatch.undo()  # random numbers are drawn again: none of them by capturing
    fake = FakeGraphs(monkeypatch, again)
    before = torch.get_rng_state()
    train.Captured(captured, x)
    assert torch.equal(torch.get_rng_state(), before)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda t: t)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    # What cannot be captured is done without, and nothing else.
    part = train.Trainer(arguments(tmp_path, pictures))
    part.capture = part.capture_update = True
    monkeypatch.setattr(part.optimiser, "capture", lambda: 1 / 0)
    part.captured = captured.captured
    for _ in range(2):
        part.train_step(x, q, 1e-3)
    assert part.capture and not part.capture_update and part.captured
    failing = train.Trainer(arguments(tmp_path, pictures))
    failing.capture = True
    monkeypatch.setattr(torch.cuda, "Stream", lambda: 1 / 0)
    assert failing.train_step(x, q, 1e-3) is not None and not failing.capture and not failing.captured


def test_a_stopped_run_goes_on_as_if_it_had_not(tmp_path: Path, pictures: Path) -> None:
    a = arguments(tmp_path, pictures)
    pool = pool_of(a)
    straight = train.Trainer(a)
    for _ in range(8):
        straight.advance(pool)
    stopped = train.Trainer(a)
    for _ in range(4):
        stopped.advance(pool)
    stopped.save(tmp_path)
    torch.manual_seed(99)
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    again = train.Trainer.going_on(train.arguments(["--out", str(tmp_path), "--continue", "--device", "cpu"]), state)
    assert again.step == 4 and again.a.batch == 4 and again.a.data == [pictures]
    for _ in range(4):
        again.advance(pool)
    assert torch.equal(weights(again), weights(straight)) and again.progress == 1


def test_main_trains_saves_and_resumes(tmp_path: Path, pictures: Path) -> None:
    def run(out: Path, *more: str) -> None:
        train.main(["--data", str(pictures), "--out", str(out), "--steps", "4", "--batch", "2", "--patch", "64", "--final-patch", "64", "--threads", "1",
                    "--synthetic-count", "2", "--log-every", "2", "--device", "cpu", *more])

    first, second = tmp_path / "first", tmp_path / "second"
    run(first, "--config", json.dumps(tiny.CONFIG))
    log = curves.rows(first)
    assert [r["step"] for r in log] == [2, 4] and len(log[0]["psnr"]) == 4 and all(math.isfinite(r["loss"]) for r in log)
    assert all(r["ms"].keys() == {"gradients", "optimiser"} and min(r["ms"].values()) > 0 for r in log)
    net, step = export.load(first / "ema.pt")
    assert step == 4 and net.config == tiny.CONFIG
    # with a longer range of lambda: the moving average and the weights move alike, the optimiser starts anew
    run(second, "--resume", str(first / "last.pt"), "--lambdas", "0:0.001,63:2")
    net, step = export.load(second / "ema.pt")
    assert step == 8 and net.config["lambdas"] == [[0, 0.001], [63, 2]]
    assert float(model.lambda_of(63, net.lambdas)) == pytest.approx(2)
    # with more blocks, and on from there
    third = tmp_path / "third"
    run(third, "--resume", str(first / "last.pt"), "--grow", '{"n_trunk": 3}')
    assert export.load(third / "ema.pt")[0].config == tiny.CONFIG | {"n_trunk": 3}
    state = torch.load(third / "last.pt", weights_only=True)
    again = train.Trainer.going_on(train.arguments(["--out", str(third), "--continue", "--device", "cpu", "--compile", "parts"]), state)
    assert len(again.net.entropy.trunk) == 3 and again.a.grow == {"n_trunk": 3} and again.a.compile == "parts"


def test_checkpoints_of_older_runs_resume(tmp_path: Path, pictures: Path) -> None:
    """What last.pt had before runs could be continued."""
    t = train.Trainer(arguments(tmp_path, pictures))
    pool = pool_of(t.a)
    t.advance(pool)
    state = t.checkpoint()
    del state["run"]
    torch.save(state, tmp_path / "old.pt")
    old = torch.load(tmp_path / "old.pt", weights_only=True)
    again = train.Trainer(arguments(tmp_path, pictures), old)
    assert torch.equal(weights(again), weights(t)) and again.step == 1
    again.advance(pool)
    with pytest.raises(ValueError, match="--resume"):
        train.Trainer.going_on(arguments(tmp_path, pictures), old)


@pytest.mark.parametrize("before", ["adamw", "soap"])
def test_an_optimiser_goes_on_where_it_is_the_same(tmp_path: Path, pictures: Path, before: str) -> None:
    t = train.Trainer(arguments(tmp_path, pictures, "--optimiser", before))
    pool = pool_of(t.a)
    t.advance(pool)
    torch.save(t.checkpoint(), tmp_path / "last.pt")
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    again = train.Trainer(arguments(tmp_path, pictures), state)
    assert bool(again.optimiser.state) == (before == "soap")
    again.advance(pool)
    other = train.Trainer(arguments(tmp_path, pictures, "--refresh-every", "7"), state)
    assert all(group.get("refresh_every") == 7 for group in other.optimiser.param_groups) and bool(other.optimiser.state) == (before == "soap")
    assert [group["weight_decay"] for group in other.optimiser.param_groups] == [1e-4, 0.0]
    state["optimiser"]["param_groups"][0]["together"] = 64  # as on another device
    assert not train.Trainer(arguments(tmp_path, pictures), state).optimiser.state


def test_arguments() -> None:
    a = train.arguments(["--data", "x", "--out", "y", "--device", "cpu"])
    assert (a.batch, a.patch, a.final_batch, a.final_patch) == (8, 128, 2, 256)
    a = train.arguments(["--data", "x", "--out", "y", "--device", "cuda"])
    assert (a.batch, a.patch, a.final_batch, a.final_patch) == (32, 256, 14, 384)
    for wrong in (["--patch", "100"], ["--patch", "448"], ["--synthetic", "0.95", "--graphics", "0.2"]):
        with pytest.raises(SystemExit):
            train.arguments(["--data", "x", "--out", "y", *wrong])
    with pytest.raises(SystemExit):
        train.arguments(["--out", "y"])
    assert np.allclose(train.parse_lambdas("0:0.001,63:2"), [[0, 0.001], [63, 2]])
    for wrong in (["--minutes", "0"], ["--minutes", "nan"], ["--steps", "0"], ["--grow", '{"n16": 2}'], ["--resume", "z", "--config", "{}"],
                  ["--graphics", "-0.1", "--synthetic", "0.2"]):
        with pytest.raises(SystemExit):
            train.arguments(["--data", "x", "--out", "y", *wrong])


def short(out: Path, pictures: Path, *more: str) -> list[str]:
    return ["--data", str(pictures), "--out", str(out), "--steps", "4", "--batch", "2", "--patch", "64", "--final-patch", "64", "--threads", "1",
            "--synthetic-count", "2", "--log-every", "2", "--device", "cpu", "--config", json.dumps(tiny.CONFIG), *more]


def test_a_folder_has_one_run(tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "log.jsonl").write_text('{"step": 1}\n')  # of one that was never saved
    (out / "minutes").write_text("0.001")
    train.main(short(out, pictures))
    assert [r["step"] for r in curves.rows(out)] == [2, 4] and not (out / "minutes").exists()
    before = (out / "last.pt").read_bytes()
    with pytest.raises(SystemExit, match="has a run"):
        train.main(short(out, pictures))
    assert (out / "last.pt").read_bytes() == before
    # On with more steps, after the machine went away while it wrote its log.
    with open(out / "log.jsonl", "a") as log:
        log.write('{"step": 6, "minutes": 0.1, "loss": 1.0, "lr": 1e-4}\n{"step": 8, "min')
    monkeypatch.setattr(curves, "plot", lambda *_: 1 / 0)  # and without curves
    train.main(["--out", str(out), "--continue", "--device", "cpu", "--threads", "1", "--steps", "8", "--log-every", "1", "--lr", "1"])
    assert [r["step"] for r in curves.rows(out)] == [2, 4, 5, 6, 7, 8]
    assert all(json.loads(line) for line in (out / "log.jsonl").read_text().splitlines())
    assert "--lr stays 0.0004" in capsys.readouterr().out


def test_minutes_may_change(tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture) -> None:
    a = arguments(tmp_path, pictures, "--minutes", "20")
    for text, minutes in (("30", 30), ("", 30), ("soon", 30), ("0", 30), ("-3", 30), ("inf", 30), ("nan", 30), (" 11.5\n", 11.5)):
        (tmp_path / "minutes").write_text(text)
        train.new_minutes(a)
        assert a.minutes == minutes
    assert capsys.readouterr().out.count("\n") == 2


def test_what_an_exception_ends_is_saved(tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train.Trainer, "advance", lambda t, pool, advance=train.Trainer.advance: advance(t, pool) if t.step < 2 else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train.main(short(tmp_path / "run", pictures, "--steps", "1000000"))
    assert torch.load(tmp_path / "run" / "last.pt", weights_only=True)["step"] == 2


def test_what_goes_wrong_beside_the_training_does_not_end_it(tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch,
                                                             capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(train.Pool, "find", lambda self, *_, find=train.Pool.find: 1 / 0 if self.kinds[2:] else find(self))
    monkeypatch.setattr(train, "SCAN_SECONDS", 0)
    train.main(short(tmp_path / "run", pictures, "--steps", "8"))
    assert torch.load(tmp_path / "run" / "last.pt", weights_only=True)["step"] == 8
    assert "ZeroDivisionError" in capsys.readouterr().out


def test_pictures_are_read_and_checkpoints_written_beside_the_training(tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch,
                                                                       capsys: pytest.CaptureFixture) -> None:
    arriving, threads, written = tmp_path / "arriving", [], []
    shutil.copytree(pictures, arriving)
    monkeypatch.setattr(train, "SCAN_SECONDS", 0)
    monkeypatch.setattr(curves, "plot", lambda *_: None)
    find, advance, write = train.Pool.find, train.Trainer.advance, train.write

    def find_in(pool: Pool, *workers: int):
        threads.append(threading.get_ident())
        return find(pool, *workers)

    def one_step(t: train.Trainer, pool: Pool):
        if t.step == 1:
            Image.fromarray(photo(384, 768, 5)).save(arriving / "new.png")
        elif pool.kinds.count("photo") == 4 and len(written) > 1:
            t.a.steps = t.step + 1
        return advance(t, pool)

    def write_and_look(state: dict, out: Path) -> None:
        before = {k: v.clone() for k, v in state["net"].items()}
        write(state, out)
        written.append(all(torch.equal(v, state["net"][k]) for k, v in before.items()) and threading.get_ident())

    monkeypatch.setattr(train.Pool, "find", find_in)
    monkeypatch.setattr(train.Trainer, "advance", one_step)
    monkeypatch.setattr(train, "write", write_and_look)
    train.main(short(tmp_path / "run", arriving, "--steps", "1000", "--save-minutes", "0"))
    here = threading.get_ident()
    assert threads[0] == here and here not in threads[1:] and "6 windows (4 photo, 0 graphics, 2 synthetic) from 3 files" in capsys.readouterr().out
    assert written[-1] == here and all(written) and here not in written[:-1]
    last = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    assert last["step"] == curves.rows(tmp_path / "run")[-1]["step"] + last["step"] % 2 < 1000


def test_a_copied_checkpoint_stays(tmp_path: Path, pictures: Path) -> None:
    """A run that goes on from a copy is the one that was copied, whatever the old one did meanwhile."""
    a = arguments(tmp_path, pictures)
    pool = pool_of(a)
    t = train.Trainer(a)
    for _ in range(2):
        t.advance(pool)
    state = train.in_memory(t.checkpoint())
    for _ in range(2):
        t.advance(pool)
    train.write(state, tmp_path)
    again = train.Trainer.going_on(train.arguments(["--out", str(tmp_path), "--continue", "--device", "cpu"]), torch.load(tmp_path / "last.pt", weights_only=True))
    for _ in range(2):
        again.advance(pool)
    assert again.step == t.step == 4 and torch.equal(weights(again), weights(t))


def test_what_cannot_be_is_said_at_the_start(tmp_path: Path, pictures: Path) -> None:
    for more, message in ((["--config", json.dumps(tiny.CONFIG | {"n_trunk": 17})], "n_trunk"), (["--config", json.dumps(tiny.CONFIG | {"m": 96})], "m = 96"),
                          (["--config", json.dumps(tiny.CONFIG | {"a16": 17})], "a16"), (["--data", str(tmp_path / "misspelt")], "misspelt"),
                          (["--continue"], "last.pt")):
        with pytest.raises(SystemExit, match=message):
            train.main([w for w in short(tmp_path / "run", pictures, *more) if "--continue" not in more or w not in ("--config", json.dumps(tiny.CONFIG))])
    assert not (tmp_path / "run").exists()
