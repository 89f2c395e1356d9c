"""What is one way in all commands that end well: streams, `--json`, `--quiet`, `NO_COLOR`. `recipes` has a line of each."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer

from facevae.cli.main import app
from facevae.workflows import umap as umap_workflow
from helpers import FakeFaces, succeed
from recipes import RECIPES, WRITE_NOTHING, Recipe, put_trained_workspace

COMMAND = typer.main.get_command(app)
COMMANDS: dict[str, Any] = dict(COMMAND.commands)  # type: ignore[attr-defined]
LINES = {recipe.name: recipe for recipe in RECIPES if not recipe.redirected and recipe.command != "demo"}
READING = {"attributes": ["attributes"], "info": ["info", "faces.h5"], "evaluate": ["evaluate", "--no-edits"]}
assert set(READING) == WRITE_NOTHING

every_line = pytest.mark.parametrize("recipe", LINES.values(), ids=lambda recipe: recipe.name.replace(" ", "-"))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    put_trained_workspace(folder)
    return folder


@pytest.fixture(autouse=True)
def here(template: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(template, workspace, dirs_exist_ok=True)
    monkeypatch.setattr(umap_workflow, "fit", lambda latents, seed, report: latents[:, :2].copy())
    monkeypatch.setattr("typer.main.get_command", lambda app: COMMAND)
    monkeypatch.setenv("NO_COLOR", "1")
    FakeFaces(monkeypatch)
    return workspace


def inputs() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(Path().rglob("*")) if path.is_file()}


@every_line
def test_stdout_names_what_was_written_and_nothing_else(recipe: Recipe) -> None:
    before = inputs()
    outcome = succeed(*(word for word in recipe.words() if word != "-q"))
    assert outcome.lines, "nothing was named"
    for line in outcome.lines:
        assert Path(line).is_file(), line
    assert any(line == recipe.out or line.startswith(f"{recipe.out}/") for line in outcome.lines)
    assert b"\x1b" not in outcome.stdout
    assert "\x1b" not in outcome.stderr
    after = inputs()
    named = {str(Path(line)) for line in outcome.lines}
    changed = {name for name in after if after[name] != before.get(name)}
    # Beside the weights are the checkpoint that --resume goes on from, and the files of an earlier training.
    assert {name for name in changed if "checkpoint" not in name and ".previous" not in name} <= named
    assert set(before) <= set(after)
    assert not [name for name in after if name.endswith(".part")]


@every_line
def test_quiet_json_is_one_object_with_the_paths(recipe: Recipe) -> None:
    outcome = succeed(*recipe.words(), "--json")
    found = json.loads(outcome.stdout)
    assert isinstance(found, dict)
    assert found["paths"]
    for path in found["paths"]:
        assert Path(path).is_file()
    assert outcome.stderr == ""


@pytest.mark.parametrize("name", sorted(WRITE_NOTHING))
def test_commands_that_only_tell_write_no_file(name: str) -> None:
    before = inputs()
    outcome = succeed(*READING[name], "--json")
    assert isinstance(json.loads(outcome.stdout), dict)
    table = succeed(*READING[name])
    assert b"\x1b" not in table.stdout
    assert len(table.lines) > 3
    assert inputs() == before


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_quiet_and_json(name: str) -> None:
    flags = {flag for parameter in COMMANDS[name].params for flag in parameter.opts}
    assert "--json" in flags
    assert {"--quiet", "-q"} <= flags or name in WRITE_NOTHING
