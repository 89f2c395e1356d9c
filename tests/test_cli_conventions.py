"""What all commands have in common: exit codes, streams, errors, progress, and a function of the library behind each."""

from __future__ import annotations

import inspect
import io
import re
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import typer

import facevae
from facevae.cli import console
from facevae.cli.boundary import guarded
from facevae.cli.main import app
from facevae.errors import DataError, MismatchError, TrainingError, UsageError
from facevae.progress import Notice, Progress
from helpers import Terminal, files, put_pictures, put_weights, refusal, run, succeed

COMMANDS: dict[str, Any] = dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
WITH_DEVICE = [name for name, command in COMMANDS.items() if any("--device" in p.opts for p in command.params)]


def required(name: str) -> list[str]:
    """The least that a command must be given; the files need not exist."""
    arguments = []
    for parameter in COMMANDS[name].params:
        if parameter.required:
            arguments += [parameter.opts[0], "x"] if parameter.opts[0].startswith("-") else ["x"]
    return arguments


# ------------------------------------------------------------------------------------------ wrong usage


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_option_is_wrong_usage(name: str, workspace: Path) -> None:
    outcome = run(name, *required(name), "--no-such-option")
    assert (outcome.code, outcome.stdout) == (2, b"")
    assert "No such option: --no-such-option" in outcome.stderr
    assert "\x1b" not in outcome.stderr
    assert files() == []


@pytest.mark.parametrize("name", COMMANDS)
def test_too_many_arguments_or_a_value_of_another_type(
    name: str, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    takes_many = any(parameter.nargs == -1 for parameter in COMMANDS[name].params)
    if not takes_many:
        outcome = run(name, *required(name), "one", "two", "three")
        assert (outcome.code, outcome.stdout) == (2, b"")
    for parameter in COMMANDS[name].params:
        if parameter.metavar in ("N", "X"):
            outcome = run(name, *required(name), parameter.opts[0], "many")
            assert (outcome.code, outcome.stdout) == (2, b""), parameter.opts
            assert f"Invalid value for '{parameter.opts[0]}'" in outcome.stderr
    assert files() == []


def test_an_unknown_command_suggests_one() -> None:
    outcome = run("sampel")
    assert (outcome.code, outcome.stdout) == (2, b"")
    assert "No such command 'sampel'" in outcome.stderr
    assert "sample" in outcome.stderr.replace("sampel", "")


@pytest.mark.parametrize("name", [name for name in WITH_DEVICE if name != "demo"])
def test_devices_that_do_not_exist(name: str, faces_file: Path, weights_file: Path, workspace: Path) -> None:
    import torch

    face = put_pictures(Path("faces"), 1)[0]
    faces = {"interpolate": 2, "morph": 1, "neighbours": 1}.get(name, 1 if required(name) else 0)
    arguments = [name, *[str(face)] * faces, *(["-o", "z.h5"] if name == "encode" else [])]
    if name == "info":
        arguments += ["--system"]
    if name == "train":
        arguments += ["-o", "new.safetensors"]
    before = files()
    known = "use one of auto, cpu, cuda, mps."
    assert refusal(*arguments, "--device", "tpu", code=2) == f"There is no device tpu: {known}"
    assert refusal(*arguments, "--device", "cpu:1", code=2) == f"There is no device cpu:1: {known}"
    assert refusal(*arguments, "--device", "", code=2) == f"There is no device : {known}"
    remedy = "use --device auto to take the best there is, or --device cpu."
    if not torch.cuda.is_available():
        assert refusal(*arguments, "--device", "cuda", code=2) == f"PyTorch sees no CUDA GPU on this machine: {remedy}"
    if not torch.backends.mps.is_available():
        assert refusal(*arguments, "--device", "mps", code=2) == (
            f"PyTorch sees no Apple GPU (MPS) on this machine: {remedy}"
        )
    assert files() == before


# ------------------------------------------------------------------------------------------ library


@pytest.mark.parametrize("name", COMMANDS)
def test_behind_each_command_stands_a_function_of_the_library(name: str) -> None:
    name = name.replace("-", "_")
    function = getattr(facevae, name)
    assert callable(function)
    assert name in facevae.__all__
    spoken = {"quiet", "as_json"}
    options = set(inspect.signature(getattr(sys.modules[f"facevae.cli.{name}"], name)).parameters) - spoken
    parameters = set(inspect.signature(function).parameters) - {"report", "ready"}
    renamed = {"info": {"file": "path", "size": "", "system": "", "device": ""}}.get(name, {})
    assert {renamed.get(option, option) for option in options} - {""} == parameters


def test_the_public_names_are_there() -> None:
    for name in facevae.__all__:
        assert getattr(facevae, name) is not None
    assert set(dir(facevae)) == set(facevae.__all__)
    with pytest.raises(AttributeError, match=r"^module 'facevae' has no attribute 'nothing'$"):
        _ = facevae.nothing


# ------------------------------------------------------------------------------------------ the boundary


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (DataError("It is broken: fix it."), 1, "Error: It is broken: fix it."),
        (MismatchError("They differ."), 1, "Error: They differ."),
        (TrainingError("It diverged."), 1, "Error: It diverged."),
        (UsageError("Ask for less."), 2, "Error: Ask for less."),
        (KeyboardInterrupt(), 130, "Interrupted."),
        (FileNotFoundError(2, "No such file or directory", "a.png"), 1, "Error: a.png: no such file or directory."),
        (OSError(28, "No space left on device"), 1, "Error: no space left on device."),
        (
            MemoryError(),
            1,
            "Error: there is not enough memory for this: use a smaller --batch-size, fewer images, or --device cpu.",
        ),
        (
            type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory."),
            1,
            "Error: there is not enough memory for this: use a smaller --batch-size, fewer images, or --device cpu.",
        ),
    ],
)
def test_errors_become_a_line_and_a_code(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        raise error

    with pytest.raises(typer.Exit) as caught:
        guarded(command)()
    assert caught.value.exit_code == code
    assert capsys.readouterr() == ("", f"{line}\n")


def test_a_mistake_of_our_own_is_not_hidden() -> None:
    def command() -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        guarded(command)()


def test_lines_survive_a_stream_that_cannot_show_them() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    console.write_line(stream, "fäce \udce4 → 1")
    assert stream.buffer.getvalue() == b"f?ce ? ? 1\n"


# ------------------------------------------------------------------------------------------ progress


class Clock:
    """Time that passes only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(console, "time", clock)
    return clock


def play(clock: Clock, *, quiet: bool = False, seconds: float = 4.0) -> None:
    """Report ten pieces of work, `seconds` apart, and a notice."""
    with console.Reporter(quiet=quiet) as report:
        for done in range(11):
            report(Progress("train", done * 1000, 10_000, "steps", {"loss": 12.345, "images/s": 678.9}))
            clock.now += seconds
        report(Notice("Something to know."))


def test_long_work_prints_a_line_now_and_then(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    play(clock)
    assert capsys.readouterr() == (
        "",
        "train: 3,000/10,000 steps  loss 12.35  images/s 679  0:28 left\n"
        "train: 6,000/10,000 steps  loss 12.35  images/s 679  0:16 left\n"
        "train: 9,000/10,000 steps  loss 12.35  images/s 679  0:04 left\n"
        "Something to know.\n",
    )


def test_short_work_prints_nothing_but_notices(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    play(clock, seconds=0.5)
    assert capsys.readouterr() == ("", "Something to know.\n")


def test_quiet_prints_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    play(clock, quiet=True)
    assert capsys.readouterr() == ("", "")


def test_hours_are_told_as_hours(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    play(clock, seconds=3600.0)
    assert "9:00:00 left\n" in capsys.readouterr().err


def test_a_stage_without_a_total_tells_what_is_done(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with console.Reporter() as report:
        report(Progress("umap", 0, None, "epochs"))
        clock.now += 11
        report(Progress("umap", 7, None, "epochs"))
    assert capsys.readouterr().err == "umap: 7 epochs\n"


@pytest.fixture
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


def played_on_a_terminal(clock: Clock, *, seconds: float = 4.0) -> str:
    stream = Terminal(io.BytesIO(), encoding="utf-8")
    with mock.patch.object(sys, "stderr", stream):
        play(clock, seconds=seconds)
        stream.flush()
    data: bytes = stream.buffer.getvalue()  # type: ignore[attr-defined]
    return data.decode()


@pytest.mark.usefixtures("_terminal")
def test_a_terminal_shows_a_bar_and_keeps_the_notices(clock: Clock) -> None:
    text = played_on_a_terminal(clock)
    assert "train" in text
    assert "━" in text
    assert "Something to know." in text
    assert "images/s 679" in text


@pytest.mark.usefixtures("_terminal")
def test_a_terminal_of_80_columns_shows_the_time_left(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is cut off is the last figures, never the time that a long training still takes."""
    monkeypatch.setenv("COLUMNS", "80")
    stream = Terminal(io.BytesIO(), encoding="utf-8")
    figures = {
        "epoch": 1.5,
        "loss": 123.456,
        "images/s": 12345.6,
        "KL": 12.3,
        "active units": 21,
        "reconstruction": 99.0,
    }
    with mock.patch.object(sys, "stderr", stream), console.Reporter() as report:
        for done in (0, 1000, 2000):
            report(Progress("train", done, 65_000, "steps", figures))
            clock.now += 600.0
        stream.flush()
    data: bytes = stream.buffer.getvalue()  # type: ignore[attr-defined]
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", data.decode())
    assert "2000/65000" in text
    assert "10:30:00 left epoch 1.50  loss 123.46" in text


@pytest.mark.usefixtures("_terminal")
def test_short_work_shows_no_bar_on_a_terminal(clock: Clock) -> None:
    assert played_on_a_terminal(clock, seconds=0.05) == "Something to know.\n"


@pytest.mark.usefixtures("_terminal")
def test_no_color_is_honoured_on_a_terminal(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar still moves the cursor, but sets no colours."""
    coloured = re.compile(r"\x1b\[[0-9;]*[34][0-9][0-9;]*m")
    assert coloured.search(played_on_a_terminal(clock))
    monkeypatch.setenv("NO_COLOR", "1")
    assert not coloured.search(played_on_a_terminal(clock))


# ------------------------------------------------------------------------------------------ streams


def test_results_go_to_stdout_and_words_to_stderr_without_escape_codes(faces_file: Path, workspace: Path) -> None:
    put_weights(workspace)
    for arguments in (["encode", "-o", "z.h5"], ["sample"], ["reconstruct"], ["info", "faces.h5"], ["info"]):
        outcome = succeed(*arguments)
        assert b"\x1b" not in outcome.stdout
        assert "\x1b" not in outcome.stderr
    assert run("sample", "-n", "0").stderr.startswith("Error: 0 faces")


@pytest.mark.parametrize(
    "arguments",
    [
        ["sample"],
        ["encode"],
        ["align", "x.png"],
        ["morph", "x.png"],
        ["interpolate", "x.png", "y.png"],
        ["average"],
        ["neighbours", "x.png"],
        ["reconstruct", "x.png"],
        ["upscale", "x.png"],
        ["umap"],
    ],
    ids=lambda a: a[0],
)
def test_no_command_sends_binary_to_a_terminal(arguments: list[str], workspace: Path) -> None:
    sentence = refusal(*arguments, "-o", "-", code=2, terminal="stdout")
    assert sentence.startswith("Standard output is a terminal and the result is binary: ")
    assert sentence.endswith(".")
