"""Routes of videos: upload, look, frames."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from mlops.serving.problems import Problem
from mlops.serving.records import VideoAnswer, video_answer
from mlops.serving.service import Served
from mlops.serving.uploads import receive_form, refuse_large

_UPLOAD = {"video": {"type": "string", "format": "binary"}}
_UPLOAD_SCHEMA = {"type": "object", "required": ["video"], "properties": _UPLOAD}
_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"multipart/form-data": {"schema": _UPLOAD_SCHEMA}},
    }
}

router = APIRouter(prefix="/v1/videos", tags=["videos"])


@router.post("", status_code=201, openapi_extra=_FORM)
async def upload(service: Served, request: Request, response: Response) -> VideoAnswer:
    """Upload a video, to mark what should go before a job is submitted."""
    store = service.store
    refuse_large(request, service.limit_bytes)
    store.refuse_without_room(int(request.headers.get("content-length", "0")))
    with store.new_video() as (video_id, folder):
        form = await receive_form(
            request, folder, fields=(), files={"video"}, limit=service.limit_bytes
        )
        if "video" not in form.files:
            raise Problem(422, "the form has no file 'video'")
        sent = form.files["video"]
        video = await service.take_video(sent.path, sent.name, video_id, folder)
    response.headers["location"] = f"/v1/videos/{video.id}"
    return video_answer(video, store.expires(video))


@router.get("/{video_id}")
async def look(service: Served, video_id: str) -> VideoAnswer:
    """Say what is known of a video."""
    video = service.store.video(video_id)
    return video_answer(video, service.store.expires(video))


@router.get("/{video_id}/frames/{number}", response_class=FileResponse)
async def frame(service: Served, video_id: str, number: int) -> FileResponse:
    """A frame, from 0, as a JPEG of 960 pixels at most on its longer side."""
    file = await service.frame(service.store.video(video_id), number)
    headers = {"cache-control": "private, max-age=3600"}
    return FileResponse(file, media_type="image/jpeg", headers=headers)
