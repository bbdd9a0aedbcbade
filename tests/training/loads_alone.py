"""Load a model folder as a third party would, without this project, and print what it does.

PYTHONPATH=SITE_PACKAGES python -S loads_alone.py MODEL_FOLDER FRAMES_AND_MASKS.npz RESULT.npz
"""

import importlib.util
import json
import sys
from pathlib import Path

import mlflow
import numpy as np

OURS = ("training", "mlops", "data_pipeline")
# Without `site` (-S), what is installed editable is not on the path.
assert [name for name in OURS if importlib.util.find_spec(name)] == []

FOLDER, GIVEN, RESULT = sys.argv[1:]


def error_of(model, frames, masks, params=None):
    """Type and message of the error that `predict` raises."""
    try:
        model.predict({"frames": frames, "masks": masks}, params)
    except Exception as error:
        return [type(error).__name__, str(error)]
    return ["nothing", ""]


def streaming(params):
    """The error that a stream with such parameters raises."""
    try:
        next(inner.stream(zip(frames, masks, strict=True), params))
    except Exception as error:
        return [type(error).__name__, str(error)]
    return ["nothing", ""]


def standing(_number, first, _second):
    """Optical flow of a static video."""
    return (np.zeros((*first.shape[:2], 2), np.float32),) * 2


with np.load(GIVEN) as file:
    given = {"frames": file["frames"], "masks": file["masks"]}
model = mlflow.pyfunc.load_model(FOLDER)
inner = model.unwrap_python_model()
frames, masks = given["frames"], given["masks"]
np.savez(
    RESULT,
    predicted=model.predict(given),
    without_references=model.predict(given, {"references_per_side": 0}),
    as_reference=model.predict(given, {"reference": True}),
    another_size=model.predict({"frames": frames[:, :, :-4], "masks": masks[:, :, :-4]}),
    in_bfloat16=model.predict(given, {"bfloat16": True}),
    cropped=model.predict(given, {"crop_width": 12, "crop_height": 8}),
    propagated=model.predict(given, {"propagate": True}),
    by_other_flow=np.stack(
        list(inner.stream(zip(frames, masks, strict=True), {"propagate": True}, flow=standing))
    ),
    streamed=np.stack(list(inner.stream(zip(frames, masks, strict=True)))),
)
said = {
    "package": type(inner).__module__,
    "file": str(Path(sys.modules[type(inner).__module__].__file__).resolve()),
    "fewer masks": error_of(model, frames, masks[:-1]),
    "no frames": error_of(model, frames[:0], masks[:0]),
    "other numbers in masks": error_of(
        model, frames, masks // 2 + masks // 3 * (frames[..., 0] > 9)
    ),
    "masks of another size": error_of(model, frames, masks[:, :, :-4]),
    "other type": error_of(model, frames.astype(np.float32), masks),
    "gaps": error_of(model, frames, masks, {"stride": 40}),
    "no such parameter": streaming({"crop_widht": 8}),
    "no parameter at all": streaming({"zoom": 8}),
    "a word for a switch": streaming({"bfloat16": "False"}),
    "a number for a switch": streaming({"propagate": 1}),
    "no value for a switch": streaming({"reference": None}),
    "a word for a number": streaming({"reach": "5"}),
    "a broken number": streaming({"stride": 2.5}),
    "a switch for a number": streaming({"stride": True}),
    "not a number": streaming({"crop_width": float("nan"), "crop_height": 8}),
    "below its least": streaming({"stride": 0}),
    "numbers of numpy": streaming({"stride": np.int64(5), "bfloat16": np.bool_(False)}),
    "foreign": sorted({name.split(".")[0] for name in sys.modules} & {"training", "mlops", "ray"}),
}
sys.stdout.write(json.dumps(said) + "\n")
