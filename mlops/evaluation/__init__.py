"""Scores versions and classical fills on a held-out split.

- `evaluation.py`: an evaluation, recorded once
- `protocol.py`: settings of an evaluation (how many clips, which holes, which metrics), and their
  digest
- `inputs.py`: which clips of a video are judged, and their pixels
- `pool.py`: Ray actors of each version, one row per video
- `scoring.py`: what one actor does: scores subjects on the clips of a video
- `metrics.py`: PSNR, SSIM, Fréchet distance
- `flow.py`: flow warping error
- `i3d.py`: features of a clip, for VFID
- `floors.py`: the classical fills a version is judged beside; `floor_fills.py` computes them
- `columns.py`: what each number of an evaluation is
- `reproduction.py`: scores a version once more as its evaluation did
- `results.py`: scores as data: per clip, per video, means; read back from a run
- `watcher.py`: evaluates versions as they are registered
- `truth.py`: a result beside the true frames and beside fills without a model
"""
