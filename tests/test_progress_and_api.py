"""The package as a whole: its events, its public names, and which part may import which."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import facevae
from facevae.errors import FacevaeError
from facevae.progress import Notice, Progress, silent

PACKAGE = Path(facevae.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
HEAVY = (
    "torch",
    "torchvision",
    "torchmetrics",
    "sklearn",
    "scipy",
    "numpy",
    "h5py",
    "matplotlib",
    "PIL",
    "umap",
    "safetensors",
    "typer",
    "rich",
)
LAYERS = {
    "cli": 5,
    "explorer": 4,
    "workflows": 3,
    "storage": 2,
    "figures": 2,
    "drawing": 2,
    "metrics": 2,
    "model": 1,
    "web": 0,
    "config": 0,
    "errors": 0,
    "progress": 0,
    "provenance": 0,
    "temporary": 0,
    "version": 0,
}
"""A part may import itself and parts of lower layers; parts of one layer do not know each other (config knows errors)."""


def relative(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(tree: ast.AST) -> set[str]:
    """Every module named by an import anywhere in the file; `from facevae.a import b` counts as facevae.a.b."""
    modules: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
    return modules


def run_python(code: str) -> str:
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return finished.stdout.strip()


def test_events_are_values() -> None:
    assert Progress("train", 1, 2) == Progress("train", 1, 2, "images", {})
    assert Progress("a", 1, None).values is not Progress("b", 1, None).values
    assert Notice("a") != Notice("b")
    with pytest.raises(dataclasses.FrozenInstanceError):
        Notice("a").text = "b"  # type: ignore[misc]


def test_silent_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    silent(Notice("text"))
    silent(Progress("train", 1, 2))
    assert capsys.readouterr() == ("", "")


def test_importing_the_package_costs_nothing() -> None:
    code = f"import sys, facevae, facevae.config; print([name for name in {HEAVY} if name in sys.modules])"
    assert run_python(code) == "[]"


def test_names_are_resolved_on_first_use() -> None:
    code = "import sys, facevae; facevae.TrainConfig; print('torch' in sys.modules); facevae.FaceModel; "
    assert run_python(code + "print('torch' in sys.modules)").split() == ["False", "True"]


def test_every_public_name_resolves() -> None:
    assert facevae.__all__[0] == "__version__"
    assert dir(facevae) == sorted(facevae.__all__)
    assert len(set(facevae.__all__)) == len(facevae.__all__)
    for name in facevae.__all__:
        value = getattr(facevae, name)
        if name != "__version__":
            assert value.__name__ == name
            assert value.__doc__, f"{name} has no docstring"
            assert value.__module__.startswith("facevae.")


def test_the_lazy_names_are_those_that_type_checkers_see() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    branch = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.asname for node in branch.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == set(facevae.__all__) - {"__version__"}


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError) as error:
        facevae.pickle  # noqa: B018 - the access is the test
    assert str(error.value) == "module 'facevae' has no attribute 'pickle'"
    with pytest.raises(ImportError):
        importlib.import_module("facevae.pickle")


def test_version_is_that_of_the_installed_package() -> None:
    assert importlib.import_module("importlib.metadata").version("facevae") == facevae.__version__


def test_every_error_is_one_of_facevae() -> None:
    errors = importlib.import_module("facevae.errors")
    kinds = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert len(kinds) >= 5
    assert all(issubclass(kind, FacevaeError) and kind.exit_code in (1, 2) for kind in kinds)


def test_every_part_has_a_layer() -> None:
    parts = {part_of(path) for path in SOURCES} - {"__init__", "__main__"}
    assert parts == set(LAYERS)


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_imports_run_one_way(path: Path) -> None:
    part = part_of(path)
    if part == "__init__":
        pytest.skip("the public names come from everywhere")
    layer = LAYERS.get(part, 6)
    for module in imported_modules(ast.parse(path.read_text())):
        if not module.startswith("facevae."):
            continue
        other = module.split(".")[1]
        # A name such as facevae.errors.UsageError of the layer below all others, or __version__ from the package itself.
        allowed = other == part or LAYERS[other] < layer or (part, other) == ("config", "errors")
        assert allowed, f"{relative(path)} imports {module}"


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_heavy_libraries_stay_in_their_places(path: Path) -> None:
    top_level = ast.Module([node for node in ast.parse(path.read_text()).body if not isinstance(node, ast.If)], [])
    runs = ast.Module([node for node in top_level.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
    at_once = {module.split(".")[0] for module in imported_modules(runs)}
    anywhere = {module.split(".")[0] for module in imported_modules(ast.parse(path.read_text()))}
    part = part_of(path)
    assert not anywhere & {"pickle", "dill", "joblib", "shelve", "click"}
    if part in ("cli", "__main__", "__init__", "config", "errors", "progress", "version"):
        assert not at_once & {"torch", "torchvision", "h5py", "matplotlib", "umap", "safetensors", "numpy", "PIL"}
    if part != "cli":
        assert not anywhere & {"typer", "rich"}
    if part == "model":
        assert not anywhere & {"h5py", "matplotlib", "PIL", "safetensors", "umap"}
    if part in ("model", "metrics"):
        assert not anywhere & {"pathlib", "io", "os", "h5py"}, f"{part} touches no file"
    if part in ("config", "errors", "progress", "version"):
        assert anywhere <= set(sys.stdlib_module_names) | {"facevae"}
    # umap takes ten seconds to import: only while it is used.
    assert "umap" not in at_once


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_the_library_neither_prints_nor_unpickles(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        nothing = [ast.unparse(argument) for argument in node.args] == ["''"]
        forbidden = ("torch.load", "torch.save", "np.load", "numpy.load", "eval", "exec")
        assert called not in forbidden or nothing, relative(path)
        if part_of(path) != "cli":
            assert called not in ("print", "sys.stdout.write", "sys.stderr.write", "warnings.warn"), relative(path)


@pytest.mark.parametrize("verb", ["prepare", "umap"])
def test_what_needs_no_network_does_not_load_torch(verb: str) -> None:
    """PyTorch takes seconds and 600 MB, and neither preparing faces nor mapping latents computes with it."""
    code = f"import sys; import facevae.workflows.{verb}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
