"""Videos in, a write-once data set out, and clips read from it in a fixed order.

Doors and their talk
    run.py        the door: `shard` builds a data set, `verify` re-reads one
    config.py     what the door can be told, with units
    door.py       how every door of the project parses, prints and exits
    progress.py   one progress bar, or plain lines where there is no terminal
    session.py    the Ray session a door works in

From videos to shards
    sources.py    inputs -> typed video records, and their frames
    masks.py      seed -> hole masks of one video
    plan.py       video records -> which video goes to which shard
    sample.py     the bytes of one video in a shard: the contract of writer and reader
    writer.py     one shard of the plan -> one byte-deterministic tar
    catalogue.py  the parquet tables: a row per video, a row per frame
    manifest.py   the file that makes a directory a data set, and its digest
    build.py      plan, Ray Data job, tables, manifest: a whole data set
    check.py      read everything again and list every difference

From shards to clips
    clips.py      (seed, position) -> which frames of which video, and which mask
    reader.py     those frames and masks, each checked, as arrays

Underneath
    lake.py       one URI for disk and S3
    draws.py      random numbers that depend on names and counters only
    canonical.py  one JSON text for one value, and its hash
    provenance.py which commit the code is
"""
