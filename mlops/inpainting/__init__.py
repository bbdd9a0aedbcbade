"""Inpainting of whole videos, and burning things into them whose truth is then known.

- `inpaint.py`: footage, masks, version, result
- `chosen.py`: the registry that a command uses, if any
- `pipeline.py`: decoding, the model and encoding, overlapping
- `filling.py`: frame by frame through a model, as a library; a long video in segments
- `segments.py`: segments that an interrupted run has filled, kept until a video is written
- `footage_files.py`: footage by its name: where its files are, what tells them from changed ones
- `batch.py`: many videos: one Ray Data job, the manifest last
- `batch_inputs.py`: a folder or a prefix -> each video with what belongs to it and its outputs
- `batch_table.py`: a table -> the same
- `batch_beside.py`: masks, ground truths and optical flow by the names of videos
- `batch_checks.py`: what is refused before any work
- `batch_actor.py`: work of one actor of a batch: one loaded version, one video at a time
- `batch_results.py`: a row a video, in notes while a batch works and in a table at its end
- `burn_in.py`: subtitles and a logo into a video, with their masks
"""
