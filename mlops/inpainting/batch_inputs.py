"""Inputs of a batch: each video with what belongs to it, known before a frame is read."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from pydantic import TypeAdapter

from data_pipeline.cli.canonical import canonical_json
from data_pipeline.cli.command import UserError, first_few, nearest
from data_pipeline.sources.listing import is_folder, is_junk
from data_pipeline.sources.numbering import natural
from data_pipeline.sources.video_files import files_below
from data_pipeline.storage import lake
from mlops.inpainting.batch_beside import Beside, flows_of, masks_of, truths_of
from mlops.inpainting.footage_files import Footage, file_of, folder_of, is_picture
from mlops.media.mask_reading import is_boxes

TABLES = (".csv", ".parquet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One video to fill."""

    name: str
    """Of the video: below INPUTS, or as the table has it."""
    video: Footage | None
    """None where it is not there."""
    mask: str | Footage
    """Boxes, or a file or folder; "" where it is not known."""
    out: str
    """Path of the output below OUT."""
    truth: Footage | None = None
    flows: Footage | None = None
    """Folder with optical flow."""
    compare: str = ""
    """Path below OUT of a video with input and result side by side; "" = none."""
    bad: str = ""
    """Why it cannot be filled, where that is known already."""

    @property
    def outputs(self) -> list[str]:
        """Paths below OUT of what is written."""
        return [self.out, self.compare] if self.compare else [self.out]

    @property
    def read(self) -> list[Footage]:
        """Files and folders that are read."""
        given = (self.video, self.mask, self.truth, self.flows)
        return [one for one in given if isinstance(one, Footage)]

    def encode(self) -> bytes:
        """Encode for a worker."""
        return canonical_json(asdict(self))

    @staticmethod
    def decode(data: bytes) -> "Job":
        """Read what `encode` made."""
        return _JOB.validate_json(data)


_JOB = TypeAdapter(Job)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What INPUTS and the flags hold."""

    jobs: tuple[Job, ...]
    """Those of a folder in natural order of their names, those of a table in its order."""
    passed_over: tuple[str, ...] = ()
    """Names of the files of a folder that are no videos by their names."""

    def in_words(self, inputs: str) -> str:
        """How many videos there are, in a line."""
        said = f"{inputs}: {len(self.jobs)} video{'s' if len(self.jobs) != 1 else ''}"
        if not self.passed_over:
            return said
        verb = "is" if len(self.passed_over) == 1 else "are"
        which = f"{len(self.passed_over)} that {verb} none by name passed over"
        return f"{said}, {which} ({first_few(self.passed_over)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What the flags give for all videos, or for each by its name."""

    masks: Beside | None
    truths: Beside | None = None
    flows: Beside | None = None
    compare: str = ""
    """Folder below OUT; "" = nothing is compared."""

    def job(self, name: str, video: Footage, stem: str, out: str) -> Job:
        """Return the job of a video.

        Args:
            name: of the video.
            video: its files.
            stem: its path without an ending, the name of what belongs to it.
            out: path of the output below OUT.
        """
        compare = lake.join(self.compare, out) if self.compare else ""
        mask: str | Footage = ""
        try:
            mask = self.masks.of(stem) if self.masks else ""
            truth = self.truths.of(stem) if self.truths else None
            flows = self.flows.of(stem) if self.flows else None
        except LookupError as error:
            return Job(name=name, video=video, mask=mask, out=out, bad=str(error.args[0]))
        assert not isinstance(truth, str)
        assert not isinstance(flows, str)
        return Job(
            name=name, video=video, mask=mask, out=out, truth=truth, flows=flows, compare=compare
        )


def shared(masks: str, truth: str = "", flows: str = "", compare: str = "") -> Shared:
    """Look at what the flags name; see `Beside`.

    Raises:
        UserError: it is not there.
    """
    return Shared(
        masks=masks_of(masks), truths=truths_of(truth), flows=flows_of(flows), compare=compare
    )


def absolute_masks(masks: str) -> str:
    """Return --masks with an absolute path; boxes, and nothing, stay as they are."""
    return masks if not masks or is_boxes(masks) else lake.absolute(masks)


def of_folder(uri: str, given: Shared) -> Found:
    """List the videos of a folder or prefix, with what belongs to them; no video is opened.

    A folder that holds pictures, two or more, and no video is a video.

    Args:
        uri: of the folder.
        given: by the flags.

    Raises:
        UserError: there is no such folder, it holds no video, or --masks is missing.
    """
    entries = lake.list_entries(uri)
    if not entries and not is_folder(uri):
        raise _no_folder(uri)
    known = {one.name: one for one in entries}
    files, passed_over = files_below(uri, entries)
    folders = _picture_folders(entries, {file.name.rpartition("/")[0] for file in files})
    if not files and not folders:
        raise UserError(
            f"INPUTS {uri} holds no video but {len(passed_over)} other files "
            f"({first_few(passed_over) or 'none'}): give a folder of videos or of folders of "
            "pictures, or a table"
        )
    if not given.masks:
        raise UserError(
            "--masks is missing: give a mask for all videos, or a folder with one for each, or a "
            "table with a column mask as INPUTS"
        )
    videos = [
        (
            file.name,
            str(PurePosixPath(file.name).with_suffix("")),
            file_of(file.uri, known[file.name]),
        )
        for file in files
    ]
    for name, pictures in folders.items():
        videos.append((name, name, folder_of(lake.join(uri, name), pictures)))
    videos.sort(key=lambda one: (natural(one[0]), one[0]))
    used = {one.name for pictures in folders.values() for one in pictures}
    return Found(
        jobs=tuple(given.job(name, video, stem, f"{stem}.mp4") for name, stem, video in videos),
        passed_over=tuple(name for name in passed_over if name not in used),
    )


def _picture_folders(
    entries: Iterable[lake.Entry], of_videos: set[str]
) -> dict[str, Sequence[lake.Entry]]:
    """Folders that are videos, with their pictures; those with videos have covers of them."""
    folders: dict[str, list[lake.Entry]] = {}
    for one in entries:
        folder = one.name.rpartition("/")[0]
        if is_picture(one.name) and not any(map(is_junk, folder.split("/"))):
            folders.setdefault(folder, []).append(one)
    return {
        name: pictures
        for name, pictures in folders.items()
        if name and name not in of_videos and len(pictures) > 1
    }


def _no_folder(uri: str) -> UserError:
    if lake.exists(uri):
        return UserError(
            f"INPUTS {uri} is a file: give a folder of videos, or a table that ends in "
            f"{' or '.join(TABLES)}; one video is filled by mlops/inpaint.py"
        )
    beside = (
        [p.name for p in Path(uri).parent.iterdir()] if is_folder(str(Path(uri).parent)) else []
    )
    return UserError(
        f"INPUTS {uri} is not there{nearest(Path(uri).name, beside)}: give a folder or s3:// "
        "prefix of videos, or a table"
    )
