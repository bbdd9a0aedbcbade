"""Every weight and input behind `numbers.*`, bit for bit on every IEEE machine.

NumPy only, integers and + - * / sqrt floor in float64 only. Copied from the reference set, as far
as these tests need it; `numbers.json` holds sha256 sums of what it must give.
"""

import hashlib

import numpy as np


def raw(name, count):
    """`count` words of Philox4x64-10, keyed by the first 8 bytes of sha256("|" + name)."""
    key = int.from_bytes(hashlib.sha256(f"|{name}".encode()).digest()[:8], "little")
    return np.random.Philox(key=key).random_raw(int(count))


def bell(name, shape):
    """Mean 0, deviation 1: sum of the four 16-bit parts of each word; float64, C order."""
    words, low = raw(name, np.prod(shape)), np.uint64(0xFFFF)
    parts = [(words >> np.uint64(shift)) & low for shift in (0, 16, 32, 48)]
    return ((sum(parts).astype(np.float64) - 131070.0) / 37837.0).reshape(shape)


def uniform(name, shape):
    """In [0, 1): the top 53 bits of each word; float64, C order."""
    words = raw(name, np.prod(shape))
    return ((words >> np.uint64(11)).astype(np.float64) * 2.0**-53).reshape(shape)


def wave(phase):
    """Smooth, of period 1, in [-1, 1]: two parabolas a period."""
    q = phase - np.floor(phase)
    return np.where(q < 0.5, 16.0 * q * (0.5 - q), -16.0 * (q - 0.5) * (1.0 - q))


def video(name, frames, height=240, width=432, noise=0.02):
    """uint8 RGB [T, H, W, 3]; a shorter video is the beginning of a longer one."""
    waves = uniform(name + "/params", (3, 6, 5))  # channel, wave, (fx, fy, ft, phase, amplitude)
    y = np.arange(height, dtype=np.float64)[:, None]
    x = np.arange(width, dtype=np.float64)[None, :]
    grain = bell(name + "/noise", (frames, height, width, 3))
    out = np.empty((frames, height, width, 3), np.uint8)
    for t, channel in np.ndindex(frames, 3):
        value = np.full((height, width), 0.5)
        for k, (fx, fy, ft, phase, amplitude) in enumerate(waves[channel]):
            fx = (fx * 2 - 1) * (0.004 * (k + 1))
            fy = (fy * 2 - 1) * (0.004 * (k + 1))
            ft = (ft * 2 - 1) * 0.08
            value = value + (0.08 + 0.14 * amplitude) * wave(fx * x + fy * y + ft * t + phase)
        value = value + noise * grain[t, :, :, channel]
        out[t, :, :, channel] = np.floor(np.clip(value, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    return out


def rect_mask(name, frames, height=240, width=432):
    """float32 [T, 1, H, W], 1 = hole: one rectangle that moves by whole pixels."""
    words = [int(word) for word in raw(name + "/rect", 6)]
    h, w = 70 + words[0] % 31, 120 + words[1] % 41
    top, left = 20 + words[2] % 60, 20 + words[3] % 120
    down, right = 2 + words[4] % 7, 6 + words[5] % 15
    mask = np.zeros((frames, 1, height, width), np.float32)
    for t in range(frames):
        y, x = top + down * t, left + right * t
        mask[t, 0, y : y + h, x : x + w] = 1.0
    return mask


def network_input(pixels):
    """uint8 [T, H, W, 3] -> float32 [T, 3, H, W] in [-1, 1], computed in float32."""
    x = pixels.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    return x * np.float32(2) - np.float32(1)


def generator_weight(key, shape):
    """float32; neither uniform nor one-hot attention comes of it."""
    values = bell("sttn.G/" + key, shape)
    if key.endswith(".bias"):
        return (values * 0.02).astype(np.float32)
    if ".query_embedding." in key:  # by head; weaker in deeper blocks
        heads = np.repeat(np.array([2.5, 0.5, 0.7, 0.9]), shape[0] // 4)
        values = values * heads.reshape((-1,) + (1,) * (len(shape) - 1))
    return (values * (_generator_gain(key) / np.sqrt(_fan_in(shape)))).astype(np.float32)


def _generator_gain(key):
    if ".query_embedding." in key:
        return 0.7 ** int(key.split(".")[1])
    if key == "decoder.6.weight":
        return 0.2
    gains = {
        "encoder.": 1.4,
        "decoder.": 1.4,
        ".key_embedding.": 1.0,
        ".value_embedding.": 1.0,
        ".feed_forward.conv.0.": 1.0,
        ".output_linear.": 0.8,
        ".feed_forward.conv.2.": 0.5,
    }
    return next(gain for part, gain in gains.items() if part in key)


def discriminator_weight(key, shape):
    """float32; `weight_u` and `weight_v` have length 1."""
    values = bell("sttn.D/" + key, shape)
    if key.endswith(("_u", "_v")):
        return (values / np.sqrt((values * values).sum())).astype(np.float32)
    if key.endswith(".bias"):
        return (values * 0.02).astype(np.float32)
    gain = 16.0 if key == "conv.10.weight" else 1.4
    return (values * (gain / np.sqrt(_fan_in(shape)))).astype(np.float32)


def flows(t, height=240, width=432):
    """Forward and backward flow of step t, float32 [H, W, 2]: x, y in pixels."""
    y = np.arange(height, dtype=np.float64)[:, None]
    x = np.arange(width, dtype=np.float64)[None, :]

    def field(name, amplitude, frequency):
        value = np.zeros((height, width))
        for fx, fy, phase, share in uniform(name, (3, 4)):
            waves = (fx * 2 - 1) * frequency * x + (fy * 2 - 1) * frequency * y + phase
            value = value + amplitude * (0.5 + 0.5 * share) * wave(waves)
        return value

    parts = (("fw", 4.0, 2.5, 0.004), ("er", 0.5, 0.5, 0.01))
    forward, error = (
        np.stack([field(f"ewarp/{kind}{t}/x", ax, f), field(f"ewarp/{kind}{t}/y", ay, f)], axis=2)
        for kind, ax, ay, f in parts
    )
    backward = -forward + error
    words = [int(word) for word in raw(f"ewarp/block{t}", 2)]
    top, left = 40 + words[0] % 100, 60 + words[1] % 220
    forward[top : top + 60, left : left + 90, 0] += 6.0
    backward[top : top + 60, left + 6 : left + 96, 0] -= 6.0
    return forward.astype(np.float32), backward.astype(np.float32)


def frechet_sets(count, dimensions=64):
    """Two sets of features, float64 [n, dimensions]."""
    scale = 0.2 + uniform("frechet/scale", (dimensions,))
    shift = 0.15 * bell("frechet/shift", (dimensions,))
    real, fake = (
        bell(f"frechet/{kind}{count}", (count, dimensions)) * scale for kind in ("real", "fake")
    )
    return real, fake * 1.2 + shift


def i3d_weight(key, shape):
    """float32, of every kind that normalisation and convolution have."""
    name = "i3d/" + key
    if key.endswith("running_var"):
        return (0.5 + uniform(name, shape)).astype(np.float32)
    if key.endswith("bn.weight"):
        return (0.75 + 0.5 * uniform(name, shape)).astype(np.float32)
    if key.endswith(("running_mean", ".bias")):
        return (bell(name, shape) * 0.1).astype(np.float32)
    return (bell(name, shape) * (1.4 / np.sqrt(_fan_in(shape)))).astype(np.float32)


def _fan_in(shape):
    return float(np.prod(shape[1:]))


def sha256_of(arrays):
    """sha256 over the little-endian bytes of arrays, one after another."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"))).tobytes())
    return digest.hexdigest()
