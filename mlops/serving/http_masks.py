"""Routes of masks: of what was marked on a frame, set on some frames, made for all of them."""

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field

from mlops.serving.children import select, take_mask
from mlops.serving.previews import Tracking
from mlops.serving.problems import Problem
from mlops.serving.service import LOOK_S, Served
from mlops.serving.uploads import refuse_large, within_limits

_MASK_BYTES = 16 * 10**6
_MAX_POINTS = 200
_PNG: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
    }
}

Number = Annotated[float, Field(allow_inf_nan=False)]

router = APIRouter(prefix="/v1/videos/{video_id}", tags=["masks"])


class Marks(BaseModel):
    """What was marked on a frame, in pixels of the video from its upper left corner."""

    model_config = ConfigDict(extra="forbid")

    frame: int
    """Number of the frame, from 0."""
    box: tuple[Number, Number, Number, Number] | None = None
    """Left, top, right, bottom."""
    points: list[tuple[Number, Number, bool]] = Field(default=[], max_length=_MAX_POINTS)
    """x, y, and whether it is on the thing."""


class How(BaseModel):
    """How masks are made from those of some frames."""

    model_config = ConfigDict(extra="forbid")

    still: bool = False
    """The thing stands still, as a logo does: nothing is tracked."""


@router.post("/selection", response_class=Response)
async def selection(service: Served, video_id: str, marks: Marks) -> Response:
    """Mask of what a box was drawn around, or of what was clicked on: a PNG of the frame."""
    if (marks.box is None) == (not marks.points):
        raise Problem(422, "give either a box or points")
    video = service.store.video(video_id)
    file = await service.frame(video, marks.frame)
    size = video.width, video.height
    mask: bytes = await service.isolated.run(
        select, file, size, marks.box, marks.points, limit_s=LOOK_S
    )
    return Response(mask, media_type="image/png")


@router.get("/anchors")
async def anchors(service: Served, video_id: str) -> list[int]:
    """Numbers of the frames whose mask was set."""
    return sorted(int(file.stem) for file in _folder(service, video_id).glob("anchors/*.png"))


@router.put("/anchors/{number}", status_code=204, openapi_extra=_PNG)
async def put_anchor(service: Served, video_id: str, number: int, request: Request) -> None:
    """Set the mask of a frame, a PNG of any size: white is filled."""
    video = service.store.video(video_id)
    target = _anchor(service, video_id, number)
    refuse_large(request, _MASK_BYTES)
    data = b"".join([piece async for piece in within_limits(request, _MASK_BYTES)])
    size = video.width, video.height
    await service.isolated.run(take_mask, data, size, target, limit_s=LOOK_S)


@router.delete("/anchors/{number}", status_code=204)
async def delete_anchor(service: Served, video_id: str, number: int) -> None:
    """Take the mask of a frame back."""
    _anchor(service, video_id, number).unlink(missing_ok=True)


@router.post("/tracking", status_code=202)
async def track(service: Served, video_id: str, how: How) -> Tracking:
    """Begin to make a mask for each frame from those that were set; anew, if need be."""
    video, folder = service.store.video(video_id), _folder(service, video_id)
    await service.previews.track(
        service.store.source(video), folder, (video.width, video.height), still=how.still
    )
    return service.previews.tracking(folder)


@router.get("/tracking")
async def tracking(service: Served, video_id: str) -> Tracking:
    """Say where the making of masks is."""
    return service.previews.tracking(_folder(service, video_id))


@router.delete("/tracking", status_code=204)
async def stop_tracking(service: Served, video_id: str) -> None:
    """End the making of masks."""
    await service.previews.stop_tracking(_folder(service, video_id))


@router.get("/masks/{number}", response_class=FileResponse)
async def mask(service: Served, video_id: str, number: int) -> FileResponse:
    """The mask of a frame, white on nothing: the one that was set, or the one tracked."""
    made = _folder(service, video_id) / "masks" / f"{number:05d}.png"
    for file in (_anchor(service, video_id, number), made):
        if file.exists():
            return FileResponse(file, media_type="image/png")
    raise Problem(404, f"frame {number} has no mask yet")


def _folder(service: Served, video_id: str) -> Path:
    return service.store.video_folder(service.store.video(video_id).id)


def _anchor(service: Served, video_id: str, number: int) -> Path:
    video = service.store.video(video_id)
    if not 0 <= number < video.frames:
        raise Problem(404, f"there is no frame {number}: there are {video.frames}")
    return _folder(service, video_id) / "anchors" / f"{number:05d}.png"
