"""Classical fills: what can be put into a hole without a trained model.

They are the floors that a version is judged beside, and what a generator with a `fill` begins from.

- `flow`         optical flow between neighbouring frames: the protocol, and OpenCV's DIS
- `diffusion`    the known pixels around a hole continued smoothly into it, frame by frame
- `propagation`  known pixels of other frames carried along optical flow, a smooth surface elsewhere

This folder stands on NumPy and OpenCV alone, so that a registered version can carry it.
"""
