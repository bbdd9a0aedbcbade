"""Follows an object from a frame whose mask is known, one frame after the other.

What was found in a frame is carried to the next along optical flow, where the flows forth and back
agree, and with the object's own steady motion elsewhere. There each pixel is decided anew, by what
was carried, by whether it differs from the background (`camera.py`) and by its colour. Where the
object is hidden its place is remembered and moved on, so that it is found again behind a tree.

Legend: `h`, `w` pixels; a frame is uint8 RGB [h,w,3], a mask bool [h,w]; odds are float32 [h,w],
natural logarithms, above 0 = the object. Lengths in pixels are meant for a shorter side of 240.
"""

from typing import final

import cv2
import numpy as np
from numpy.typing import NDArray

from mlops.masking import evidence
from mlops.masking.camera import displacement, places
from mlops.masking.colours import Colours
from mlops.masking.scene import Scene

Mask = NDArray[np.bool_]
Numbers = NDArray[np.float32]

_SIDE = 240
_BAND_PX = 10  # around what was carried, in which the object is looked for
_DEPTH_PX = 4  # inside the carried edge, from which a pixel is quite surely the object's
_MOST_GROWN_PX = 6
_CARRIED_ODDS = 2.0
_AGREE_PX = 1.5  # flows forth and back
_FADES = 0.93  # of the memory of a place, a frame
_FORGOTTEN = 0.3  # strength of a memory from which on it is none: after 16 frames
_STEADY = 0.2  # share by which a new velocity changes the known one
_LEARNS = 0.1  # likewise of colours
_PARTED = 1.5  # odds between object and surroundings from which the background tells them apart
_FAR_OFFSET = 28  # frames, of those that `camera.py` compares with

# Weights of what is known, where the background tells the object apart, and where it does not.
_WEIGHTS = {"moved": (1.0, 0.0), "colour": (0.35, 0.6), "carried": (0.25, 2.0)}


@final
class Follower:
    """The object on its way.

    Args:
        scene: the video.
        number: of the anchor's frame.
        anchor: its mask, with a pixel at least.
    """

    def __init__(self, scene: Scene, number: int, anchor: Mask) -> None:
        self._scene, self._number = scene, number
        self._px = min(scene.size) / _SIDE
        self._colours = Colours()
        self._velocity: Numbers | None = None  # beyond the background's, (x, y) pixels a frame
        self._core, self._memory = anchor, anchor.astype(np.float32)
        near = self._near(anchor)
        self._colours.learn(scene[number], anchor, near, 1)
        self._trust = self._told_apart(anchor, near)
        self._core = self._decided(number, anchor)
        self._grown = max(
            range(round(_MOST_GROWN_PX * self._px) + 1),
            key=lambda radius: evidence.overlap(evidence.grown(self._core, radius), anchor),
        )

    def step(self, number: int) -> Mask:
        """Go on to a neighbour of the last frame; returns the object's mask there."""
        if not (self._memory > _FORGOTTEN).any():
            return np.zeros_like(self._core)  # lost, and nothing more to look for
        carried, remembered = self._carried(number)
        self._number = number
        self._memory = np.maximum(carried.astype(np.float32), remembered)
        self._core = found = self._decided(number, carried)
        if found.any():
            self._memory = np.maximum(self._memory, found)
            self._colours.learn(self._scene[number], found, self._near(found), _LEARNS)
        return evidence.grown(found, self._grown)

    def _carried(self, number: int) -> tuple[Mask, Numbers]:
        """What was found in the last frame, and the memory of its place, moved to a neighbour."""
        forth, back = self._scene.flow(self._number, number)
        height, width = self._scene.size
        camera = self._scene.camera.between(self._number, number)
        camera = np.eye(3) if camera is None else camera
        agree = np.linalg.norm(forth + _fetched(back, forth), axis=-1) < _AGREE_PX
        if (seen := self._core & agree).any():
            self._learn_velocity((forth - displacement(camera, height, width))[seen])
        velocity = np.zeros(2, np.float32) if self._velocity is None else self._velocity
        steady = displacement(np.asarray(np.linalg.inv(camera)), height, width) - velocity
        apart = np.linalg.norm(back + _fetched(forth, back), axis=-1)
        motion = np.where((apart < _AGREE_PX)[..., np.newaxis], back, steady)
        carried = _fetched(self._core.astype(np.float32), motion) > 0.5
        return carried, np.float32(_FADES) * _fetched(self._memory, steady)

    def _learn_velocity(self, motion: Numbers) -> None:
        """Take in the motion [N,2] of the object's pixels, by how much of it is to be seen."""
        now = np.median(motion, axis=0).astype(np.float32)
        known = now if self._velocity is None else self._velocity
        seen = min(1, len(motion) / np.count_nonzero(self._memory > _FORGOTTEN))
        self._velocity = known + np.float32(_STEADY * seen) * (now - known)

    def _decided(self, number: int, carried: Mask) -> Mask:
        """Decide each pixel near what was carried or is remembered."""
        frame = self._scene[number]
        place = self._memory > _FORGOTTEN
        near = self._near(carried | place)
        known = {
            "moved": self._moved(number, near),
            "colour": self._colours.log_odds(frame),
            "carried": self._place_odds(carried, place),
        }
        odds = np.zeros(carried.shape, np.float32)
        for name, (trusted, alone) in _WEIGHTS.items():
            odds += np.float32(self._trust * trusted + (1 - self._trust) * alone) * known[name]
        return evidence.touching(evidence.cut(frame, odds, near), carried | place)

    def _moved(self, number: int, near: Mask) -> Numbers:
        """Odds by the background. That a pixel did not move means little of an object at rest."""
        odds = evidence.moved_odds(self._scene.camera.moved(number), ~near)
        return np.where(odds < 0, np.float32(self._gone()) * odds, odds)

    def _gone(self) -> float:
        """How far off itself the object has moved in the frames that are compared, 0..1."""
        if self._velocity is None:
            return 1.0
        inside = float(evidence.signed_distance(self._core).max())
        way = _FAR_OFFSET * float(np.linalg.norm(self._velocity))
        return min(1.0, way / max(1.0, 2 * inside))

    def _place_odds(self, carried: Mask, place: Mask) -> Numbers:
        """Odds by the place: for it inside what was carried, none where it is remembered."""
        depth = np.float32(_DEPTH_PX * self._px / _CARRIED_ODDS)
        odds = evidence.signed_distance(carried) / depth
        hidden = np.minimum(evidence.signed_distance(place) / depth, 0)
        return np.asarray(np.clip(np.maximum(odds, hidden), -_CARRIED_ODDS, _CARRIED_ODDS))

    def _told_apart(self, anchor: Mask, near: Mask) -> float:
        """How well the background tells the object from what is around it, 0..1."""
        odds = self._moved(self._number, near)
        around = near & ~anchor
        if not around.any():
            return 0.0
        return float(np.clip((odds[anchor].mean() - odds[around].mean()) / _PARTED, 0, 1))

    def _near(self, mask: Mask) -> Mask:
        return evidence.grown(mask, max(2, round(_BAND_PX * self._px)))


def _fetched(values: Numbers, motion: Numbers) -> Numbers:
    """What is found a motion away from each pixel; 0 outside of the frame."""
    at = places(*motion.shape[:2]) + motion
    x, y = at[..., 0], at[..., 1]
    return np.asarray(cv2.remap(values, x, y, cv2.INTER_LINEAR, borderValue=0), np.float32)
