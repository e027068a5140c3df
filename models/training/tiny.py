"""Write a tiny model for tests: python tiny.py OUT.aem. Same format and code paths as a trained one, a hundredth of the size.

Its transforms start as a linear block transform, so pictures stay recognisable; everything else is random with a fixed seed, sized so that
gates reach their clamp, symbols become escapes and some scale indices fall below `skip_below`.
"""
from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch

import aem
import calibrate
import export
import model

CONFIG = dict(c8=32, c16=32, m=64, nz=16, ce=16, n8=2, n16=1, a8=3, a16=2)
SIZES = dict(bias=0.02, log=0.2, inp=1.0, depth=1.0, gate=1.5, out=0.05, mix=0.05, params=4.0)  # by layer; 0.5 elsewhere


def network(seed: int = 1) -> model.Codec:
    """The network, with weights from numpy's PCG64, whose stream is the same everywhere."""
    random = np.random.Generator(np.random.PCG64(seed))
    net = model.Codec(**CONFIG)
    with torch.no_grad():
        for name, p in net.named_parameters():
            fan = p[0].numel() if p.dim() == 4 else 1
            size = SIZES.get(name.rsplit(".", 2)[-2] if name.endswith("weight") else name.rsplit(".", 1)[-1], 0.5) / fan ** 0.5
            p.copy_(torch.from_numpy(size * random.standard_normal(tuple(p.shape))))
        net.entropy.params.weight[:CONFIG["m"]].mul_(0.05)
        for there, back, low, high in ((net.analysis.gain, net.synthesis.gain, 1.6, 35.0), (net.analysis.mod, net.synthesis.mod, 1.0, 1.0)):
            ramp = torch.linspace(math.log(low), math.log(high), len(there.log))
            there.log.copy_(ramp[:, None] + there.log[:1])
            back.log.copy_(-there.log)
        net.entropy.z_scale.log.add_(torch.linspace(0, 1.4, len(net.entropy.z_scale.log))[:, None])
        net.entropy.z_scale.log[:, 0] = -2.2  # one channel of z that is never coded
        latents = [torch.from_numpy(0.05 * random.standard_normal((CONFIG["m"] - CONFIG["c16"], CONFIG["c16"]))) for _ in range(2)]
    model.init_linear(net)
    with torch.no_grad():  # the linear start leaves latents beyond c16 empty
        net.analysis.tail[-1].weight[CONFIG["c16"]:, :, 0, 0] = latents[0].float()
        net.synthesis.head[0].weight[:, CONFIG["c16"]:, 0, 0] = latents[1].float().t()
    return net.eval()


def build(name: str = "tiny", entropy: str = "q9") -> aem.Model:
    """The model file; `entropy` as in `export.build`."""
    net = network()
    ranges = calibrate.measure(net, calibrate.extremes(64)[::5], (0, 63))
    return export.build(net, export.header_of(net, name), export.encoder_header_of(net), ranges, {"name": name, "purpose": "tests; it was not trained"}, entropy)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out", type=Path)
    a = p.parse_args()
    torch.set_num_threads(1)
    name = export.write(build(), a.out)
    print(f"{a.out}: {a.out.stat().st_size} bytes, model id {name}")


if __name__ == "__main__":
    main()
