import base64
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from mlops import lineage, promote, report
from mlops.config import Rule
from mlops.evaluation import results
from mlops.media import pictures
from mlops.promotion.lineage import lineage_of
from mlops.reporting import comparisons
from mlops.tracking import connection, names, registry
from tests.mlops import foreign

GOOD = {"candidate": 15.0, **foreign.CLASSICAL}
VOID = {"meta", "img", "br", "path", "use"}


class Page(HTMLParser):
    """Checks that tags close in order, and collects the text and all links."""

    def __init__(self, text):
        super().__init__()
        self.open, self.text, self.links = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.links += [value for key, value in attrs if key in ("src", "href") and value]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


@pytest.fixture
def version(store, tmp_path):
    found = foreign.register(store, tmp_path / "model")
    run_id = foreign.record_evaluation(store, found, tmp_path / "results", **GOOD)
    clip = np.full((6, 32, 48, 3), 200, np.uint8)
    masks = np.zeros((6, 32, 48), np.uint8)
    masks[:, 8:20, 10:30] = 1
    files = {
        "candidate-000.png": pictures.strip(clip, masks, clip // 3, clip // 2),
        "candidate-000.mp4": pictures.clip(clip, masks, clip // 3, clip // 2),
        "candidate-001.png": b"a picture",
        "candidate-001.mp4": b"a film",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        connection.client(store).log_artifact(run_id, str(tmp_path / name), names.DRAWINGS)
    return registry.resolve(store, found.uri)


def _page(uri, out, *argv):
    assert report.main([*argv, "--tracking-uri", uri, "--out", str(out)]) == 0
    page = Page(out.read_text())
    assert page.open == []
    # The page is self-contained: inline pictures and internal references only.
    assert all(link.startswith(("data:", "#")) for link in page.links), page.links
    return page


def test_a_page_has_every_section(store, version, tmp_path, capsys):
    registry.set_alias(store, version, names.CHAMPION)
    page = _page(store, tmp_path / "page.html", "--json")
    out = capsys.readouterr().out.splitlines()
    assert json.loads(out[-1])["model"] == "models:/sttn/1"
    assert lineage_of(store, version).line() in out
    for said in (
        "sttn version 1",
        "champion",
        "+1.00 dB against the best classical fill",
        "Mean of a ring round the hole",
        "The mean colour of the known pixels up to 10 pixels from the hole.",
        "Every clip: above its own best classical fill on 2 of 2",
        "video-0, frames 0 to 3, moving hole 15.00 Propagation 14.00 +1.00",
        "Reconstruction loss",
        "/lake/tiny/v1",
        lineage_of(store, version).line(),
    ):
        assert said in page.words, said
    assert f"data:image/png;base64,{base64.b64encode(b'a picture').decode()}" in page.links
    assert f"data:video/mp4;base64,{base64.b64encode(b'a film').decode()}" in page.links
    assert (
        "Among the best: 16.00 dB in the hole, +1.00 dB against Propagation, the best classical "
        "fill of this clip. Video video-1, frames 0 to 3"
    ) in page.words
    assert "input hole best classical fill result truth" in page.words


@pytest.mark.parametrize(
    ("levels", "first"),
    [
        (
            GOOD,
            "It beats the best classical fill, Propagation , by 1.00 dB inside the hole "
            "( 15.50 dB against 14.50 dB on held-out videos).",
        ),
        (
            {**GOOD, "candidate": 13.9},
            "It does not beat the best classical fill, Propagation , but lies 0.10 dB below it",
        ),
        (
            {**GOOD, "candidate": 15.0, "trivial_ring_mean": 16.0},
            "It does not beat the best classical fill, Mean of a ring round the hole , but lies "
            "1.00 dB below it inside the hole ( 15.50 dB against 16.50 dB on",
        ),
        (
            {"candidate": 15.0, **foreign.TRIVIAL},
            "Whether it beats the best classical fill is not known: its evaluation lacks them, "
            "evaluate it again.",
        ),
    ],
)
def test_the_first_sentence_compares_with_the_best_classical_fill(store, tmp_path, levels, first):
    found = foreign.register(store, tmp_path / "model")
    foreign.record_evaluation(store, found, tmp_path / "results", **levels)
    page = _page(store, tmp_path / "page.html")
    assert f"evaluated, not decided {first}" in page.words


def test_an_insignificant_gain_is_not_called_a_gain(store, version):
    """Better by 3 dB on one video and worse by 1 dB on the other."""
    found = results.read(store, version.tags[names.EVALUATION_RUN])
    gains = {"video-0": 2.0, "video-1": -2.0}  # beside the 1 dB that it has on each
    scores = [
        replace(one, hole_psnr_db=one.hole_psnr_db + gains[one.video])
        if one.subject == names.SUBJECT_CANDIDATE
        else one
        for one in found.scores
    ]
    said = comparisons.verdict(replace(found, scores=tuple(scores)), Rule())
    assert said == (
        "It does not surely beat the best classical fill, <b>Propagation</b>, though it lies "
        "<b>1.00 dB</b> above it inside the hole (<b>15.50 dB</b> against 14.50 dB on held-out "
        "videos): the worst is video-1 with -1.000 dB."
    )


def test_bounds_use_the_rule_of_the_decision(store, tmp_path):
    found = foreign.register(store, tmp_path / "model")
    foreign.record_evaluation(store, found, tmp_path / "results", **GOOD)
    page = _page(store, tmp_path / "before.html")
    assert "each with 95.0% confidence (paired bootstrap over videos)" in page.words
    promoting = ["--tracking-uri", store, "--model", found.uri]
    assert promote.main([*promoting, "--confidence", "0.8", "--margin-db", "0.2"]) == 0
    page = _page(store, tmp_path / "after.html")
    assert "each with 80.0% confidence (paired bootstrap over videos)" in page.words


def test_videos_of_the_training_split_are_not_called_held_out(store, tmp_path):
    found = foreign.register(store, tmp_path / "model")
    levels = {"split": "train", **GOOD}
    foreign.record_evaluation(store, found, tmp_path / "results", **levels)
    page = _page(store, tmp_path / "page.html")
    assert "14.50 dB on videos that it was trained on)" in page.words
    assert "dB on held-out videos" not in page.words


def test_a_page_for_an_evaluation_without_classical_fills(store, tmp_path):
    found = foreign.register(store, tmp_path / "model")
    levels = {"candidate": 15.0, **foreign.TRIVIAL}
    run_id = foreign.record_evaluation(store, found, tmp_path / "results", **levels)
    (tmp_path / "candidate-000.png").write_bytes(b"of four rows")
    connection.client(store).log_artifact(
        run_id, str(tmp_path / "candidate-000.png"), names.DRAWINGS
    )
    words = _page(store, tmp_path / "page.html").words
    assert "+2.00 dB against the better mean fill (no other was scored)" in words
    assert "input hole result truth" in words
    assert "Against the best classical fill" not in words


def test_weak_floors_are_named_on_the_page(store, version, tmp_path):
    command = ["--tracking-uri", store, "--model", version.uri, "--floors", "trivial"]
    assert promote.main(command) == 0
    words = _page(store, tmp_path / "page.html").words
    assert "champion by weak floors" in words
    weak = "judged by weak floors only: mean fills; not by the best classical fill"
    assert words.count(weak) == 4  # beginning, decision, lineage as steps and as a line
    assert "weak floors only: mean fills" in words.split("All decisions")[1]


def test_without_a_champion_the_page_is_about_the_candidate(store, version, tmp_path):
    page = _page(store, tmp_path / "page.html")
    assert "sttn version 1" in page.words
    assert "evaluated, not decided" in page.words
    assert version.version == "1"


def test_a_run_that_is_not_registered_has_its_curves(store, tmp_path):
    foreign.training_run(store, "young <run>")
    page = _page(store, tmp_path / "page.html", "young <run>")
    assert "Not registered yet" in page.words
    assert "Trained by run young <run> on 12 clips." in page.words
    assert "Reconstruction loss" in page.words


def test_a_run_name_finds_its_version(store, version, tmp_path):
    assert "sttn version 1" in _page(store, tmp_path / "page.html", "tiny").words
    assert version.tags[names.CLIPS] == "12"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["tinny", "--out", "page.html"], "no training run 'tinny' (did you mean 'tiny'?)"),
        (["models:/sttn/8", "--out", "page.html"], "sttn has 1 version(s)"),
        (["--out", "no/page.html"], "its folder is not there"),
        (["--out", "page.pdf"], "give a name that ends in .html"),
    ],
)
def test_user_errors_are_one_line_and_write_nothing(store, version, tmp_path, capsys, argv, said):
    assert version.version == "1"
    assert report.main([*argv, "--tracking-uri", store]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert list((tmp_path / "here").iterdir()) == []


def test_lineage_is_one_line_from_model_to_evaluation(store, version, capsys):
    assert lineage.main([version.uri, "--tracking-uri", store, "--json"]) == 0
    line, facts = capsys.readouterr().out.splitlines()
    evaluation = version.tags[names.EVALUATION_RUN]
    assert line == (
        f"models:/sttn/1 -> run tiny ({version.run_id[:12]}, 12 clips) -> data {'d' * 12} -> "
        f"commit {'c' * 12} -> config {'e' * 12} -> image unknown -> evaluation {evaluation[:12]} "
        "-> decision none yet"
    )
    assert json.loads(facts)["data_digest"] == "d" * 64
    assert lineage.main(["models:/sttn@champion", "--tracking-uri", store]) == 2
    assert "is not in the registry" in capsys.readouterr().err


# Run in the page: reports what was rendered in the page's title.
LOOK = """<script>
window.onerror = message => { document.title = "error: " + message; };
const waited = video => new Promise(done => {
  if (video.readyState >= 2 || video.error) return done();
  video.onloadeddata = video.onerror = done;
  video.preload = "auto"; video.load();
});
window.onload = async () => {
  const videos = [...document.querySelectorAll("video")];
  await Promise.all(videos.map(waited));
  document.title = JSON.stringify({
    wide: document.documentElement.scrollWidth > window.innerWidth,
    pictures: [...document.images].map(image => image.naturalWidth),
    videos: videos.map(video => [video.videoWidth, video.videoHeight, video.duration]),
    drawings: [...document.querySelectorAll("svg")].map(svg => svg.getBoundingClientRect().height),
    headings: [...document.querySelectorAll("h2")].map(one => one.textContent),
  });
};
</script>"""
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.mark.distributed
@pytest.mark.skipif(CHROMIUM is None, reason="no browser here: apt-get install chromium")
@pytest.mark.parametrize("width", [1200, 390])
def test_the_page_renders_in_a_browser(store, version, tmp_path, width):
    champion = foreign.register(store, tmp_path / "better")
    levels = {**GOOD, "candidate": 16.0, "champion": 15.0}
    registry.set_alias(store, version, names.CHAMPION)
    foreign.record_evaluation(store, champion, tmp_path / "more", version.version, **levels)
    folder = tmp_path / "candidate-000.png"
    run_id = registry.resolve(store, champion.uri).tags[names.EVALUATION_RUN]
    for file in (folder, folder.with_suffix(".mp4")):
        connection.client(store).log_artifact(run_id, str(file), names.DRAWINGS)
    out = tmp_path / "page.html"
    _page(store, out, champion.uri)
    looked = tmp_path / "looked.html"
    looked.write_text(out.read_text().replace("</main>", f"</main>{LOOK}"))
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
        "--no-first-run", "--disable-background-networking", "--disable-component-update",
        "--disable-sync", f"--user-data-dir={tmp_path}/browser", f"--window-size={width},2400",
        "--virtual-time-budget=20000", f"--screenshot={tmp_path}/page.png",
    ]  # fmt: skip
    dumped = subprocess.run(
        [*command, "--dump-dom", f"file://{looked}"], capture_output=True, text=True, timeout=100
    )
    title = re.search(r"<title>(.*?)</title>", dumped.stdout)
    assert title, dumped.stderr[-500:]
    seen = json.loads(title[1])
    assert not seen["wide"]  # nothing is cut off at the side
    assert seen["pictures"] == [48 * 4]
    assert [one[:2] for one in seen["videos"]] == [[48 * 4, 32]]
    assert seen["videos"][0][2] == pytest.approx(6 / 8, abs=0.05)
    assert len(seen["drawings"]) >= 3
    assert min(seen["drawings"]) > 100
    assert seen["headings"][:4] == [
        "Scores", "Against the best classical fill", "Against the champion", "Worst and best",
    ]  # fmt: skip
    with Image.open(tmp_path / "page.png") as shot:
        assert np.asarray(shot.convert("L")).std() > 5  # not blank
