"""Masks of a whole video from a few marks: a box, clicks or a mask on one frame or several.

- `selecting.py`: a box or clicks on one frame -> its mask
- `tracking.py`: masks of some frames -> masks of all, both ways from each
"""
