"""What holds for whole rooms. Which room may import which is import-linter's (`pyproject.toml`)."""

import ast
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = [room for room in ("data_pipeline", "training", "mlops", "k8s") if (ROOT / room).is_dir()]
MODULES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
PACKAGES = [path for path in MODULES if path.name == "__init__.py"]
LIGHT = [path for path in MODULES if path.name in ("config.py", "presets.py")]
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


def test_there_is_something_to_look_at():
    assert {"data_pipeline", "training", "mlops"} <= set(ROOMS)
    assert {"training/config.py", "training/presets.py", "mlops/config.py"} <= set(map(name, LIGHT))


@pytest.mark.parametrize("path", sorted((ROOT / "training/model").glob("*.py")), ids=name)
def test_the_model_stands_on_torch_the_standard_library_and_itself(path):
    allowed = {"torch", *sys.stdlib_module_names}
    for level, module in imports(path):
        if level == 0:
            assert module.split(".")[0] in allowed, module
        else:
            assert level == 1, f"{'.' * level}{module} is outside of training/model"
            assert (path.parent / f"{module}.py").exists(), module


@pytest.mark.parametrize("path", PACKAGES, ids=name)
def test_a_package_defines_nothing(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree)
    # Switches of the environment that must be set before any import of the room may stand here.
    for statement in tree.body[1:]:
        assert isinstance(statement, ast.Import | ast.Expr), ast.unparse(statement)
    assert set(imports(path)) <= {(0, "os")}


@pytest.mark.parametrize("path", PACKAGES, ids=name)
def test_the_map_of_a_room_names_every_file_and_none_that_is_gone(path):
    text = path.read_text()
    files = {one.stem for one in path.parent.glob("*.py")} - {"__init__"}
    assert {one for one in files if f"{one}.py" not in text and f"`{one}`" not in text} == set()
    assert set(re.findall(r"(\w+)\.py", text)) - files == set()


def test_no_file_takes_the_name_of_a_library():
    # `python training/run.py` puts `training/` first on the path.
    ours = {"data_pipeline", "training", "mlops", "k8s", "tests"}
    installed = set(importlib.metadata.packages_distributions()) - ours
    taken = installed | set(sys.stdlib_module_names)
    assert [name(path) for path in MODULES if path.stem in taken] == []


def test_no_file_has_a_name_that_says_nothing():
    assert [name(path) for path in MODULES if path.stem in VAGUE] == []


@pytest.mark.parametrize("path", LIGHT, ids=name)
def test_configs_and_presets_load_without_heavy_libraries(path):
    module = name(path).removesuffix(".py").replace("/", ".")
    code = f"import sys, {module}; print(*({HEAVY!r} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
