"""The classical fills that every version is judged beside: floors that learn nothing.

What they are; `floor_fills.py` computes them. Loads no other library, for the text of `--help`.
"""

from dataclasses import dataclass

from mlops.tracking import names

RING_PIXELS = 10
TELEA_PIXELS = 3  # radius


@dataclass(frozen=True, slots=True)
class Floor:
    """One fill that learns nothing."""

    subject: str
    """The name that its scores have."""
    label: str
    """For people."""
    definition: str


def table() -> str:
    """Every fill with its definition, a paragraph each."""
    return "\n\n".join(f"{one.subject}: {one.definition}" for one in FLOORS)


FLOORS = (
    Floor(
        names.SUBJECT_FRAME_MEAN,
        "Mean of the frame",
        "The mean colour of all known pixels of the frame.",
    ),
    Floor(
        names.SUBJECT_RING_MEAN,
        "Mean of a ring round the hole",
        f"The mean colour of the known pixels up to {RING_PIXELS} pixels from the hole.",
    ),
    Floor(
        names.SUBJECT_TELEA,
        "Telea",
        f"Telea's fast marching method (cv2.inpaint, radius {TELEA_PIXELS}), each frame alone.",
    ),
    Floor(
        names.SUBJECT_DIFFUSED,
        "Diffusion",
        "The known pixels around the hole continued smoothly into it (Laplace's equation), each "
        "frame alone.",
    ),
    Floor(
        names.SUBJECT_PROPAGATED,
        "Propagation",
        "Known pixels of earlier and later frames carried along optical flow (DIS of OpenCV), "
        "trusted as far as the flows forth and back agree; a smooth surface through them "
        "elsewhere.",
    ),
)
"""In the order of `names.CLASSICAL_SUBJECTS`."""

BY_SUBJECT = {one.subject: one for one in FLOORS}
