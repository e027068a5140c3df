"""Tests of the optimiser: pytest models/training."""
from __future__ import annotations

import contextlib
import copy

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from soap import Soap, buckets, eigenbases, gradients, gram, parts, refresh


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


class Problem:
    """A matrix between two ill-conditioned ones, as a 1x1 convolution, and a vector."""

    def __init__(self, seed: int = 0):
        random = torch.Generator().manual_seed(seed)
        draw = lambda *shape: torch.randn(*shape, generator=random)
        spectrum = lambda n: torch.logspace(0, -1.5, n)
        self.left = torch.linalg.qr(draw(24, 24))[0] * spectrum(24)
        self.right = torch.linalg.qr(draw(16, 16))[0] * spectrum(16)
        self.wanted = draw(24, 16)
        self.matrix = torch.zeros(24, 16, 1, 1, requires_grad=True)
        self.vector = torch.zeros(16, requires_grad=True)

    def loss(self) -> torch.Tensor:
        error = self.matrix[:, :, 0, 0] + self.vector - self.wanted
        return ((self.left.T @ error @ self.right) ** 2).sum()

    def train(self, optimiser: torch.optim.Optimizer, steps: int) -> float:
        for _ in range(steps):
            optimiser.zero_grad()
            self.loss().backward()
            optimiser.step()
        return self.loss().item()

    def parameters(self) -> list[torch.Tensor]:
        return [self.matrix, self.vector]


def test_without_rotation_it_is_adamw() -> None:
    ours, theirs = Problem(), Problem()
    a = Soap(ours.parameters(), lr=1e-2, betas=(0.9, 0.98, 0.9), weight_decay=0.1, largest=0)
    b = torch.optim.AdamW(theirs.parameters(), lr=1e-2, betas=(0.9, 0.98), weight_decay=0.1)
    ours.train(a, 40), theirs.train(b, 40)
    assert ours.matrix.abs().max() > 0.1
    for x, y in zip(ours.parameters(), theirs.parameters()):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-5)


def test_better_than_adamw_where_directions_are_mixed() -> None:
    def best(kind, **options) -> float:
        return min(p.train(kind(p.parameters(), lr=lr, **options), 150) for lr in (1e-2, 3e-2, 1e-1) for p in [Problem()])

    assert best(Soap) < 0.1 * best(torch.optim.AdamW, betas=(0.9, 0.98))


def test_a_saved_state_goes_on_alike() -> None:
    p = Problem()
    optimiser = Soap(p.parameters(), lr=1e-2)
    p.train(optimiser, 30)
    q = Problem()
    with torch.no_grad():
        for mine, other in zip(q.parameters(), p.parameters()):
            mine.copy_(other)
    loaded = Soap(q.parameters(), lr=1e-2)
    loaded.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    p.train(optimiser, 60), q.train(loaded, 60)
    for x, y in zip(p.parameters(), q.parameters()):
        assert torch.equal(x, y)


def test_bases_follow_the_gradients() -> None:
    random = torch.Generator().manual_seed(1)
    mix = torch.linalg.qr(torch.randn(2, 12, 12, generator=random))[0] * torch.logspace(0, -1, 12)
    grads = [mix @ torch.randn(2, 12, 20, generator=random) for _ in range(50)]
    exact = sum(gram(g, 0) for g in grads)
    state = dict(gram=[exact, None], basis=[torch.eye(12).repeat(2, 1, 1), None], first=grads[0].clone(), second=grads[0] ** 2)
    for _ in range(200):
        refresh(state, torch.float32)
    basis = state["basis"][0]
    torch.testing.assert_close(basis.mT @ basis, torch.eye(12).repeat(2, 1, 1), rtol=0, atol=1e-5)
    rotated = basis.mT @ exact @ basis
    values = rotated.diagonal(dim1=1, dim2=2)
    assert (rotated - torch.diag_embed(values)).abs().max() < 1e-3 * rotated.max()
    assert (values.diff() <= 0).all()
    torch.testing.assert_close((basis.mT @ eigenbases(exact)).abs(), torch.eye(12).repeat(2, 1, 1), rtol=0, atol=2e-2)
    torch.testing.assert_close(basis @ state["first"], grads[0], rtol=0, atol=1e-4)  # turned along


@pytest.mark.parametrize("most", [1, 2])
def test_parameters_do_not_mix(most: int) -> None:
    """Each matrix comes out as it does alone."""
    alone, together = [Problem(0), Problem(1)], [Problem(0), Problem(1)]
    for p in alone:
        p.train(Soap(p.parameters(), lr=1e-2, refresh_every=1, gram_every=1), 40)
    optimiser = Soap([w for p in together for w in p.parameters()], lr=1e-2, refresh_every=1, gram_every=1, together=most)
    assert [len(b) for b in buckets(optimiser.param_groups[0]["params"], most)] == ([1, 1, 2] if most == 1 else [2, 2])
    for _ in range(40):
        optimiser.zero_grad()
        sum(p.loss() for p in together).backward()
        optimiser.step()
    for a, b in zip(alone, together):
        for x, y in zip(a.parameters(), b.parameters()):
            torch.testing.assert_close(x, y, rtol=1e-3, atol=1e-4)


def test_buckets() -> None:
    shapes = [(4, 3, 1, 1), (5,), (4, 3, 1, 1), (2, 1, 3, 3), (3, 4, 1, 1)]
    params = [torch.arange(torch.Size(s).numel(), dtype=torch.float32).reshape(s).requires_grad_() for s in shapes]
    for p in params:
        p.grad = p.detach() + 1
    assert [len(b) for b in buckets(params, 1)] == [1, 1, 1, 2]
    found = buckets(params, 5)
    assert [[tuple(p.shape) for p in b] for b in found] == [[shapes[0], shapes[2]], [shapes[4]], [shapes[1], shapes[3]]]
    assert [tuple(gradients(b).shape) for b in found] == [(2, 4, 3), (1, 3, 4), (5 + 18,)]
    for b in found:
        for part, p in zip(parts(gradients(b), b), b):
            assert torch.equal(part, p.grad)
    params[4].grad = None
    assert gradients(found[1]).eq(0).all()


def test_zero_gradients_do_no_harm() -> None:
    w = torch.ones(8, 8, 1, 1, requires_grad=True)
    optimiser = Soap([w], lr=1e-2)
    for _ in range(30):
        w.grad = torch.zeros_like(w)
        optimiser.step()
    assert torch.equal(w, torch.ones(8, 8, 1, 1))


def test_what_is_captured_stays_in_its_memory() -> None:
    """`update` is replayed on the memory that it was captured with, and every turn of the bases has to leave it there."""
    p = Problem()
    optimiser = Soap(p.parameters(), lr=1e-2, refresh_every=2, gram_every=1)
    p.train(optimiser, 1)
    places = lambda: [t.data_ptr() for state in optimiser.state.values() for t in (state["first"], state["second"], *state["basis"]) if t is not None]
    before = places()
    p.train(optimiser, 6)
    assert places() == before and len(before) == 6


class FakeGraphs:
    """Stands in for CUDA's graphs on a processor: what is captured is run again when it is replayed, with the results in the same memory."""

    def __init__(self, patch: pytest.MonkeyPatch, again):
        class Stream:
            def wait_stream(self, _other) -> None:
                pass

        class Graph:
            replays = 0

            def replay(self) -> None:
                Graph.replays += 1
                again()

        self.graph = Graph
        for name, value in dict(Stream=Stream, current_stream=Stream, CUDAGraph=Graph, stream=lambda _stream: contextlib.nullcontext(),
                                graph=lambda _graph: contextlib.nullcontext()).items():
            patch.setattr(torch.cuda, name, value)


def test_a_captured_update_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, captured = Problem(), Problem()
    a, b = (Soap(p.parameters(), lr=1e-2, weight_decay=0.1, refresh_every=3, gram_every=2) for p in (plain, captured))
    plain.train(a, 1), captured.train(b, 1)
    fake = FakeGraphs(monkeypatch, b.update)
    b.capture()
    for x, y in zip(plain.parameters(), captured.parameters()):
        assert torch.equal(x, y)
    plain.train(a, 20), captured.train(b, 20)
    assert fake.graph.replays == 21  # the first was a trial
    for x, y in zip(plain.parameters(), captured.parameters()):
        assert torch.equal(x, y)
    b.load_state_dict(a.state_dict())
    assert b.graph is None
    b.rates.clear()  # as in a new process
    b.capture()
    assert b.graph is not None and all(torch.equal(a.rates[i], b.rates[i]) for i in a.rates)
