"""Door: any checkpoint becomes a registered version.

python training/export.py demo/runs/demo/checkpoints/clips-000000800
"""

import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Annotated

import mlflow
import numpy as np
import torch
import tyro
from mlflow.models import ModelSignature
from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from data_pipeline.door import parse, print_json, say
from data_pipeline.reader import DataSet
from mlops import names, registry
from mlops.door import run_door
from mlops.registry import Version
from mlops.tracking import absolute_uri
from training import served
from training.checkpoint import Checkpoint, opened, weights_sha256
from training.config import GeneratorConfig, TrainConfig
from training.config_json import from_json
from training.model.inpaint import Schedule
from training.networks import build_discriminator, build_generator

_HERE = Path(__file__).parent
_PROJECT = "sttn-at-scale"
_EXAMPLE_PIXELS = 16  # on each side


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportConfig:
    """Register a checkpoint as the next version of a model and make it the candidate."""

    checkpoint: Annotated[str, tyro.conf.Positional]
    """URI of a checkpoint directory (clips-…)."""
    model: str = names.MODEL
    """Name of the registered model."""
    tracking_uri: str | None = None
    """MLflow tracking URI; default: the one of the training run."""
    json: bool = False
    """End with one line of JSON."""


def whole_networks(checkpoint: Checkpoint, config: TrainConfig) -> dict[str, Tensor]:
    """Both networks and the averaged generator, unsharded, from a checkpoint, in one process."""
    with torch.device("meta"):
        generator = build_generator(config.generator)
        discriminator = build_discriminator(config.discriminator)
    shapes = {
        **{f"generator.{name}": value for name, value in generator.state_dict().items()},
        **{f"discriminator.{name}": value for name, value in discriminator.state_dict().items()},
        **{f"ema.{name}": value for name, value in generator.state_dict().items()},
    }
    tensors = {name: torch.empty_like(value, device="cpu") for name, value in shapes.items()}
    checkpoint.load(tensors)
    return tensors


def learnt_sha256(tensors: dict[str, Tensor]) -> str:
    """sha256 over generator and discriminator, without the average that follows from them."""
    return weights_sha256(
        {name: tensor for name, tensor in tensors.items() if not name.startswith("ema.")}
    )


def export(
    checkpoint: Checkpoint, config: TrainConfig, *, tracking_uri: str, commit: str, model: str
) -> Version:
    """Register the averaged generator of a checkpoint, once, and point `candidate` at it."""
    state = checkpoint.state()
    run_id, clips = state["run_id"], checkpoint.clips
    identity = {names.RUN_ID: run_id, names.CLIPS: str(clips)}
    found = registry.find(tracking_uri, model, identity)
    if found is None:
        tensors = whole_networks(checkpoint, config)
        averaged = {
            name.removeprefix("ema."): tensor
            for name, tensor in tensors.items()
            if name.startswith("ema.")
        }
        data_set = DataSet.open(str(config.data))
        size = data_set.width, data_set.height
        licence = distribution(_PROJECT).metadata["License-Expression"]
        with model_folder(averaged, config.generator, *size, licence) as (folder, code):
            found = registry.register(
                tracking_uri,
                name=model,
                run_id=run_id,
                clips=clips,
                model_dir=folder,
                tags={
                    names.RUN_NAME: config.name,
                    names.DATA_URI: str(config.data),
                    names.DATA_DIGEST: state["data_digest"],
                    names.CONFIG_DIGEST: state["config_digest"],
                    names.COMMIT: commit,
                    names.CODE_DIGEST: code,
                    names.WEIGHTS_SHA256: learnt_sha256(tensors),
                    names.CHECKPOINT: checkpoint.uri,
                },
            )
    registry.offer(tracking_uri, found)
    return found


@contextmanager
def model_folder(
    weights: dict[str, Tensor], shape: GeneratorConfig, width: int, height: int, licence: str
) -> Iterator[tuple[Path, str]]:
    """A complete MLflow model folder, and the digest of the code in it, for a while.

    Args:
        weights: of the generator, whole, on the CPU.
        shape: of the generator.
        width: of the frames it learnt from, pixels.
        height: likewise.
        licence: of the weights; that of the code beside them is in the file LICENSE.
    """
    with tempfile.TemporaryDirectory(prefix="sttn-export-") as name:
        scratch = Path(name)
        package, digest = _code_package(scratch)
        weights_file = scratch / "weights.safetensors"
        save_file(weights, weights_file, metadata={served.SHAPE: json.dumps(asdict(shape))})
        entry = scratch / "sttn.py"
        entry.write_text(
            "import mlflow\n\n"
            f"from {package.name}.served import Inpainter\n\n"
            "mlflow.models.set_model(Inpainter())\n"
        )
        with _importable(scratch):
            mlflow.pyfunc.save_model(
                path=scratch / "model",
                python_model=str(entry),
                code_paths=[str(package)],
                artifacts={served.WEIGHTS: str(weights_file)},
                signature=_signature(),
                input_example=_example(),
                pip_requirements=[
                    f"{one}=={version(one)}" for one in ("mlflow", "numpy", "safetensors", "torch")
                ],
                metadata={"width": width, "height": height, "licence": licence},
            )
        ours = distribution(_PROJECT).read_text("licenses/LICENSE")
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
    sources = [_HERE / "served.py", *sorted((_HERE / "model").glob("*.py"))]
    digest = hashlib.sha256()
    for source in sources:
        digest.update(source.relative_to(_HERE).as_posix().encode() + b"\0" + source.read_bytes())
    package = scratch / f"sttn_{digest.hexdigest()[:12]}"
    for source in sources:
        target = package / source.relative_to(_HERE)
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


def _body(argv: Sequence[str]) -> int:
    asked = parse(ExportConfig, argv, prog="training/export.py", description=str(__doc__))
    checkpoint = opened(asked.checkpoint)
    state = checkpoint.state()
    config = from_json(state["config"])
    tracking_uri = absolute_uri(asked.tracking_uri or str(config.tracking_uri))
    made = export(
        checkpoint, config, tracking_uri=tracking_uri, commit=state["commit"], model=asked.model
    )
    say(f"{made.uri} is @{names.CANDIDATE}: {checkpoint.clips} clips of run {config.name}")
    if asked.json:
        print_json({"model": made.uri, "clips": checkpoint.clips, "run": config.name})
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Export from the command line; returns the exit code."""
    return run_door(_body, argv)


if __name__ == "__main__":
    sys.exit(main())
