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
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

from torch import Tensor
from torch import distributed as dist
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import (
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
)

from data_pipeline.cli.canonical import canonical_json
from data_pipeline.cli.command import Refused, UserError
from data_pipeline.cli.scratch import scratch_folder
from data_pipeline.storage import lake
from data_pipeline.storage.lease import Claim, LeaseLost
from training.learn import parallel

SCHEMA = 1
T = TypeVar("T")

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
    score: float | None = None
    """Hole loss, lower is better; None = not known."""

    def problem(self) -> str | None:
        """Why the first bad file does not match the manifest; None when all hashes match."""
        for name, expected in sorted(self.files.items()):
            uri = lake.join(self.uri, name)
            if not lake.exists(uri):
                return f"{name} is missing"
            with lake.local_copy(uri) as path:
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
        """The JSON values that `save` was given beside the tensors."""
        document: dict[str, Any] = json.loads(lake.read_bytes(lake.join(self.uri, STATE)))
        return document

    @contextlib.contextmanager
    def checked(self) -> Iterator["Checkpoint"]:
        """This checkpoint, its hashes compared, its files on disk: one download from S3 for both.

        Raises:
            UserError: a file is not what the manifest says.
        """
        with contextlib.ExitStack() as stack:
            here = self
            if lake.is_s3(self.uri):
                scratch = stack.enter_context(scratch_folder("checkpoint"))
                here = replace(self, uri=str(scratch))
                for name in self.files:
                    with contextlib.suppress(FileNotFoundError):  # it is missing in the copy too
                        lake.download(lake.join(self.uri, name), scratch / name)
            problem = here.problem()
            if problem is not None:
                raise UserError(f"{self.uri}: {problem}")
            yield here

    def load(self, tensors: dict[str, Tensor], *, alone: bool = False) -> None:
        """Fill these tensors in place, sharded as they lie; any subset of what was saved.

        Args:
            tensors: by name, plain or sharded.
            alone: this process loads plain tensors for itself; otherwise the call is collective
                when a process group is there.

        Raises:
            Refused: files are not there any more, or are not what they were.
        """
        with _local_directory(self.uri, self.files) as directory, _known_warnings():
            try:
                state_dict_loader.load(
                    tensors,
                    storage_reader=HuggingFaceStorageReader(str(directory)),
                    no_dist=alone or not dist.is_initialized(),
                )
            except CheckpointException as error:  # no `Exception`: nobody else would catch it
                raise Refused(f"checkpoint {self.uri} cannot be loaded ({_why(error)})") from error


class NotWritten(Refused):
    """A checkpoint could not be written."""


class NotOurs(NotWritten):
    """Another driver has the run: no later checkpoint can be written either."""


def _why(error: CheckpointException) -> str:
    return "; ".join(f"rank {rank}: {one[0]}" for rank, one in error.failures.items())


def save(
    run_uri: str,
    clips: int,
    tensors: dict[str, Tensor],
    state: Mapping[str, Any],
    *,
    score: float | None = None,
    group: dist.ProcessGroup | None = None,
    claim: Claim | None = None,
) -> str:
    """Write a checkpoint; every rank its own shard. Collective. Returns its URI.

    Args:
        run_uri: `<storage>/<run>`.
        clips: clips seen by the generator.
        tensors: by name, plain or sharded.
        state: JSON values that belong to it.
        score: hole loss, lower is better.
        group: of all ranks, in which they agree; None = the default one.
        claim: on the run, looked at right before each rank writes and before the manifest: the
            workers of a lost driver may live on for a while beside those of the next.

    Raises:
        NotWritten: on every rank, naming the one that could not and why; there is no manifest then.
        NotOurs: likewise, because of the claim.
    """
    uri = checkpoint_uri(run_uri, clips)
    with scratch_folder("checkpoint") as scratch, _known_warnings():
        try:
            state_dict_saver.save(
                tensors,
                storage_writer=HuggingFaceStorageWriter(str(scratch), save_distributed=True),
                process_group=group,
                no_dist=not dist.is_initialized(),
            )
        except CheckpointException as error:  # raised on every rank
            raise NotWritten(f"{uri} was not written ({_why(error)})") from error
        shards = _agreed(uri, lambda: _uploaded(scratch, uri, claim), group)
    files = {name: entry for shard in shards for name, entry in shard.items()}

    def finish() -> None:
        if not dist.is_initialized() or dist.get_rank() == 0:
            if claim is not None:
                claim.check()
            _write_manifest(uri, clips, files, state, score)

    _agreed(uri, finish, group)
    return uri


def _uploaded(folder: Path, uri: str, claim: Claim | None) -> dict[str, dict[str, Any]]:
    """Upload this rank's files to the checkpoint; returns name -> size and sha256."""
    if claim is not None:
        claim.check()
    written = {}
    for path in sorted(folder.glob("*.safetensors")):
        lake.upload(path, lake.join(uri, path.name))
        written[path.name] = _fingerprint(path)
    return written


def _write_manifest(
    uri: str,
    clips: int,
    files: Mapping[str, Mapping[str, Any]],
    state: Mapping[str, Any],
    score: float | None,
) -> None:
    document = canonical_json({**state, "clips": clips})
    lake.write_bytes(lake.join(uri, STATE), document)
    fingerprint = {"size": len(document), "sha256": hashlib.sha256(document).hexdigest()}
    manifest = {"schema": SCHEMA, "clips": clips, "files": {**files, STATE: fingerprint}}
    if score is not None:
        manifest["score"] = score
    lake.write_bytes(lake.join(uri, MANIFEST), canonical_json(manifest))


def _agreed(uri: str, step: Callable[[], T], group: dist.ProcessGroup | None) -> list[T]:
    """Results of a step on every rank; an error on one is raised on all. Collective."""
    own: tuple[T | None, str, bool]
    try:
        own = step(), "", True
    except Exception as error:  # of any kind: the other ranks wait for this one's outcome
        own = None, f"{type(error).__name__}: {error}", not isinstance(error, LeaseLost)
    outcomes = parallel.gathered(own, group)
    wrong = [f"rank {rank}: {said}" for rank, (_, said, _) in enumerate(outcomes) if said]
    if wrong:
        kind = NotWritten if all(ours for _, _, ours in outcomes) else NotOurs
        raise kind(f"{uri} was not written ({'; '.join(wrong)})")
    return [cast(T, value) for value, _, _ in outcomes]


def checkpoint_uri(run_uri: str, clips: int) -> str:
    """URI of the checkpoint of a run at a number of clips."""
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
        score = document.get("score")
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"{manifest} is damaged: it is not what was written") from error
    if schema != SCHEMA:
        raise UserError(f"{uri} has schema {schema}; this version reads {SCHEMA}")
    return Checkpoint(uri, clips, files, score)


def newest(run_uri: str) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint of a run whose files match its manifest, and why newer ones do not."""
    found, _, foreign = _directories(run_uri)
    skipped = [f"{uri} is not named as a checkpoint: it is left alone" for uri in foreign]
    for clips, uri in sorted(found.items(), reverse=True):
        try:
            checkpoint = opened(uri)
        except (UserError, ValueError) as error:
            skipped.append(str(error))
            continue
        problem = _misnamed(checkpoint, clips) or checkpoint.problem()
        if problem is None:
            return checkpoint, skipped
        skipped.append(f"{uri}: {problem}")
    return None, skipped


def kept(scores: Mapping[int, float | None], newest: int, every: int) -> set[int]:
    """Checkpoints of a run that stay: the newest, the best, and one of each interval.

    Args:
        scores: clips -> hole loss; None = not known.
        newest: how many of the newest.
        every: clips; the first at or after each multiple stays. 0 = none.

    Returns:
        Clips.
    """
    clips = sorted(scores)
    stay = set(clips[-newest:])
    known = [(score, one) for one, score in scores.items() if score is not None]
    if known:
        stay.add(min(known)[1])
    if every:
        firsts: dict[int, int] = {}
        for one in clips:
            firsts.setdefault(one // every, one)
        stay |= {one for multiple, one in firsts.items() if multiple}
    return stay


def complete(run_uri: str) -> dict[int, str]:
    """Clips -> URI of every checkpoint of a run that has a manifest."""
    _, finished, _ = _directories(run_uri)
    return finished


def prune(run_uri: str, newest: int, every: int = 0) -> None:
    """Delete the checkpoints that need not stay (`kept`); the manifest of each goes first."""
    known = {}
    for clips, uri in complete(run_uri).items():
        with contextlib.suppress(UserError):  # a damaged one is left for a person to look at
            one = opened(uri)
            if not _misnamed(one, clips):
                known[uri] = one
    stay = kept({one.clips: one.score for one in known.values()}, newest, every)
    for uri in (uri for uri, one in known.items() if one.clips not in stay):
        ordered = sorted(lake.list_files(uri), key=lambda one: one != MANIFEST)
        lake.remove_files(uri, ordered)


def _directories(run_uri: str) -> tuple[dict[int, str], dict[int, str], list[str]]:
    """Clips -> URI of all checkpoints, of those with a manifest; URIs of foreign folders.

    Copies that people leave there ("clips-000000004.bak") are foreign.
    """
    root = lake.join(run_uri, "checkpoints")
    files = lake.list_files(root)
    named, foreign = {}, []
    for name, inside in sorted({(one.split("/")[0], "/" in one) for one in files}):
        uri, number = lake.join(root, name), re.fullmatch(r"clips-([0-9]{9,})", name)
        if inside and number and uri == checkpoint_uri(run_uri, int(number[1])):
            named[int(number[1])] = uri
        elif name.startswith("clips-"):
            foreign.append(uri)
    there = set(files)
    finished = {n: uri for n, uri in named.items() if f"{uri[len(root) + 1 :]}/{MANIFEST}" in there}
    return named, finished, foreign


def _misnamed(checkpoint: Checkpoint, clips: int) -> str | None:
    """A message where the manifest has other clips than the directory: a copy; None if equal."""
    if checkpoint.clips == clips:
        return None
    return f"its {MANIFEST} is of {checkpoint.clips} clips: it is left alone"


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
def _local_directory(uri: str, files: Iterable[str]) -> Iterator[Path]:
    """A local directory of these files alone: the reader takes every shard that it finds.

    A writer that was killed may have left others, when more processes wrote than after it.
    """
    with scratch_folder("checkpoint") as scratch:
        for name in files:
            if not lake.is_s3(uri):
                with contextlib.suppress(OSError):  # the temporary folder may know no such links
                    (scratch / name).symlink_to(Path(uri, name).absolute())
                    continue
            lake.download(lake.join(uri, name), scratch / name)
        yield scratch


@contextlib.contextmanager
def _known_warnings() -> Iterator[None]:
    """Ignore torch's warnings about a single process and about its storage classes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.distributed is disabled.*")
        warnings.filterwarnings("ignore", message=".*TypedStorage is deprecated.*")
        yield
