"""The model file that MLflow runs: a version of the registry, loaded without this project.

A version carries copies of this file, of `model/` and of the fills (`mlops/fills/`) in a package of
its own name, and weights as safetensors. Nothing is pickled.

    model = mlflow.pyfunc.load_model("models:/sttn@champion")
    model.predict({"frames": frames, "masks": masks})              # uint8 [T, H, W, 3]
    model.unwrap_python_model().stream(pairs_of_frame_and_mask)    # frame by frame, bounded memory
"""

import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from difflib import get_close_matches
from functools import partial
from typing import Any

import numpy as np
import torch
from mlflow.pyfunc.model import PythonModel
from numpy.typing import NDArray
from safetensors import safe_open

from .model.generator import Generator
from .model.given import Fill, Filled, Frame, Mask
from .model.inpaint import Schedule, stream

WEIGHTS = "weights"  # name of the artifact
INPUTS = "frames", "masks"
SHAPE = "generator"  # key of the safetensors header: Generator's arguments, JSON

Pixels = NDArray[np.uint8]
_WHOLE = int, bool, np.integer, np.bool_


# MLflow takes type hints of `predict` for a schema and warns of every other use and of none at all;
# the schema is the signature that `training/export.py` writes. Recording swallows its warning.
with warnings.catch_warnings(record=True):

    class Inpainter(PythonModel):
        """Fills the holes of a video.

        Args:
            diffused: the fill of that name; like the next, from the version's own package.
            propagated: likewise, a function of the pairs and the source of optical flow.
        """

        _generator: Generator

        def __init__(self, diffused: Callable[..., Any], propagated: Callable[..., Any]) -> None:
            self._diffused, self._propagated = diffused, propagated

        def load_context(self, context: Any) -> None:
            """Read the weights; on a GPU when there is one."""
            with safe_open(context.artifacts[WEIGHTS], framework="pt") as file:
                shape = json.loads(file.metadata()[SHAPE])
                weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            generator = Generator(**shape)
            generator.load_state_dict(weights)
            self._generator = generator.to("cuda" if torch.cuda.is_available() else "cpu").eval()

        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
            """Inpaint a whole video.

            Args:
                context: MLflow's; not used.
                model_input: a mapping with `frames` uint8 [T, H, W, 3] and `masks` uint8
                    [T, H, W], nonzero = hole.
                params: fields of `Schedule`, as far as they are not the defaults.

            Returns:
                uint8 [T, H, W, 3]; pixels outside the holes are those of the input.

            Raises:
                ValueError: shapes do not match, the frame size is none the model can work at, or
                    a parameter is unknown or not of its type.
            """
            del context
            if set(model_input) != set(INPUTS):
                raise ValueError(
                    f"the input holds {sorted(model_input)}: give {' and '.join(INPUTS)}"
                )
            frames, masks = np.asarray(model_input["frames"]), np.asarray(model_input["masks"])
            if len(frames) != len(masks):
                raise ValueError(f"{len(frames)} frames with {len(masks)} masks: give one for each")
            if not len(frames):
                raise ValueError("the video has no frames")
            return np.stack(list(self.stream(zip(frames, masks, strict=True), params)))

        def stream(
            self,
            frames_and_masks: Iterable[tuple[Pixels, Pixels]],
            params: Mapping[str, Any] | None = None,
            flow: Any = None,
        ) -> Iterator[Pixels]:
            """Inpaint frame by frame, in memory that does not grow with the video.

            Args:
                frames_and_masks: pairs of uint8 [H, W, 3] and uint8 [H, W], nonzero = hole.
                params: as for `predict`.
                flow: where optical flow between neighbouring frames comes from, a function of a
                    frame's number, it and the next one; None = OpenCV's DIS.

            Yields:
                uint8 [H, W, 3], one for each frame, in order.
            """
            schedule = _schedule(params or {})
            pairs = ((_tensor(frame), _tensor(mask)) for frame, mask in frames_and_masks)
            carried = partial(self._propagated, source=flow)
            fills = {"diffuse": _of_tensors(self._diffused), "propagate": _of_tensors(carried)}
            for frame in stream(self._generator, pairs, schedule, fills):
                yield frame.numpy()


def _schedule(params: Mapping[str, Any]) -> Schedule:
    """Parameters as a schedule; nothing is passed over, and nothing converted."""
    known = asdict(Schedule())
    for name, value in params.items():
        if name not in known:
            close = get_close_matches(str(name), known, n=1, cutoff=0.5)
            meant = f" (did you mean {close[0]!r}?)" if close else ""
            raise ValueError(f"unknown parameter {name!r}{meant}; there are: {', '.join(known)}")
        truth = isinstance(value, (bool, np.bool_))
        if truth != isinstance(known[name], bool) or not isinstance(value, _WHOLE):
            wanted = "True or False" if isinstance(known[name], bool) else "a whole number"
            raise ValueError(f"{name} is {value!r} ({type(value).__name__}): give {wanted}")
    return Schedule(**{name: type(known[name])(value) for name, value in params.items()})


def _of_tensors(fill: Callable[..., Any]) -> Fill:
    """A fill of arrays as one of tensors."""

    def filled(pairs: Iterable[tuple[Frame, Mask]]) -> Iterator[Filled]:
        for one in fill((frame.numpy(), mask.numpy()) for frame, mask in pairs):
            yield Filled(*map(torch.from_numpy, (one.frame, one.belief, one.alone)))

    return filled


def _tensor(pixels: Pixels) -> torch.Tensor:
    return torch.from_numpy(np.array(pixels))  # a copy: what we are given may be read-only
