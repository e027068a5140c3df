"""Tests of the optimiser: pytest models/training."""
from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from soap import Soap, eigenbasis, gram, refresh


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
    mix = torch.linalg.qr(torch.randn(12, 12, generator=random))[0] * torch.logspace(0, -1, 12)
    grads = [mix @ torch.randn(12, 20, generator=random) for _ in range(50)]
    exact = sum(gram(g, 0) for g in grads)
    state = dict(gram=[exact, None], basis=[torch.eye(12), None], first=grads[0].clone(), second=grads[0] ** 2)
    for _ in range(200):
        refresh(state, torch.float32)
    basis = state["basis"][0]
    torch.testing.assert_close(basis.T @ basis, torch.eye(12), rtol=0, atol=1e-5)
    rotated = basis.T @ exact @ basis
    assert (rotated - rotated.diagonal().diag()).abs().max() < 1e-3 * rotated.max()
    assert (rotated.diagonal().diff() <= 0).all()
    torch.testing.assert_close((basis.T @ eigenbasis(exact)).abs(), torch.eye(12), rtol=0, atol=2e-2)
    torch.testing.assert_close(basis @ state["first"], grads[0], rtol=0, atol=1e-4)  # turned along


def test_zero_gradients_do_no_harm() -> None:
    w = torch.ones(8, 8, 1, 1, requires_grad=True)
    optimiser = Soap([w], lr=1e-2)
    for _ in range(30):
        w.grad = torch.zeros_like(w)
        optimiser.step()
    assert torch.equal(w, torch.ones(8, 8, 1, 1))
