"""The log of a training run, a line of JSON every hundred steps, and its picture: python curves.py RUN..."""
from __future__ import annotations

import json
import sys
from pathlib import Path


def rows(run: Path) -> list[dict]:
    """Rows of the log, but for lines that cannot be read: a machine that goes away may leave half of one."""
    path, out = run / "log.jsonl", []
    for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and "step" in row:
            out.append(row)
    return out


def plot(runs: list[Path], out: Path) -> bool:
    """Loss, bits per pixel, PSNR of four bands of quality, gradient norm and learning rate against steps. False where matplotlib is missing."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(15, 8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 3).flat
    for run in runs:
        log = rows(run)
        steps = [r["step"] for r in log]
        label = run.name if len(runs) > 1 else ""
        for axis, key, title in ((axes[0], "loss", "loss"), (axes[1], "bpp", "bits per pixel, all qualities"),
                                 (axes[4], "norm", "gradient norm before clipping"), (axes[5], "lr", "learning rate")):
            axis.plot(steps, [r.get(key) for r in log], linewidth=0.9, label=label)
            axis.set_title(title)
        bands = [r for r in log if "psnr" in r]
        for axis, key, title in ((axes[2], "psnr", "PSNR by band of quality, dB"), (axes[3], "bpp_band", "bits per pixel by band of quality")):
            for band in range(4):
                axis.plot([r["step"] for r in bands], [r[key][band] for r in bands], linewidth=0.9, label=f"{label} {16 * band} to {16 * band + 15}".strip())
            axis.set_title(title)
    for i, axis in enumerate(axes):
        axis.grid(alpha=0.3)
        axis.set_xlabel("step")
        if i in (3, 4):
            axis.set_yscale("log")
        if axis.get_legend_handles_labels()[1]:
            axis.legend(fontsize=7)
    figure.savefig(out, dpi=90)
    return True


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    picture = Path(sys.argv[1]) / "curves.png"
    print(picture if plot([Path(r) for r in sys.argv[1:]], picture) else "matplotlib is not installed")
