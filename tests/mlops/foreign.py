"""Third-party models: tiny pyfuncs as models from code, registered through the product's code."""

import warnings
from dataclasses import replace
from pathlib import Path

import mlflow.pyfunc

from mlops.evaluation import results
from mlops.evaluation.protocol import PROTOCOLS
from mlops.evaluation.results import ClipScore
from mlops.tracking import connection, names, registry, runs

_CODE = """
import mlflow.pyfunc
import numpy as np
from mlflow.models import set_model


class Fill(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        frames = np.array(model_input["frames"])
        holes = np.asarray(model_input["masks"]) != 0
        {body}
        return frames


set_model(Fill())
"""

GREY = "frames[holes] = 128"
BLACK = "frames[holes] = 0"
# Each row of a hole continues the colours at its two ends.
ROWS = """for frame, hole in zip(frames, holes):
            for y in np.flatnonzero(hole.any(axis=1)):
                inside, known = np.flatnonzero(hole[y]), np.flatnonzero(~hole[y])
                for c in range(3):
                    frame[y, inside, c] = np.interp(inside, known, frame[y, known, c])"""
# Fits the formula of tests/tiny.py's videos to the known pixels, but darker. No
# classical fill comes so near (34 dB at most) as a share of 0.98 (38).
DIMMED = """y, x = np.mgrid[: frames.shape[1], : frames.shape[2]]
        angles = 2 * np.pi * x / 64, 2 * np.pi * y / 48
        waves = [np.ones(x.shape), *map(np.sin, angles), *map(np.cos, angles)]
        waves = np.stack(waves, axis=-1)
        for frame, hole in zip(frames, holes):
            fitted = np.linalg.lstsq(waves[~hole], frame[~hole], rcond=None)[0]
            frame[hole] = np.clip({share} * waves[hole] @ fitted, 0, 255).round()"""
UNTOUCHED = "pass"
# The hole filled by OpenCV: a classical fill itself, so never above the best of them.
TELEA = """import cv2
        for frame, hole in zip(frames, holes):
            frame[:] = cv2.inpaint(frame, hole.astype(np.uint8), 3, cv2.INPAINT_TELEA)"""
BROKEN = 'raise RuntimeError("the model fell over")'
FLOATS = "frames = frames / 255"


# Hole PSNR in dB of the classical fills in invented evaluations.
TRIVIAL = {names.SUBJECT_FRAME_MEAN: 12.0, names.SUBJECT_RING_MEAN: 13.0}
CLASSICAL = {
    **TRIVIAL,
    names.SUBJECT_TELEA: 13.5,
    names.SUBJECT_DIFFUSED: 13.6,
    names.SUBJECT_PROPAGATED: 14.0,
}


def save(folder: Path, body: str, size=None) -> Path:
    """Write a model folder whose code file always has the same name."""
    folder.mkdir(parents=True)
    code = folder / "fill.py"
    code.write_text(_CODE.format(body=body))
    # MLflow recommends type hints for every model, and its warning ignores filters.
    with warnings.catch_warnings(record=True):
        mlflow.pyfunc.save_model(
            str(folder / "model"),
            python_model=str(code),
            pip_requirements=["numpy"],
            metadata={"width": size[0], "height": size[1]} if size else None,
        )
    return folder / "model"


def load(model_uri: str):
    """Load with plain MLflow, without this project's code."""
    with warnings.catch_warnings(record=True):
        return mlflow.pyfunc.load_model(model_uri, suppress_warnings=True)


def training_run(uri: str, name: str = "tiny") -> str:
    """A finished training run with a few scalars."""
    run_id = runs.ensure(
        uri, run_name=name, kind=names.KIND_TRAINING, tags={names.COMMIT: "c" * 40}
    )
    for clips in (4, 8, 12):
        runs.log_scalars(uri, run_id, clips, {names.LOSS_HOLE: 1 / clips, names.LOSS_VALID: 1})
    runs.finish(uri, run_id)
    return run_id


def register(uri: str, folder: Path, body: str = GREY, *, size=None, clips: int = 12):
    """Record a training run, save and register a version; it becomes the candidate."""
    run_id = training_run(uri)
    version = registry.register(
        uri,
        name=names.MODEL,
        run_id=run_id,
        clips=clips,
        model_dir=save(folder, body, size),
        tags={names.DATA_DIGEST: "d" * 64, names.CONFIG_DIGEST: "e" * 64},
    )
    registry.set_alias(uri, version, names.CANDIDATE)
    return version


def record_evaluation(
    uri: str, version, folder: Path, against: str | None = None, *, split="test", **hole_psnr
):
    """Write an evaluation run as the evaluate command would, with invented hole PSNRs per subject.

    Of two videos, the second of which is easier by 1 dB.
    """
    folder.mkdir()
    protocol = replace(PROTOCOLS["clean"], split=split)
    scores = [
        ClipScore(
            subject=subject,
            position=position,
            video=f"video-{position}",
            first_frame=0,
            frames=4,
            hole_frames=4,
            variant=0,
            mask_kind="moving",
            hole_share=0.2,
            inputs_sha256="f" * 64,
            psnr_db=level + 10,
            ssim=0.9,
            hole_psnr_db=level + position,
            hole_ssim=0.5,
            warping_error_dis=0.001,
            warping_error_given=float("nan"),
            seconds_per_frame_s=0.01,
        )
        for subject, level in hole_psnr.items()
        for position in range(2)
    ]
    means = results.means(scores, protocol)
    run_id = runs.ensure(
        uri,
        run_name=f"evaluate-{version.version}",
        kind=names.KIND_EVALUATION,
        tags={
            names.MODEL_NAME: version.name,
            names.MODEL_VERSION: version.version,
            names.AGAINST_VERSION: against or names.NO_VERSION,
        },
    )
    runs.log_data_set(uri, run_id, "/lake/tiny/v1", "d" * 64, "evaluation")
    results.write(folder, scores, protocol, means, {})
    connection.client(uri).log_artifacts(run_id, str(folder))
    runs.log_scalars(uri, run_id, 0, means)
    runs.finish(uri, run_id)
    done = {names.EVALUATION: names.EVALUATION_DONE, names.EVALUATION_RUN: run_id}
    registry.set_tags(uri, version, done)
    return run_id
