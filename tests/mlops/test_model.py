"""A loaded version: one that streams, and a third-party one that is given windows."""

import numpy as np

from mlops.inpainting.filling import inpainted
from mlops.tracking import loaded_model
from tests.mlops import foreign


def test_a_streaming_model_is_streamed_and_its_frames_stay_in_order():
    class Streaming:
        """Returns each frame three frames late, with its hole at 255."""

        size = None

        def stream(self, pairs, crop, *, propagate, flow):
            assert (crop, propagate, flow) == (None, False, None)
            late = []
            for frame, mask in pairs:
                late.append(np.where(mask[..., None] != 0, np.uint8(255), frame))
                if len(late) > 3:
                    yield late.pop(0)
            yield from late

    def pairs():
        for i in range(8):
            mask = np.zeros((4, 6), np.uint8)
            mask[i % 4] = 1
            yield np.full((4, 6, 3), i, np.uint8), mask

    found = list(inpainted(Streaming(), pairs()))
    assert len(found) == 8
    for i, frame in enumerate(found):
        assert np.unique(frame[i % 4]).tolist() == [255]
        assert np.unique(np.delete(frame, i % 4, axis=0)).tolist() == [i]


def test_a_foreign_model_gets_windows_and_known_pixels_are_kept(store, tmp_path):
    # The model fills each frame with the number of frames it was given at once.
    body = "frames[:] = len(frames)"
    loaded = loaded_model.load(store, foreign.register(store, tmp_path / "model", body))
    mask = np.eye(4, dtype=np.uint8)
    frames = list(loaded.stream((np.full((4, 4, 3), 7, np.uint8), mask) for _ in range(45)))
    assert [frame[0, 0, 0] for frame in frames] == [40] * 40 + [5] * 5
    assert all((frame[mask == 0] == 7).all() for frame in frames)
