#!/usr/bin/env python3
"""Runs the files that `aei export-onnx FOLDER` writes in ONNX Runtime: a picture there and back. Needs onnxruntime and numpy."""

import sys
from pathlib import Path

import numpy as np
import onnxruntime

folder = Path(sys.argv[1])
analysis, synthesis = (onnxruntime.InferenceSession(folder / f"{name}.onnx", providers=["CPUExecutionProvider"]) for name in ["analysis", "synthesis"])
rows, columns = np.mgrid[0:128, 0:192]
pixels = np.stack([rows + columns // 2, 255 - rows - columns // 3, 100 + 40 * np.sin(columns / 9)]).clip(0, 255).astype(np.uint8)[None]
last = 0.0
for index in [0, 30, 63]:
    quality = np.array([index])
    (y,) = analysis.run(None, {"pixels": pixels, "quality": quality})
    assert y.dtype == np.float32 and y.shape[0] == 1 and y.shape[2:] == (8, 12), (y.dtype, y.shape)
    (again,) = synthesis.run(None, {"y_hat": np.round(y), "quality": quality})
    assert again.dtype == np.uint8 and again.shape == pixels.shape, (again.dtype, again.shape)
    psnr = 10 * np.log10(255**2 / np.mean((again.astype(float) - pixels) ** 2))
    print(f"quality index {index}: {psnr:.2f} dB")
    assert psnr > max(last, 28), psnr
    last = psnr
