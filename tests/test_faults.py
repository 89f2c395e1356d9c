"""Every command that writes, on a bad day: full disks, folders in the way, inputs that vanish, two runs at once.

What happens to processes that are killed is for `benchmarks/kills.py`, which goes through the same lines.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from facevae.cli.main import app
from facevae.errors import DataError
from facevae.storage import hdf5
from facevae.storage.latents import Latents
from facevae.storage.weights import FaceModel
from facevae.workflows import umap as umap_workflow
from helpers import FakeFaces, Outcome, run
from recipes import RECIPES, Recipe, missing, put_trained_workspace

COMMAND = typer.main.get_command(app)
COMMANDS: dict[str, Any] = dict(COMMAND.commands)  # type: ignore[attr-defined]
IN_PROCESS = [recipe for recipe in RECIPES if not recipe.redirected and recipe.command != "demo"]
"""The demo is made of the others, which takes it long."""
FILES = [recipe for recipe in IN_PROCESS if not recipe.folder]
FOLDERS = [recipe for recipe in IN_PROCESS if recipe.folder]
FILE_OR_FOLDER = ("align", "upscale")


def by_name(recipe: Recipe) -> str:
    return recipe.name.replace(" ", "-")


every = pytest.mark.parametrize("recipe", IN_PROCESS, ids=by_name)
every_file = pytest.mark.parametrize("recipe", FILES, ids=by_name)
every_folder = pytest.mark.parametrize("recipe", FOLDERS, ids=by_name)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    put_trained_workspace(folder)
    return folder


@pytest.fixture
def here(template: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The workspace of the recipes, without what takes long: finding faces, fitting a map, and building all commands anew."""
    shutil.copytree(template, workspace, dirs_exist_ok=True)
    (workspace / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(workspace / "tmp"))
    monkeypatch.setattr(umap_workflow, "fit", lambda latents, seed, report: latents[:, :2].copy())
    monkeypatch.setattr("typer.main.get_command", lambda app: COMMAND)
    FakeFaces(monkeypatch)
    return workspace


def contents() -> dict[str, bytes]:
    """All files of the workspace, hidden and temporary ones too."""
    return {str(path): path.read_bytes() for path in sorted(Path().rglob("*")) if path.is_file()}


def sentence(outcome: Outcome, *codes: int) -> str:
    """The error of a command that must fail with one of these codes, in whole sentences."""
    assert outcome.code in codes, outcome
    lines = outcome.stderr.splitlines()
    assert [line for line in lines if line.startswith("Error: ")] == lines[-1:], outcome
    # The last sentence may be a command to run, which has no full stop.
    assert lines[-1].endswith((".", "?")) or ": facevae " in lines[-1], outcome
    assert "Traceback" not in outcome.stderr
    assert outcome.stdout == b""
    return lines[-1].removeprefix("Error: ")


def test_every_command_that_writes_has_a_line() -> None:
    assert missing(COMMANDS) == ""
    assert missing([*COMMANDS, "another"]) == "tests/recipes.py and the commands differ in another."


# ------------------------------------------------------------------------------------------ outputs in the way


@every_file
def test_a_folder_where_a_file_is_to_be(recipe: Recipe, here: Path) -> None:
    before = contents()
    folder = "folder" + Path(recipe.out).suffix
    Path(folder).mkdir()
    outcome = run(*recipe.words(folder))
    if recipe.command in FILE_OR_FOLDER:
        assert outcome.code == 0
        assert len(contents()) == len(before) + 1
        return
    assert sentence(outcome, 2) == f"{folder} is a folder: name a file to write to."
    assert contents() == before


@every_folder
def test_a_file_where_a_folder_is_to_be(recipe: Recipe, here: Path) -> None:
    Path("notes").write_text("keep this")
    before = contents()
    assert sentence(run(*recipe.words("notes")), 1, 2).startswith("notes ")
    assert contents() == before


@every_file
def test_a_folder_that_does_not_exist(recipe: Recipe, here: Path) -> None:
    before = contents()
    outcome = run(*recipe.words(f"missing/{recipe.out}"))
    if "--resume" not in recipe.line:
        assert sentence(outcome, 1) == f"There is no folder missing to write {recipe.out} into: create it first."
    sentence(outcome, 1)
    assert contents() == before


@every
def test_no_input_is_overwritten(recipe: Recipe, here: Path) -> None:
    before = contents()
    for path in recipe.inputs:
        sentence(run(*recipe.words(path)), 1, 2)
        assert contents() == before


@every
def test_a_folder_that_cannot_be_written_to(recipe: Recipe, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the superuser, who may write anywhere, the tests only pretend it."""
    before = contents()

    def read_only(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    monkeypatch.setattr(Path, "mkdir", read_only)
    told = sentence(run(*recipe.words()), 1)
    assert told in (
        "The folder . cannot be written to: name another output with -o.",
        "The folder . cannot be written to: name another output with --coordinates.",
        f"{recipe.out} cannot be made a folder: read-only file system.",
    )
    assert contents() == before


# ------------------------------------------------------------------------------------------ full disks


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """Let the system refuse to write more than so many bytes of a file."""
    resource = pytest.importorskip("resource", reason="this system has no such limit")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@every
def test_a_full_disk_and_then_room(recipe: Recipe, here: Path) -> None:
    if recipe.earlier and not recipe.folder:
        shutil.copy(recipe.earlier, recipe.out)
    before = contents()
    with disk_of(150):
        told = sentence(run(*recipe.words()), 1)
    assert re.fullmatch(r".+ cannot be written: file too large\.", told), told
    after = contents()
    assert sorted(after.values()) == sorted(before.values())
    assert recipe.keeps or after == before
    if recipe.exact:
        assert run(*recipe.words()).code == 0
        assert set(before) <= set(contents())
        assert not [name for name in contents() if name.endswith(".part")]


# ------------------------------------------------------------------------------------------ inputs that change


def delete(path: Path) -> None:
    path.unlink(missing_ok=True)


def cut(path: Path) -> None:
    if path.exists():
        os.truncate(path, path.stat().st_size // 2)


class Changing:
    """Changes a file when it is opened for the n-th time, after whatever was looked at before."""

    current: Changing | None = None

    def __init__(self, path: Path, change: Callable[[Path], None], opening: int) -> None:
        self._path, self._change, self._left = os.path.abspath(path), change, opening  # noqa: PTH100
        self.done = False

    def opened(self, path: object) -> None:
        if not self.done and isinstance(path, str | os.PathLike) and os.path.abspath(path) == self._path:  # noqa: PTH100
            self._left -= 1
            if self._left == 0:
                self.done = True
                self._change(Path(self._path))

    @staticmethod
    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and Changing.current is not None:
            Changing.current.opened(arguments[0])


@pytest.fixture(scope="module")
def _auditing() -> None:
    sys.addaudithook(Changing.hook)  # which stays as long as the process


@pytest.mark.usefixtures("_auditing")
@pytest.mark.parametrize("change", [delete, cut])
@pytest.mark.parametrize("recipe", [each for each in IN_PROCESS if each.exact or "--resume" in each.line], ids=by_name)
def test_an_input_that_changes_before_it_is_read(recipe: Recipe, change: Callable[[Path], None], here: Path) -> None:
    """Whatever of it was looked at before; what happens to it later need not matter."""
    before = contents()
    for name in recipe.inputs if change is delete else recipe.inputs[:1]:
        Changing.current = Changing(Path(name), change, 1 if change is delete else 2)
        try:
            outcome = run(*recipe.words())
        finally:
            Changing.current = None
        left = contents()
        if outcome.code:
            sentence(outcome, 1, 2)
            assert set(left) <= set(before)
        Path(name).write_bytes(before[name])
        for file in set(left) - set(before):
            Path(file).unlink()


READ_HDF5 = [recipe for recipe in IN_PROCESS if any(name.endswith(".h5") for name in recipe.inputs)]


@pytest.mark.parametrize("recipe", READ_HDF5, ids=by_name)
def test_data_that_are_cut_short_while_they_are_read(
    recipe: Recipe, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents()
    path = next(name for name in recipe.inputs if name.endswith(".h5"))
    really = hdf5.Reader._check_columns

    def opened(self: hdf5.Reader) -> None:
        really(self)
        if self.path == Path(path):
            os.truncate(path, os.path.getsize(path) // 2)  # noqa: PTH202

    monkeypatch.setattr(hdf5.Reader, "_check_columns", opened)
    assert sentence(run(*recipe.words()), 1) == (
        f"{path} was changed by another program while it was read: run the same command again when that is done."
    )
    Path(path).write_bytes(before[path])
    assert contents() == before


CHANGED = "latents.h5 was changed by another program while it was read: run the same command again when that is done."


@pytest.mark.skipif(os.name != "posix", reason="elsewhere nobody can write to an open file, or rename one over it")
def test_an_open_file_that_is_written_to(template: Path, workspace: Path) -> None:
    shutil.copy(template / "latents.h5", "latents.h5")
    with Latents("latents.h5") as latents:
        latents.mean(0, 3)
        with Path("latents.h5").open("r+b") as file:
            file.seek(-20, os.SEEK_END)
            file.write(bytes(20))
        os.utime("latents.h5", (1, 1))  # the clock of some file systems is slow
        for read in (latents.mean, latents.log_variance, lambda: latents.names, lambda: latents.columns(0, 2)):
            with pytest.raises(DataError) as caught:
                read()
            assert str(caught.value) == CHANGED


@pytest.mark.skipif(os.name != "posix", reason="elsewhere nobody can write to an open file, or rename one over it")
def test_an_open_file_that_another_takes_the_name_of(template: Path, workspace: Path) -> None:
    """As facevae itself does it: the old one stays whole for whoever reads it."""
    shutil.copy(template / "latents.h5", "latents.h5")
    with Latents("latents.h5") as latents:
        shutil.copy(template / "earlier.h5", "new.h5")
        Path("new.h5").replace("latents.h5")
        assert len(latents.mean()) == len(latents.names) == 60


# ------------------------------------------------------------------------------------------ two at once

TOGETHER = """
import os, sys
from facevae.cli.main import app
import facevae.figures.picture, facevae.figures.plots, facevae.workflows.encode, facevae.workflows.train
def two(*lines):
    reading, writing = os.pipe()
    children = []
    for line in lines:
        child = os.fork()
        if not child:
            os.close(writing)
            os.read(reading, 1)  # which ends for both at once, when the other end is closed
            app(line.split())
        children.append(child)
    os.close(writing)
    os.close(reading)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
print(two("encode -q -o both.h5", "encode -q -w other.safetensors -o both.h5"))
train = "train --channels 2 --latent-dim 3 --batch-size 10 -e 1 -q -o trained.safetensors --seed "
print(two(train + "1", train + "2"))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX processes")
def test_two_runs_at_once(template: Path, workspace: Path) -> None:
    """The last one's file remains, whole; neither disturbs the other."""
    shutil.copytree(template, workspace, dirs_exist_ok=True)
    before = set(contents())
    done = subprocess.run([sys.executable, "-c", TOGETHER], capture_output=True, text=True, timeout=120)
    codes = [line for line in done.stdout.splitlines() if line.startswith("[")]
    assert (codes, done.stderr) == (["[0, 0]"] * 2, "")
    with Latents("both.h5") as latents:
        weights = [FaceModel.load(name).hash() for name in ("vae.safetensors", "other.safetensors")]
        assert latents.weights_hash in weights
        assert latents.count == 60
        assert np.isfinite(latents.mean()).all()
    assert FaceModel.load("trained.safetensors").training["seed"] in (1, 2)
    new = {re.sub(r"\.previous(-[0-9])?", "", name) for name in set(contents()) - before}
    made = (
        "both.h5",
        *(f"trained.{end}" for end in ("safetensors", "checkpoint.safetensors", "history.csv", "loss.png")),
    )
    assert new == set(made)
