"""Masks of a whole video from a few marks: a box, clicks or a mask on one frame or several.

- `making.py`: the command's work: marks read, tracked, written
- `marks.py`: marks of the command line -> masks of their frames
- `selecting.py`: a box or clicks on one frame -> its mask
- `tracking.py`: masks of some frames -> masks of all, both ways from each; what a tracker is
- `following.py`: an object followed from one frame to the next, without weights
- `sam2_tracker.py`: SAM 2 instead, with weights that the user has
- `still.py`: overlays that stand still while the camera moves
- `scene.py`: a video at the size that it is tracked at
- `camera.py`: the camera's motion, and what in a frame moves otherwise
- `colours.py`: colours of an object against those around it
- `evidence.py`: odds of each pixel, and cutting by them
- `on_disk.py`: frames and masks that are read in any order, in bounded memory
"""
