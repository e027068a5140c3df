"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner (Vyas et al. 2024, arXiv:2409.11321), written for networks of 1x1 convolutions.

For learned image compression it needs far fewer steps than Adam (Zhang and Zhu 2026, arXiv:2601.20769). Here 1x1 convolutions are its matrices; what is
left, depthwise kernels, biases and gains, gets plain Adam. What differs from the paper, for the sake of speed: matrices of one shape go through it together;
the first moment lives in the eigenbasis and is turned along when the basis is; rotations of gradients and steps run in bfloat16; the Gram matrices take in
every `gram_every`-th gradient only.
"""
from __future__ import annotations

import contextlib
from collections.abc import Iterator

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
        self.rates: dict[int, Tensor] = {}             # by group, on its device
        self.graph: torch.cuda.CUDAGraph | None = None

    @torch.no_grad()
    def step(self, closure=None):
        with precise_products():
            self.follow()
            self.set_rates()
            if self.graph is None:
                self.update()
            else:
                self.graph.replay()

    def follow(self) -> None:
        """Gram matrices and bases, whose turn it is."""
        for group in self.param_groups:
            for turn, bucket in enumerate(buckets(group["params"], group["together"])):
                state = self.state[bucket[0]]  # of all in the bucket
                if not state:
                    grad = gradients(bucket)
                    state["step"] = 0
                    state["first"], state["second"] = torch.zeros_like(grad), torch.zeros_like(grad)
                    rotated = [grad.dim() == 3 and n <= group["largest"] for n in grad.shape[1:]]
                    state["gram"] = [gram(grad, side) if r else None for side, r in enumerate(rotated)]
                    state["basis"] = [None if g is None else eigenbases(g).to(self.rotate_in) for g in state["gram"]]
                state["step"] += 1
                turn += state["step"]
                if turn % group["gram_every"] == 0:
                    grad = gradients(bucket)
                    for side, average in enumerate(state["gram"]):
                        if average is not None:
                            average.lerp_(gram(grad, side), 1 - group["betas"][2])
                if turn % group["refresh_every"] == 0:
                    refresh(state, self.rotate_in)

    def set_rates(self) -> None:
        """What changes from step to step, for `update`: learning rate over the correction of the first moment, correction of the second, decay of weights."""
        for i, group in enumerate(self.param_groups):
            n, device = self.state[group["params"][0]]["step"], group["params"][0].device
            beta1, beta2, _ = group["betas"]
            rates = torch.tensor([group["lr"] / (1 - beta1 ** n), 1 - beta2 ** n, 1 - group["lr"] * group["weight_decay"]], dtype=torch.float32)
            if i not in self.rates:
                self.rates[i] = rates.to(device)
            elif device.type == "cuda":
                self.rates[i].copy_(rates.pin_memory(), non_blocking=True)
            else:
                self.rates[i].copy_(rates)

    def update(self) -> None:
        """Moments and parameters: the part that is the same in each step, and that reads and writes the same memory."""
        for i, group in enumerate(self.param_groups):
            beta1, beta2, _ = group["betas"]
            rate, correction, keep = self.rates[i].unbind()
            for bucket in buckets(group["params"], group["together"]):
                state = self.state[bucket[0]]
                grad = self.rotate(gradients(bucket), state["basis"], back=False)
                first, second = state["first"], state["second"]
                first.lerp_(grad, 1 - beta1)
                second.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
                update = first / ((second / correction).sqrt_().add_(group["eps"]))
                update = self.rotate(update, state["basis"], back=True)
                if group["weight_decay"]:
                    torch._foreach_mul_(bucket, keep)
                torch._foreach_add_(bucket, parts(update * -rate, bucket))

    @torch.no_grad()
    def capture(self) -> None:
        """Make `update` a CUDA graph: of its two thousand kernels each takes less time than starting it. To be called between two steps; from then on the
        gradients of all parameters have to be where they are now."""
        changed = [*(p for group in self.param_groups for p in group["params"]), *(s[k] for s in self.state.values() for k in ("first", "second"))]
        before = [t.clone() for t in changed]
        self.set_rates()  # they are not there yet where the state was loaded
        graph = torch.cuda.CUDAGraph()
        try:
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with precise_products(), torch.cuda.stream(side):
                self.update()
            torch.cuda.current_stream().wait_stream(side)
            wanted = [t.clone() for t in changed]
            with precise_products(), torch.cuda.graph(graph):
                self.update()
            torch._foreach_copy_(changed, before)
            graph.replay()
            off = [torch.linalg.vector_norm(t - w) / torch.linalg.vector_norm(w - b).clamp_min(1e-20) for t, w, b in zip(changed, wanted, before)]
            if not max(off) < 0.05:  # kernels may be others, and the rotations are coarse
                raise RuntimeError(f"the captured update is off by {max(off):.3g} of what it changes")
        finally:
            torch._foreach_copy_(changed, before)
        self.graph = graph

    def load_state_dict(self, state_dict: dict) -> None:
        self.graph = None  # it works on the memory of the old state
        super().load_state_dict(state_dict)

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


@contextlib.contextmanager
def precise_products() -> Iterator[None]:
    """Matrix products in full float32: with TF32, directions of small gradients would drown in the errors of large ones."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


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


FLOOR = 1e-6  # added to the eigenvalues, of which the largest is about 1: directions without gradients stay where they are


def orthonormal(columns: Tensor, otherwise: Tensor) -> Tensor:
    """Gram-Schmidt on the columns of each matrix [N, n, n], by two rounds of Cholesky decompositions, which a GPU does for all matrices together while it would
    do their Householder transforms one by one. A matrix whose columns are not independent becomes that of `otherwise`."""
    q = columns / torch.linalg.vector_norm(columns, dim=1, keepdim=True).clamp_min(1e-30)
    good = None
    for _ in range(2):
        lower, info = torch.linalg.cholesky_ex(q.mT @ q)
        q = torch.linalg.solve_triangular(lower.mT, q, upper=True, left=False)
        good = (info == 0) if good is None else good & (info == 0)
    good &= torch.isfinite(q).all(2).all(1)
    return torch.where(good[:, None, None], q, otherwise)


def refresh(state: dict, dtype: torch.dtype) -> None:
    """One step of orthogonal iteration for both bases, which are kept as `dtype`; the moments follow, the second one as far as the order of its columns goes."""
    for side, (average, basis) in enumerate(zip(state["gram"], state["basis"])):
        if average is None:
            continue
        basis = basis.to(dtype).float()
        product = normalised(average) @ basis + FLOOR * basis
        order = (basis * product).sum(1).argsort(1, descending=True)[:, None]
        new = orthonormal(product.take_along_dim(order, 2), basis.take_along_dim(order, 2))
        turn = new.mT @ basis
        state["second"].copy_(state["second"].take_along_dim(order.mT if side == 0 else order, side + 1))
        state["first"].copy_(turn @ state["first"] if side == 0 else state["first"] @ turn.mT)
        state["basis"][side].copy_(new)  # in place: a captured step knows where they are
