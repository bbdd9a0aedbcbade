"""The files of a data set: samples, index, catalogue, manifest.

- `sample.py`: the bytes of one video in a shard: the contract between writer and reader
- `manifest.py`: the file that makes a directory a data set, and its digest
- `catalogue.py`: the parquet tables: a row per video, a row per frame
- `croissant.py`: the data set described for other tools (Croissant)
- `draws.py`: counter-based random numbers: functions of names and positions only
- `ring.py`: other videos for each video, chosen by hashes
- `provenance.py`: the commit of the code
"""
