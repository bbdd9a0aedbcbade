"""Subtitles of plain text from the form of one container into that of another."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, TypeAlias, final

from av.packet import Packet
from av.subtitles.stream import SubtitleStream
from av.subtitles.subtitle import AssSubtitle, SubtitleSet

_Packet: TypeAlias = "Packet[Any]"

TEXTS = ("subrip", "mov_text", "webvtt", "text")
"""Forms of plain text that are made of each other, the most usual one first."""

_MS = Fraction(1, 1000)


@final
class Texts:
    """One track of texts, read in the form of its source and written in that of its target.

    Args:
        source: where it is read from.
        track: where it is written to, with an encoder that is not open yet.
    """

    def __init__(self, source: SubtitleStream, track: SubtitleStream) -> None:
        self._decoder, self._encoder = source.codec_context, track.codec_context
        self.track = track
        self._decoder.open(strict=False)
        # How texts look where nothing is said of it; an encoder without it writes size 0 in black.
        self._encoder.subtitle_header = self._decoder.subtitle_header
        track.time_base = self._encoder.time_base = _MS

    def converted(self, packet: _Packet) -> Iterator[_Packet]:
        """The packet in the other form; nothing where no text is shown."""
        texts = self._decoder.decode2(packet)
        if texts is None or packet.pts is None:
            return
        start = round(packet.pts * packet.time_base / _MS)
        lasts = round((packet.duration or 0) * packet.time_base / _MS)
        for text in texts:
            if isinstance(text, AssSubtitle):
                shown = SubtitleSet.create(text=text.ass, start=0, end=lasts, pts=start * 1000)
                made: _Packet = self._encoder.encode_subtitle(shown)
                made.stream, made.time_base = self.track, _MS
                made.pts = made.dts = start
                made.duration = lasts
                yield made
