import base64
import json
from html.parser import HTMLParser

import pytest

from mlops import lineage, names, registry, report, tracking
from tests.mlops import foreign

GOOD = {"candidate": 15.0, "trivial_frame_mean": 12.0, "trivial_ring_mean": 13.0}
VOID = {"meta", "img", "br", "path", "use"}


class Page(HTMLParser):
    """Checks that tags close in order, and collects text and what would be fetched."""

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
    strip = tmp_path / "candidate-001.png"
    strip.write_bytes(b"a picture")
    tracking.client(store).log_artifact(run_id, str(strip), names.STRIP)
    return registry.resolve(store, found.uri)


def _page(uri, out, *argv):
    assert report.main([*argv, "--tracking-uri", uri, "--out", str(out)]) == 0
    page = Page(out.read_text())
    assert page.open == []
    # Everything is in the page: inline pictures and references inside of it only.
    assert all(link.startswith(("data:", "#")) for link in page.links), page.links
    return page


def test_a_page_tells_the_whole_story(store, version, tmp_path, capsys):
    registry.set_alias(store, version, names.CHAMPION)
    page = _page(store, tmp_path / "page.html", "--json")
    out = capsys.readouterr().out.splitlines()
    assert json.loads(out[-1])["model"] == "models:/sttn/1"
    assert lineage.lineage_of(store, version).line() in out
    for said in (
        "sttn version 1",
        "champion",
        "15.50 dB",
        "+2.00 dB against the better of two trivial fills",
        "Trivial: mean of a ring round the hole",
        "Reconstruction loss",
        "/lake/tiny/v1",
        lineage.lineage_of(store, version).line(),
    ):
        assert said in page.words, said
    assert f"data:image/png;base64,{base64.b64encode(b'a picture').decode()}" in page.links


def test_without_a_champion_it_is_about_the_candidate(store, version, tmp_path):
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
def test_mistakes_are_one_line_and_write_nothing(store, version, tmp_path, capsys, argv, said):
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
        f"commit {'c' * 12} -> config {'e' * 12} -> evaluation {evaluation[:12]}"
    )
    assert json.loads(facts)["data_digest"] == "d" * 64
    assert lineage.main(["models:/sttn@champion", "--tracking-uri", store]) == 2
    assert "is not in the registry" in capsys.readouterr().err
