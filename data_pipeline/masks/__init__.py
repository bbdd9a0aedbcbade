"""Hole masks, each a pure function of a seed.

- `free_form.py`: free-form masks, static or moving
- `overlays.py`: masks in the shape of subtitles and logos
- `objects.py`: masks in the shape of annotated objects of other videos
"""
