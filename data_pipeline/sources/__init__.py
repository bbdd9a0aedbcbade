"""Inputs -> typed video records, without reading frames; and the frames of one record as JPEGs.

record.py         what is known of a video before and after its frames are read
find.py           the inputs of a build -> its records, each in a split
listing.py        one recursive listing of an input, by folder; what to say of a wrong input
ids.py            names -> ids that are safe and distinct
splits.py         which video is in which split: official lists, files of ids, a seeded share
frame_folders.py  YouTube-VOS and DAVIS: a folder of pictures per video
zips.py           STTN's own layout: a zip of pictures per video
video_files.py    files that ffmpeg reads
photos.py         photographs -> videos
camera.py         a photograph and parts of others -> frames, by a drawn camera
decoding.py       one such file -> its frames, upright and progressive, at a constant rate
declared.py       what a container says of its video, and whether that came of it
footage.py        one such file -> all that is known of it, and its frames with their own times
rgb.py            a decoded frame -> RGB as it is shown: colours by its tags, turned upright
interlacing.py    interlaced frames -> progressive ones
frame_times.py    frames at any times -> frames at a constant rate
pictures.py       one picture of a folder or zip -> JPEG at the data set's size, or its own bytes
picture_folders.py  a folder of pictures as footage: natural order, upright, gaps in its numbers
fit.py            frames of any shape at one size: cropped, letterboxed or stretched
numbering.py      numbers in the names of pictures: natural order, step, which are missing
read.py           record -> JPEGs
annotations.py    record -> its label maps
"""
