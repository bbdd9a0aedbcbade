"""The MLflow model folder of a version: weights as safetensors, code, signature, licence."""

import hashlib
import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from importlib.metadata import distribution, version
from pathlib import Path

import mlflow
import numpy as np
from mlflow.models import ModelSignature
from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from data_pipeline.cli.scratch import scratch_folder
from mlops.fills import propagation
from training import served
from training.config.train_config import GeneratorConfig
from training.model.inpaint import Schedule

PROJECT = "sttn-at-scale"
_ROOM = Path(served.__file__).parent
_FILLS = Path(propagation.__file__).parent
_EXAMPLE_PIXELS = 16  # on each side
_REQUIRED = ("mlflow", "numpy", "opencv-python-headless", "safetensors", "torch")


@contextmanager
def model_folder(
    weights: dict[str, Tensor], shape: GeneratorConfig, width: int, height: int, licence: str
) -> Iterator[tuple[Path, str]]:
    """A complete MLflow model folder, and the digest of the code in it, for a while.

    Args:
        weights: of the generator, whole, on the CPU.
        shape: of the generator.
        width: of the frames it was trained on, pixels.
        height: likewise.
        licence: of the weights; that of the code beside them is in the file LICENSE.
    """
    with scratch_folder("export") as scratch:
        package, digest = _code_package(scratch)
        weights_file = scratch / "weights.safetensors"
        save_file(weights, weights_file, metadata={served.SHAPE: json.dumps(asdict(shape))})
        entry = scratch / "sttn.py"
        entry.write_text(
            "import mlflow\n\n"
            f"from {package.name}.fills.propagation import diffused, propagated\n"
            f"from {package.name}.served import Inpainter\n\n"
            "mlflow.models.set_model(Inpainter(diffused, propagated))\n"
        )
        with _importable(scratch):
            mlflow.pyfunc.save_model(
                path=scratch / "model",
                python_model=str(entry),
                code_paths=[str(package)],
                artifacts={served.WEIGHTS: str(weights_file)},
                signature=_signature(),
                input_example=_example(),
                pip_requirements=[f"{one}=={version(one)}" for one in _REQUIRED],
                metadata={"width": width, "height": height, "licence": licence},
            )
        ours = distribution(PROJECT).read_text("licenses/LICENSE")
        (scratch / "model" / "LICENSE").write_text(ours or "")
        yield scratch / "model", digest


def _example() -> dict[str, NDArray[np.uint8]]:
    """Two small frames with a hole: it is stored as text, and any size will do."""
    rows, columns = np.mgrid[:_EXAMPLE_PIXELS, :_EXAMPLE_PIXELS]
    frame = np.stack([rows * 16, columns * 16, rows + columns], axis=-1).astype(np.uint8)
    mask = np.zeros((_EXAMPLE_PIXELS, _EXAMPLE_PIXELS), np.uint8)
    mask[4:8, 4:8] = 1
    return {"frames": np.stack([frame, frame]), "masks": np.stack([mask, mask])}


def _code_package(scratch: Path) -> tuple[Path, str]:
    """Copy the serving code to a package named by its content, and return it with its sha256.

    Python caches modules by name: under one name, a second version loaded in a process would run
    the code of the first.
    """
    folders = (_ROOM / "model", _FILLS)
    sources = {"served.py": _ROOM / "served.py"}
    for folder in folders:
        sources |= {f"{folder.name}/{one.name}": one for one in sorted(folder.glob("*.py"))}
    digest = hashlib.sha256()
    for name, source in sources.items():
        digest.update(name.encode() + b"\0" + source.read_bytes())
    package = scratch / f"sttn_{digest.hexdigest()[:12]}"
    for name, source in sources.items():
        target = package / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    (package / "__init__.py").write_text('"""Code of one registered version of STTN."""\n')
    return package, digest.hexdigest()


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """MLflow runs the model's entry once when it saves it."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _signature() -> ModelSignature:
    frames = TensorSpec(np.dtype(np.uint8), (-1, -1, -1, 3), "frames")
    masks = TensorSpec(np.dtype(np.uint8), (-1, -1, -1), "masks")
    filled = TensorSpec(np.dtype(np.uint8), (-1, -1, -1, 3))
    kinds = {int: "long", bool: "boolean"}
    params = [
        ParamSpec(one.name, kinds[type(one.default)], one.default) for one in fields(Schedule)
    ]
    return ModelSignature(Schema([frames, masks]), Schema([filled]), ParamSchema(params))
