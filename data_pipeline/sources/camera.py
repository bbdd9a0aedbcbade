"""Films photographs: a camera moves over one, parts of others move in front of it.

The camera pans, zooms, turns and shakes; layers before the photograph are shapes that change and
move by themselves (objects) or with the camera, but faster (things that are nearer). What was
behind a layer is seen before or after, as in footage. All of it is drawn from (seed, name).

Legend: `H`, `W` pixels of a frame; places are (x, y) in pixels of a frame, 0 in its middle; frames
are uint8 RGB [H,W,3].
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from data_pipeline.format import draws
from data_pipeline.sources.record import BadVideoError

CAMERA = "camera-1"
"""Name of this generator, part of a data set's settings: another generator, another name."""

MAX_LAYERS = 2

_CLOSEST = 0.8  # least pixels of a photograph per pixel of a frame: enlarged no further
_STILL = 0.15  # share of the videos whose camera stands on a tripod
_POINTS = 48  # of a layer's outline
_OVERSAMPLED = 3  # an outline is drawn so much larger, for soft edges

Numbers: TypeAlias = NDArray[np.float64]
Frame: TypeAlias = NDArray[np.uint8]


def film(
    images: Sequence[Image.Image], size: tuple[int, int], frames: int, seed: int, name: str
) -> Iterator[Frame]:
    """Make the frames of a video.

    Args:
        images: the photograph, then those that layers are cut from.
        size: of the frames, (W, H).
        frames: their number.
        seed: with `name`, determines everything.
        name: of the video.

    Yields:
        uint8 [H,W,3].

    Raises:
        BadVideoError: a photograph is smaller than a frame.
    """
    random = _Random(seed, name)
    camera = _camera(random, size, frames)
    background = _Background.of(images[0], camera, size, random)
    layers = [
        layer
        for image in images[1:]
        if random.unit() < 0.6
        for layer in [_layer(image, camera, size, random)]
    ]
    noise, flicker = 2.5 * random.unit() ** 2, 0.04 * random.unit() ** 2
    for number in range(frames):
        picture = background.seen(number, size)
        for layer in layers:
            picture = layer.over(picture, number, size)
        gain = 1 + flicker * math.sin(number / 3)
        yield _exposed(picture, gain, noise, random.words(f"noise {number}", picture.size // 2))


@dataclass(frozen=True, slots=True)
class _Path:
    """Where something is at each frame."""

    place: Numbers
    """[T, 2] in pixels of a frame."""
    zoom: Numbers
    """[T], 1 at the first frame; larger is nearer."""
    angle: Numbers
    """[T] in radians."""


class _Random:
    """Draws of one video, in order."""

    def __init__(self, seed: int, name: str) -> None:
        self._seed, self._name, self._count = seed, name, 0

    def unit(self) -> float:
        """Draw from [0, 1)."""
        self._count += 1
        return draws.unit(draws.words(self._seed, f"camera {self._name}", self._count, 1)[0])

    def between(self, low: float, high: float) -> float:
        """Draw from [low, high)."""
        return low + (high - low) * self.unit()

    def words(self, purpose: str, bytes_wanted: int) -> NDArray[np.uint8]:
        """Draw bytes, uint8 [bytes_wanted]."""
        count = -(-bytes_wanted // 8)
        words = draws.word_array(self._seed, f"camera {self._name} {purpose}", 0, count)
        return words.astype("<u8").view(np.uint8)[:bytes_wanted]


def _camera(random: _Random, size: tuple[int, int], frames: int) -> _Path:
    """Draw the path of a camera: a pan whose direction turns slowly, a zoom, a turn, a shake."""
    if random.unit() < _STILL:
        return _moved(random, frames, speed=0.0, zoom=0.0, turn=0.0, shake=0.0)
    return _moved(
        random,
        frames,
        speed=size[0] * 0.02 * random.unit() ** 2,
        zoom=0.006 * (random.unit() - 0.5),
        turn=0.006 * (random.unit() - 0.5),
        shake=size[0] * 0.004 * random.unit() ** 3,
    )


def _moved(
    random: _Random, frames: int, *, speed: float, zoom: float, turn: float, shake: float
) -> _Path:
    """A path from its rates: pixels, shares and radians a frame; the shake in pixels."""
    time = np.arange(frames, dtype=np.float64)
    heading = 2 * math.pi * random.unit() + random.between(-0.05, 0.05) * time
    steps = speed * np.stack([np.cos(heading), np.sin(heading)], axis=1)
    shaken = [
        shake * np.sin(random.between(0.4, 2.5) * time + 2 * math.pi * random.unit())
        for _ in range(2)
    ]
    return _Path(
        place=np.cumsum(steps, axis=0) - steps[0] + np.stack(shaken, axis=1),
        zoom=np.exp(zoom * time),
        angle=turn * time,
    )


@dataclass(frozen=True, slots=True)
class _Background:
    """A photograph that a camera moves over."""

    image: Image.Image
    """Reduced so that its pixels are about those of a frame."""
    path: _Path
    centre: Numbers
    """What is in the middle of the frame at place 0, as a place (x, y) of the image."""
    scale: float
    """Pixels of the image per pixel of a frame at zoom 1."""

    @classmethod
    def of(
        cls, image: Image.Image, path: _Path, size: tuple[int, int], random: _Random
    ) -> "_Background":
        """Choose how much of a photograph is seen, and where; the path stays inside of it."""
        if min(np.array(image.size) / size) < _CLOSEST:
            raise BadVideoError("has a photograph that is smaller than a frame")
        low, high = _reached(path, size)
        while min(image.size / (high - low)) < _CLOSEST:  # too long a path for this photograph
            path = _Path(0.7 * path.place, path.zoom**0.7, 0.7 * path.angle)
            low, high = _reached(path, size)
        most = min(image.size / (high - low))
        scale = _CLOSEST * (most / _CLOSEST) ** random.between(0.3, 1.0)
        room = image.size - scale * (high - low)
        centre = room * (random.unit(), random.unit()) - scale * low
        # Reduced first: a transformation looks at few pixels, and details would flicker.
        shrink = max(1.0, scale / 1.2)
        reduced = image.resize(_rounded(image.size, 1 / shrink), Image.Resampling.BICUBIC)
        return cls(reduced, path, centre / shrink, scale / shrink)

    def seen(self, number: int, size: tuple[int, int]) -> Numbers:
        """What a frame shows of it: [H,W,3] in 0..255."""
        path = self.path
        offset = self.centre + self.scale * path.place[number]
        scale = self.scale / path.zoom[number]
        return _transformed(self.image, scale * _turn(path.angle[number]), offset, size)


@dataclass(frozen=True, slots=True)
class _Layer:
    """A part of a photograph before others: a shape that moves, and changes a little."""

    image: Image.Image
    """The part, square, as large as the shape can be."""
    path: _Path
    """Of the middle of the shape over the frame."""
    radii: Numbers
    """[K] at equal angles, in pixels of a frame."""
    swing: float
    """How far the radii swing, pixels."""
    pace: float
    """Of the swing, radians a frame."""

    def over(self, picture: Numbers, number: int, size: tuple[int, int]) -> Numbers:
        """Put it over a frame [H,W,3]."""
        turn, zoom, place = (
            _turn(self.path.angle[number]),
            self.path.zoom[number],
            self.path.place[number],
        )
        angles = np.linspace(0, 2 * np.pi, len(self.radii), endpoint=False)
        radii = self.radii + self.swing * np.sin(self.pace * number + 2 * angles)
        points = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii[:, None]
        points = zoom * points @ turn.T + place + np.array(size) / 2
        back = turn.T / zoom
        part = _transformed(self.image, back, np.array(self.image.size) / 2 - back @ place, size)
        return picture + _polygon(points, size)[..., None] * (part - picture)


def _layer(image: Image.Image, camera: _Path, size: tuple[int, int], random: _Random) -> _Layer:
    """Draw an object, or a thing that is nearer to the camera than the rest."""
    frames = len(camera.zoom)
    if random.unit() < 0.6:
        path = _moved(
            random,
            frames,
            speed=size[0] * 0.025 * random.unit(),
            zoom=0.01 * (random.unit() - 0.5),
            turn=0.03 * (random.unit() - 0.5),
            shake=size[0] * 0.003 * random.unit(),
        )
        place = path.place - camera.place
    else:
        path = _Path(camera.place, camera.zoom, -camera.angle)
        place = -random.between(1.3, 2.5) * camera.place
    # In the middle of its way it is somewhere in the frame.
    middle = np.array(size) * (random.between(-0.45, 0.45), random.between(-0.45, 0.45))
    place = place - place[frames // 2] + middle
    radius = size[1] * random.between(0.08, 0.4)
    angles = np.linspace(0, 2 * np.pi, _POINTS, endpoint=False)
    bumps = sum(
        random.between(0, 0.35 / wave) * np.cos(wave * angles + 2 * np.pi * random.unit())
        for wave in range(1, 5)
    )
    radii = radius * np.maximum(0.25, 1 + bumps)
    swing = radius * 0.12 * random.unit()
    side = math.ceil(2 * (radii.max() + swing)) + 2
    cut = min(*image.size, side * random.between(_CLOSEST, 3))
    left, top = (random.unit() * (length - cut) for length in image.size)
    part = image.resize((side, side), Image.Resampling.BICUBIC, (left, top, left + cut, top + cut))
    return _Layer(part, replace(path, place=place), radii, swing, pace=random.between(0.05, 0.5))


def _transformed(
    image: Image.Image, matrix: Numbers, offset: Numbers, size: tuple[int, int]
) -> Numbers:
    """Sample an image, bicubic, at matrix [2,2] @ place + offset for each pixel: [H,W,3]."""
    (a, b), (d, e) = matrix
    c, f = offset - matrix @ (np.array(size) / 2)
    coefficients = (a, b, c, d, e, f)
    shown = image.transform(size, Image.Transform.AFFINE, coefficients, Image.Resampling.BICUBIC)
    return np.asarray(shown, np.float64)


def _turn(angle: float) -> Numbers:
    """Rotation by an angle in radians, [2,2]."""
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array([[cosine, -sine], [sine, cosine]])


def _rounded(size: tuple[int, int], factor: float) -> tuple[int, int]:
    return round(size[0] * factor), round(size[1] * factor)


def _reached(path: _Path, size: tuple[int, int]) -> tuple[Numbers, Numbers]:
    """Least and greatest place (x, y) that frames show along a path, at zoom 1."""
    corners = np.array([(x, y) for x in (-0.5, 0.5) for y in (-0.5, 0.5)]) * size
    turns = np.stack([_turn(angle) for angle in path.angle])
    shown = path.place[:, None] + corners @ turns.transpose(0, 2, 1) / path.zoom[:, None, None]
    margin = 2  # the resampling looks a little further
    return shown.min(axis=(0, 1)) - margin, shown.max(axis=(0, 1)) + margin


def _polygon(points: Numbers, size: tuple[int, int]) -> Numbers:
    """Coverage of the pixels by a polygon of points [K, 2] in pixels from the corner: [H,W]."""
    large = Image.new("L", (_OVERSAMPLED * size[0], _OVERSAMPLED * size[1]))
    ImageDraw.Draw(large).polygon([tuple(point) for point in _OVERSAMPLED * points], fill=255)
    return np.asarray(large.resize(size, Image.Resampling.BOX), np.float64) / 255


def _exposed(picture: Numbers, gain: float, noise: float, words: NDArray[np.uint8]) -> Frame:
    """Add the noise of a sensor, standard deviation in grey levels, and round."""
    # Four bits of sum about normal: each nibble has mean 7.5 and variance 21.25.
    nibbles = np.stack([words & 15, words >> 4]).astype(np.int16).sum(axis=0)
    grain = (nibbles - 15) * (noise / math.sqrt(2 * 21.25))
    spread = np.resize(grain, picture.shape)
    return np.asarray(np.clip(np.rint(picture * gain + spread), 0, 255), np.uint8)
