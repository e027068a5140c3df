"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner (Vyas et al. 2024, arXiv:2409.11321), written for networks of 1x1 convolutions.

For learned image compression it needs far fewer steps than Adam (Zhang and Zhu 2026, arXiv:2601.20769). Here 1x1 convolutions are its matrices; what is
left, depthwise kernels, biases and gains, gets plain Adam. What differs from the paper, for the sake of speed: the first moment lives in the eigenbasis and is
turned along when the basis is; rotations of gradients and steps run in bfloat16; the Gram matrices take part in every `gram_every`-th step only.
"""
from __future__ import annotations

import torch
from torch import Tensor


class Soap(torch.optim.Optimizer):
    """`betas`: decay of the first moment, of the second moment, of the Gram matrices (per gradient that they take in). A side of a matrix that is larger than
    `largest` is left unrotated. The bases are refreshed every `refresh_every` steps, in turns, so that no single step has all the work; `rotate_in` is the
    type of the rotations."""

    def __init__(self, params, lr: float = 3e-4, betas: tuple[float, float, float] = (0.9, 0.98, 0.9), eps: float = 1e-8, weight_decay: float = 0.0,
                 refresh_every: int = 24, gram_every: int = 8, largest: int = 640, rotate_in: torch.dtype = torch.bfloat16):
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, refresh_every=refresh_every, gram_every=gram_every,
                                      largest=largest))
        self.rotate_in = rotate_in

    @torch.no_grad()
    def step(self, closure=None):
        turn = 0
        for group in self.param_groups:
            beta1, beta2, beta_gram = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                matrix = p.dim() == 4 and p.shape[2:] == (1, 1)
                grad = p.grad.reshape(p.shape[0], p.shape[1]).float() if matrix else p.grad
                state = self.state[p]
                if not state:
                    state["step"] = 0
                    state["first"], state["second"] = torch.zeros_like(grad), torch.zeros_like(grad)
                    if matrix:
                        state["gram"] = [gram(grad, side) if n <= group["largest"] else None for side, n in enumerate(grad.shape)]
                        state["basis"] = [None if g is None else eigenbasis(g).to(self.rotate_in) for g in state["gram"]]
                state["step"] += 1
                n = state["step"]
                turn += 1
                if matrix:
                    if (n + turn) % group["gram_every"] == 0:
                        for side, average in enumerate(state["gram"]):
                            if average is not None:
                                average.lerp_(gram(grad, side), 1 - beta_gram)
                    if (n + turn) % group["refresh_every"] == 0:
                        refresh(state, self.rotate_in)
                    grad = self.rotate(grad, state["basis"], back=False)
                first, second = state["first"], state["second"]
                first.lerp_(grad, 1 - beta1)
                second.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
                update = first / ((second / (1 - beta2 ** n)).sqrt_().add_(group["eps"]))
                if matrix:
                    update = self.rotate(update, state["basis"], back=True)
                if group["weight_decay"]:
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update.reshape(p.shape).to(p.dtype), alpha=-group["lr"] / (1 - beta1 ** n))

    def rotate(self, x: Tensor, basis: list[Tensor | None], back: bool) -> Tensor:
        """Into the eigenbasis, or back."""
        if basis == [None, None]:
            return x
        left, right = (b if b is None else b.to(self.rotate_in) for b in basis)  # a loaded state is in the parameters' type
        x = x.to(self.rotate_in)
        if left is not None:
            x = (left if back else left.T) @ x
        if right is not None:
            x = x @ (right.T if back else right)
        return x.float()


def gram(grad: Tensor, side: int) -> Tensor:
    """Gram matrix of the rows (side 0) or columns (side 1)."""
    return grad @ grad.T if side == 0 else grad.T @ grad


def normalised(gram: Tensor) -> Tensor:
    return gram / gram.diagonal().max().clamp_min(1e-30)


def eigenbasis(gram: Tensor) -> Tensor:
    """Eigenvectors in columns, those of the largest eigenvalues first."""
    return torch.linalg.eigh(normalised(gram))[1].flip(1).contiguous()


def refresh(state: dict, dtype: torch.dtype) -> None:
    """One step of orthogonal iteration for both bases, which are kept as `dtype`; the moments follow, the second one as far as the order of its columns goes."""
    for side, (gram, basis) in enumerate(zip(state["gram"], state["basis"])):
        if gram is None:
            continue
        basis = basis.to(dtype).float()
        product = normalised(gram) @ basis
        order = (basis * product).sum(0).argsort(descending=True)
        new = torch.linalg.qr(product[:, order])[0]
        turn = new.T @ basis
        state["second"] = state["second"].index_select(side, order)
        state["first"] = turn @ state["first"] if side == 0 else state["first"] @ turn.T
        state["basis"][side] = new.to(dtype)
