"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner (Vyas et al. 2024, arXiv:2409.11321), written for networks of 1x1 convolutions.

For learned image compression it needs far fewer steps than Adam (Zhang and Zhu 2026, arXiv:2601.20769). Here 1x1 convolutions are its matrices; what is
left, depthwise kernels, biases and gains, gets plain Adam. What differs from the paper, for the sake of speed: matrices of one shape go through it together;
the first moment lives in the eigenbasis and is turned along when the basis is; rotations of gradients and steps run in bfloat16; the Gram matrices take in
every `gram_every`-th gradient only.
"""
from __future__ import annotations

import torch
from torch import Tensor


class Soap(torch.optim.Optimizer):
    """`betas`: decay of the first moment, of the second moment, of the Gram matrices (per gradient that they take in). A side of a matrix that is larger than
    `largest` is left unrotated. The bases are refreshed every `refresh_every` steps, not all in the same one; `rotate_in` is the type of the rotations. At most
    `together` matrices are worked on at a time: many keep a GPU busy, one stays in a processor's cache. A parameter without a gradient has a gradient of zero."""

    def __init__(self, params, lr: float = 3e-4, betas: tuple[float, float, float] = (0.9, 0.98, 0.9), eps: float = 1e-8, weight_decay: float = 0.0,
                 refresh_every: int = 24, gram_every: int = 8, largest: int = 640, together: int = 1,
                 rotate_in: torch.dtype = torch.bfloat16):
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, refresh_every=refresh_every, gram_every=gram_every,
                                      largest=largest, together=together))
        self.rotate_in = rotate_in

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            beta1, beta2, beta_gram = group["betas"]
            for turn, bucket in enumerate(buckets(group["params"], group["together"])):
                grad = gradients(bucket)
                state = self.state[bucket[0]]  # of all in the bucket
                if not state:
                    state["step"] = 0
                    state["first"], state["second"] = torch.zeros_like(grad), torch.zeros_like(grad)
                    rotated = [grad.dim() == 3 and n <= group["largest"] for n in grad.shape[1:]]
                    state["gram"] = [gram(grad, side) if r else None for side, r in enumerate(rotated)]
                    state["basis"] = [None if g is None else eigenbases(g).to(self.rotate_in) for g in state["gram"]]
                state["step"] += 1
                n = state["step"]
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
                update = self.rotate(update, state["basis"], back=True)
                if group["weight_decay"]:
                    torch._foreach_mul_(bucket, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(bucket, parts(update, bucket), alpha=-group["lr"] / (1 - beta1 ** n))

    def rotate(self, x: Tensor, basis: list[Tensor | None], back: bool) -> Tensor:
        """Into the eigenbasis, or back."""
        if all(b is None for b in basis):
            return x
        left, right = (b if b is None else b.to(self.rotate_in) for b in basis)  # a loaded state is in the parameters' type
        x = x.to(self.rotate_in)
        if left is not None:
            x = (left if back else left.mT) @ x
        if right is not None:
            x = x @ (right.mT if back else right)
        return x.float()


def buckets(params: list[Tensor], together: int) -> list[list[Tensor]]:
    """1x1 convolutions, each bucket of one shape and of at most `together`, then all the rest."""
    by_shape: dict[torch.Size | None, list[Tensor]] = {}
    for p in params:
        by_shape.setdefault(p.shape if p.dim() == 4 and p.shape[2:] == (1, 1) else None, []).append(p)
    rest = by_shape.pop(None, None)
    return [*(same[i:i + together] for same in by_shape.values() for i in range(0, len(same), together)), *([rest] if rest else [])]


def gradients(bucket: list[Tensor]) -> Tensor:
    """Matrices [N, outputs, inputs], or one vector of all the rest."""
    matrices = bucket[0].dim() == 4 and bucket[0].shape[2:] == (1, 1)
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket]
    return torch.stack([g.flatten(1) for g in grads]).float() if matrices else torch.cat([g.flatten() for g in grads]).float()


def parts(update: Tensor, bucket: list[Tensor]) -> list[Tensor]:
    """What `gradients` put together, in the shapes of the parameters again."""
    each = update.unbind() if update.dim() == 3 else update.split([p.numel() for p in bucket])
    return [u.reshape(p.shape).to(p.dtype) for u, p in zip(each, bucket)]


def gram(grad: Tensor, side: int) -> Tensor:
    """Gram matrices of the rows (side 0) or columns (side 1)."""
    return grad @ grad.mT if side == 0 else grad.mT @ grad


def normalised(gram: Tensor) -> Tensor:
    return gram / gram.diagonal(dim1=1, dim2=2).amax(1)[:, None, None].clamp_min(1e-30)


def eigenbases(gram: Tensor) -> Tensor:
    """Eigenvectors in columns, those of the largest eigenvalues first."""
    return torch.linalg.eigh(normalised(gram))[1].flip(2).contiguous()


def refresh(state: dict, dtype: torch.dtype) -> None:
    """One step of orthogonal iteration for both bases, which are kept as `dtype`; the moments follow, the second one as far as the order of its columns goes."""
    for side, (average, basis) in enumerate(zip(state["gram"], state["basis"])):
        if average is None:
            continue
        basis = basis.to(dtype).float()
        product = normalised(average) @ basis
        order = (basis * product).sum(1).argsort(1, descending=True)
        new = torch.linalg.qr(product.take_along_dim(order[:, None], 2))[0]
        turn = new.mT @ basis
        state["second"] = state["second"].take_along_dim(order[:, :, None] if side == 0 else order[:, None], side + 1)
        state["first"] = turn @ state["first"] if side == 0 else state["first"] @ turn.mT
        state["basis"][side] = new.to(dtype)
