"""Inpainting of whole videos, and burning things into them whose truth is then known.

- `inpaint.py`: footage, masks, version, result
- `pipeline.py`: decoding, the model and encoding, overlapping
- `filling.py`: frame by frame through a model, as a library
- `burn_in.py`: subtitles and a logo into a video, with their masks
"""
