"""What the documents show exists, parses, runs, or says what it needs."""

import ast
import base64
import contextlib
import fnmatch
import functools
import importlib
import io
import itertools
import re
import shlex

import duckdb
import nbformat
import pytest
import yaml
from nbclient import NotebookClient
from PIL import Image

from data_pipeline.cli.ray_session import ray_session
from mlops.evaluation import columns, floors
from mlops.tracking import names, registry
from tests.charts import values_table
from tests.charts.rendering import files, objects, of_kind
from tests.documents import (
    COMMANDS,
    DOCUMENTS,
    ROOT,
    blocks,
    complaint_of,
    flags_of,
    read,
    rows,
    without_blocks,
)
from tests.mlops import foreign
from tests.tiny import write_videos
from tests.training.small import GRIDS, small_generator
from training.config import train_config
from training.config.invocation import invocation
from training.config.presets import PRESETS
from training.config.train_config import GeneratorConfig
from training.planning.plan import plan
from training.registration.model_folder import model_folder

NEEDS = {
    "minutes", "data", "gpu", "candidate", "champion", "checkpoint", "ray-cluster", "kubernetes",
}  # fmt: skip
OTHER_PROGRAMS = {
    "minutes": {"make", "source", "uv"},
    "champion": {"source"},
    "ray-cluster": {"ray"},
    "kubernetes": {"helm", "kubectl", "docker"},
}
SHELL = blocks("sh", "bash")
RUN = [block for block in blocks("sh", "python", "sql") if not block.needs]
PROGRAM = re.compile(r"(?:\w+=\S+ )*(?:python|sttn-\w+) ")


# ------------------------------------------------------------------ commands


def words_of(line):
    """The command and its arguments, of a line that runs Python; None of any other line."""
    found = PROGRAM.match(line)
    return shlex.split(line[found.end() :]) if found else None


@pytest.mark.parametrize("block", SHELL, ids=lambda block: block.name)
def test_a_block_is_run_or_says_what_it_needs_and_its_commands_parse(block):
    assert block.needs in {"", *NEEDS}
    for line in block.lines():
        words = words_of(line)
        if words is None:
            program = line.split()[0]
            assert program in {"export", *OTHER_PROGRAMS.get(block.needs, ())}, line
            if program == "make":
                assert re.search(rf"^{line.split()[1]}:", read("Makefile"), re.M), line
            if "-- python " in line:  # what Ray is given to run
                assert complaint_of(*words_of(line.split("-- ", 1)[1])) == "", line
        elif words[0] == "-m":
            assert words[1] == "pytest"
            assert (ROOT / words[2]).exists(), line
        elif words[0].startswith("examples/"):
            assert (ROOT / words[0]).is_file(), line
        else:
            assert complaint_of(*words) == "", line


def shown_in_text():
    """Every command in the text around the blocks, with each of its alternatives in turn."""
    for document in DOCUMENTS:
        for code in re.findall(r"`python ((?:\w+/)+\w+\.py[^`]*)`", without_blocks(document)):
            plain = re.sub(r"\[--field value …\]|[\[\]…]", "", code.replace("\\|", "|"))
            words = [word.split("|") for word in shlex.split(plain)]
            for one in itertools.product(*words):
                yield tuple(one)


@pytest.mark.parametrize("words", sorted(set(shown_in_text())), ids=" ".join)
def test_a_command_in_the_text_parses(words):
    path, *rest = ("demo" if word in ("PRESET", "NAME") else word for word in words)
    if "--help" in rest:
        assert path in COMMANDS
    elif rest:
        said = complaint_of(
            path, *("/it.html" if w == "URI" and "--out" in rest else w for w in rest)
        )
        assert said == "", said


def test_every_flag_in_the_text_is_one_of_some_command():
    known = frozenset().union(*map(flags_of, COMMANDS))
    # Of kubectl, docker, mlflow; and FIELD stands for any.
    others = {
        "--server-side",
        "--force-conflicts",
        "--build-arg",
        "--backend-store-uri",
        "--help",
        "--field",
    }
    wrong = {
        (document, flag)
        for document in DOCUMENTS
        if document != "CHANGELOG.md"  # it names old flags too
        for code in re.findall(r"`([^`\n]+)`", without_blocks(document))
        for flag in re.findall(r"(?<![\w-])--[a-z][\w.-]*", code)
        if flag.rstrip(".") not in known | others
    }
    assert wrong == set()


# ------------------------------------------------------------------ what is run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with some videos, in which the blocks are run one after the other."""
    place = tmp_path_factory.mktemp("documents")
    write_videos(place / "videos", [12, 12, 12, 12])
    with contextlib.chdir(place), ray_session(2):
        yield place


@pytest.mark.waits
@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("block", RUN, ids=lambda block: block.name)
def test_a_block_without_needs_runs(block):
    if block.language == "python":
        exec(compile(block.text, block.document, "exec"), {})
    elif block.language == "sql":
        for statement in filter(str.strip, block.text.split(";")):
            duckdb.sql(statement).fetchall()
    else:
        for line in block.lines():
            path, *words = words_of(line)
            module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
            assert module.main(words) == 0, line


def test_the_notebook_fills_a_clip(folder, new_store, monkeypatch):
    store = new_store(folder / "store")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    shape = GeneratorConfig(channels=8, blocks=1, grids=GRIDS)
    weights = small_generator(seed=1, blocks=1).state_dict()
    with model_folder(weights, shape, 96, 64, "MIT") as (model, _):
        run_id = foreign.training_run(store)
        version = registry.register(
            store, name=names.MODEL, run_id=run_id, clips=1, model_dir=model, tags={}
        )
    registry.set_alias(store, version, names.CHAMPION)
    monkeypatch.setenv("STTN_DATA", str(folder / "lake/curated/samples/v1"))
    notebook = nbformat.read(ROOT / "examples/library.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "clear its outputs"
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(ROOT)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = "".join(output.get("text", "") for output in outputs)
    assert re.search(r"\d frames, \d+\.\d\d dB in the hole", printed)
    (picture,) = (output.data["image/png"] for output in outputs if "data" in output)
    with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
        assert image.height == 3 * 64


# ------------------------------------------------------------------ facts


def test_tables_name_what_the_code_has():
    metrics = {*(one.key for one in columns.COLUMNS), columns.TIME.key}
    assert {row[0] for row in rows("mlops/README.md", "metric")} == metrics
    fills = {one.subject for one in floors.FLOORS}
    assert {row[0] for row in rows("mlops/README.md", "fill")} == fills
    presets = {row[0] for row in rows("training/README.md", "preset")}
    assert presets == {name for name in PRESETS if not re.search(r"-\d+$", name)}
    variables = {f"--{name.replace('_', '-')}": v for name, v in train_config.ENVIRONMENT.items()}
    assert {row[0]: row[1] for row in rows("training/README.md", "flag")} == variables


def span(low, high, digits=0):
    """As the table writes two numbers."""
    return f"{low:.{digits}f} to {high:.{digits}f}"


@pytest.mark.parametrize("row", rows("training/README.md", "planned run"), ids=lambda row: row[0])
def test_the_plan_in_the_text_is_the_plan(row):
    asked = invocation(shlex.split(row[0]))[1]
    found = plan(asked.config, asked.machines)
    step = [1e3 * seconds for seconds in found.step_s]
    clips = sorted(asked.config.batch_clips / seconds for seconds in found.step_s)
    assert row[1:] == [
        str(asked.machines.workers),
        f"{found.memory.total / 2**30:.1f} GiB",
        f"{sum(one.sent for one in found.collectives) / 1e6:.0f} MB",
        f"{span(*step)} ms",
        span(*clips),
    ]


def templates(path):
    """Texts of a file as they are said, `…` for what is filled in."""

    def text(node):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return re.sub(r"\{\w+\}", "…", node.value)
        if isinstance(node, ast.JoinedStr):
            return "".join(text(one) or "…" for one in node.values)
        return ""

    return {found for node in ast.walk(ast.parse(path.read_text())) if (found := text(node))}


@functools.cache
def said_by_the_code():
    rooms = ("data_pipeline", "training", "mlops", "k8s")
    modules = (path for room in rooms for path in (ROOT / room).rglob("*.py"))
    return frozenset().union(*map(templates, modules))


MESSAGES = re.findall(r"^\| `([^`]+)` \|", read("TROUBLESHOOTING.md"), re.M)


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_that_is_explained_is_said_by_the_code(message):
    parts = [re.escape(part.strip()) for part in message.split("…") if part.strip(" :;,.")]
    pattern = re.compile(".*".join(parts), re.S)
    assert parts
    assert any(pattern.search(said) for said in said_by_the_code())


# ------------------------------------------------------------------ chart


def test_the_values_table_is_that_of_values_yaml():
    text = values_table.README.read_text()
    assert text == values_table.replaced(text), "python -m tests.charts.values_table"
    unexplained = [one.name for one in values_table.values() if not one.comment]
    assert [name for name in unexplained if not name.endswith(".enabled")] == []


def test_values_in_the_text_are_those_of_the_chart():
    known = {one.name for one in values_table.values()}
    groups = {name.split(".")[0] for name in known}
    documents = ("k8s/README.md", "charts/sttn/README.md", "TROUBLESHOOTING.md")
    wrong = {
        (document, shown)
        for document in documents
        for shown in re.findall(
            r"`([a-zA-Z]+(?:\.[a-zA-Z*]+)+)(?:: [^`]+)?`",
            without_blocks(document).split(values_table.BEGIN)[0],
        )
        if shown.split(".")[0] in groups
        and not any(fnmatch.fnmatchcase(name, shown) for name in known)
    }
    assert wrong == set()


@pytest.mark.parametrize("cloud", ["eks", "gke"])
def test_the_values_of_a_cloud_make_the_whole_release(cloud):
    values = yaml.safe_load((ROOT / f"examples/values-{cloud}.yaml").read_text())
    made = objects(values)
    assert of_kind(made, "RayCluster")
    assert len(of_kind(made, "RayJob")) == 4
    (cluster,) = of_kind(made, "RayCluster")
    assert cluster["spec"]["enableInTreeAutoscaling"]
    with pytest.raises(Exception, match="workres"):
        files({**values, "workres": {}})


# ------------------------------------------------------------------ links and names


def anchors(document):
    """Names that a link may point to, as GitHub makes them of headings."""
    heads = re.findall(r"^#+ (.+)$", without_blocks(document), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def links():
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)\s]+)\)", without_blocks(document)):
            if not target.startswith("http"):
                yield document, target


@pytest.mark.parametrize(("document", "target"), sorted(set(links())))
def test_a_link_leads_somewhere(document, target):
    path, _, anchor = target.partition("#")
    place = (ROOT / document).parent / path if path else ROOT / document
    assert place.exists()
    if anchor:
        assert anchor in anchors(place.resolve().relative_to(ROOT).as_posix())


def test_files_that_the_text_names_are_there():
    top = {path.name for path in ROOT.iterdir() if path.is_dir()} - {"demo"}
    wrong = {
        (document, path)
        for document in DOCUMENTS
        for path in re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", without_blocks(document))
        if path.split("/")[0] in top and not (ROOT / path).exists()
    }
    assert wrong == set()
