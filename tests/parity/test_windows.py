"""Windows, references and blending of the official driver."""

import json
from pathlib import Path

import pytest
import torch

from training.model.inpaint import Schedule, stream

KNOWN = json.loads((Path(__file__).parent / "windows.json").read_text())


@pytest.mark.parametrize("schedule", [Schedule(reference=True), Schedule()], ids=["ref", "default"])
@pytest.mark.parametrize("length", KNOWN["lengths"])
def test_windows_match_the_official_driver(length, schedule):
    frames = int(length)
    found = [
        {
            "f": centre,
            "neighbor_ids": list(schedule.neighbours(centre, frames)),
            "ref_ids": schedule.references(centre, frames),
        }
        for centre in range(0, frames, schedule.stride)
    ]
    assert found == KNOWN["lengths"][length]["windows"]


class ReferenceModel(torch.nn.Module):
    """Stands in for a generator: gives the predictions of the reference run.

    A frame's number is in its first pixel; a window is known by the order of windows.
    """

    channels, grids, patch_sizes, fill = 1, (1,), (), "none"

    def __init__(self, stride):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self._next = 0
        self._stride = stride

    def encode(self, frames):
        return ((frames[:, :1, :1, :1] + 1) / 2 * 255).round()

    def transform(self, features, _masks, clips, wanted):
        assert clips == 1
        centre, self._next = self._next, self._next + self._stride
        return torch.cat([features[:wanted], torch.full((wanted, 1, 1, 1), centre)], dim=1)

    def decode(self, features):
        frame, window = features[:, :1], features[:, 1:]
        levels = (37 * window + 11 * frame) % 255 + 0.5
        return (levels / 255 * 2 - 1).expand(-1, 3, 4, 4)


@pytest.mark.parametrize("reference", [True, False])
def test_blending_matches_the_official_driver(reference):
    run = KNOWN["value_run"]
    frames = [torch.full((4, 4, 3), i, dtype=torch.uint8) for i in range(run["length"])]
    masks = [torch.zeros(4, 4, dtype=torch.uint8) for _ in frames]
    for mask in masks:
        mask[1:3, 1:] = 1
    schedule = Schedule(reference=reference)
    found = list(stream(ReferenceModel(schedule.stride), zip(frames, masks, strict=True), schedule))
    inside = torch.stack([one[2, 2] for one in found]).int()
    wanted = torch.tensor(run["final_uint8"]).unsqueeze(1)
    if reference:
        assert torch.equal(inside, wanted.expand(-1, 3).int())
    else:
        assert 0 < (inside - wanted).abs().max() <= 2
    outside = torch.stack([one[0, 0] for one in found])
    assert torch.equal(outside, torch.stack(frames)[:, 0, 0])
