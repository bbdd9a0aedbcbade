"""Tracks and metadata of a source file beside its frames, copied into the file that is written.

Sound, subtitles, attached fonts, a cover, chapters, titles and what else is said of the file and of
its tracks are copied where the container takes them; what it does not take is named.
"""

import io
from collections import Counter
from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, final

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import AttachmentStream, DataStream, Disposition, Stream
from av.subtitles.stream import SubtitleStream
from av.video.stream import VideoStream

from data_pipeline.cli.command import UserError
from data_pipeline.sources import decoding
from mlops.media.encoders import FORMATS
from mlops.media.subtitles import TEXTS, Texts
from mlops.media.video import Audio

if TYPE_CHECKING:
    from av.container.core import Chapter  # of the stubs only

_Packet: TypeAlias = "Packet[Any]"

MATROSKA = (".mkv", ".webm")
# Keys that the program which writes a file sets, or that are true of the old file only.
_OF_THE_FILE = {
    "brand", "compatible_brands", "duration", "encoder", "handler_name", "major_brand",
    "minor_version", "vendor_id", "bps", "number_of_frames", "number_of_bytes", "rotate",
    "software", "alpha_mode",
}  # fmt: skip


@cache
def taken_by(suffix: str) -> frozenset[str]:
    """Codecs that a container takes, by the names of their decoders and encoders."""
    with av.open(io.BytesIO(), "w", format=FORMATS[suffix]) as container:
        return frozenset(container.supported_codecs)


def refuse_sound(audio: tuple[Audio, ...], suffix: str) -> None:
    """Sound is copied as it is, so the container must take it.

    Raises:
        UserError: it does not.
    """
    for number, track in enumerate(audio, start=1):
        if track.codec not in taken_by(suffix):
            other = "OUT as .mkv, or " if track.codec in taken_by(".mkv") else ""
            raise UserError(
                f"audio track {number} is {track.codec}, which {suffix} does not take: give "
                f"{other}--no-audio"
            )


@final
class Tracks:
    """The tracks that are copied from one file to another.

    Args:
        path: of the file they are in.
        source: the same, opened, at its start.
        video: its stream of frames, which is not copied.
        target: the file that is written, nothing of which is written yet.
        suffix: of that file.
        audio: copy the sound.
    """

    def __init__(
        self,
        path: Path,
        source: InputContainer,
        video: VideoStream,
        target: OutputContainer,
        suffix: str,
        *,
        audio: bool,
    ) -> None:
        self._path, self._source, self._target, self._suffix = path, source, target, suffix
        self._taken = taken_by(suffix)
        self._step = 0 if suffix in MATROSKA else 1  # ticks from one packet to the next at least
        self._copies: dict[int, Stream] = {}
        self._texts: dict[int, Texts] = {}
        self._lost: Counter[str] = Counter()
        for stream in source.streams:
            if stream.index == video.index or (stream.type == "audio" and not audio):
                continue
            if stream.type == "data" and (_of_chapters(stream) or "timecode" in video.metadata):
                continue  # the container writes it anew
            self._add(stream)

    @property
    def start(self) -> Fraction | None:
        """When the first of the sound is heard, seconds on the clock of the source."""
        starts = [
            one.start_time * one.time_base
            for one in self._source.streams.audio
            if one.index in self._copies and one.start_time is not None and one.time_base
        ]
        return min(starts, default=None)

    def lost(self) -> list[str]:
        """Describe what is not copied."""
        return counted(self._lost)

    def packets(self, origin: Fraction) -> Iterator[_Packet]:
        """Everything to be copied, in the order of the file; `origin` seconds are time 0.

        Raises:
            UserError: the file is damaged there.
        """
        last: dict[int, int] = {}
        for packet in self._demuxed():
            stream = packet.stream
            shift = 0 if packet.dts is None else round(origin / packet.time_base)
            at = (packet.dts or 0) - shift
            # Muxers refuse what goes back in time, as in joined files; Matroska's stands still
            # where packets are shorter than its clock ticks.
            least = last.get(stream.index, at - self._step) + self._step
            packet.dts = last[stream.index] = max(at, least)
            packet.pts = packet.dts if packet.pts is None else max(packet.pts - shift, packet.dts)
            if stream.index in self._texts:
                yield from self._texts[stream.index].converted(packet)
            else:
                packet.stream = self._copies[stream.index]
                yield packet

    def _demuxed(self) -> Iterator[_Packet]:
        wanted = [s for s in self._source.streams if s.index in self._copies | self._texts]
        try:
            for packet in self._source.demux(wanted) if wanted else ():
                # The last one of a track is empty; a cover has no time.
                if packet.size and (packet.dts is not None or _is_cover(packet.stream)):
                    yield packet
        except (av.FFmpegError, OSError) as error:
            raise UserError(
                f"{self._path}: its sound or subtitles cannot be read to the end "
                f"({error.strerror}): mend it first, or give --no-audio"
            ) from error

    def _add(self, stream: Stream) -> None:
        if _is_cover(stream):
            self._add_cover(stream)
        elif isinstance(stream, AttachmentStream) and self._suffix == ".mkv":
            self._named(self._target.add_stream_from_template(stream), stream)
        elif stream.type in ("audio", "subtitle") and stream.codec_context is not None:
            self._add_track(stream)
        else:
            self._lost[kind_of(stream)] += 1

    def _add_track(self, stream: Stream) -> None:
        codec = stream.codec_context.codec
        if codec.name in self._taken:
            copy = self._target.add_stream_from_template(stream)
            self._copies[stream.index] = self._named(copy, stream)
            return
        into = next((one for one in TEXTS if one in self._taken), None)
        if isinstance(stream, SubtitleStream) and codec.canonical_name in TEXTS and into:
            track = self._target.add_stream(into)
            assert isinstance(track, SubtitleStream)
            self._named(track, stream)
            self._texts[stream.index] = Texts(stream, track)
            return
        cure = ": OUT as .mkv keeps it" if codec.name in taken_by(".mkv") else ""
        no = f"{self._suffix} does not take {codec.canonical_name}{cure}"
        self._lost[f"{stream.type} track ({no})"] += 1

    def _add_cover(self, stream: Stream) -> None:
        if self._suffix == ".mp4" and stream.codec_context is not None:
            copy = self._target.add_stream_from_template(stream, opaque=True)
            copy.disposition = Disposition.attached_pic
            self._copies[stream.index] = copy
        elif self._suffix == ".mkv" and stream.codec_context is not None:
            name = stream.codec_context.codec.canonical_name
            end, kind = ("jpg", "image/jpeg") if name == "mjpeg" else (name, f"image/{name}")
            self._target.add_attachment(f"cover.{end}", kind, self._picture(stream.index))
        else:
            self._lost[kind_of(stream)] += 1

    def _picture(self, index: int) -> bytes:
        """Attachments are written before anything else, so this one is read on its own."""
        with decoding.opened(self._path) as source:
            for packet in source.demux(source.streams[index]):
                if packet.size:
                    return bytes(packet)
        return b""

    def _named(self, copy: Stream, stream: Stream) -> Stream:
        copy.metadata.update(stated_metadata(stream.metadata))
        if not isinstance(stream, AttachmentStream):
            copy.disposition = stream.disposition
        return copy


def _of_chapters(stream: Stream) -> bool:
    """Return True where QuickTime keeps the titles of chapters in it."""
    return isinstance(stream, DataStream) and stream.name == "bin_data"


def _is_cover(stream: Stream) -> bool:
    return bool(stream.disposition & Disposition.attached_pic)


def kind_of(stream: Stream) -> str:
    """Describe a track in words."""
    if _is_cover(stream):
        return "cover picture"
    kinds = {"video": "more video track", "attachment": "attached file"}
    return kinds.get(stream.type, f"{stream.type} track")


def counted(kinds: Mapping[str, int]) -> list[str]:
    """How many there are of what, which may end in a bracket."""
    words = []
    for kind, number in kinds.items():
        if not number:
            continue
        noun, space, rest = kind.partition(" (")
        words.append(f"{number} {noun}{'s' * (number > 1)}{space}{rest}")
    return words


def stated_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Metadata that a person set on a file or a track, without that of its writer."""
    kept = {
        key: value
        for key, value in metadata.items()
        if key.lower() not in _OF_THE_FILE and not key.startswith("_STATISTICS")
    }
    if "name" in kept:  # QuickTime's word for the title of a track
        kept.setdefault("title", kept.pop("name"))
    return {key: value for key, value in kept.items() if (key, value) != ("language", "und")}


def copy_metadata(
    source: InputContainer, target: OutputContainer, suffix: str, origin: Fraction
) -> list[str]:
    """Copy chapters and what is said of a file; returns in words what is not kept.

    Args:
        source: from where.
        target: to where.
        suffix: of the target.
        origin: seconds on the clock of the source that are time 0 of the target.
    """
    metadata = stated_metadata(source.metadata)
    target.metadata.update(metadata)
    chapters = [_shifted(one, origin) for one in source.chapters()]
    kept = [one for one in chapters if one["end"] > one["start"]]
    target.set_chapters(kept)
    lost = counted({"chapter (outside of the film)": len(chapters) - len(kept)})
    taken = metadata if suffix in MATROSKA else _taken(FORMATS[suffix], metadata)
    keys = sorted(key for key in metadata if key.lower() not in {one.lower() for one in taken})
    return lost + ([f"metadata ({', '.join(keys)})"] if keys else [])


def _shifted(chapter: "Chapter", origin: Fraction) -> "Chapter":
    """On the clock of the target, on which nothing is before 0; of no length when it was."""
    assert chapter["time_base"] is not None
    shift = round(origin / chapter["time_base"])
    start = max(0, chapter["start"] - shift)
    return chapter | {"start": start, "end": max(start, chapter["end"] - shift)}


def _taken(form: str, metadata: Mapping[str, str]) -> dict[str, str]:
    """Return what is read again after it was written into a file without frames."""
    file = io.BytesIO()
    with av.open(file, "w", format=form) as target:
        target.add_mux_stream("h264", width=16, height=16)
        target.metadata.update(metadata)
        target.start_encoding()
    file.seek(0)
    with av.open(file, format=form) as written:
        return dict(written.metadata)
