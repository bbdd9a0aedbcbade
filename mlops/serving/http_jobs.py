"""Routes of jobs: submit, look, download, cancel."""

import asyncio
import os
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse
from pydantic import TypeAdapter, ValidationError

from data_pipeline.storage import disk
from mlops.config import Filling
from mlops.media.mask_reading import is_boxes
from mlops.media.video import PICTURES
from mlops.serving.access import MODEL_HEADER
from mlops.serving.children import check
from mlops.serving.previews import is_whole
from mlops.serving.problems import Problem, fields_for_flags
from mlops.serving.records import FORMATS, Job, JobAnswer, State, Video, job_answer, result_name
from mlops.serving.service import LOOK_S, Served, Service
from mlops.serving.uploads import Form, receive_form, refuse_large

_OPTIONS = {one.name for one in fields(Filling)} - {"fps", "segment_frames"}
_FILLING: TypeAdapter[Filling] = TypeAdapter(Filling)
_FIELDS = {"video_id", "video_uri", "boxes", "mask_uri", "tracked", "format", *_OPTIONS}
_FILES = {"video", "mask"}
_MEDIA_TYPES = {
    "mp4": "video/mp4",
    "mov": "video/quicktime",
    "mkv": "video/x-matroska",
    "webm": "video/webm",
}

_STRING = {"type": "string"}
_BINARY = {"type": "string", "format": "binary"}
_ABOUT: dict[str, dict[str, Any]] = {
    "video": {**_BINARY, "description": "the video; or video_id, or video_uri"},
    "video_id": {**_STRING, "description": "a video that is here already"},
    "video_uri": {**_STRING, "description": "a file below a place that the operator allows"},
    "mask": {
        **_BINARY,
        "description": "what to fill, white: a picture for all frames, or a video with a mask for "
        "each; or boxes, mask_uri, or tracked",
    },
    "boxes": {**_STRING, "description": "x,y,width,height[@from-to];…"},
    "mask_uri": {**_STRING, "description": "as video_uri"},
    "tracked": {"type": "boolean", "description": "the masks that were tracked for video_id"},
    "format": {"type": "string", "enum": list(FORMATS), "default": "mp4"},
}


def _form_schema() -> dict[str, Any]:
    options = _FILLING.json_schema()["properties"]
    properties = _ABOUT | {name: options[name] for name in sorted(_OPTIONS)}
    schema = {"type": "object", "properties": properties}
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    }


router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.post("", status_code=202, openapi_extra=_form_schema())
async def submit(service: Served, request: Request, response: Response) -> JobAnswer:
    """Submit a video to be filled, by the version that the answer names."""
    job = await _submitted(service, request)
    response.headers["location"] = f"/v1/jobs/{job.id}"
    return _answered(service, job, response)


@router.get("/{job_id}")
async def look(service: Served, job_id: str, response: Response) -> JobAnswer:
    """Say where a job is."""
    return _answered(service, service.jobs.get(job_id), response)


@router.delete("/{job_id}")
async def cancel(service: Served, job_id: str, response: Response) -> JobAnswer:
    """Cancel a job; or remove one that is finished, with its result."""
    job = service.jobs.get(job_id)
    await service.jobs.cancel(job)
    return _answered(service, job, response)


@router.get("/{job_id}/result", response_class=FileResponse)
async def result(service: Served, job_id: str, inline: bool = False) -> FileResponse:
    """Download the result, or a range of its bytes; inline: for a player in a page."""
    job = _finished(service, job_id)
    return FileResponse(
        service.store.job_folder(job.id) / job.result,
        media_type=_MEDIA_TYPES[job.format],
        filename=job.name,
        content_disposition_type="inline" if inline else "attachment",
        headers={MODEL_HEADER: job.model},
    )


@router.get("/{job_id}/frames/{number}", response_class=FileResponse)
async def frame(service: Served, job_id: str, number: int) -> FileResponse:
    """A frame of the result, from 0, as a JPEG of 960 pixels at most on its longer side."""
    job = _finished(service, job_id)
    folder = service.store.job_folder(job.id)
    file = await service.previews.frame(folder / job.result, folder / "frames", number)
    headers = {MODEL_HEADER: job.model, "cache-control": "private, max-age=3600"}
    return FileResponse(file, media_type="image/jpeg", headers=headers)


def _answered(service: Service, job: Job, response: Response) -> JobAnswer:
    response.headers[MODEL_HEADER] = job.model
    return job_answer(job, service.jobs.expires(job))


def _finished(service: Service, job_id: str) -> Job:
    job = service.jobs.get(job_id)
    if job.state is not State.DONE:
        why = f": {job.reason}" if job.reason else ""
        raise Problem(409, f"job {job_id} has no result, it is {job.state}{why}")
    return job


async def _submitted(service: Service, request: Request) -> Job:
    """Receive a job's files, look through them, and take it; nothing is left of one refused."""
    model = service.current_model()
    service.jobs.refuse_full()
    refuse_large(request, service.limit_bytes)
    service.store.refuse_without_room(int(request.headers.get("content-length", "0")))
    with ExitStack() as stack:
        job_id, folder = stack.enter_context(service.store.new_job())
        form = await receive_form(
            request, folder, fields=_FIELDS, files=_FILES, limit=service.limit_bytes
        )
        filling, container = _options(form)
        video = await _video(service, form, folder, stack)
        mask = await _mask(service, form, folder, video)
        name = result_name(video.name, container)
        job = Job(
            id=job_id,
            video=video.id,
            name=name,
            mask=mask,
            format=container,
            filling=filling,
            model=model,
            frames=video.frames,
        )
        await service.isolated.run(
            check,
            service.store.source(video),
            mask if is_boxes(mask) else str(folder / mask),
            folder / job.result,
            filling,
            limit_s=LOOK_S,
        )
        service.jobs.add(job)
    return job


def _options(form: Form) -> tuple[Filling, str]:
    container = form.fields.get("format", "mp4")
    if container not in FORMATS:
        raise Problem(422, f"format is {container!r}: give one of {', '.join(FORMATS)}")
    given = {name: value for name, value in form.fields.items() if name in _OPTIONS}
    try:
        return _FILLING.validate_python(given), container
    except ValidationError as error:
        first = error.errors()[0]
        said = first["msg"].removeprefix("Value error, ")
        where = "".join(f"{part}: " for part in first["loc"])
        raise Problem(422, fields_for_flags(where + said)) from error


def _one_of(form: Form, what: str, ways: tuple[str, ...]) -> str:
    """Return which way something is given."""
    given = [way for way in ways if way in (form.files | form.fields)]
    if len(given) != 1:
        had = f"there are {' and '.join(given)}" if given else "there is none"
        raise Problem(422, f"{what} is given once, as {', '.join(ways)}: {had}")
    return given[0]


async def _video(service: Service, form: Form, folder: Path, stack: ExitStack) -> Video:
    way = _one_of(form, "the video", ("video", "video_id", "video_uri"))
    if way == "video_id":
        return service.store.video(form.fields["video_id"])
    if way == "video_uri":
        uri = form.fields["video_uri"]
        await service.fetch(uri, folder / "video")
        sent, name = folder / "video", uri.rpartition("/")[2]
    else:
        sent, name = form.files["video"].path, form.files["video"].name
    video_id, place = stack.enter_context(service.store.new_video())
    return await service.take_video(sent, name, video_id, place)


async def _mask(service: Service, form: Form, folder: Path, video: Video) -> str:
    """Put the mask into the job's folder; returns its name there, or boxes."""
    way = _one_of(form, "the mask", ("mask", "boxes", "mask_uri", "tracked"))
    if way == "boxes":
        boxes = form.fields["boxes"].replace(" ", "")
        if not is_boxes(boxes):
            raise Problem(422, f"boxes are {boxes!r}: give x,y,width,height[@from-to];…")
        return boxes
    if way == "tracked":
        masks = service.store.video_folder(video.id) / "masks"
        if not is_whole(masks):
            raise Problem(409, "no masks were tracked for this video yet: track them first")
        await asyncio.to_thread(_link_all, masks, folder / "masks")
        return "masks"
    if way == "mask_uri":
        uri = form.fields["mask_uri"]
        await service.fetch(uri, folder / "mask")
        sent, name = folder / "mask", uri.rpartition("/")[2]
    else:
        sent, name = form.files["mask"].path, form.files["mask"].name
    ending = Path(name).suffix.lower()
    kept = f"mask{ending}" if ending in PICTURES else "mask.video"
    sent.rename(folder / kept)
    return kept


def _link_all(masks: Path, target: Path) -> None:
    """Keep the masks of a video as they are now."""
    with disk.writing(target):
        target.mkdir()
        for file in masks.glob("*.png"):
            os.link(file, target / file.name)
