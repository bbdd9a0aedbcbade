"""Files on disk and on S3 behind one kind of URI, and locks on both.

- `lake.py`: the entry: reads, writes, lists and removes files of either kind
- `disk.py`: files on disk, which appear whole or not at all
- `exclusive.py`: gives a whole file a name nobody has, also where hard links are missing
- `s3.py`: objects on S3; every request has a timeout and is retried
- `s3_answers.py`: what a response of S3 means, and what to do about it
- `store.py`: what disk and S3 share: listed files, errors
- `lease.py`: a lease: one holder at a time, on disk and on S3
"""
