"""From float layers to integer records (format-spec/SPEC.md, section 4.3).

A *scale* says how many integer steps make 1.0; every tensor has one scale a channel. The format's arithmetic never sees a scale: an integer
layer with input scales `a[k]` and output scales `b[o]` simply has the weights `W[o, k] * b[o] / a[k] * 2^s[o]`. So each channel may use the
whole 16 bits, as long as everything that is added together has the same scale: the producers of one residual stream share it.
"""
from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

import aem
import model

Q9 = 512.0  # scale of the features of the entropy network
ENTROPY_MAX_SHIFT = 14


def array(t: torch.Tensor) -> np.ndarray:
    return t.detach().double().numpy()


def quantise(weight: np.ndarray, bias: np.ndarray, scale_in: np.ndarray, scale_out: np.ndarray, depthwise: bool = False,
             max_shift: int = aem.MAX_SHIFT) -> aem.Layer:
    """Float weights [O, K] and biases [O] as a record, each output with the largest shift that fits 16-bit weights and R4.1.

    `scale_in` is [K] for a dense layer and [O] for a depthwise one, `scale_out` is [O].
    """
    scale_in, scale_out = np.asarray(scale_in, np.float64), np.asarray(scale_out, np.float64)
    factor = weight * scale_out[:, None] / (scale_in[:, None] if depthwise else scale_in[None])
    offset = bias * scale_out
    shift = np.zeros(len(bias), np.int64)
    for s in range(max_shift, 0, -1):
        w, b = np.rint(factor * 2.0 ** s), np.rint(offset * 2.0 ** s)
        fits = (np.abs(w).max(1) <= 32767) & (np.abs(w).sum(1) * 2.0 ** 15 + np.abs(b) + 2.0 ** (s - 1) < aem.ACCUMULATOR)
        shift[(shift == 0) & fits] = s
    if (shift == 0).any():
        raise aem.ModelError(f"no shift fits outputs {np.flatnonzero(shift == 0)[:8]}: their scale is too fine")
    unit = 2.0 ** shift
    return aem.Layer(np.rint(factor * unit[:, None]).astype(np.int16), np.rint(offset * unit).astype(np.int32), shift.astype(np.uint8), depthwise)


def quantise_conv(conv: nn.Conv2d, scale_in: np.ndarray, scale_out: np.ndarray, max_shift: int = aem.MAX_SHIFT) -> aem.Layer:
    weight = array(conv.weight).reshape(conv.out_channels, -1)
    return quantise(weight, array(conv.bias), scale_in, scale_out, conv.groups > 1, max_shift)


def quantise_gain(values: np.ndarray, scale_in: np.ndarray, scale_out: np.ndarray) -> aem.Gain:
    """Float gains [qualities, C] as a record with the largest shift that keeps all values below 2^24 (R4.2)."""
    factor = values * (np.asarray(scale_out, np.float64) / scale_in)
    for s in range(aem.MAX_GAIN_SHIFT, 0, -1):
        whole = np.rint(factor * 2.0 ** s)
        if whole.max() < 2 ** 24:
            return aem.Gain(s, whole.astype(np.uint32))
    raise aem.ModelError("a gain is too large for 24 bits")


def gain_values(gain: model.Gain) -> np.ndarray:
    """All gains of a module, [qualities, C]."""
    with torch.no_grad():
        return array(copy.deepcopy(gain).double()(torch.arange(model.QUALITIES)))[:, :, 0, 0]


def entropy_records(net: model.EntropyNet) -> list[aem.Record]:
    """The entropy network in Q6.9 throughout, so that what its 16 bits mean is the same for every channel and every model."""
    def conv(layer: nn.Conv2d) -> aem.Layer:
        inputs = layer.out_channels if layer.groups > 1 else layer.in_channels
        return quantise_conv(layer, np.full(inputs, Q9), np.full(layer.out_channels, Q9), ENTROPY_MAX_SHIFT)

    def block(b: model.Block) -> aem.Block:
        return aem.Block(9, *(conv(layer) for layer in (b.inp, b.depth, b.out, b.gate, b.mix)))

    records: list[aem.Record] = []
    for part in net.hyper:
        records.append(block(part) if isinstance(part, model.Block) else conv(part[0]))
    records += [conv(layer) for layer in net.adapt]
    records += [block(part) for part in net.trunk]
    records.append(conv(net.params))
    records += [conv(layer) for layer in net.z_adapt]
    records += [block(part) for part in net.z_trunk]
    return [*records, conv(net.z_params)]


def z_index(gain: model.Gain) -> np.ndarray:
    """Scale index of every channel of z at every quality, u8 [qualities, nz]: the nearest in the logarithm."""
    return np.clip(np.rint((np.log(gain_values(gain)) - model.LOG_MIN) / model.LOG_STEP), 0, model.SCALE_LEVELS - 1).astype(np.uint8)
