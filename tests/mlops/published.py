"""Inputs of the reference numbers: made by a formula, bit for bit the same on every machine.

The numbers were computed with E2FGVI's `core/metrics.py` (commit 709cbe3) and its own scikit-image
0.16.2. Only integer operations and + - * / floor in float64.
"""

import hashlib

import numpy as np

PSNR_DB = {0: 42.26624165800119, 1: 23.230951543962828}
SSIM = {0: 0.9984334256542485, 1: 0.9342017107973825}


def frame_pair(number):
    """(truth, result), uint8 [240,432,3]: error in a rectangle only (0) or everywhere (1)."""
    truth = _frame(f"metric/gt{number}")
    error = _bell(f"metric/err{number}", truth.shape) * (6.0 if number == 0 else 18.0)
    where = _rectangle("metric/gt0")[..., None] if number == 0 else 1.0
    noisy = np.clip(truth + error * where, 0, 255)
    return truth, np.floor(noisy + 0.5).astype(np.uint8)


def _raw(name, count):
    key = int.from_bytes(hashlib.sha256(f"|{name}".encode()).digest()[:8], "little")
    return np.random.Philox(key=key).random_raw(int(count))


def _bell(name, shape):
    raw, mask = _raw(name, np.prod(shape)), np.uint64(0xFFFF)
    parts = [(raw >> np.uint64(shift)) & mask for shift in (0, 16, 32, 48)]
    return ((sum(parts).astype(np.float64) - 131070.0) / 37837.0).reshape(shape)


def _wave(phase):
    q = phase - np.floor(phase)
    return np.where(q < 0.5, 16.0 * q * (0.5 - q), -16.0 * (q - 0.5) * (1.0 - q))


def _frame(name, height=240, width=432):
    raw = _raw(f"{name}/params", 90)
    params = ((raw >> np.uint64(11)).astype(np.float64) * 2.0**-53).reshape(3, 6, 5)
    y, x = np.mgrid[:height, :width].astype(np.float64)
    noise = _bell(f"{name}/noise", (height, width, 3))
    out = np.empty((height, width, 3), np.uint8)
    for c in range(3):
        value = np.full((height, width), 0.5)
        for k in range(6):
            p = params[c, k]
            fx, fy = ((p[axis] * 2 - 1) * (0.004 * (k + 1)) for axis in (0, 1))
            value = value + (0.08 + 0.14 * p[4]) * _wave(fx * x + fy * y + p[3])
        value = value + 0.02 * noise[:, :, c]
        out[:, :, c] = np.floor(np.clip(value, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    return out


def _rectangle(name, height=240, width=432):
    r = [int(v) for v in _raw(f"{name}/rect", 6)]
    h, w, top, left = 70 + r[0] % 31, 120 + r[1] % 41, 20 + r[2] % 60, 20 + r[3] % 120
    mask = np.zeros((height, width), np.float32)
    mask[top : top + h, left : left + w] = 1.0
    return mask
