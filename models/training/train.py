"""Train the codec on whatever device there is.

    python train.py --data FOLDER... --out RUN [--minutes 100]          anew
    python train.py --data FOLDER... --out RUN --resume CHECKPOINT      from the weights of any checkpoint, with a schedule of its own
    python train.py --out RUN --continue                                go on with RUN, which was stopped

On CUDA: bfloat16, channels_last, compiled, each step replayed as a CUDA graph, data on the device. On a processor: bfloat16 and channels_last (a
preloaded jemalloc helps, and on quiet cores OMP_WAIT_POLICY=active). The learning rate falls along a cosine over --minutes or --steps, whichever ends
sooner, and the last part of a run uses larger patches. FOLDERs hold pictures and shards of data.py; what arrives there while the run goes on is taken in,
and a number in the file RUN/minutes replaces --minutes (a larger one moves the learning rate back up to where it belongs in the longer run).

RUN gets last.pt (weights, moving average, optimiser, state of the schedule and of the random numbers: to resume or continue), ema.pt (moving average in 16
bits: to export), log.jsonl and curves.png. SIGTERM and Ctrl-C end a run after the step at hand, with everything saved.
"""
from __future__ import annotations

import argparse
import json
import math
import os
import signal
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

import torch

import curves
import export
import model
from data import WINDOW, Pool
from soap import Soap

TILT = 0.45                                    # bits per pixel + lambda * squared error grows about so: a hundredth of it is worth alike at all qualities
EMA = 0.9995                                   # of the moving average of the weights, in a long run; a short one has less
RESUMED = 100                                  # steps that a resumed average counts for, where each of the run counts for one
SCAN_SECONDS = 60
DEFAULTS = {"cuda": dict(batch=32, patch=256, final_patch=384), "cpu": dict(batch=8, patch=128, final_patch=256)}
NOT_KEPT = ("data", "out", "resume", "go_on", "device", "threads", "compile", "given")  # arguments that --continue does not take from the run
CHANGEABLE = ("minutes", "steps", "save_minutes", "log_every", "no_capture")  # and those that it takes from the run unless they are given


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", nargs="+", type=Path, default=[], help="folders of pictures and shards [default with --continue: as before]")
    p.add_argument("--out", type=Path, required=True, help="folder of the run")
    start = p.add_mutually_exclusive_group()
    start.add_argument("--resume", type=Path, metavar="CHECKPOINT", help="start from these weights; from its optimiser too, where it has one")
    start.add_argument("--continue", dest="go_on", action="store_true", help="go on with OUT/last.pt where it stopped, with its arguments; --minutes, --steps, "
                       "--save-minutes, --log-every, --no-capture, --compile, --data, --threads and --device may be others")
    p.add_argument("--fresh-optimiser", action="store_true", help="resume the weights alone")
    p.add_argument("--config", default="{}", help="JSON of model.Codec's arguments, for a new network")
    p.add_argument("--grow", type=json.loads, metavar="JSON", help='more blocks for the resumed network, which add nothing at first, e.g. {"n_trunk": 4, "a16": 4}')
    p.add_argument("--lambdas", metavar="Q:LAMBDA,...", help="lambdas to train for, from quality 0 to 63, e.g. 0:0.001,63:2; the gains of a resumed network "
                   "move along [default: those of the checkpoint, or 0:0.001,63:0.5]")
    p.add_argument("--keep-gains", action="store_true", help="the resumed network was trained for --lambdas already, though its checkpoint does not say so")
    p.add_argument("--minutes", type=float, default=100, help="wall time, loading and compiling included")
    p.add_argument("--steps", type=int, default=10 ** 9)
    p.add_argument("--batch", type=int, help="pictures in a step [default: 32 on CUDA, 8 else]")
    p.add_argument("--patch", type=int, help="side of the crops, a multiple of 64 [default: 256 on CUDA, 128 else]")
    p.add_argument("--final-part", type=float, default=0.15, help="part of the run at its end that uses larger crops")
    p.add_argument("--final-patch", type=int, help="their side [default: 384 on CUDA, 256 else]")
    p.add_argument("--final-batch", type=int, help="how many of them in a step [default: as many pixels as before]")
    p.add_argument("--optimiser", choices=("soap", "adamw"), default="soap", help="soap takes more time for a step, and far fewer steps")
    p.add_argument("--refresh-every", type=int, default=48, help="steps after which SOAP turns its bases; each turn takes as long as several steps of a GPU")
    p.add_argument("--lr", type=float, default=4e-4, help="highest learning rate")
    p.add_argument("--last-lr", type=float, default=1e-6, help="learning rate at the end")
    p.add_argument("--warmup", type=int, default=300, help="steps")
    p.add_argument("--clip", type=float, default=1.0, help="largest norm of the gradient")
    p.add_argument("--cap", type=float, default=4.0, help="a crop counts at most this many times the median of its batch; 0: no limit. Keeps noise and other "
                   "synthetic extremes from taking the whole gradient")
    p.add_argument("--tilt", type=float, default=TILT, help="qualities weigh by lambda to the power of minus this: larger favours small files")
    p.add_argument("--graphics", type=float, default=0.1, help="part of graphics in the crops")
    p.add_argument("--synthetic", type=float, default=0.06, help="part of synthetic pictures in the crops")
    p.add_argument("--synthetic-count", type=int, default=192, help="how many synthetic pictures to make")
    p.add_argument("--vary", type=float, default=0.5, help="part of the batches that is made smaller first, and of the crops whose brightness is changed")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--threads", type=int, default=os.cpu_count(), help="of PyTorch on the processor")
    p.add_argument("--device", choices=("cuda", "cpu"), help="[default: cuda where there is one]")
    p.add_argument("--float32", action="store_true", help="no bfloat16")
    p.add_argument("--compile", choices=("whole", "parts", "none"), default="whole", help="what torch.compile works on, on CUDA: the network as a whole makes "
                   "the fastest steps, its parts the shortest wait for the first one")
    p.add_argument("--no-capture", action="store_true", help="no CUDA graphs")
    p.add_argument("--save-minutes", type=float, default=4)
    p.add_argument("--log-every", type=int, default=100, help="steps")
    a = p.parse_args(argv)
    for action in p._actions:
        action.default = argparse.SUPPRESS
    a.given = tuple(vars(p.parse_args(argv)))  # what is there without defaults
    if not a.data and not a.go_on:
        p.error("--data is needed")
    if a.minutes <= 0 or a.steps <= 0 or a.log_every <= 0 or math.isnan(a.minutes) or (a.batch is not None and a.batch <= 0):
        p.error("--minutes, --steps, --batch and --log-every are above 0")
    if a.grow is not None and not (isinstance(a.grow, dict) and (a.resume or a.go_on)):
        p.error("--grow is an object of JSON, and goes with --resume")
    if "config" in a.given and (a.resume or a.go_on):
        p.error("--config is for a new network; --grow gives more blocks to a resumed one")
    a.device = a.device or ("cuda" if torch.cuda.is_available() else "cpu")
    for name, value in DEFAULTS[a.device].items():
        if getattr(a, name) is None:
            setattr(a, name, value)
    a.final_patch = max(a.patch, a.final_patch)
    a.final_batch = a.final_batch or max(2, a.batch * a.patch ** 2 // a.final_patch ** 2)
    if any(n % 64 or not 64 <= n <= WINDOW for n in (a.patch, a.final_patch)):
        p.error(f"sides of crops are multiples of 64 up to {WINDOW}")
    if not (a.graphics >= 0 and a.synthetic >= 0 and a.graphics + a.synthetic <= 1):
        p.error("the parts of graphics and of synthetic pictures come to at most 1")
    return a


def parse_lambdas(text: str) -> list[list[float]]:
    return [[float(n) for n in node.split(":")] for node in text.split(",")]


def draw_qualities(batch: int, random: torch.Generator) -> torch.Tensor:
    """Quality indices [B], one from each of B equal parts of the range, in any order: every batch covers it all."""
    q = (torch.randperm(batch, generator=random) + torch.rand(batch, generator=random)) / batch * model.QUALITIES
    return q.floor().clamp(0, model.QUALITIES - 1)


def to_device(t: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor in memory on the device, without waiting for what is under way there."""
    return t.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else t


def losses(lam: torch.Tensor, x: torch.Tensor, x_hat: torch.Tensor, bits: torch.Tensor, cap: float,
           tilt: float = TILT) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Loss of the batch, bits per pixel [B], mean squared error on 0..255 [B]. A weight of lambda to the power of -`tilt` keeps high qualities from having
    all the gradient."""
    bpp = bits / (x.shape[2] * x.shape[3])
    mse = ((x_hat.float() - x) ** 2).mean((1, 2, 3)) * 255 ** 2
    each = (lam / 0.02) ** -tilt * (bpp + lam * mse)
    if cap:
        ranked = each.detach().sort()[0]
        median = (ranked[(len(ranked) - 1) // 2] + ranked[len(ranked) // 2]) / 2
        each = each * (cap * median / each.detach()).clamp(max=1)
    return each.mean(), bpp, mse


class Trainer:
    """A network in training and all that its continuation depends on, the pictures apart."""

    def __init__(self, a: argparse.Namespace, state: dict | None = None):
        """`state`: a checkpoint to resume; anew without one."""
        self.a, self.resumed = a, state is not None
        config = state["config"] if state else json.loads(a.config)
        torch.manual_seed(a.seed)
        self.net = net = model.init_linear(model.Codec(**config))
        self.step = self.first = 0
        if state:
            model.load(net, state["net"])
            self.step = self.first = int(state["step"])
        average = net.state_dict() | (state or {}).get("ema", {})
        fresh = a.fresh_optimiser or not state or "optimiser" not in state
        if a.grow and state:
            smaller = model.load(model.Codec(**net.config), average)
            net, average, fresh = model.grow(net, **a.grow), model.grow(smaller, **a.grow).state_dict(), True
            self.net = net
        try:
            export.header_of(net, "aei").check()
            export.encoder_header_of(net).check(export.header_of(net, "aei"))
        except export.aem.ModelError as e:
            raise ValueError(f"this network could not be exported: {e}") from e
        if a.lambdas:
            nodes, old = parse_lambdas(a.lambdas), net.lambdas
            net.set_lambdas(nodes)
            if state and not a.keep_gains and [list(n) for n in old] != net.lambdas:
                model.move_gains(net, old, nodes)
                copy = model.load(model.Codec(**net.config), average)
                model.move_gains(copy, old, nodes)
                average, fresh = copy.state_dict(), True
        self.cuda = a.device == "cuda"
        net.to(a.device, memory_format=torch.channels_last).train()
        self.names, self.weights = (list(v) for v in zip(*net.named_parameters()))
        self.average = [average[k].detach().to(a.device, torch.float32, copy=True) for k in self.names]
        decay = [{"params": [w for w in self.weights if (w.dim() == 4) == conv], "weight_decay": 1e-4 if conv else 0.0} for conv in (True, False)]
        if a.optimiser == "soap":
            self.optimiser = Soap(decay, lr=a.lr, refresh_every=a.refresh_every, together=64 if self.cuda else 1,
                                  rotate_in=torch.float32 if a.float32 else torch.bfloat16)
        else:
            self.optimiser = torch.optim.AdamW(decay, lr=a.lr, betas=(0.9, 0.98), fused=self.cuda)
        if not fresh:
            kind = lambda group: (group.keys(), group.get("together"), len(group["params"]))  # the optimiser, SOAP's device, the network
            fresh = kind(state["optimiser"]["param_groups"][0]) != kind(self.optimiser.param_groups[0])
        if not fresh:
            for group in state["optimiser"]["param_groups"]:
                if "fused" in group:
                    group["fused"] = self.cuda  # it may come from another device
            own = [{k: group[k] for k in ("refresh_every", "weight_decay") if k in group} for group in self.optimiser.param_groups]
            self.optimiser.load_state_dict(state["optimiser"])
            for group, options in zip(self.optimiser.param_groups, own):
                group |= options  # those of this run; the loaded ones are those of the old run
        self.run = net
        if self.cuda and a.compile == "parts":
            net.compile_parts()
        elif self.cuda and a.compile == "whole":
            torch._dynamo.config.suppress_errors = True  # what cannot be compiled runs as it is
            self.run = torch.compile(net, dynamic=False)
        self.grad = torch.zeros(sum(w.numel() for w in self.weights), device=a.device)  # where the optimiser finds it
        for w, g in zip(self.weights, self.grad.split([w.numel() for w in self.weights])):
            w.grad = g.view(w.shape)
        self.captured: dict[torch.Size, Captured] = {}
        self.capture = self.cuda and not a.no_capture
        self.capture_update = self.capture and isinstance(self.optimiser, Soap)  # still to be done
        self.random = torch.Generator().manual_seed(a.seed + self.step)
        torch.manual_seed(a.seed + self.step)
        self.minutes_before, self.start = 0.0, time.time()
        self.not_finite = torch.zeros((), dtype=torch.long, device=a.device)
        self.clock = Clock(self.cuda)

    @classmethod
    def going_on(cls, a: argparse.Namespace, state: dict) -> Trainer:
        """The run that saved `state`, as if it had never stopped (given the same pictures); its arguments replace those in `a`, but for those given
        that may change."""
        if "run" not in state:
            raise ValueError("this checkpoint was not made by a run that can be continued: --resume starts a new schedule from it")
        run = state["run"]
        a.data = a.data or [Path(p) for p in run["data"]]
        for name, value in run["arguments"].items():
            if name in a.given and name in CHANGEABLE:
                continue
            if name in a.given and getattr(a, name) != value:
                print(f"--{name.replace('_', '-')} stays {value}: it cannot change in a run that goes on", flush=True)
            setattr(a, name, value)
        done = dict(lambdas=None, grow=None, fresh_optimiser=False)  # what the run did when it began
        kept = {name: getattr(a, name) for name in done}
        vars(a).update(done)
        t = cls(a, state)
        vars(a).update(kept)
        t.first, t.resumed, t.minutes_before = run["first"], run["resumed"], run["minutes"]
        t.not_finite += run["skipped"]
        t.random.set_state(run["random"])
        torch.set_rng_state(run["torch_random"])
        if t.cuda and "cuda_random" in run:
            torch.cuda.set_rng_state(run["cuda_random"])
        return t

    @property
    def minutes(self) -> float:
        return self.minutes_before + (time.time() - self.start) / 60

    @property
    def skipped(self) -> int:
        """Steps with gradients that were not finite. On CUDA reading this waits for all that is under way."""
        return int(self.not_finite)

    @property
    def progress(self) -> float:
        """0 at the start, 1 at the end of the schedule."""
        return max(self.minutes / self.a.minutes, (self.step - self.first) / self.a.steps)

    @property
    def keep(self) -> float:
        """What the moving average keeps of itself in this step: it is over a tenth of the run's steps so far, and over 1 / (1 - EMA) at most. A resumed one begins
        where it was, and a run of a few hundred steps has left that behind."""
        return min(EMA, 1 - 1 / (1 + (RESUMED * self.resumed + self.step - self.first) / 10))

    def learning_rate(self, progress: float) -> float:
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        return min(1.0, (self.step - self.first + 1) / max(1, self.a.warmup)) * (self.a.last_lr + (self.a.lr - self.a.last_lr) * cosine)

    def sizes(self, progress: float) -> tuple[int, int]:
        """(batch, patch)."""
        a = self.a
        return (a.final_batch, a.final_patch) if progress >= 1 - a.final_part else (a.batch, a.patch)

    def gradients(self, x: torch.Tensor, q: torch.Tensor, lam: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Crops [B, 3, P, P], their qualities [B] and lambdas [B] on the device: loss, bits per pixel [B], squared error [B], norm of the gradient, and the
        gradient of all weights in one vector, clipped; zeros where it is not finite."""
        with torch.autocast(self.a.device, dtype=torch.bfloat16, enabled=not self.a.float32, cache_enabled=not self.cuda):  # a captured step has no cache
            x_hat, y_bits, z_bits = self.run(x, q)
        loss, bpp, mse = losses(lam, x, x_hat, y_bits + z_bits, self.a.cap, self.a.tilt)
        grads = torch.autograd.grad(loss, self.weights, allow_unused=True, materialize_grads=True)
        grad = torch.cat([g.flatten() for g in grads])
        norm = torch.linalg.vector_norm(grad)
        finite = torch.isfinite(norm)
        self.not_finite += ~finite
        grad = torch.where(finite, grad * (self.a.clip / (norm + 1e-6)).clamp(max=1), 0)
        return loss.detach(), bpp.detach(), mse.detach(), norm, grad

    def prepare(self, x: torch.Tensor) -> Captured | None:
        """Capture steps of this shape, and once the optimiser knows its state that too, if not done yet. The run goes on without what cannot be captured."""
        if self.capture and x.shape not in self.captured:
            try:
                self.captured[x.shape] = Captured(self, x)
            except Exception as e:  # a compiler or a driver may fail in many ways
                self.capture = False
                without("steps", e)
        if self.capture_update and self.optimiser.state:
            self.capture_update = False
            try:
                self.optimiser.capture()
            except Exception as e:
                without("updates", e)
        return self.captured.get(x.shape)

    def train_step(self, x: torch.Tensor, q: torch.Tensor, lr: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor] | None:
        """One step on crops [B, 3, P, P] on the device, at qualities [B] in memory: loss, bits per pixel [B], squared error [B], norm of the gradient. If
        something was not finite, None, and the weights stay as they were. On CUDA, which is not waited for, the gradient counts as zero instead: the step's part in
        the moments is zero, and the weights go on by the moments of the steps before."""
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        x = x.contiguous(memory_format=torch.channels_last)
        lam = model.lambda_of(q, self.net.lambdas)
        captured = self.prepare(x)
        self.step += 1
        self.clock.begin()
        if captured:
            *result, grad = captured(x, q, lam)
        else:
            *result, grad = self.gradients(x, to_device(q, x.device), to_device(lam, x.device))
        if not self.cuda and not torch.isfinite(result[3]):
            return None
        self.clock.end("gradients")
        self.grad.copy_(grad)
        self.optimiser.step()
        self.clock.end("optimiser")
        with torch.no_grad():
            torch._foreach_lerp_(self.average, [w.detach() for w in self.weights], 1 - self.keep)
        return tuple(result)

    def advance(self, pool: Pool) -> tuple[torch.Tensor, tuple | None, float]:
        """One step of the schedule: qualities, what `train_step` gave, learning rate."""
        progress = self.progress
        batch, patch = self.sizes(progress)
        lr = self.learning_rate(progress)
        x = pool.draw(batch, patch, self.random)
        q = draw_qualities(batch, self.random)
        return q, self.train_step(x, q, lr), lr

    def checkpoint(self) -> dict:
        ema = dict(zip(self.names, self.average))
        run = dict(arguments={k: v for k, v in vars(self.a).items() if k not in NOT_KEPT}, first=self.first, resumed=self.resumed, minutes=self.minutes,
                   skipped=self.skipped, data=[str(p.resolve()) for p in self.a.data], random=self.random.get_state(), torch_random=torch.get_rng_state())
        if self.cuda:
            run["cuda_random"] = torch.cuda.get_rng_state()
        return dict(config=self.net.config, net=self.net.state_dict(), ema=ema, optimiser=self.optimiser.state_dict(), step=self.step, run=run)

    def save(self, out: Path) -> None:
        write(self.checkpoint(), out)


def in_memory(state: object) -> object:
    """A copy of a checkpoint that training does not change, and that a thread can write without touching the device."""
    if isinstance(state, dict):
        return {k: in_memory(v) for k, v in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(in_memory(v) for v in state)
    return state.detach().to("cpu", copy=True) if isinstance(state, torch.Tensor) else state


def write(state: dict, out: Path) -> None:
    """last.pt, ema.pt and curves.png."""
    small = dict(config=state["config"], net={k: v.half().cpu() for k, v in state["ema"].items()}, step=state["step"])
    for name, content in (("last.pt", state), ("ema.pt", small)):
        torch.save(content, out / (name + ".part"))
        os.replace(out / (name + ".part"), out / name)
    try:
        curves.plot([out], out / "curves.png")
    except Exception as e:  # a picture is not worth a run
        print(f"no curves: {type(e).__name__}: {e}", flush=True)


def without(what: str, e: Exception) -> None:
    print(f"{what} cannot be captured: {type(e).__name__}: {str(e)[-2000:]}", flush=True)
    torch.cuda.synchronize()


class Captured:
    """`Trainer.gradients` for crops of one shape as a CUDA graph: its thousand kernels are started at once. Results are overwritten by the next call."""

    def __init__(self, trainer: Trainer, x: torch.Tensor):
        self.x, self.q, self.lam = x.clone(), torch.zeros(len(x), device=x.device), torch.full((len(x),), 0.01, device=x.device)
        with torch.random.fork_rng([x.device] if x.is_cuda else []):  # a run that goes on captures its steps again, and its random numbers must not notice
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(3):  # compiles, and makes libraries allocate what they need
                    trainer.gradients(self.x, self.q, self.lam)
            torch.cuda.current_stream().wait_stream(side)
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.result = trainer.gradients(self.x, self.q, self.lam)

    def __call__(self, x: torch.Tensor, q: torch.Tensor, lam: torch.Tensor) -> tuple[torch.Tensor, ...]:
        self.x.copy_(x)
        self.q.copy_(to_device(q, x.device))
        self.lam.copy_(to_device(lam, x.device))
        self.graph.replay()
        return self.result


class Clock:
    """How long the device takes for the parts of a step. CUDA's events are read when the log is written, so that nothing waits for them."""

    def __init__(self, cuda: bool):
        self.cuda = cuda
        self.spans: dict[str, list[tuple]] = {}

    def now(self) -> float | torch.cuda.Event:
        if not self.cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def begin(self) -> None:
        self.last = self.now()

    def end(self, part: str) -> None:
        """The end of a part, and the beginning of the next."""
        now = self.now()
        self.spans.setdefault(part, []).append((self.last, now))
        self.last = now

    def row(self) -> dict[str, float]:
        """Milliseconds by part, averages since the last row. The device must have come to the end of the last part."""
        spans, self.spans = self.spans, {}
        took = (lambda a, b: a.elapsed_time(b)) if self.cuda else (lambda a, b: 1000 * (b - a))
        return {part: round(sum(took(a, b) for a, b in of) / len(of), 2) for part, of in spans.items()}


class Sums:
    """Sums between two lines of the log, on the device, so that they cost no waiting."""

    def __init__(self, device: str):
        self.all = torch.zeros(3, device=device)        # loss, norm, steps; of those that were finite
        self.bands = torch.zeros(4, 4, device=device)   # by quarter of the qualities: bits per pixel, mean squared error, PSNR, crops

    def add(self, q: torch.Tensor, result: tuple) -> None:
        loss, bpp, mse, norm = result
        band = to_device((q * 4 / model.QUALITIES).long(), bpp.device)
        finite = torch.isfinite(norm)
        self.all += torch.where(finite, torch.stack([loss, norm, torch.ones_like(loss)]), 0)
        psnr = 10 * torch.log10(255 ** 2 / mse.clamp_min(0.01))
        self.bands.index_add_(0, band, torch.where(finite, torch.stack([bpp, mse, psnr, torch.ones_like(bpp)], 1), 0))

    def row(self) -> dict:
        """Means over what was added since the last row."""
        (loss, norm, steps), bands = self.all.tolist(), self.bands.tolist()
        self.all.zero_()
        self.bands.zero_()
        steps, crops = max(1.0, steps), max(1.0, sum(b[3] for b in bands))
        each = [[v / max(1.0, b[3]) for v in b] for b in bands]
        return dict(loss=round(loss / steps, 4), bpp=round(sum(b[0] for b in bands) / crops, 4), mse=round(sum(b[1] for b in bands) / crops, 3),
                    norm=round(norm / steps, 3), bpp_band=[round(b[0], 4) for b in each], psnr=[round(b[2], 3) for b in each])


def log_of_this_run(out: Path, step: int | None) -> None:
    """Leaves in OUT/log.jsonl what a run that goes on from `step` has done by then, or nothing."""
    if (out / "log.jsonl").exists():
        kept = [row for row in curves.rows(out) if step is not None and row["step"] <= step]
        (out / "log.jsonl.part").write_text("".join(json.dumps(row) + "\n" for row in kept))
        os.replace(out / "log.jsonl.part", out / "log.jsonl")


def new_minutes(a: argparse.Namespace) -> None:
    """Take --minutes from OUT/minutes, where there is a number."""
    try:
        minutes = float((a.out / "minutes").read_text())
    except (OSError, ValueError):  # none, or one that is being written
        return
    if 0 < minutes < math.inf and minutes != a.minutes:
        print(f"the run takes {minutes:g} minutes now, not {a.minutes:g}", flush=True)
        a.minutes = minutes


def outcome(work: Future) -> object:
    """What came of work beside the steps, or None where it went wrong, which is said: it is tried again later, and a run is worth more."""
    try:
        return work.result()
    except Exception as e:
        print(f"went wrong beside the training, which goes on: {type(e).__name__}: {e}", flush=True)
        return None


def main(argv: list[str] | None = None) -> None:
    a = arguments(argv)
    torch.set_num_threads(a.threads)
    if a.device == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
    if not a.go_on and (a.out / "last.pt").exists():
        raise SystemExit(f"{a.out} has a run: --continue goes on with it, and a new one needs another --out")
    source = a.out / "last.pt" if a.go_on else a.resume
    if source and not source.is_file():
        raise SystemExit(f"there is no {source}")
    state = torch.load(source, map_location="cpu", weights_only=True) if source else None
    try:
        t = Trainer.going_on(a, state) if a.go_on else Trainer(a, state)
    except ValueError as e:
        raise SystemExit(str(e)) from e
    del state
    for folder in a.data:
        if not folder.exists():
            raise SystemExit(f"--data {folder}: there is no such folder")
    a.out.mkdir(parents=True, exist_ok=True)
    log_of_this_run(a.out, t.step if a.go_on else None)
    if not a.go_on or "minutes" in a.given:
        (a.out / "minutes").unlink(missing_ok=True)  # it was for another run, or for less than was asked for
    pool = Pool(a.data, a.device, dict(graphics=a.graphics, synthetic=a.synthetic), a.synthetic_count, a.seed, a.vary)
    print(f"{pool.describe()}; {a.device}, {sum(w.numel() for w in t.weights) / 1e6:.2f} M parameters, from step {t.step}", flush=True)
    new_minutes(a)
    if set(pool.kinds) <= {"synthetic"}:
        print(f"no picture to train on in {', '.join(map(str, a.data))}: waiting for the first one", flush=True)
    while set(pool.kinds) <= {"synthetic"}:
        if t.progress >= 1:
            raise SystemExit("no picture to train on has come")
        time.sleep(5)
        new_minutes(a)
        pool.scan()

    stop: list[int] = []
    handlers = {s: signal.signal(s, lambda number, _frame: stop.append(number)) for s in (signal.SIGTERM, signal.SIGINT)}
    sums = Sums(a.device)
    saved = scanned = time.time()
    beside = ThreadPoolExecutor(2)  # reads what has come, and writes: a GPU would do hundreds of steps meanwhile
    finding = saving = None
    try:
        with open(a.out / "log.jsonl", "a") as log:
            while t.progress < 1 and not stop:
                q, result, lr = t.advance(pool)
                if result:
                    sums.add(q, result)
                if t.step % a.log_every == 0:
                    new_minutes(a)
                    row = dict(step=t.step, minutes=round(t.minutes, 2), lr=lr, **sums.row(), skipped=t.skipped, ms=t.clock.row())
                    print(json.dumps(row), flush=True)
                    log.write(json.dumps(row) + "\n")
                    log.flush()
                now = time.time()
                if now - saved > 60 * a.save_minutes:
                    if saving:
                        outcome(saving)
                    saving, saved = beside.submit(write, in_memory(t.checkpoint()), a.out), now
                if finding is None and now - scanned > SCAN_SECONDS:
                    finding = beside.submit(pool.find, 2)
                elif finding and finding.done():
                    found = outcome(finding)
                    if found and pool.take(found):
                        print(pool.describe(), flush=True)
                    finding, scanned = None, now
    finally:  # what an exception ends is saved too
        pool.closed = True
        if saving:
            wait([saving])
        t.save(a.out)
        beside.shutdown(wait=False)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    print(f"{'stopped' if stop else 'done'} at step {t.step}, {t.skipped} steps skipped", flush=True)


if __name__ == "__main__":
    main()
