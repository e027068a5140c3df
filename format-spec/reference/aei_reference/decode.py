"""From streams to samples: latents of a tile (sections 3.3, 5.3, 5.4), synthesis (5.2)."""

import numpy as np

from . import network
from .attachments import metadata, preview_file
from .container import Refused, parse_file
from .entropy import AnsDecoder, half_steps, next_state
from .lossless import alpha_tile, lossless_tile

MAX_PIXELS = 1 << 26  # section 7: a limit of this decoder
STRIP = 64  # rows at 1/16 that are synthesised at once
PHASE_XOR = (0, 3, 2, 1)  # P of R3.8
TYPES = {8: np.uint8, 16: np.dtype("<u2")}


def read_z(source, tables, indices, skip_below):
    """Values of an array of scale indices, in the array's order; R3.6."""
    values = np.zeros(indices.shape, np.int32)
    coded = indices >= skip_below
    values[coded] = [source.value(tables.z[index]) for index in indices[coded].tolist()]
    return values


def read_y(source, tables, indices, skip_below, trellis=0):
    """The same of one step of y, in halves of the step of y (R3.9); R3.13. What is skipped
    changes no state: to go through what is coded is enough."""
    state, result = 0, []
    for index in indices[indices >= skip_below].tolist():
        table = (tables.odd if state & 1 else tables.even)[index]
        symbol = source.value(table)
        result.append(half_steps(state, symbol))
        state = next_state(state, symbol, trellis)
    values = np.zeros(indices.shape, np.int32)
    values[indices >= skip_below] = result
    return values


def decode_z(model, quality, rows, columns, source, skip_below):
    """`z_hat` [rows, columns, nz] of a tile of so many positions at 1/64."""
    d, net = model.dims, model.entropy
    z_hat = np.zeros((rows, columns, 4, d.nz // 4), np.int64)  # channels as [group, ...]
    group = groups(rows, columns)
    for step in range(4):  # R3.7
        # R5.17
        params = np.zeros((rows, columns, 2, 4, d.nz // 4), np.int64)
        if step > 0:
            x = network.sat16(z_hat).reshape(rows, columns, d.nz)  # R5.16
            x = network.blocks(net.z_trunk, network.dense(net.z_adapt[step - 1], x))
            params = network.dense(net.z_params, x).reshape(params.shape).astype(np.int64)
        index = model.z_index[quality].astype(np.int64).reshape(4, -1) + (
            (params[:, :, 1] + (1 << d.index_shift >> 1)) >> d.index_shift)
        index = np.clip(index, 0, d.scales - 1)
        mean, index = (np.take_along_axis(x, group[step], axis=2) for x in (params[:, :, 0], index))
        symbols = read_z(source, model.tables, index, skip_below).astype(np.int64)
        np.put_along_axis(z_hat, group[step], (symbols << d.z_shift) + mean, axis=2)
    return z_hat.reshape(rows, columns, d.nz)


def groups(rows, columns):
    """R3.8: for each step the group of channels that is coded at a position: [rows, columns,
    1, 1]."""
    phase = 2 * (np.arange(rows)[:, None] % 2) + np.arange(columns) % 2
    return [(phase ^ change)[:, :, None, None] for change in PHASE_XOR]


def hyper_features(model, z_hat):
    """R5.13."""
    net = model.entropy
    x = network.sat16(z_hat)
    x = network.block(net.block1, network.up(net.up1, x))
    return network.block(net.block2, network.up(net.up2, x))


def decode_latents(model, quality, rows, columns, source, skip_below, trellis=0):
    """`y_hat` [rows, columns, m] of a tile of so many positions at 1/16.

    `source.value(table)` gives the next symbol that is coded."""
    d, net = model.dims, model.entropy
    z_hat = decode_z(model, quality, rows // 4, columns // 4, source, skip_below)
    hyper = hyper_features(model, z_hat)

    y_hat = np.zeros((rows, columns, 4, d.m // 4), np.int32)  # channels as [group, ...]
    for step, group in enumerate(groups(rows, columns)):  # R3.8
        x = hyper
        if step > 0:  # R5.14: y_hat is still 0 where nothing has been decoded
            context = network.sat16(y_hat).reshape(rows, columns, d.m)
            x = np.concatenate((hyper, context), axis=2)
        # R5.15
        x = network.blocks(net.trunk, network.dense(net.adapt[step], x))
        params = network.dense(net.params, x).reshape(rows, columns, 2, 4, d.m // 4)
        # One group of channels is coded at each position: pick it.
        mean = np.take_along_axis(params[:, :, 0], group, axis=2).astype(np.int32)
        raw = np.take_along_axis(params[:, :, 1], group, axis=2).astype(np.int32)
        index = ((raw + (1 << d.index_shift >> 1)) >> d.index_shift) + d.index_offset
        index = np.clip(index, 0, d.scales - 1)
        halves = read_y(source, model.tables, index, skip_below, trellis)
        # R3.9. No symbol is above 8191 + 2^21 - 1 (R3.5): this is below 2^28.
        np.put_along_axis(y_hat, group, halves * d.y_half_step + mean, axis=2)
    return y_hat.reshape(rows, columns, d.m)


def synthesise(model, quality, y_hat):
    """R5.9: `y_hat` [rows, columns, m] to samples [16 rows, 16 columns, 3] in units of
    2^-pixel_fraction."""
    net = model.synthesis
    x = network.dense(net.inp, network.gained(net.gain16, quality, y_hat))
    x = network.up(net.up, network.blocks(net.blocks16, x))
    x = network.blocks(net.blocks8_first, x)
    x = network.blocks(net.blocks8_second, network.gained(net.gain8, quality, x))
    return network.shuffle(network.dense(net.out, x), 8)


def to_samples(values, channels, fraction, depth=8):
    """R5.11: one channel (gray) or three, of 8 or 16 bits."""
    values = values.astype(np.int32)
    if depth == 16:
        values *= 257
    if channels >= 3:
        values = (values + (1 << fraction >> 1)) >> fraction
    else:
        total = values.sum(axis=2, keepdims=True, dtype=np.int32)
        values = (total + 3 * (1 << fraction >> 1)) // (3 << fraction)
    return np.clip(values, 0, (1 << depth) - 1).astype(TYPES[depth])


def synthesise_picture(model, head, y_hat, depth=8):
    """R5.9 to R5.12, in strips (R5.10) so that memory depends on the width only. Alpha is
    left to be filled in."""
    d = model.dims
    margin = d.n16 + (d.n8_first + d.n8_second + 1) // 2
    picture = np.empty((head.height, head.width, head.channels), TYPES[depth])
    colours = head.channels - head.has_alpha
    for top in range(0, len(y_hat), STRIP):
        first = max(0, top - margin)
        strip = synthesise(model, head.quality, y_hat[first:top + STRIP + margin])
        start = 16 * top
        end = min(16 * (top + STRIP), head.height)
        strip = strip[start - 16 * first:end - 16 * first, :head.width]
        picture[start:end, :, :colours] = to_samples(strip, colours, d.pixel_fraction, depth)
    return picture


def decode(data, model, max_pixels=MAX_PIXELS, depth=8):
    """The Head and the samples, [height, width, channels], of a file's bytes."""
    file = parse_file(data)
    head = file.head
    if not head.lossless and head.model_id != model.id:
        raise Refused("R2.6", f"made for model {head.model_id.hex()}, "
                              f"this one is {model.id.hex()}")
    if head.padded_width * head.padded_height > max_pixels:
        raise Refused("7", f"{head.width} x {head.height} pixels, padded to multiples of "
                           f"64, are above the limit of {max_pixels}")
    metadata(file)  # damage there counts, too
    alpha = alpha_plane(file, depth) if head.has_alpha else None
    if head.lossless:
        samples = lossless_picture(file, depth)
    else:
        samples = picture_of_latents(file, model, depth)
    if alpha is not None:
        samples[:, :, -1] = alpha
    return head, samples


def alpha_plane(file, depth):
    """The alpha plane [height, width], with samples of the depth (R5.11)."""
    head = file.head
    plane = np.empty((head.height, head.width), TYPES[depth])
    for number, (properties, stream) in enumerate(file.alpha):
        top, left, rows, columns = head.tile_in_picture(number)
        plane[top:top + rows, left:left + columns] = alpha_tile(
            head, number, properties, stream, depth)
    return plane


def lossless_picture(file, depth):
    """R2.14. Alpha is left to be filled in."""
    head = file.head
    colours = head.channels - head.has_alpha
    picture = np.empty((head.height, head.width, head.channels), TYPES[depth])
    for number, (properties, stream) in enumerate(file.tiles):
        top, left, rows, columns = head.tile_in_picture(number)
        picture[top:top + rows, left:left + columns, :colours] = lossless_tile(
            head, number, properties, stream, depth)
    return picture


def picture_of_latents(file, model, depth):
    """Sections 3 and 5. Alpha is left to be filled in."""
    head = file.head
    y_hat = np.empty((head.padded_height // 16, head.padded_width // 16, model.dims.m),
                     np.int32)
    for number, (skip_below, stream) in enumerate(file.tiles):
        if skip_below > model.dims.scales:
            raise Refused("R3.6", f"tile {number}: a skip threshold of {skip_below}")
        top, left, rows, columns = (v // 16 for v in head.tile_rectangle(number))
        source = AnsDecoder(stream)
        y_hat[top:top + rows, left:left + columns] = decode_latents(
            model, head.quality, rows, columns, source, skip_below, head.trellis)
        source.finish()
    return synthesise_picture(model, head, y_hat, depth)


def decode_preview(data, model):
    """R2.13: the samples of a file's preview; None if there is none."""
    inner = preview_file(parse_file(data))
    return None if inner is None else decode(inner, model)[1]
