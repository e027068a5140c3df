"""Rate and distortion: PSNR, MS-SSIM, BD-rate, published curves, and their plot."""
from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
MS_SSIM_MIN_SIDE = 161  # an 11 x 11 window on the coarsest of five scales
MIN_RANGE = 0.8         # dB that two curves must have in common


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """dB over all samples of two 8-bit pictures of one shape."""
    error = float(((a.astype(np.float64) - b.astype(np.float64)) ** 2).mean())
    return 10 * math.log10(255 ** 2 / max(error, 1e-9))


def ms_ssim(a: np.ndarray, b: np.ndarray) -> float | None:
    """Multi-scale structural similarity of two pictures uint8 [3, H, W], as pytorch-msssim and `aei compare` compute it; None if one side is too short."""
    import torch
    from torch.nn import functional as F

    if min(a.shape[1:]) < MS_SSIM_MIN_SIDE:
        return None
    taps = torch.exp(-((torch.arange(11, dtype=torch.float64) - 5) ** 2) / (2 * 1.5 ** 2))
    taps = (taps / taps.sum()).float()

    def blur(x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(F.conv2d(x, taps.view(1, 1, 11, 1)), taps.view(1, 1, 1, 11))

    x, y = (torch.from_numpy(np.ascontiguousarray(p)).float()[:, None] for p in (a, b))
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    product = torch.ones(3, dtype=torch.float64)
    with torch.no_grad():
        for scale, weight in enumerate(MS_SSIM_WEIGHTS):
            mx, my = blur(x), blur(y)
            contrast = (2 * (blur(x * y) - mx * my) + c2) / (blur(x * x) - mx * mx + blur(y * y) - my * my + c2)
            last = scale + 1 == len(MS_SSIM_WEIGHTS)
            value = contrast * (2 * mx * my + c1) / (mx * mx + my * my + c1) if last else contrast
            product *= value.double().mean((1, 2, 3)).clamp_min(0) ** weight
            if not last:
                x, y = (F.avg_pool2d(v, 2, padding=[n % 2 for n in v.shape[2:]]) for v in (x, y))
    return float(product.mean())


def decibels(similarity: float) -> float:
    return -10 * math.log10(max(1 - similarity, 1e-10))


Curve = list[tuple[float, float]]  # (bits per pixel, dB)


@dataclass
class BdRate:
    """Mean difference in size in per cent (negative: the tested codec needs less), and the range of quality that it is over."""

    percent: float
    low: float
    high: float


def useful(points: Curve) -> np.ndarray:
    """Points as rows (quality, ln rate), both increasing: those that cost more than a better one are left out."""
    kept: list[tuple[float, float]] = []
    for quality, rate in sorted((q, r) for r, q in points if r > 0 and math.isfinite(r) and math.isfinite(q)):
        if kept and quality <= kept[-1][0]:
            continue
        while kept and rate <= kept[-1][1]:
            kept.pop()
        kept.append((quality, rate))
    return np.array([(q, math.log(r)) for q, r in kept]).reshape(-1, 2)


def bd_rate(anchor: Curve, test: Curve) -> BdRate | None:
    """Bjontegaard delta rate of `test` against `anchor`: PCHIP of log rate over quality, averaged over the common range. None where that is too short, or a
    curve has fewer than three useful points."""
    from scipy.interpolate import PchipInterpolator

    a, t = useful(anchor), useful(test)
    if len(a) < 3 or len(t) < 3:
        return None
    low, high = max(a[0, 0], t[0, 0]), min(a[-1, 0], t[-1, 0])
    if high - low < MIN_RANGE:
        return None
    area = [float(PchipInterpolator(c[:, 0], c[:, 1]).integrate(low, high)) for c in (a, t)]
    return BdRate(100 * (math.exp((area[1] - area[0]) / (high - low)) - 1), float(low), float(high))


def read_curves(path: Path, optimised_for: str = "mse") -> dict[str, dict[str, Curve]]:
    """Codec -> "psnr" and "ms_ssim" (dB) -> points, from a CSV with the columns codec, bpp, psnr_rgb, ms_ssim_db, and perhaps optimised_for."""
    out: dict[str, dict[str, Curve]] = {}
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            if row.get("optimised_for", optimised_for) != optimised_for:
                continue
            curves = out.setdefault(row["codec"], {"psnr": [], "ms_ssim": []})
            for key, column in (("psnr", "psnr_rgb"), ("ms_ssim", "ms_ssim_db")):
                if row.get(column):
                    curves[key].append((float(row["bpp"]), float(row[column])))
    return out


def plot(ours: dict[str, Curve], name: str, anchors: dict[str, dict[str, Curve]], out: Path, most: int = 14) -> bool:
    """PSNR and MS-SSIM against bits per pixel, as PNG; of many anchors the first `most`. False where matplotlib is missing."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(16, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, key, title in zip(figure.subplots(1, 2), ("psnr", "ms_ssim"), ("PSNR (RGB), dB", "MS-SSIM, dB")):
        wide = max((r for r, _ in ours[key]), default=1.0) * 1.1
        for i, (codec, curves) in enumerate(list(anchors.items())[:most]):
            points = sorted(p for p in curves[key] if p[0] <= wide)
            if points:
                axis.plot(*zip(*points), linewidth=1, linestyle="--" if i >= 10 else "-", label=codec, alpha=0.8)
        if ours[key]:
            axis.plot(*zip(*sorted(ours[key])), color="black", linewidth=2, marker="o", markersize=4, label=name)
        axis.set_xlabel("bits per pixel")
        axis.set_title(title)
        axis.grid(alpha=0.3)
        if axis.get_legend_handles_labels()[1]:
            axis.legend(fontsize=8)
    figure.savefig(out, dpi=90)
    return True
