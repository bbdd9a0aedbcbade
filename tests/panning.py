"""Videos with known ground truth: a smooth picture that moves steadily, and moving holes.

The picture is a formula, so that a pan by parts of a pixel is exact.
"""

import numpy as np

HEIGHT, WIDTH, HOLE = 64, 96, 16  # pixels


def panned(frames, y_step, x_step, *, height=HEIGHT, width=WIDTH, seed=0):
    """uint8 [T,H,W,3]: frame t shows the picture from (t * y_step, t * x_step) on, in pixels."""
    y, x = np.mgrid[:height, :width]
    return np.stack([_picture(y + t * y_step, x + t * x_step, seed) for t in range(frames)])


def moving_hole(frames, step, *, first=10, top=20, height=HEIGHT, width=WIDTH):
    """uint8 [T,H,W]: a square that moves `step` pixels a frame to the right, from `first` on."""
    masks = np.zeros((frames, height, width), np.uint8)
    for t, mask in enumerate(masks):
        left = first + t * step
        mask[top : top + HOLE, left : left + HOLE] = 255
    return masks


def hidden(frames, masks):
    """The frames with their holes blacked out."""
    return np.where(masks[..., np.newaxis] != 0, np.uint8(0), frames)


def psnr_db(found, truth, where):
    """PSNR over the pixels [T,H,W] given by `where`."""
    error = found[where].astype(np.float64) - truth[where]
    return float(10 * np.log10(255**2 / max(np.square(error).mean(), 1e-9)))


def _picture(y, x, seed):
    random = np.random.default_rng(seed)
    waves = np.zeros((*y.shape, 3))
    for _ in range(8):
        angle, length = random.uniform(0, 2 * np.pi), random.uniform(24, 64)
        along = (np.cos(angle) * x + np.sin(angle) * y) * 2 * np.pi / length
        waves += np.sin(along[..., np.newaxis] + random.uniform(0, 2 * np.pi, 3))
    return np.clip(np.round(128 + 25 * waves), 0, 255).astype(np.uint8)
