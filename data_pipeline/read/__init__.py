"""Reads a data set: clips for training in a fixed order, or whole videos.

- `clips.py`: (seed, position) -> which frames of which video, and which mask
- `reader.py`: those frames and masks as arrays, each checked
- `files.py`: the files of one data set: on disk, on S3, or cached on this node
- `cache.py`: shards of S3 on this node's disk, by their content
- `stream.py`: whole videos one after the other, as a `webdataset` pipeline
"""
