"""The model file that MLflow runs: a version of the registry, loaded without this project.

A version carries copies of this file and of `model/` in a package of its own name, and weights as
safetensors. Nothing is pickled.

    model = mlflow.pyfunc.load_model("models:/sttn@champion")
    model.predict({"frames": frames, "masks": masks})              # uint8 [T, H, W, 3]
    model.unwrap_python_model().stream(pairs_of_frame_and_mask)    # frame by frame, bounded memory
"""

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from mlflow.pyfunc.model import PythonModel
from numpy.typing import NDArray
from safetensors import safe_open

from .model.generator import Generator
from .model.inpaint import Schedule, stream

WEIGHTS = "weights"  # name of the artifact
SHAPE = "generator"  # key of the safetensors header: Generator's arguments, JSON

Pixels = NDArray[np.uint8]


# MLflow takes type hints of `predict` for a schema and warns of every other use and of none at all;
# the schema is the signature that `training/export.py` writes. Recording swallows its warning.
with warnings.catch_warnings(record=True):

    class Inpainter(PythonModel):
        """Fills the holes of a video."""

        _generator: Generator

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
                ValueError: shapes do not match, or the frame size is none the model can work at.
            """
            del context
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
        ) -> Iterator[Pixels]:
            """Inpaint frame by frame, in memory that does not grow with the video.

            Args:
                frames_and_masks: pairs of uint8 [H, W, 3] and uint8 [H, W], nonzero = hole.
                params: as for `predict`.

            Yields:
                uint8 [H, W, 3], one for each frame, in order.
            """
            given = params or {}
            asked = {
                name: type(default)(given[name])
                for name, default in asdict(Schedule()).items()
                if name in given
            }
            pairs = ((_tensor(frame), _tensor(mask)) for frame, mask in frames_and_masks)
            for frame in stream(self._generator, pairs, Schedule(**asked)):
                yield frame.numpy()


def _tensor(pixels: Pixels) -> torch.Tensor:
    return torch.from_numpy(np.array(pixels))  # a copy: what we are given may be read-only
