"""`croissant.json`: the data set described for other tools, in JSON-LD of Croissant 1.1.

It is part of the digest: it names neither time nor place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from data_pipeline.cli.canonical import canonical_json
from data_pipeline.format.catalogue import CATALOGUE, OK, VideoRow
from data_pipeline.format.manifest import File

CROISSANT = "croissant.json"

# Croissant's own words; the context is the standard one, key for key.
_WORDS = (
    "citeAs column equivalentProperty extract field fileObject fileProperty fileSet "
    "format includes isLiveDataset jsonPath key md5 parentField path recordSet references regex "
    "repeated replace samplingRate separator source subField transform"
)
_CONTEXT = {
    **{word: f"cr:{word}" for word in _WORDS.split()},
    "@language": "en",
    "@vocab": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
}
_FORMATS = {"tar": "application/x-tar", "parquet": "application/x-parquet"}
_TYPES: Mapping[Any, str] = {str: "sc:Text", int: "sc:Integer"}

# Source -> terms of use, what to cite. Frames stay under the terms of the videos they come from.
_YOUTUBE_VOS = (
    "The terms of YouTube-VOS, https://youtube-vos.org",
    "N. Xu et al., YouTube-VOS: A Large-Scale Video Object Segmentation Benchmark, "
    "arXiv:1809.03327, 2018",
)
_DAVIS = (
    "The terms of DAVIS, https://davischallenge.org",
    "F. Perazzi et al., A Benchmark Dataset and Evaluation Methodology for Video Object "
    "Segmentation, CVPR 2016; J. Pont-Tuset et al., The 2017 DAVIS Challenge on Video Object "
    "Segmentation, arXiv:1704.00675, 2017",
)
_STTN = (
    "The terms of the data set that was packed in this layout: YouTube-VOS, "
    "https://youtube-vos.org, or DAVIS, https://davischallenge.org",
    "Y. Zeng et al., Learning Joint Spatial-Temporal Transformations for Video Inpainting, "
    "ECCV 2020, arXiv:2007.10247",
)
_VIDEOS = (
    "The terms of each source video; column source_name of catalogue.parquet names them",
    "The authors of the source videos; column source_name of catalogue.parquet names them",
)
_PHOTOS = (
    "The terms of each photograph; column source_name of catalogue.parquet names them",
    "The authors of the photographs; column source_name of catalogue.parquet names them",
)
_TERMS = {
    "youtube-vos": _YOUTUBE_VOS,
    "davis": _DAVIS,
    "sttn-layout": _STTN,
    "videos": _VIDEOS,
    "photos": _PHOTOS,
}


def encode(
    settings: Mapping[str, Any], payload: Mapping[str, File], rows: Sequence[VideoRow]
) -> bytes:
    """Describe a data set.

    Args:
        settings: of its manifest.
        payload: every file but this one and the manifest, by its path below the data set.
        rows: its catalogue.

    Returns:
        Canonical JSON; the same for the same arguments.
    """
    source, size = settings["source"], f"{settings['width']}x{settings['height']}"
    licence, cite = _TERMS[source]
    good = [row for row in rows if row.status == OK]
    splits = ", ".join(sorted({row.split for row in good}))
    files = [_file(path, payload[path]) for path in sorted(payload)]
    described = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": f"{source}-{size}-inpainting",
        "description": (
            f"{sum(row.frames for row in good)} frames of {len(good)} videos ({splits}) as JPEG "
            f"of {size} pixels, with precomputed hole masks, for learning to inpaint video. "
            "Shards are WebDataset tars, one sample a video: <id>.f00000.jpg ..., "
            "<id>.masks.bits.zst (packed bits), <id>.meta.json. An index file holds a row a frame: "
            "tar, offset, size, crc32."
        ),
        "license": licence,
        "citeAs": cite,
        "version": "1.0.0",
        "isLiveDataset": False,
        "distribution": files,
        "recordSet": [_videos()],
    }
    return canonical_json(described) + b"\n"


def _file(path: str, file: File) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": path,
        "name": path.replace("/", "-"),
        "contentUrl": path,
        "contentSize": f"{file.size} B",
        "encodingFormat": _FORMATS[path.rpartition(".")[2]],
        "sha256": file.sha256,
    }


def _videos() -> dict[str, Any]:
    """The rows of the catalogue; columns of lists are left to those who open the file."""
    columns = [(one.name, _TYPES[one.type]) for one in fields(VideoRow) if one.type in _TYPES]
    return {
        "@type": "cr:RecordSet",
        "@id": "videos",
        "name": "videos",
        "description": "A row a video, also of those that were left out and why.",
        "key": {"@id": "videos/id"},
        "field": [_field(name, kind) for name, kind in columns],
    }


def _field(column: str, kind: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"videos/{column}",
        "name": column,
        "dataType": kind,
        "source": {"fileObject": {"@id": CATALOGUE}, "extract": {"column": column}},
    }
