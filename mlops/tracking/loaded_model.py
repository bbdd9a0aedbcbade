"""A registered version, loaded: inpaints a clip, or streams a video.

Python caches modules by name, so a second version loaded into a process would run the code of the
first: load one version per process.

Legend: `T` frames, `H`, `W` pixels; frames are uint8 RGB [T,H,W,3]; masks are uint8 [T,H,W],
nonzero = hole.
"""

import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, final

import mlflow.models
import mlflow.pyfunc
import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PyFuncModel
from numpy.typing import NDArray

from data_pipeline.cli.command import Refused
from data_pipeline.cli.scratch import lasting_folder, scratch_folder
from data_pipeline.tracking.store_errors import Gone
from mlops.fills.flow import FlowSource
from mlops.starter.files import STARTER
from mlops.tracking.connection import client, sqlite_file
from mlops.tracking.registry import Version

FOREIGN_WINDOW = 40  # frames given at once to a model that cannot stream; windows do not overlap

Frames = NDArray[np.uint8]


@final
class LoadedModel:
    """The model of one version, in this process."""

    def __init__(self, version: Version, pyfunc: PyFuncModel) -> None:
        self.uri = version.uri
        self.size = _size(pyfunc.metadata.metadata)
        self._pyfunc = pyfunc
        self._stream = getattr(_python_model(pyfunc), "stream", None)
        signature = pyfunc.metadata.signature
        params = signature.params.params if signature and signature.params else ()
        known = {one.name for one in params}
        self._knows_official = "reference" in known
        self._knows_bfloat16 = "bfloat16" in known
        self.propagates = self._stream is not None and "propagate" in known
        """True when it can be given propagated frames, and optical flow from elsewhere."""
        self.crops = self._stream is not None and {"crop_width", "crop_height"} <= known
        """True when it can work on the part of a large frame around the holes."""

    def inpaint(self, frames: Frames, masks: Frames, *, official_windows: bool = False) -> Frames:
        """Fill the holes of a clip.

        Args:
            frames: uint8 [T,H,W,3].
            masks: uint8 [T,H,W], nonzero = hole.
            official_windows: a model that knows the official driver's windows and 8-bit steps (its
                signature has a parameter `reference`) uses them; any other does as it does.

        Returns:
            uint8 [T,H,W,3]; known pixels are those of `frames`, whatever the model did to them.

        Raises:
            Refused: the model did not answer uint8 of the same shape.
        """
        params = {"reference": True} if official_windows and self._knows_official else None
        found = self._pyfunc.predict({"frames": frames, "masks": masks}, params=params)
        filled = self._checked(found, frames.shape)
        return np.where(masks[..., np.newaxis] != 0, filled, frames)

    def stream(
        self,
        pairs: Iterable[tuple[Frames, Frames]],
        crop: tuple[int, int] | None = None,
        *,
        propagate: bool = False,
        flow: FlowSource | None = None,
    ) -> Iterator[Frames]:
        """Fill a video frame by frame in bounded memory; on a GPU in bfloat16 if the model can.

        Args:
            pairs: frame uint8 [H,W,3] and mask uint8 [H,W], in order.
            crop: width and height of the part around the holes that a model which `crops` works
                on; it grows with larger holes. None = the whole frame.
            propagate: give a model that `propagates` propagated frames: what is found for sure in
                other frames counts as known.
            flow: where a model that `propagates` has optical flow from; None = OpenCV's DIS.

        Yields:
            uint8 [H,W,3] for each pair, in order; it may run many pairs behind.

        Raises:
            Refused: the model did not answer uint8 of the same shape.
        """
        if self._stream is None:
            yield from self._in_windows(pairs)
            return
        shapes: deque[tuple[int, ...]] = deque()

        def noted() -> Iterator[tuple[Frames, Frames]]:
            for frame, mask in pairs:
                shapes.append(frame.shape)
                yield frame, mask

        params: dict[str, object] = {}
        if crop:
            params = {"crop_width": crop[0], "crop_height": crop[1]}
        if self._knows_bfloat16 and _gpu_has_bfloat16():
            params["bfloat16"] = True
        if propagate:
            params["propagate"] = True
        more = {"flow": flow} if flow else {}
        answers = self._stream(noted(), params, **more) if params or more else self._stream(noted())
        for filled in answers:
            yield self._checked(filled, shapes.popleft())

    def _in_windows(self, pairs: Iterable[tuple[Frames, Frames]]) -> Iterator[Frames]:
        waiting: list[tuple[Frames, Frames]] = []
        for pair in pairs:
            waiting.append(pair)
            if len(waiting) == FOREIGN_WINDOW:
                yield from self._window(waiting)
                waiting = []
        if waiting:
            yield from self._window(waiting)

    def _window(self, pairs: list[tuple[Frames, Frames]]) -> Frames:
        frames, masks = zip(*pairs, strict=True)
        return self.inpaint(np.stack(frames), np.stack(masks))

    def _checked(self, found: Any, shape: tuple[int, ...]) -> Frames:
        if not isinstance(found, np.ndarray) or found.shape != shape or found.dtype != np.uint8:
            kind = type(found).__name__
            if isinstance(found, np.ndarray):
                kind = f"{found.dtype} {list(found.shape)}"
            raise Refused(f"{self.uri} answered {kind} where uint8 {list(shape)} was expected")
        return found


def load(tracking_uri: str, version: Version) -> LoadedModel:
    """Load a version through the registry; call it once per process.

    Raises:
        Gone: its files are not there any more.
    """
    if version.uri == STARTER:
        return LoadedModel(version, mlflow.pyfunc.load_model(version.source, True))
    client(tracking_uri)
    # From a server MLflow downloads the files, and would leave them in the temporary folder.
    copies = None if sqlite_file(tracking_uri) else str(lasting_folder("model"))
    # Advice to the author of a model, which MLflow gives to everybody who loads it; it sets its own
    # filter while it does, so only recording keeps it from the terminal.
    with files_of(tracking_uri, version.uri), warnings.catch_warnings(record=True):
        pyfunc = mlflow.pyfunc.load_model(version.uri, True, dst_path=copies)
    return LoadedModel(version, pyfunc)


def trained_size(tracking_uri: str, version: Version) -> tuple[int, int] | None:
    """(width, height) a version was trained at, read without loading it; None when not said.

    Raises:
        Gone: its files are not there any more.
    """
    client(tracking_uri)
    # `get_model_info` would leave its copy of the file in the temporary folder.
    with files_of(tracking_uri, version.uri), scratch_folder("model") as scratch:
        file = mlflow.artifacts.download_artifacts(
            artifact_uri=f"{version.uri}/MLmodel", dst_path=str(scratch)
        )
        return _size(mlflow.models.Model.load(file).metadata)


@contextmanager
def files_of(tracking_uri: str, model_uri: str) -> Iterator[None]:
    """Say it where the files of a version are gone: `mlflow gc`, or a person."""
    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise Gone(
            f"MLflow at {tracking_uri} does not have the files of {model_uri} any more: register "
            "its checkpoint again (training/export.py --model), or give another version"
        ) from error


def _size(metadata: dict[str, Any] | None) -> tuple[int, int] | None:
    if not metadata or "width" not in metadata or "height" not in metadata:
        return None
    return int(metadata["width"]), int(metadata["height"])


def _gpu_has_bfloat16() -> bool:
    # Loaded when a model that asks for it is: it takes seconds, and not every model needs it.
    cuda = import_module("torch").cuda
    return bool(cuda.is_available() and cuda.is_bf16_supported())


def _python_model(pyfunc: PyFuncModel) -> object:
    """The author's own object behind a pyfunc; None for flavours that have none."""
    try:
        return pyfunc.unwrap_python_model()  # type: ignore[no-untyped-call]  # untyped in mlflow
    except MlflowException:
        return None
