"""Reference model of the `aei` codec, in PyTorch.

One network serves every quality: 64 quality indices select per-channel gains. Transforms work at 1/8 and 1/16
of the image's size and have a finite receptive field, so tiles with a halo decode exactly. The entropy network
(`EntropyNet`) uses only operations that have an exact integer form: 1x1 and depthwise 3x3 convolution, leaky ReLU
with slope 1/8, a product with a gate clamped to -1..1, residual sums, concatenation and pixel shuffle.

Shapes: image [B,3,H,W] in 0..1 with H, W multiples of 64; latent y [B,M,H/16,W/16]; hyper-latent z [B,NZ,H/64,W/64].
"""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

QUALITIES = 64                      # quality indices 0 (smallest file) .. 63 (best picture)
SCALE_LEVELS = 64                   # quantised standard deviations of the Gaussian tables
SCALE_MIN, SCALE_MAX = 0.11, 256.0
LAMBDA_MIN, LAMBDA_MAX = 0.0010, 0.5
LAMBDAS = ((0, LAMBDA_MIN), (QUALITIES - 1, LAMBDA_MAX))  # (quality, lambda), straight lines in log lambda between them
SLOPE = 0.125
LOG_MIN = math.log(SCALE_MIN)
LOG_STEP = (math.log(SCALE_MAX) - LOG_MIN) / (SCALE_LEVELS - 1)


def lambda_of(q, nodes=LAMBDAS):
    """Rate-distortion weight of quality q (tensor or number), for loss = bpp + lambda * 255^2 * MSE: float32 tensor of q's shape."""
    q = torch.as_tensor(q, dtype=torch.float32)
    at, log = (torch.tensor(v, dtype=torch.float32, device=q.device) for v in ([n for n, _ in nodes], [math.log(v) for _, v in nodes]))
    right = torch.bucketize(q, at[1:-1], right=True) + 1
    t = (q - at[right - 1]) / (at[right] - at[right - 1])
    return (log[right - 1] + t * (log[right] - log[right - 1])).exp()


class Gain(nn.Module):
    """Positive per-channel gain for each quality: log-linear between 16 learned anchors."""

    def __init__(self, channels, at_lowest=1.0, at_highest=1.0, anchors=16):
        super().__init__()
        ramp = torch.linspace(math.log(at_lowest), math.log(at_highest), anchors)
        self.log = nn.Parameter(ramp[:, None].repeat(1, channels))

    def forward(self, q):
        """q [B] in 0..63 -> [B,C,1,1]."""
        n = self.log.shape[0] - 1
        t = q.float() * (n / (QUALITIES - 1))
        low = t.floor().clamp(0, n - 1).long()
        w = (t - low)[:, None]
        return (self.log[low] * (1 - w) + self.log[low + 1] * w).exp()[:, :, None, None]


def as_products(x):
    """Whether convolutions of x are computed as plain products: on CUDA, where that is faster."""
    return x.is_cuda


class Pointwise(nn.Conv2d):
    """1x1 convolution. On CUDA it is a matrix product over the positions of a channels_last tensor, which is faster than cuDNN's convolution."""

    def __init__(self, cin, cout):
        super().__init__(cin, cout, 1)

    def forward(self, x):
        if not as_products(x):
            return super().forward(x)
        return F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


class Depthwise(nn.Conv2d):
    """3x3 depthwise convolution with zeros around. On CUDA it is a sum of nine shifted products, which torch.compile makes one kernel of, also of the gradient
    by the weights, which is the slow part of cuDNN's."""

    def __init__(self, c):
        super().__init__(c, c, 3, padding=1, groups=c)

    def forward(self, x):
        if not as_products(x):
            return super().forward(x)
        h, w = x.shape[2:]
        around, weight = F.pad(x, (1, 1, 1, 1)).float(), self.weight[:, 0, :, :, None, None]  # autocast touches neither
        out = self.bias[:, None, None]
        for i in range(3):
            for j in range(3):
                out = out + around[:, :, i:i + h, j:j + w] * weight[:, i, j]
        return out.to(x.dtype)


class MainConv(Pointwise):
    """1x1 convolution on the main path, always in float32: under bf16 autocast the signal itself would carry 8 bits and cap the PSNR that training
    can see near 48 dB. Branches may run in bf16, sums stay in float32."""

    def forward(self, x):
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


class Block(nn.Module):
    """Residual block: depthwise spatial mixing, then a gated channel mixer. The gate is clamped: an unbounded product made single crops of saturated
    colour explode (mean squared error 1e13 once in some thousand training steps), since a chain of products grows doubly exponentially."""

    def __init__(self, c):
        super().__init__()
        self.inp, self.depth, self.out = Pointwise(c, c), Depthwise(c), Pointwise(c, c)
        self.gate, self.mix = Pointwise(c, 2 * c), Pointwise(c, c)
        for last in (self.out, self.mix):
            last.weight.data.zero_()
            last.bias.data.zero_()

    def forward(self, x):
        x = x + self.out(self.depth(F.leaky_relu(self.inp(x), SLOPE)))
        a, b = self.gate(x).chunk(2, 1)
        return x + self.mix(a * b.clamp(-1, 1))


def products_last(x):
    """x in channels_last where convolutions are products: PyTorch's shuffles give tensors in the other order, and what follows would copy them again and again."""
    return x.contiguous(memory_format=torch.channels_last) if as_products(x) else x


class PixelUnshuffle(nn.PixelUnshuffle):
    def forward(self, x):
        return products_last(super().forward(x))


class PixelShuffle(nn.PixelShuffle):
    def forward(self, x):
        return products_last(super().forward(x))


def down(cin, cout):
    return nn.Sequential(PixelUnshuffle(2), MainConv(4 * cin, cout))


def up(cin, cout):
    return nn.Sequential(MainConv(cin, 4 * cout), PixelShuffle(2))


class Analysis(nn.Module):
    def __init__(self, c8, c16, m, n8, n16):
        super().__init__()
        self.stem = nn.Sequential(PixelUnshuffle(8), MainConv(192, c8))
        self.first = nn.Sequential(*[Block(c8) for _ in range(n8 // 2)])
        self.mod = Gain(c8)
        self.second = nn.Sequential(*[Block(c8) for _ in range(n8 - n8 // 2)])
        self.tail = nn.Sequential(down(c8, c16), *[Block(c16) for _ in range(n16)], MainConv(c16, m))
        self.gain = Gain(m, 1.6, 35.0)

    def forward(self, x, q):
        x = self.first(self.stem(x - 0.5)) * self.mod(q)
        return self.tail(self.second(x)) * self.gain(q)


class Synthesis(nn.Module):
    def __init__(self, c8, c16, m, n8, n16):
        super().__init__()
        self.gain = Gain(m, 1 / 1.6, 1 / 35.0)
        self.head = nn.Sequential(MainConv(m, c16), *[Block(c16) for _ in range(n16)], up(c16, c8))
        self.first = nn.Sequential(*[Block(c8) for _ in range(n8 // 2)])
        self.mod = Gain(c8)
        self.second = nn.Sequential(*[Block(c8) for _ in range(n8 - n8 // 2)])
        self.last = nn.Sequential(MainConv(c8, 192), PixelShuffle(8))

    def forward(self, y, q):
        x = self.first(self.head(y * self.gain(q))) * self.mod(q)
        return self.last(self.second(x)) + 0.5


def groups_mask(step, h, w, m, device):
    """Mask [1,M,h,w] of what is coded in `step` (0..3): channel group g sits at 2x2 phase g ^ (0,3,2,1)[step]."""
    phase = (torch.arange(h, device=device)[:, None] % 2) * 2 + torch.arange(w, device=device)[None] % 2
    group = torch.arange(m, device=device) // (m // 4)
    return (phase[None] == (group ^ (0, 3, 2, 1)[step])[:, None, None])[None]


class EntropyNet(nn.Module):
    """Hyper-synthesis, and four-step context models of z and of y. Everything in here runs in integers in the codec."""

    def __init__(self, m, nz, c, n_trunk, n_z):
        super().__init__()
        self.z_scale = Gain(nz, 1.0, 4.0)
        self.z_adapt = nn.ModuleList(Pointwise(nz, nz) for _ in range(3))
        self.z_trunk = nn.Sequential(*[Block(nz) for _ in range(n_z)])
        self.z_params = MainConv(nz, 2 * nz)
        for p in self.z_params.parameters():  # no context at first
            p.data.zero_()
        self.hyper = nn.Sequential(up(nz, c), Block(c), up(c, c), Block(c))
        self.adapt = nn.ModuleList(Pointwise(c + (m if k else 0), c) for k in range(4))
        self.trunk = nn.Sequential(*[Block(c) for _ in range(n_trunk)])
        self.params = MainConv(c, 2 * m)
        self.context_gain = 1 / 16

    def z_step(self, k, z_hat, base):
        """Mean and scale index of z in step `k`, where `base` [B,NZ,1,1] are the scale indices of its channels."""
        if k == 0:
            return torch.zeros_like(z_hat), base.expand_as(z_hat)
        mean, raw = self.z_params(self.z_trunk(self.z_adapt[k - 1](z_hat / 4))).chunk(2, 1)
        if not self.training:
            base, raw = base.round(), (raw.float() * 8).round() / 8
        index = base + raw.float() * 8
        return mean.float() * 4, index + (index.clamp(0, SCALE_LEVELS - 1) - index).detach()

    def step(self, k, features, y_hat):
        x = features if k == 0 else torch.cat([features, y_hat * self.context_gain], 1)
        mean, raw = self.params(self.trunk(self.adapt[k](x))).chunk(2, 1)
        index = raw.float() * 8 + 16
        return mean.float() * 16, index + (index.clamp(0, SCALE_LEVELS - 1) - index).detach()  # mean, scale index; the limit lets gradients through


def scale_of(index):
    return torch.exp(LOG_MIN + index * LOG_STEP)


P_MIN = 1e-9


def bits(value, scale):
    """Bits of `value` (zero-mean residual, unit bins) under a Gaussian of `scale`, limited to -log2(P_MIN).

    At the limit the number is flat but its gradient is not: it is that of a tail which goes on from the Gaussian six deviations out, where the limit
    begins, with the logarithm of the distance. Without it nothing tells the network about the very values that it is most wrong about, such as those
    that it takes for certain in patterns unlike any photograph.
    """
    v = value.abs()
    upper, lower = (0.5 - v) / scale, (-0.5 - v) / scale
    p = 0.5 * (torch.erfc(-upper * 2 ** -0.5) - torch.erfc(-lower * 2 ** -0.5))
    out = -torch.log2(p.clamp_min(P_MIN))
    if not torch.is_grad_enabled():
        return out
    tail = 36 / math.log(2) * torch.where(p < P_MIN, -upper, 1.0).log()
    return out + (tail - tail.detach())


def ste_round(x):
    return x + (x.round() - x).detach()


SQUARED_STEP_BITS = 20.0  # what rounding in training takes a squared quantisation step of error to be worth, in bits
THRESHOLD_VALUES = 24     # magnitudes above it are rounded to the nearest value


def rounding_thresholds():
    """Float [SCALE_LEVELS, THRESHOLD_VALUES + 2]: a magnitude whose nearest value is n becomes n - 1 if it is below n + t[index, n].

    That is where the bits saved outweigh the error added: bits(n) - bits(n - 1) > SQUARED_STEP_BITS * ((a - n + 1)^2 - (a - n)^2). Never for n = 0 and for the
    last column, which stands for everything above.
    """
    with torch.no_grad():
        n = torch.arange(THRESHOLD_VALUES + 1.0)
        cost = bits(n[None].expand(SCALE_LEVELS, -1), scale_of(torch.arange(SCALE_LEVELS))[:, None])
        t = (cost.diff(dim=1) / (2 * SQUARED_STEP_BITS) - 0.5).clamp(-0.5, 0.5)
    return F.pad(t, (1, 1), value=-1.0)


def round_cheaply(r, index, thresholds):
    """The value that training takes for the residual r under a scale index: the nearest one, or the next one towards zero where that saves more than it costs.

    The codec does not round: it searches a trellis (`trellis.py`) for the best sequence of values, whose step is not 1. Training simulates rounding all the same, as it
    is quick and each value goes by itself; a network trained so is what the trellis works with.
    """
    a = r.abs()
    n = (a + 0.5).floor()
    row = index.detach().nan_to_num().round().long()  # what is not finite is for the trainer to see, not to fail here
    t = thresholds[row, n.nan_to_num().clamp(max=THRESHOLD_VALUES + 1).long()]
    return torch.where(a - n < t, n - 1, n) * r.sign()


def all_counts(config):
    """`config` with the numbers of blocks that it leaves out: the analysis has as many as the synthesis unless it says otherwise."""
    return dict(n_trunk=2, n_z=1, a8=config["n8"], a16=config["n16"]) | config


class Codec(nn.Module):
    """Channels: `c8` at 1/8, `c16` at 1/16, `m` of y, `nz` of z, `ce` in the entropy network. Blocks: `n8` at 1/8 and `n16` at 1/16 in the synthesis, `a8` and `a16`
    in the analysis, `n_trunk` in each step of the context model of y, `n_z` in that of z. `lambdas` are the (quality, lambda) that the qualities are trained for;
    they matter to training alone. `config` has what comes after `n16` only where it is not the usual, `counts` has all numbers."""

    def __init__(self, c8=256, c16=320, m=320, nz=128, ce=192, n8=6, n16=2, n_trunk=2, n_z=1, a8=None, a16=None, lambdas=None):
        super().__init__()
        self.config = dict(c8=c8, c16=c16, m=m, nz=nz, ce=ce, n8=n8, n16=n16)
        usual, asked = all_counts(self.config), dict(n_trunk=n_trunk, n_z=n_z, a8=a8, a16=a16)
        self.config |= {k: v for k, v in asked.items() if v is not None and v != usual[k]}
        counts = self.counts
        self.lambdas = LAMBDAS
        if lambdas is not None:
            self.set_lambdas(lambdas)
        self.analysis, self.synthesis = Analysis(c8, c16, m, counts["a8"], counts["a16"]), Synthesis(c8, c16, m, n8, n16)
        self.hyper_analysis = nn.Sequential(Pointwise(m, ce), Block(ce), down(ce, ce), Block(ce), down(ce, nz))
        self.entropy = EntropyNet(m, nz, ce, n_trunk, n_z)
        self.register_buffer("thresholds", rounding_thresholds(), persistent=False)

    @property
    def counts(self):
        """`config` with all numbers of blocks."""
        return all_counts(self.config)

    def set_lambdas(self, nodes):
        """Train for other lambdas from now on; the gains stay as they are (see `move_gains`)."""
        nodes = [[float(q), float(v)] for q, v in nodes]
        ends, rising = (nodes[0][0], nodes[-1][0]), all(a[0] < b[0] and 0 < a[1] < b[1] for a, b in zip(nodes, nodes[1:]))
        if len(nodes) < 2 or ends != (0, QUALITIES - 1) or not rising:
            raise ValueError(f"lambdas have to rise from quality 0 to {QUALITIES - 1}: {nodes}")
        self.lambdas = nodes
        self.config["lambdas"] = nodes

    def compile_parts(self):
        """Let torch.compile work on the blocks and on what is computed for each value. Blocks of one shape share their code, so this takes a fraction of the
        time that the whole network does, and the rest is quick without. What cannot be compiled runs as it is."""
        config = torch._dynamo.config
        config.suppress_errors = True
        limit = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"  # its name before PyTorch 2.7
        setattr(config, limit, max(64, getattr(config, limit)))
        for block in self.modules():
            if isinstance(block, Block):
                block.compile(dynamic=False)
        self.code_step, self.y_bits = torch.compile(self.code_step, dynamic=False), torch.compile(self.y_bits, dynamic=False)

    def code_step(self, mask, y, mean, index, y_hat, residual, indices, value):
        """What one step adds, where `mask` is set, to the decoded values, the residuals, the scale indices and the values as coded."""
        r = y - mean
        with torch.no_grad():
            step_value = round_cheaply(r, index, self.thresholds)
            value = torch.where(mask, step_value, value)
        symbol = r + (step_value - r).detach()
        return torch.where(mask, symbol + mean, y_hat), torch.where(mask, r, residual), torch.where(mask, index, indices), value

    def y_bits(self, value, residual, index, noise):
        """Bits of y per image. In training they are those of the values that are coded, and from them the scales learn. What moves values learns from `noise`,
        which is smooth."""
        scale = scale_of(index)
        out = bits(value, scale)
        if noise is not None:
            noisy = bits(residual + noise - 0.5, scale.detach())
            out = out + (noisy - noisy.detach())
        return out.sum((1, 2, 3))

    def forward(self, x, q):
        """Image and quality indices [B] -> reconstruction, bits of y and bits of z per image [B]."""
        y = self.analysis(x, q).float()
        z = self.hyper_analysis(y * self.entropy.context_gain).float() * 4
        z_hat, z_bits = self.code_z(z, q)
        features = self.entropy.hyper(z_hat / 4)
        y_hat = residual = index = value = torch.zeros_like(y)
        for k in range(4):
            mask = products_last(groups_mask(k, *y.shape[2:], y.shape[1], y.device).expand_as(y))
            mean, step_index = self.entropy.step(k, features, y_hat)
            if not self.training:
                step_index = step_index.round()
            y_hat, residual, index, value = self.code_step(mask, y, mean, step_index, y_hat, residual, index, value)
        y_bits = self.y_bits(value, residual, index, torch.rand_like(residual) if self.training else None)
        return self.synthesis(y_hat, q), y_bits, z_bits

    def code_z(self, z, q):
        """z as decoded, and its bits [B]. The context is what was decoded; gradients reach z by its own place alone."""
        base = (self.entropy.z_scale(q).log() - LOG_MIN) / LOG_STEP
        z_hat = residual = index = value = torch.zeros_like(z)
        for k in range(4):
            mask = products_last(groups_mask(k, *z.shape[2:], z.shape[1], z.device).expand_as(z))
            mean, step_index = self.entropy.z_step(k, z_hat.detach(), base)
            r = z - mean
            rounded = r.detach().round()
            z_hat = torch.where(mask, z + (rounded + mean - z).detach(), z_hat)
            residual, index, value = torch.where(mask, r, residual), torch.where(mask, step_index, index), torch.where(mask, rounded, value)
        return z_hat, self.y_bits(value, residual, index, torch.rand_like(residual) if self.training else None)


GROWING = ("n8", "n16", "a8", "a16", "n_trunk", "n_z")


def grow(net, **counts):
    """A network with more blocks (numbers of GROWING) that computes what `net` does: a new block adds nothing until it is trained. They go behind the old ones of
    their kind."""
    before, after = net.counts, net.counts | counts
    if not set(counts) <= set(GROWING) or any(after[k] < before[k] for k in counts):
        raise ValueError(f"a network grows by more blocks of {', '.join(GROWING)} than {before}, not by {counts}")
    bigger = Codec(**after)
    at_sixteenth = {("analysis", "tail"): "a16", ("synthesis", "head"): "n16"}
    moved = {}
    for name, value in net.state_dict().items():
        part, rest = tuple(name.split(".")[:2]), name.split(".")[2:]
        count = at_sixteenth.get(part)
        if count and int(rest[0]) == before[count] + 1:  # what comes behind the blocks
            name = ".".join([*part, str(after[count] + 1), *rest[1:]])
        moved[name] = value
    load(bigger, moved)
    return bigger


def load(net, state):
    """Load weights that may lack the last blocks of a kind, and the context model of z, which came later: both add nothing until they are trained."""
    missing, unknown = net.load_state_dict({k: v.float() for k, v in state.items()}, strict=False)
    wrong = [k for k in missing if not (k.startswith("entropy.z_") and "z_scale" not in k or k.split(".")[-3].isdigit())]
    if wrong or unknown:
        raise ValueError(f"these are the weights of another network: {wrong} are missing, {unknown} unknown")
    return net


def move_gains(net, old, new):
    """Give every quality the gains that belonged to its new lambda, where `net` was trained for the lambdas `old`; beyond the ends of `old` the gains
    go on as they ended. So a network starts on a longer range of lambda about where it was."""
    fine = torch.arange(0, QUALITIES - 1 + 1e-3, 0.25)
    log_old = lambda_of(fine, old).log()
    with torch.no_grad():
        for gain in (m for m in net.modules() if isinstance(m, Gain)):
            n = gain.log.shape[0] - 1
            wanted = lambda_of(torch.arange(n + 1) * ((QUALITIES - 1) / n), new).log()
            right = torch.searchsorted(log_old, wanted).clamp(1, len(fine) - 1)
            t = (wanted - log_old[right - 1]) / (log_old[right] - log_old[right - 1])
            position = (fine[right - 1] + t * 0.25) * (n / (QUALITIES - 1))
            low = position.floor().clamp(0, n - 1).long()
            w = (position - low)[:, None].to(gain.log)
            gain.log.copy_(gain.log[low] * (1 - w) + gain.log[low + 1] * w)


def init_linear(net):
    """Start the transforms as an orthonormal block transform (colour rotation, 8x8 DCT, 2x2 Haar on top, lowest frequencies kept), so that
    training begins from a working linear codec. The residual blocks start small."""
    c8, c16, m = (net.config[k] for k in ("c8", "c16", "m"))
    k = torch.arange(8).double()
    dct = torch.cos(math.pi * (2 * k[None] + 1) * k[:, None] / 16) * torch.where(k == 0, 8 ** -0.5, 0.5)[:, None]
    colour = torch.tensor([[1, 1, 1], [1, 0, -1], [-1, 2, -1]]).double()
    colour = colour / colour.norm(dim=1, keepdim=True)
    basis = torch.einsum("ac,ui,vj->auvcij", colour, dct, dct).reshape(192, 192)  # coefficient x (colour, row, column)
    haar = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]).double() / 2
    ranked = sorted((((2 * u + (p >> 1)) ** 2 + (2 * v + (p & 1)) ** 2 + (8 if a else 0)) * (5 if a else 1), (a * 8 + u) * 8 + v, p)
                    for a in range(3) for u in range(8) for v in range(8) for p in range(4))
    kept = list(range(192))
    if c8 < 192:  # a smaller network keeps the coefficients that come first in the ranking
        kept = [coefficient for _, coefficient, p in ranked if p == 0][:c8]
    channel = {coefficient: c for c, coefficient in enumerate(kept)}
    merge = torch.zeros(c16, 4 * c8).double()
    for row, (_, coefficient, p) in enumerate([r for r in ranked if r[1] in channel][:c16]):
        merge[row, channel[coefficient] * 4:channel[coefficient] * 4 + 4] = haar[p]
    basis = basis[kept]
    with torch.no_grad():
        def put(conv, weight):
            conv.weight.mul_(0.1)
            conv.weight[:weight.shape[0], :weight.shape[1], 0, 0] = weight.float()
            conv.bias.zero_()
        put(net.analysis.stem[1], basis)
        net.analysis.stem[1].weight[192:].mul_(10)
        put(net.analysis.tail[0][1], merge)
        put(net.analysis.tail[-1], torch.eye(m, c16).double())
        put(net.synthesis.head[0], torch.eye(c16, m).double())
        put(net.synthesis.head[-1][0], merge.t())
        put(net.synthesis.last[0], basis.t())
    return net


def macs_per_pixel(cfg):
    cfg = all_counts(cfg)
    c8, c16, m, nz, ce = (cfg[k] for k in ("c8", "c16", "m", "nz", "ce"))
    block = lambda c: 5 * c * c + 9 * c
    side = lambda n8, n16: n8 * block(c8) / 64 + 192 * c8 / 64 + (4 * c8 * c16 + n16 * block(c16) + c16 * m) / 256
    z_context = 3 * (3 * nz * nz + cfg["n_z"] * block(nz)) / 4096
    y_context = (4 * (ce * ce + cfg["n_trunk"] * block(ce) + ce * m / 2) + 3 * m * ce) / 256
    entropy = z_context + y_context + block(ce) / 256 + (4 * ce * ce + block(ce)) / 1024 + nz * 4 * ce / 4096
    return dict(analysis=side(cfg["a8"], cfg["a16"]), synthesis=side(cfg["n8"], cfg["n16"]), entropy=entropy)
