"""The transforms as a chain of stages, the ranges of their tensors, and their integer records.

A stage is one residual stream: what produces it (a convolution or a gain) and the blocks that add to it. The chains below are the only place
that knows how the float modules are put together; measuring and exporting both walk them.
"""
from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

import aem
import model
from quantise import Q9, gain_values, quantise, quantise_conv, quantise_gain

GATE_FRACTION = 14       # the clamped half of a gate needs -1..1 only: its finest allowed step
TOP_SCALE = 2.0 ** 15    # no channel gets a finer step, however small it was in calibration


@dataclass
class Stage:
    """`spread` is how many outputs of the producer make one channel of the stream (4 before a shuffle by 2), `gather` how many inputs of the
    producer come from one channel of the previous stream (4 behind an unshuffle by 2)."""

    name: str
    producer: nn.Conv2d | model.Gain
    blocks: list[model.Block] = field(default_factory=list)
    spread: int = 1
    gather: int = 1


def analysis_stages(net: model.Analysis) -> list[Stage]:
    return [Stage("analysis.stem", net.stem[1], list(net.first)), Stage("analysis.mod", net.mod, list(net.second)),
            Stage("analysis.down", net.tail[0][1], list(net.tail[1:-1]), gather=4), Stage("analysis.latent", net.tail[-1]), Stage("analysis.y", net.gain)]


def hyper_analysis_stages(net: nn.Sequential) -> list[Stage]:
    return [Stage("hyper.stem", net[0], [net[1]]), Stage("hyper.down", net[2][1], [net[3]], gather=4), Stage("hyper.z", net[4][1], gather=4)]


def synthesis_stages(net: model.Synthesis) -> list[Stage]:
    return [Stage("synthesis.latent", net.gain), Stage("synthesis.head", net.head[0], list(net.head[1:-1])),
            Stage("synthesis.up", net.head[-1][0], list(net.first), spread=4), Stage("synthesis.mod", net.mod, list(net.second)),
            Stage("synthesis.pixels", net.last[0])]


def entropy_stages(net: model.EntropyNet) -> list[Stage]:
    """Hyper-synthesis and trunk; the four `adapt` layers share the trunk's stream, of which the first stands for all."""
    return [Stage("entropy.up.0", net.hyper[0][0], [net.hyper[1]], spread=4), Stage("entropy.up.1", net.hyper[2][0], [net.hyper[3]], spread=4),
            Stage("entropy.trunk", net.adapt[0], list(net.trunk))]


def z_context_stages(net: model.EntropyNet) -> list[Stage]:
    """The context model of z; its three `adapt` layers share the stream."""
    return [Stage("entropy.z", net.z_adapt[0], list(net.z_trunk))]


Ranges = dict[str, np.ndarray]  # tensor -> largest size seen in each channel, float64 [C]


class Recorder:
    """Records the largest size of every channel of every tensor of some stages while the float network runs."""

    def __init__(self, stages: list[Stage]):
        self.ranges: Ranges = {}
        self.handles: list = []
        for i, stage in enumerate(stages):
            if isinstance(stage.producer, nn.Conv2d):
                self.on_output(stage.producer, stage.name, stage.spread)
            for j, block in enumerate(stage.blocks):
                self.on_output(block, stage.name)
                self.on_input(block.inp, stage.name)
                self.on_input(block.gate, stage.name)
                for part in ("inp", "depth", "gate"):
                    self.on_output(getattr(block, part), f"{stage.name}.{j}.{part}")
            if i + 1 < len(stages) and isinstance(stages[i + 1].producer, nn.Conv2d):
                self.on_input(stages[i + 1].producer, stage.name, stages[i + 1].gather)

    def on_output(self, module: nn.Module, name: str, group: int = 1) -> None:
        self.handles.append(module.register_forward_hook(lambda _module, _inputs, out: self.add(name, out, group)))

    def on_input(self, module: nn.Module, name: str, group: int = 1) -> None:
        self.handles.append(module.register_forward_pre_hook(lambda _module, inputs: self.add(name, inputs[0], group)))

    def add(self, name: str, x: torch.Tensor, group: int) -> None:
        size = x.detach().abs().amax((0, 2, 3)).reshape(-1, group).amax(1).double().numpy()
        self.ranges[name] = np.maximum(self.ranges.get(name, 0.0), size)

    def close(self) -> Ranges:
        for handle in self.handles:
            handle.remove()
        return self.ranges


class Scales:
    """Scales of all tensors: from ranges the largest quarter power of two that leaves room, or one for all where nothing was measured. Finer steps than these
    would gain nothing, and be others wherever a range is measured a little differently."""

    def __init__(self, ranges: Ranges | None, uniform: float = 2.0 ** 11):
        self.ranges, self.uniform = ranges, uniform

    def __call__(self, name: str, channels: int) -> np.ndarray:
        if self.ranges is None:
            return np.full(channels, self.uniform)
        room = 32767 / np.maximum(self.ranges[name][:channels], 1e-9)
        return np.minimum(2.0 ** (np.floor(4 * np.log2(room)) / 4), TOP_SCALE)


def block_record(block: model.Block, name: str, stream: np.ndarray, scales: Scales) -> aem.Block:
    """A block on a stream with scales `stream` [C]. Its product of halves keeps the scale of the first half."""
    c = len(stream)
    inp, depth, value = scales(f"{name}.inp", c), scales(f"{name}.depth", c), scales(f"{name}.gate", c)
    gate = np.concatenate([value, np.full(c, 2.0 ** GATE_FRACTION)])
    return aem.Block(GATE_FRACTION, quantise_conv(block.inp, stream, inp), quantise_conv(block.depth, inp, depth), quantise_conv(block.out, depth, stream),
                     quantise_conv(block.gate, stream, gate), quantise_conv(block.mix, value, stream))


def records(stages: list[Stage], scale_in: np.ndarray, scale_out: float, scales: Scales, offset: float = 0.0) -> list[aem.Record]:
    """Records of a chain from a tensor with scales `scale_in` [C] to one with `scale_out`; `offset` is added to the last layer's output."""
    out: list[aem.Record] = []
    for stage in stages:
        last = stage is stages[-1]
        if isinstance(stage.producer, nn.Conv2d):
            stream = np.full(stage.producer.out_channels, scale_out) if last else scales(stage.name, stage.producer.out_channels // stage.spread)
            weight, bias = (t.detach().double().numpy() for t in (stage.producer.weight, stage.producer.bias))
            weight = weight.reshape(len(bias), -1)
            out.append(quantise(weight, bias + (offset if last else 0.0), np.repeat(scale_in, stage.gather), np.repeat(stream, stage.spread)))
        else:
            values = gain_values(stage.producer)
            stream = np.full(values.shape[1], scale_out) if last else scales(stage.name, values.shape[1])
            out.append(quantise_gain(values, scale_in, stream))
        out += [block_record(block, f"{stage.name}.{j}", stream, scales) for j, block in enumerate(stage.blocks)]
        scale_in = stream
    return out


def encoder_records(net: model.Codec, header: aem.Header, encoder: aem.EncoderHeader, scales: Scales) -> list[aem.Record]:
    """`enco`: pixels in units of 1/(510 * 2^input_shift) to y in 2^-y_input_fraction, then y / 16 in Q6.9 to z in 2^-z_shift."""
    pixels = np.full(192, 510.0 * 2 ** encoder.input_shift)
    hyper_in = np.full(header.m, 2.0 ** header.y_fraction / net.entropy.context_gain)
    return [*records(analysis_stages(net.analysis), pixels, 2.0 ** encoder.y_input_fraction, scales),
            *records(hyper_analysis_stages(net.hyper_analysis), hyper_in, 4 * 2.0 ** header.z_shift, scales)]


def synthesis_records(net: model.Codec, header: aem.Header, scales: Scales) -> list[aem.Record]:
    """`SYNT`: y_hat in 2^-y_fraction to 8-bit levels in 2^-pixel_fraction, the half that the float model adds included."""
    y_hat = np.full(header.m, 2.0 ** header.y_fraction)
    return records(synthesis_stages(net.synthesis), y_hat, 255.0 * 2 ** header.pixel_fraction, scales, offset=0.5)


def entropy_records(net: model.Codec, header: aem.Header, scales: Scales) -> list[aem.Record]:
    """`ENTR` with scales of its own for every channel, instead of the Q6.9 of `quantise.entropy_records`.

    z, context and parameters keep their fixed units. What runs out of range here costs bits, never a wrong decode.
    """
    m, nz, (first, second, trunk), (z_trunk,) = header.m, header.nz, entropy_stages(net.entropy), z_context_stages(net.entropy)
    out: list[aem.Record] = []
    z_scale = np.full(nz, 4 * 2.0 ** header.z_shift)
    scale_in = z_scale
    for stage in (first, second):
        stream = scales(stage.name, header.ce)
        out += [quantise_conv(stage.producer, scale_in, np.repeat(stream, 4)), block_record(stage.blocks[0], f"{stage.name}.0", stream, scales)]
        scale_in = stream
    stream = scales(trunk.name, header.ce)
    context = np.full(m, 2.0 ** header.y_fraction / net.entropy.context_gain)
    out += [quantise_conv(layer, np.concatenate([scale_in, context]) if k else scale_in, stream) for k, layer in enumerate(net.entropy.adapt)]
    out += [block_record(block, f"{trunk.name}.{j}", stream, scales) for j, block in enumerate(trunk.blocks)]
    params = np.concatenate([np.full(m, 16 * 2.0 ** header.y_fraction), np.full(m, 8 * 2.0 ** header.index_shift)])
    out.append(quantise_conv(net.entropy.params, stream, params))
    stream = scales(z_trunk.name, nz)
    out += [quantise_conv(layer, z_scale, stream) for layer in net.entropy.z_adapt]
    out += [block_record(block, f"{z_trunk.name}.{j}", stream, scales) for j, block in enumerate(z_trunk.blocks)]
    params = np.concatenate([z_scale, np.full(nz, 8 * 2.0 ** header.index_shift)])
    return [*out, quantise_conv(net.entropy.z_params, stream, params)]


assert Q9 == 2.0 ** 5 * 16, "the context enters the entropy network as y_hat in 2^-5, which is y_hat / 16 in Q6.9"
