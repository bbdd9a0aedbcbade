"""The page in a real browser: from a video to a filled one, with a mouse and with a keyboard."""

import re
import time

import av
import numpy as np
import pytest
from PIL import Image

from mlops.media import video
from mlops.tracking import registry
from tests.mlops.serving.browser import SECONDS, page_of
from tests.mlops.serving.in_process import OneAtATime, running

pytestmark = pytest.mark.waits

WIDTH, HEIGHT, FRAMES = 256, 144, 12


def disc(number):
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return (columns - 60 - 6 * number) ** 2 + (rows - 80) ** 2 < 20**2


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A red ball that rolls over a meadow."""
    path = tmp_path_factory.mktemp("film") / "ball.mp4"
    noise = np.random.default_rng(0).integers(0, 90, (18, 32)).astype(np.uint8)
    shade = np.asarray(Image.fromarray(noise).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
    ground = np.stack([shade // 2 + 40, shade + 90, shade // 2 + 30], axis=-1)
    light = np.random.default_rng(1).integers(-25, 25, (HEIGHT, WIDTH + 6 * FRAMES))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "12"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(FRAMES):
            frame = ground.copy()
            texture = np.roll(light, 6 * number, axis=1)[:, :WIDTH]
            ball = np.stack([210 + texture, 50 + texture, 60 + texture], axis=-1)
            frame[disc(number)] = np.clip(ball[disc(number)], 0, 255)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The service with the starter model."""
    models = OneAtATime("", registry.resolve("", "starter"))
    with running(tmp_path_factory.mktemp("service"), models) as (client, _):
        yield client.base


def drag(page, start, end):
    """Draw from one place of the frame to another, in pixels of the video."""
    box = page.locator("#overlay").bounding_box()
    (x0, y0), (x1, y1) = (
        (box["x"] + x / WIDTH * box["width"], box["y"] + y / HEIGHT * box["height"])
        for x, y in (start, end)
    )
    page.mouse.move(x0, y0)
    page.mouse.down()
    page.mouse.move((x0 + x1) / 2, (y0 + y1) / 2, steps=3)
    page.mouse.move(x1, y1, steps=3)
    page.mouse.up()


def until(page, script):
    """Wait for something to be true; `wait_for_function` would need `eval`, which is forbidden."""
    end = time.monotonic() + SECONDS
    while not page.evaluate(script):
        assert time.monotonic() < end, script
        page.wait_for_timeout(50)


def no_sideways_scrolling(page):
    return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (390, True)])
def test_a_thing_is_marked_followed_removed_and_compared(base, film, tmp_path, width, dark):
    with page_of(width, dark=dark) as (page, wrong):

        def look(name):
            page.screenshot(path=tmp_path / f"{name}-{width}.png", full_page=True)
            assert no_sideways_scrolling(page), name

        page.goto(base)
        page.wait_for_selector("#limits:not(:empty)")
        look("1-choose")
        page.set_input_files("#file", film)
        page.wait_for_selector("#mark:not([hidden])")
        until(page, "document.querySelector('#frame').naturalWidth > 0")
        assert page.locator("#start").is_disabled()
        drag(page, (34, 54), (86, 106))
        page.wait_for_selector("#follow:not([disabled])")
        page.wait_for_selector("#stage:not(.busy)")
        look("2-marked")
        page.click("#follow")
        page.wait_for_selector("#start:not([disabled])")
        page.locator("#at").focus()
        page.keyboard.press("End")
        until(page, f"document.querySelector('#place').textContent.startsWith('{FRAMES} /')")
        page.wait_for_selector("#stage:not(.busy)")
        look("3-followed")
        page.click("text=Options")
        page.fill("#dilate", "3")
        page.click("#start")
        page.wait_for_selector("#compare:not([hidden])")
        until(page, "document.querySelector('#after').naturalWidth > 0")
        look("4-compared")
        page.locator("#split").focus()
        for _ in range(4):
            page.keyboard.press("ArrowRight")
        assert page.evaluate("getComputedStyle(halves).getPropertyValue('--at')") == "52%"
        page.click("#play")
        until(page, "document.querySelector('#compare-at').value > 2")
        page.click("#play")
        with page.expect_download() as download:
            page.click("#download")
        assert download.value.suggested_filename == "ball-filled.mp4"
        download.value.save_as(tmp_path / "filled.mp4")
        address = page.url
        page.goto("about:blank")
        page.goto(address)  # comes back to the same result
        page.wait_for_selector("#compare:not([hidden])")
        page.click("#correct")
        page.wait_for_selector("#mark:not([hidden])")
        assert wrong == []
    assert_the_ball_is_gone(film, tmp_path / "filled.mp4")


def assert_the_ball_is_gone(film, filled):
    before = np.stack(list(video.read(film))).astype(int)
    after = np.stack(list(video.read(filled))).astype(int)
    balls = np.stack([disc(number) for number in range(FRAMES)])
    # The ball was red: little of that is left, and the meadow is as it was.
    assert (before[balls] @ [1, -1, 0]).mean() > 120
    assert (after[balls] @ [1, -1, 0]).mean() < 20
    assert np.abs(after - before)[:, 120:].mean() < 4


def test_everything_can_be_done_with_the_keyboard_alone(base, film):
    with page_of(1200) as (page, wrong):
        page.goto(base)
        page.wait_for_selector("#limits:not(:empty)")
        page.keyboard.press("Tab")  # past the link that skips to the video
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "file"
        page.set_input_files("#file", film)  # a dialog of the system would come
        until(page, "document.querySelector('#frame').naturalWidth > 0")
        page.wait_for_selector("#stage:not(.busy)")
        stage = page.locator("#stage")
        stage.focus()
        page.keyboard.press("ArrowUp")  # the cursor, in the middle
        for _ in range(6):
            page.keyboard.press("Shift+ArrowLeft")
        page.keyboard.press("Enter")  # the first corner
        for _ in range(4):
            page.keyboard.press("Shift+ArrowRight")
        for _ in range(3):
            page.keyboard.press("Shift+ArrowDown")
        page.keyboard.press("Enter")  # the second
        page.wait_for_selector("#follow:not([disabled])")
        page.wait_for_selector("#stage:not(.busy)")
        page.keyboard.press(".")
        until(page, "document.querySelector('#place').textContent.startsWith('2 /')")
        page.locator("#follow").focus()
        page.keyboard.press("Enter")
        page.wait_for_selector("#start:not([disabled])")
        page.locator("#start").focus()
        page.keyboard.press("Enter")
        page.wait_for_selector("#compare:not([hidden])")
        assert wrong == []


def test_what_goes_wrong_is_said(base, tmp_path):
    (tmp_path / "notes.mp4").write_text("no video")
    with page_of(390) as (page, _):
        page.goto(base)
        page.wait_for_selector("#limits:not(:empty)")
        page.set_input_files("#file", tmp_path / "notes.mp4")
        page.wait_for_selector("#problem:not([hidden])")
        assert "is not a video" in page.locator("#problem").inner_text()
        assert page.locator("#drop").is_visible()
        page.goto(f"{base}/#video={'0' * 32}")
        page.reload()
        page.wait_for_selector("#problem:not([hidden])")
        assert re.search("there is no video .*, or not any more", page.inner_text("#problem"))


def test_a_service_with_a_token_asks_for_it_once(film, tmp_path_factory):
    token = "a token of 24 characters"

    class Idle:
        current, problem = "models:/sttn/7", ""

        async def keep(self, models):
            """Follow nothing."""

    with (
        running(tmp_path_factory.mktemp("closed"), Idle(), token=token) as (client, _),
        page_of(1200) as (page, _),
    ):
        page.goto(client.base)
        page.wait_for_selector("#ask-token[open]")
        page.fill("#token", "a wrong one")
        page.keyboard.press("Enter")
        page.wait_for_selector("#token-problem:not([hidden])")
        page.fill("#token", token)
        page.keyboard.press("Enter")
        page.wait_for_selector("#limits:not(:empty)")
        assert page.inner_text("#model") == "models:/sttn/7"
        page.set_input_files("#file", film)
        until(page, "document.querySelector('#frame').naturalWidth > 0")
        page.reload()
        page.wait_for_selector("#mark:not([hidden])")


def test_the_api_is_described_without_the_internet(base):
    with page_of(1200) as (page, wrong):
        page.goto(f"{base}/docs")
        page.wait_for_selector(".endpoint")
        text = page.inner_text("#endpoints")
        for path in ("POST /v1/jobs", "GET /v1/jobs/{job_id}/result", "GET /metrics"):
            assert path in text
        assert "dilate" in text
        assert wrong == []
