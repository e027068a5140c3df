"""The operations of the integer networks (section 5.1).

A tensor [channels, rows, columns] of SPEC.md is an int16 array [rows, columns, channels]
here, so that a dense layer is a matrix product.
"""

import numpy as np

POSITIONS_AT_ONCE = 2048  # bounds the wide temporary arrays


def sat16(values):
    return np.clip(values, -32768, 32767).astype(np.int16)


def dense(layer, x):
    """R5.1, as a product of float64 matrices.

    That is exact: weights and features are integers, and by R4.1 no sum of products, in
    any order and with or without fused operations, reaches 2^31, where float64 holds
    every integer below 2^53. So nothing is ever rounded."""
    rows, columns, inputs = x.shape
    flat = x.reshape(-1, inputs)
    out = np.empty((len(flat), len(layer.shifts)), np.int16)
    for start in range(0, len(flat), POSITIONS_AT_ONCE):
        part = slice(start, start + POSITIONS_AT_ONCE)
        sums = flat[part].astype(np.float64) @ layer.weights
        sums += layer.offsets
        whole = sums.astype(np.int32)
        whole >>= layer.shifts
        out[part] = np.clip(whole, -32768, 32767, out=whole)
    return out.reshape(rows, columns, -1)


def depthwise(layer, x):
    """R5.2. By R4.1 the sums fit int32."""
    rows, columns, channels = x.shape
    padded = np.zeros((rows + 2, columns + 2, channels), np.int16)
    padded[1:-1, 1:-1] = x
    out = np.empty_like(x)
    at_once = max(1, POSITIONS_AT_ONCE // columns)
    for top in range(0, rows, at_once):
        count = min(at_once, rows - top)
        band = padded[top:top + count + 2].astype(np.int32)
        sums = np.empty((count, columns, channels), np.int32)
        sums[:] = layer.offsets
        for tap in range(9):
            i, j = divmod(tap, 3)
            sums += band[i:i + count, j:j + columns] * layer.weights[tap]
        sums >>= layer.shifts
        out[top:top + count] = np.clip(sums, -32768, 32767, out=sums)
    return out


def leaky(x):
    """R5.3: of x and x >> 3, the latter is the larger one exactly where x < 0."""
    return np.maximum(x, x >> 3)


def gated(x, fraction):
    """R5.4. Features being 16-bit integers, the one result beyond them, of a = -32768
    and b <= -2^f, is saturated."""
    channels = x.shape[2] // 2
    limit = 1 << fraction
    result = np.clip(x[:, :, channels:], -limit, limit).astype(np.int32)
    result *= x[:, :, :channels]
    result += limit >> 1
    result >>= fraction
    return sat16(result)


def added(x, y):
    """R5.5."""
    return sat16(np.add(x, y, dtype=np.int32))


def gained(gain, quality, x):
    """R5.6. `x` may be wider than 16 bits (R5.9)."""
    product = x.astype(np.int64)
    product *= gain.values[quality]
    product += 1 << (gain.shift - 1)
    product >>= gain.shift
    return sat16(product)


def shuffle(x, n):
    """R5.7."""
    rows, columns, channels = x.shape
    parts = x.reshape(rows, columns, channels // (n * n), n, n)
    return parts.transpose(0, 3, 1, 4, 2).reshape(rows * n, columns * n, -1)


def block(b, x):
    """R5.8."""
    x1 = added(x, dense(b.out, depthwise(b.depth, leaky(dense(b.inp, x)))))
    return added(x1, dense(b.mix, gated(dense(b.gate, x1), b.fraction)))


def blocks(records, x):
    for record in records:
        x = block(record, x)
    return x


def up(layer, x):
    return shuffle(dense(layer, x), 2)
