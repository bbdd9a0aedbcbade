"""Checkpoints: sharded safetensors, and a manifest of hashes written last.

    <storage>/<run>/checkpoints/clips-000000400/
        shard-00001-model-00001-of-00001.safetensors     one for each rank that wrote
        state.json                                       position, config, data digest
        manifest.json                                    size and sha256 of the others

A directory without a manifest, or with a file that does not match it, is not a checkpoint. Nothing
is pickled, and a checkpoint loads at any number of processes. Every random choice of training is a
function of the seed and the position, so there is no generator state to keep.
"""

import contextlib
import hashlib
import json
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from torch import distributed as dist
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.hf_storage import (
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
)

from data_pipeline import lake
from data_pipeline.canonical import canonical_json
from data_pipeline.door import UserError
from training import parallel

SCHEMA = 1
MANIFEST = "manifest.json"
STATE = "state.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint whose manifest was read; `problem` says whether its files still match it."""

    uri: str
    clips: int
    """Clips seen by the generator."""
    files: Mapping[str, Mapping[str, Any]]
    """Name -> size in bytes and sha256."""

    def problem(self) -> str | None:
        """What is wrong with the files, naming the first bad one; None when all hashes match."""
        for name, expected in sorted(self.files.items()):
            uri = lake.join(self.uri, name)
            if not lake.exists(uri):
                return f"{name} is missing"
            with _local(uri) as path:
                found = _fingerprint(path)
            if found != expected:
                return (
                    f"{name} has {found['size']} bytes with sha256 {found['sha256'][:12]}, the "
                    f"manifest says {expected['size']} with {expected['sha256'][:12]}"
                )
        clips = self.state()["clips"]
        if clips != self.clips:
            return f"{MANIFEST} says {self.clips} clips, {STATE} says {clips}"
        return None

    def state(self) -> dict[str, Any]:
        """What `save` was given beside the tensors."""
        document: dict[str, Any] = json.loads(lake.read_bytes(lake.join(self.uri, STATE)))
        return document

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Fill these tensors in place, sharded as they lie; any subset of what was saved.

        Collective when a process group is there.
        """
        with _local_directory(self.uri, self.files) as directory, _known_warnings():
            state_dict_loader.load(
                tensors,
                storage_reader=HuggingFaceStorageReader(str(directory)),
                no_dist=not dist.is_initialized(),
            )


def save(run_uri: str, clips: int, tensors: dict[str, Tensor], state: Mapping[str, Any]) -> str:
    """Write a checkpoint; every rank its own shard. Collective. Returns its URI.

    Args:
        run_uri: `<storage>/<run>`.
        clips: clips seen by the generator.
        tensors: by name, plain or sharded.
        state: JSON values that belong to it.
    """
    uri = checkpoint_uri(run_uri, clips)
    with tempfile.TemporaryDirectory(prefix="sttn-checkpoint-") as scratch, _known_warnings():
        state_dict_saver.save(
            tensors,
            storage_writer=HuggingFaceStorageWriter(scratch, save_distributed=True),
            no_dist=not dist.is_initialized(),
        )
        written = {}
        for path in sorted(Path(scratch).glob("*.safetensors")):
            lake.upload(path, lake.join(uri, path.name))
            written[path.name] = _fingerprint(path)
    files = {name: entry for rank in parallel.gathered(written) for name, entry in rank.items()}
    if not dist.is_initialized() or dist.get_rank() == 0:
        document = canonical_json({**state, "clips": clips})
        lake.write_bytes(lake.join(uri, STATE), document)
        files[STATE] = {"size": len(document), "sha256": hashlib.sha256(document).hexdigest()}
        manifest = canonical_json({"schema": SCHEMA, "clips": clips, "files": files})
        lake.write_bytes(lake.join(uri, MANIFEST), manifest)
    return uri


def checkpoint_uri(run_uri: str, clips: int) -> str:
    """Where the checkpoint of a run at a number of clips lies."""
    return lake.join(run_uri, "checkpoints", f"clips-{clips:09d}")


def opened(uri: str) -> Checkpoint:
    """Read the manifest of one checkpoint.

    Raises:
        UserError: there is none, it is damaged, or it is of another schema.
    """
    manifest = lake.join(uri, MANIFEST)
    if not lake.exists(manifest):
        raise UserError(f"{uri} is no checkpoint: it has no {MANIFEST}")
    try:
        document = json.loads(lake.read_bytes(manifest))
        schema, clips = document["schema"], document["clips"]
        files = {
            name: {"size": entry["size"], "sha256": entry["sha256"]}
            for name, entry in document["files"].items()
        }
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"{manifest} is damaged: it is not what was written") from error
    if schema != SCHEMA:
        raise UserError(f"{uri} has schema {schema}; this version reads {SCHEMA}")
    return Checkpoint(uri, clips, files)


def newest(run_uri: str) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint of a run whose files match its manifest, and what was passed over."""
    root = lake.join(run_uri, "checkpoints")
    directories = sorted({name.split("/")[0] for name in lake.list_files(root)}, reverse=True)
    passed_over = []
    for directory in directories:
        uri = lake.join(root, directory)
        try:
            checkpoint = opened(uri)
        except (UserError, ValueError) as error:
            passed_over.append(str(error))
            continue
        problem = checkpoint.problem()
        if problem is None:
            return checkpoint, passed_over
        passed_over.append(f"{uri}: {problem}")
    return None, passed_over


def prune(run_uri: str, keep: int) -> None:
    """Delete all but the newest `keep` checkpoints; the manifest of each goes first."""
    root = lake.join(run_uri, "checkpoints")
    names = lake.list_files(root)
    complete = sorted(name.split("/")[0] for name in names if name.endswith("/" + MANIFEST))
    for directory in complete[:-keep]:
        doomed = [
            name.removeprefix(directory + "/") for name in names if name.startswith(directory + "/")
        ]
        ordered = sorted(doomed, key=lambda one: one != MANIFEST)
        lake.remove_files(lake.join(root, directory), ordered)


def weights_sha256(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over whole networks: for each name in order, the name, dtype, shape and bytes.

    Args:
        tensors: unsharded, on the CPU.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        header = [name, str(tensor.dtype), list(tensor.shape)]
        digest.update(canonical_json(header) + b"\n")
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _fingerprint(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {"size": path.stat().st_size, "sha256": sha256}


@contextlib.contextmanager
def _local(uri: str) -> Iterator[Path]:
    """A local path of one file: itself on disk, a copy for a moment from elsewhere."""
    if "://" not in uri:
        yield Path(uri)
        return
    with tempfile.TemporaryDirectory(prefix="sttn-checkpoint-") as scratch:
        copy = Path(scratch) / "file"
        lake.download(uri, copy)
        yield copy


@contextlib.contextmanager
def _local_directory(uri: str, files: Iterable[str]) -> Iterator[Path]:
    """A local directory of these files alone: the reader takes every shard that it finds.

    A writer that was killed may have left others, when more processes wrote than after it.
    """
    with tempfile.TemporaryDirectory(prefix="sttn-checkpoint-") as scratch:
        for name in files:
            if lake.is_s3(uri):
                lake.download(lake.join(uri, name), Path(scratch) / name)
            else:
                (Path(scratch) / name).symlink_to(Path(uri, name).absolute())
        yield Path(scratch)


@contextlib.contextmanager
def _known_warnings() -> Iterator[None]:
    """What torch says of a single process and of its storage classes is no news here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.distributed is disabled.*")
        warnings.filterwarnings("ignore", message=".*TypedStorage is deprecated.*")
        yield
