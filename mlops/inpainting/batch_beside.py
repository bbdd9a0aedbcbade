"""What belongs to each video of a batch by its name: its mask, its ground truth, its flow."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from data_pipeline.cli.command import UserError, first_few
from data_pipeline.sources.listing import is_folder, is_junk, is_sidecar
from data_pipeline.storage import lake
from mlops.inpainting.footage_files import (
    Footage,
    file_of,
    find_footage,
    folder_of,
    is_picture,
)
from mlops.media.mask_reading import is_boxes

MASK, TRUTH, FLOWS = "mask", "ground truth", "optical flow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What a flag gives: one for all videos, or one for each."""

    what: str
    """MASK, TRUTH or FLOWS."""
    uri: str
    all: str | Footage | None = None
    """One for all videos."""
    each: Mapping[str, Sequence[Footage]]
    """Path of a video below INPUTS, without ending -> what there is of that name."""

    def of(self, stem: str) -> str | Footage:
        """Return what belongs to a video.

        Raises:
            LookupError: there is none, or there are several.
        """
        if self.all is not None:
            return self.all
        found = self.each.get(stem, ())
        if not found:
            raise LookupError(f"has no {self.what}: {self.uri} has none of the name {stem}")
        if len(found) > 1:
            which = first_few(one.uri for one in found)
            raise LookupError(f"has {len(found)} {self.what}s: {which}")
        return found[0]


def masks_of(masks: str) -> Beside | None:
    """Look at --masks; None where it is not given.

    Raises:
        UserError: it is not there.
    """
    if is_boxes(masks):
        return Beside(what=MASK, uri=masks, all=masks, each={})
    cure = "give a picture, a video, boxes x,y,width,height, or a folder with a mask for each video"
    return _of_names(masks, MASK, "--masks", cure)


def truths_of(truth: str) -> Beside | None:
    """Look at --truth; None where it is not given.

    Raises:
        UserError: it is not there.
    """
    return _of_names(truth, TRUTH, "--truth", "give a folder with a video of the name of each one")


def flows_of(flows: str) -> Beside | None:
    """Look at --flows; None where it is not given.

    Raises:
        UserError: it is not there.
    """
    if not flows:
        return None
    uri = lake.absolute(flows)
    folders: dict[str, list[lake.Entry]] = {}
    for one in lake.list_entries(uri):
        *above, way, _ = ("", "", *one.name.split("/"))
        if way in ("forward", "backward"):
            folders.setdefault("/".join(above).strip("/"), []).append(one)
    if not folders:
        raise UserError(
            f"--flows {flows} has no optical flow: give a folder that has for each video a folder "
            "of its name with forward/00000.flo … and backward/00000.flo …"
        )
    each = {name: [_summed(lake.join(uri, name), files)] for name, files in folders.items()}
    return Beside(what=FLOWS, uri=uri, each=each)


def find_flows(uri: str) -> Footage | None:
    """Find the flow of one video; None where there is no file."""
    entries = lake.list_entries(uri)
    return _summed(uri, entries) if entries else None


def _of_names(given: str, what: str, flag: str, cure: str) -> Beside | None:
    if not given:
        return None
    uri = lake.absolute(given)
    entries = lake.list_entries(uri)
    if entries or is_folder(uri):
        return Beside(what=what, uri=uri, each=_by_stem(uri, entries))
    found = find_footage(uri)
    if found is None:
        raise UserError(f"{flag} {given} is not there: {cure}")
    return Beside(what=what, uri=uri, all=found, each={})


def _by_stem(uri: str, entries: Iterable[lake.Entry]) -> dict[str, list[Footage]]:
    """Files and folders of pictures below a folder, by their paths without an ending."""
    found: dict[str, list[Footage]] = {}
    folders: dict[str, list[lake.Entry]] = {}
    for one in entries:
        path = PurePosixPath(one.name)
        picture = is_picture(one.name)
        if any(map(is_junk, path.parts)) or (is_sidecar(path.name) and not picture):
            continue
        found.setdefault(str(path.with_suffix("")), []).append(
            file_of(lake.join(uri, one.name), one)
        )
        if picture and path.parent.name:
            folders.setdefault(str(path.parent), []).append(one)
    for name, pictures in folders.items():
        found.setdefault(name, []).append(folder_of(lake.join(uri, name), pictures))
    return found


def _summed(uri: str, entries: Sequence[lake.Entry]) -> Footage:
    """Thousands of files as one entry, which is another one when any of them was changed."""
    size, newest = sum(one.size for one in entries), max(one.modified for one in entries)
    return Footage(uri=uri, files=((f"{len(entries)} files", size, newest),), folder=True)
