"""Videos that a job leaves out: those that kill their workers, and a limit to how many."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from data_pipeline.cli.command import Refused, first_few

# A video that killed its worker so often is rejected: it is no accident any more.
MAX_WORKER_DEATHS = 3


class Tries:
    """Counts the tries that never came to an end, in an actor that outlives the workers."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    def begin(self, what: str) -> int:
        """Count one more try; return the tries that never came to an end."""
        deaths = self._open[what]
        self._open[what] += 1
        return deaths

    def end(self, what: str) -> None:
        """Count the end of a try."""
        self._open[what] -= 1


@dataclass(slots=True)
class Budget:
    """Limit to the videos that are left out."""

    videos: int
    """Number of all videos."""
    share: float
    """Share of them that may be left out (--max-rejected)."""
    refusal: str
    """Message when it is exceeded, with {bad}, {videos}, {first} and {share}."""
    rejected: dict[str, str] = field(default_factory=dict)
    """What names a video once -> its name and what is wrong with it."""

    def count(self, rejected: Mapping[str, str]) -> None:
        """Add videos that are left out.

        Raises:
            Refused: that is too many.
        """
        self.rejected |= rejected
        if len(self.rejected) > self.share * self.videos:
            first = first_few(self.rejected.values(), between="; ")
            bad = len(self.rejected)
            raise Refused(
                self.refusal.format(bad=bad, videos=self.videos, first=first, share=self.share)
            )
