"""Rules of whole packages. Imports between them are checked by import-linter (`pyproject.toml`)."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = [room for room in ("data_pipeline", "training", "mlops", "k8s") if (ROOT / room).is_dir()]
# The starter model is a registered version: it carries code of its own, as it was then.
CARRIED_CODE = ROOT / "mlops" / "starter" / "model"
MODULES = sorted(
    path
    for room in ROOMS
    for path in (ROOT / room).rglob("*.py")
    if CARRIED_CODE not in path.parents
)
PACKAGES = [path for path in MODULES if path.name == "__init__.py"]
LIGHT = [path for path in MODULES if path.name == "config.py" or path.parent.name == "config"]
HEAVY = {"torch", "ray", "mlflow", "av", "kubernetes"}
VAGUE = {"utils", "util", "common", "helpers", "helper", "base", "manager", "misc"}


def name(path):
    return path.relative_to(ROOT).as_posix()


def imports(path):
    """(level, module) of every import statement of a file; level 0 is absolute."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or ""


def files_of(room):
    return sorted((ROOT / room).glob("*.py"))


def test_packages_and_configs_are_found():
    assert {"data_pipeline", "training", "mlops"} <= set(ROOMS)
    assert {
        "training/config/train_config.py",
        "training/config/presets.py",
        "mlops/config.py",
    } <= set(map(name, LIGHT))


# Packages shipped inside a registered version, and all that they may import beside themselves.
CARRIED = {"training/model": {"torch"}, "mlops/fills": {"cv2", "numpy"}}


@pytest.mark.parametrize(
    ("path", "libraries"),
    [(path, libraries) for room, libraries in CARRIED.items() for path in files_of(room)],
    ids=lambda one: name(one) if isinstance(one, Path) else "",
)
def test_code_shipped_in_a_version_imports_few_libraries(path, libraries):
    allowed = {*libraries, *sys.stdlib_module_names}
    for level, module in imports(path):
        if level == 0:
            assert module.split(".")[0] in allowed, module
        else:
            assert level == 1, f"{'.' * level}{module} is outside of {name(path.parent)}"
            assert (path.parent / f"{module}.py").exists(), module


@pytest.mark.parametrize("path", PACKAGES, ids=name)
def test_init_files_only_import(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree)
    # Environment variables that must be set before any import of the package may be set here.
    for statement in tree.body[1:]:
        assert isinstance(statement, ast.Import | ast.Expr), ast.unparse(statement)
    assert set(imports(path)) <= {(0, "os")}


@pytest.mark.parametrize("path", PACKAGES, ids=name)
def test_package_docstrings_list_exactly_the_existing_files(path):
    text = path.read_text()
    files = {one.stem for one in path.parent.glob("*.py")} - {"__init__"}
    assert {one for one in files if f"{one}.py" not in text and f"`{one}`" not in text} == set()
    assert set(re.findall(r"(\w+)\.py", text)) - files == set()
    folders = {one.parent.name for one in path.parent.glob("*/__init__.py")}
    assert folders <= set(re.findall(r"^(?:\| |- )?`(\w+)/`", text, re.M))


def test_no_file_shadows_a_library():
    # `python training/run.py` puts `training/` first on the path.
    ours = {"data_pipeline", "training", "mlops", "k8s", "tests"}
    installed = set(importlib.metadata.packages_distributions()) - ours
    taken = installed | set(sys.stdlib_module_names)
    assert [name(path) for path in MODULES if {path.stem, path.parent.name} & taken] == []


def test_no_file_has_a_vague_name():
    assert [name(path) for path in MODULES if {path.stem, path.parent.name} & VAGUE] == []


SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
SLOW = HEAVY | {"cv2", "matplotlib", "pyarrow", "s3fs", "scipy", "skimage"}
PARSES = """
import contextlib, importlib, io, sys
main = importlib.import_module(sys.argv[1]).main
for argv, wanted in (["--help"], 0), (["--hlp"], 2):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            code = main(argv)
        except SystemExit as end:
            code = end.code or 0
    assert code == wanted, (argv, code)
print(*sorted(set(sys.argv[2:]) & sys.modules.keys()))
"""


@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_help_and_a_mistyped_flag_load_no_heavy_library(script):
    done = subprocess.run(
        [sys.executable, "-c", PARSES, SCRIPTS[script].split(":")[0], *SLOW],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


@pytest.mark.parametrize("path", LIGHT, ids=name)
def test_configs_and_presets_load_without_heavy_libraries(path):
    module = name(path).removesuffix(".py").replace("/", ".")
    code = f"import sys, {module}; print(*({HEAVY!r} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
