"""Videos in, a write-once data set out, and clips read from it in a fixed order.

Doors and their talk
    run.py           the door: `shard` builds a data set, `verify`, `show`, `list`, `remove`
    config.py        what the door can be told, with units
    door.py          how every door of the project parses, prints and exits
    text.py          tables, bytes and ages as people read them
    progress.py      one progress bar, or plain lines where there is no terminal
    session.py       the Ray session a door works in

From videos to shards
    sources/         inputs -> typed video records, and their frames
    masks.py         seed -> free-form hole masks of one video
    object_masks.py  annotated objects of another video -> hole masks
    plan.py          video records -> which video goes to which shard
    orders.py        the user's wish and the records -> what is to do, and what it is called
    task.py          what driver and workers tell each other
    sample.py        the bytes of one video in a shard: the contract of writer and reader
    writer.py        one shard of the plan -> one byte-deterministic tar
    tally.py         what the tasks of a job are doing while they run
    catalogue.py     the parquet tables: a row per video, a row per frame
    croissant.py     the data set described for other tools
    manifest.py      the file that makes a directory a data set, and its digest
    build.py         plan, Ray Data job, tables, manifest: a whole data set

From shards to clips
    clips.py         (seed, position) -> which frames of which video, and which mask
    reader.py        those frames and masks, each checked, as arrays
    files.py         the files of one data set: on disk, on S3, or copied to this node
    cache.py         shards of S3 on this node's disk, by their content
    stream.py        whole videos one after the other, for other tools

Looking and tidying
    check.py         read everything again and list every difference
    agreement.py     whether tables and tars say the same
    tar_walk.py      the members of a tar, found while its bytes pass by
    show.py          counts, sizes, histograms
    contact.py       a sheet of frames with their masks drawn
    listing.py       the data sets of a lake
    remove.py        delete a version, or what abandoned builds left
    references.py    who refers to a data set

Underneath
    lake.py          one URI for disk and S3
    disk.py          files on disk, which appear whole or not at all
    s3.py            objects on S3, and requests that end in time and are tried again
    store.py         what disk and S3 have in common: listed files, errors
    lease.py         one holder at a time, on disk and on S3
    draws.py         random numbers that depend on names and counters only
    canonical.py     one JSON text for one value, and its hash
    provenance.py    which commit the code is
"""
