"""Assigns videos to splits: a pure function of the records and the options.

Without an option a video keeps the split of its layout; "" means that the layout has it in none,
and it is not taken.
"""

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from data_pipeline.cli.command import UserError, first_few, nearest
from data_pipeline.sources.ids import video_id
from data_pipeline.sources.listing import decoded, json_file
from data_pipeline.sources.record import TEST, TRAIN, SourceVideo
from data_pipeline.storage import lake

_LISTED = 10  # ids that a message names
_SPLIT = re.compile(r"[a-z][a-z0-9_]*")


def assign(
    videos: Sequence[SourceVideo],
    *,
    held_out: Sequence[str],
    test_share: float,
    seed: int,
    lists: Mapping[str, Collection[str]],
) -> tuple[SourceVideo, ...]:
    """Assign every video that is taken to a split; at most one of the three ways is used.

    Args:
        videos: with unique ids, in the splits of their layout.
        held_out: ids of the split `test`; that of a photograph names all its videos.
        test_share: share of the videos, 0 to 1, drawn into `test`, the rest is `train`.
        seed: of that draw.
        lists: split -> its ids; other videos are not taken.

    Raises:
        UserError: an id is unknown or in two lists, or a split that must not be empty is.
    """
    if lists:
        chosen = _by_lists(videos, lists)
    elif held_out:
        chosen = _by_held_out(videos, held_out)
    elif test_share:
        chosen = _by_share(videos, test_share, seed)
    else:
        return tuple(video for video in videos if video.split)
    if not any(video.split == TRAIN for video in chosen):
        raise UserError(
            f"none of the {len(chosen)} videos is left in the split 'train': hold out fewer"
        )
    return chosen


def drawn_for_test(video: str, share: float, seed: int) -> bool:
    """Say whether a video is drawn into `test`: depends on (seed, id) alone, on no other video."""
    digest = hashlib.sha256(f"test-share:{seed}:{video}".encode()).digest()
    return int.from_bytes(digest[:8]) < share * 2**64


def read_lists(flags: Sequence[str]) -> dict[str, set[str]]:
    """Read the lists that `--split-lists SPLIT=FILE ...` names: split -> ids.

    Raises:
        UserError: a flag or a list cannot be read, or a split is given twice.
    """
    lists: dict[str, set[str]] = {}
    for flag in flags:
        split, equals, file = flag.partition("=")
        if not equals or not file or not _SPLIT.fullmatch(split):
            raise UserError(
                f"--split-lists {flag!r} is not SPLIT=FILE, for example train=train.json"
            )
        if split in lists:
            raise UserError(f"--split-lists gives {split!r} twice: put the ids in one file")
        lists[split] = {video_id(name) for name in _names(lake.absolute(file))}
    return lists


def _names(uri: str) -> list[str]:
    try:
        data = lake.read_bytes(uri)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise UserError(f"--split-lists {uri} is not there: give a list of ids") from error
    try:
        text = decoded(data)
    except UnicodeDecodeError as error:
        raise UserError(f"--split-lists {uri} is no text: give a list of ids") from error
    if text.lstrip()[:1] not in ("[", "{"):
        return [name for line in text.splitlines() if (name := line.strip())]
    names = json_file(uri, data)
    if not all(isinstance(name, str) for name in names):
        raise UserError(f"--split-lists {uri} holds something that is no id: give a list of ids")
    return list(names)


def _by_lists(
    videos: Sequence[SourceVideo], lists: Mapping[str, Collection[str]]
) -> tuple[SourceVideo, ...]:
    split_of: dict[str, str] = {}
    for split, names in lists.items():
        both = [name for name in names if name in split_of]
        if both:
            raise UserError(
                f"--split-lists has {len(both)} ids in {split_of[min(both)]!r} and in {split!r} "
                f"({first_few(both)}): each belongs in one"
            )
        split_of.update(dict.fromkeys(names, split))
    _refuse_unknown("--split-lists", split_of, videos)
    names = {v.id: v.id if v.id in split_of else v.footage for v in videos}
    return tuple(replace(v, split=split_of[names[v.id]]) for v in videos if names[v.id] in split_of)


def _by_held_out(videos: Sequence[SourceVideo], held_out: Sequence[str]) -> tuple[SourceVideo, ...]:
    _refuse_unknown("--held-out", held_out, videos)
    test = set(held_out)
    changed = (
        replace(video, split=TEST) if test & {video.id, video.footage} else video
        for video in videos
    )
    return tuple(video for video in changed if video.split)


def _by_share(videos: Sequence[SourceVideo], share: float, seed: int) -> tuple[SourceVideo, ...]:
    taken = [video for video in videos if video.split]
    chosen = tuple(
        replace(video, split=TEST if drawn_for_test(video.footage, share, seed) else TRAIN)
        for video in taken
    )
    tests = sum(video.split == TEST for video in chosen)
    if not 0 < tests < len(chosen):
        raise UserError(
            f"--test-share {share} draws {tests} of {len(chosen)} videos into 'test': "
            "choose another share or seed, or name them with --held-out"
        )
    return chosen


def _refuse_unknown(flag: str, ids: Collection[str], videos: Sequence[SourceVideo]) -> None:
    known = {video.id for video in videos} | {video.footage for video in videos}
    unknown = sorted(set(ids) - known)
    if not unknown:
        return
    raise UserError(
        f"{flag} names {len(unknown)} ids that are not among the videos ({first_few(unknown)})"
        f"{nearest(unknown[0], known)}: they are {first_few(known, _LISTED)}"
    )
