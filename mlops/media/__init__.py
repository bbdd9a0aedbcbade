"""Footage and masks in, footage out.

- `video.py`: frames in display order with their times
- `files.py`: where footage is, and what may be written: never over an input
- `mask_reading.py`: masks from boxes, a picture, a folder or a video
- `mask_writing.py`: masks out, lossless
- `holes.py`: masks dilated and blended at their edge
- `pasting.py`: the model's output in the hole of a frame, in the source's depth
- `encoding.py`: a video with the times, colours and tracks of its source, or PNGs
- `encoders.py`: which encoder, depth and colours
- `from_rgb.py`: RGB -> the pixel format of an encoder
- `mastering.py`: static HDR metadata
- `tracks.py`: sound, subtitles, chapters, titles: copied, or named as lost
- `subtitles.py`: text subtitles converted between containers
- `dropped.py`: properties of a source that its output does not keep
- `overlap.py`: decode ahead and encode behind, in threads
- `overlays.py`: subtitles and a logo to burn in, and their masks
- `pictures.py`: strips and short films of a clip
"""
