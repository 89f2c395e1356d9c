"""The help: complete for every command, and quick, because it imports nothing heavy."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest
import typer

from facevae.cli.main import app
from helpers import run, succeed

# The command objects that Typer makes of the app: a new command cannot be forgotten here.
COMMANDS: dict[str, Any] = dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
HEAVY = ("torch", "torchvision", "numpy", "h5py", "matplotlib", "umap", "PIL", "safetensors", "scipy", "sklearn")


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def words(text: str) -> str:
    """Text without the frames and line breaks of the help."""
    return re.sub(r"[\s│╭╮╰╯─]+", " ", text)


def test_the_commands_are_those_of_the_design() -> None:
    assert {
        "prepare",
        "train",
        "train-upscaler",
        "encode",
        "sample",
        "reconstruct",
        "morph",
        "attributes",
        "interpolate",
        "average",
        "neighbours",
        "upscale",
        "umap",
        "activations",
        "evaluate",
        "info",
        "demo",
    } <= set(COMMANDS)


def test_help_lists_every_command() -> None:
    text = words(succeed("--help").stdout.decode())
    for name, command in COMMANDS.items():
        assert f" {name} {command.help.split('.')[0]}" in text


def test_without_a_command_the_help_is_shown() -> None:
    outcome = run()
    assert outcome.code == 2
    assert "Usage: facevae [OPTIONS] COMMAND" in outcome.stdout.decode() + outcome.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_that_runs_it(name: str) -> None:
    epilog = COMMANDS[name].epilog
    assert epilog.startswith(f"Example: facevae {name}")
    assert epilog in words(succeed(name, "--help").stdout.decode())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_an_example_exists(name: str) -> None:
    example = COMMANDS[name].epilog.partition(" | ")[0]
    known = {spelling for parameter in COMMANDS[name].params for spelling in parameter.opts}
    used = re.findall(r"(?<= )--?[a-z][a-z-]*", example)
    assert set(used) <= known


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_parameter_is_described(name: str) -> None:
    command = COMMANDS[name]
    assert command.help.strip().endswith(".")
    text = words(succeed(name, "--help").stdout.decode())
    for parameter in command.params:
        assert parameter.help, parameter.name
        assert parameter.help.endswith("."), parameter.name
        assert words(parameter.help) in text, parameter.name
        for spelling in parameter.opts:
            if spelling.startswith("-"):
                assert spelling in text


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_the_short_form_is_the_same(name: str) -> None:
    arguments = [name] if name else []
    assert succeed(*arguments, "-h") == succeed(*arguments, "--help")


@pytest.mark.parametrize("name", COMMANDS)
def test_all_commands_can_be_silenced_and_speak_json(name: str) -> None:
    spellings = {spelling for parameter in COMMANDS[name].params for spelling in parameter.opts}
    assert "--json" in spellings
    assert "--quiet" in spellings


@pytest.mark.parametrize("name", COMMANDS)
def test_arguments_are_bracketed_once(name: str) -> None:
    usage = next(line for line in succeed(name, "-h").stdout.decode().splitlines() if "Usage:" in line)
    assert not re.search(r"\[\[|\.\.\..?\.\.\.", usage), usage


def test_the_version() -> None:
    from facevae import __version__

    assert succeed("--version").stdout.decode() == f"facevae {__version__}\n"


def test_help_has_no_escape_codes_and_fits_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for name in COMMANDS:
        text = succeed(name, "--help").stdout.decode()
        assert "\x1b" not in text
        assert max(len(line) for line in text.splitlines()) <= 80


def test_help_imports_nothing_heavy() -> None:
    """In one process of its own: after the help of the app and of every command, none of the heavy libraries is there."""
    program = f"""
import contextlib, io, json, sys
from facevae.cli.main import app
loaded = {{}}
for arguments in {[["--help"], *([name, "--help"] for name in COMMANDS)]!r}:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            app(arguments, prog_name="facevae")
        except SystemExit as error:
            assert error.code == 0, error.code
    assert "Usage: facevae" in out.getvalue()
    loaded[" ".join(arguments)] = [name for name in {HEAVY!r} if name in sys.modules]
print(json.dumps(loaded))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ)
    loaded = json.loads(done.stdout)
    assert len(loaded) == 1 + len(COMMANDS)
    assert all(modules == [] for modules in loaded.values()), loaded
