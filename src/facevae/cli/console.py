"""Talking to people and to pipes: progress and notices on stderr, results on stdout."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, TextIO

from facevae.errors import UsageError
from facevae.progress import Event, Notice, Progress

_BAR_AFTER_SECONDS = 1.0
_LINE_EVERY_SECONDS = 10.0


@dataclass
class _Stage:
    """When a stage began, at which count, and when a line about it was last printed."""

    name: str
    started: float
    first_done: int
    last_line: float


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _figures(event: Progress) -> str:
    return "  ".join(f"{name} {_figure(name, value)}" for name, value in event.values.items())


def _figure(name: str, value: float) -> str:
    return f"{value:.0f}" if name.endswith("/s") or isinstance(value, int) else f"{value:.2f}"


class Reporter:
    """The `report` of the command line: a bar on a terminal, a line now and then elsewhere, silence with `--quiet`.

    Short work shows nothing at all: the bar comes after a second, the first line after ten.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._stage: _Stage | None = None
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Reporter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop_bar()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if self._quiet:
            return
        if isinstance(event, Notice):
            self._say(event.text)
            return
        now = time.monotonic()
        if self._stage is None or self._stage.name != event.stage:
            self._stop_bar()
            self._stage = _Stage(event.stage, now, event.done, now)
        if sys.stderr.isatty():
            self._show_bar(event, self._stage, now)
        elif now - self._stage.last_line > _LINE_EVERY_SECONDS:
            self._stage.last_line = now
            self._say(self._line(event, self._stage, now))

    def _line(self, event: Progress, stage: _Stage, now: float) -> str:
        total = f"/{event.total:,}" if event.total is not None else ""
        parts = [f"{event.stage}: {event.done:,}{total} {event.unit}", _figures(event), self._left(event, stage, now)]
        return "  ".join(part for part in parts if part)

    @staticmethod
    def _left(event: Progress, stage: _Stage, now: float) -> str:
        advanced = event.done - stage.first_done
        if event.total is None or advanced <= 0:
            return ""
        return f"{_clock((now - stage.started) / advanced * (event.total - event.done))} left"

    def _show_bar(self, event: Progress, stage: _Stage, now: float) -> None:
        if self._bar is None:
            if now - stage.started < _BAR_AFTER_SECONDS and event.total is not None:
                return
            self._start_bar(event)
        left, figures = self._left(event, stage, now), _figures(event)
        self._bar.update(self._task, completed=event.done, total=event.total, left=left, figures=figures)

    def _start_bar(self, event: Progress) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Bar
        from rich.table import Column

        # A narrow terminal cuts the figures off at the right, and nothing before them.
        fixed, cut = Column(no_wrap=True, min_width=4), Column(no_wrap=True, overflow="ellipsis", ratio=1)
        self._bar = Bar(
            TextColumn("{task.description}", table_column=fixed),
            BarColumn(bar_width=16),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[unit]}  {task.fields[left]}", table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[figures]}", table_column=cut),
            console=Console(stderr=True),
            expand=True,
            transient=True,
        )
        self._task = self._bar.add_task(event.stage, total=event.total, unit=event.unit, left="", figures="")
        self._bar.start()

    def _stop_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            write_line(sys.stderr, text)


def write_line(stream: TextIO, text: str) -> None:
    """Write a line, whatever the stream's encoding: a file name may hold what a terminal cannot show."""
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "replace").decode(encoding) + "\n")
    stream.flush()


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural where it is not one: 1 face, 2 faces."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def say(text: str) -> None:
    """Write a line to stderr, for people."""
    write_line(sys.stderr, text)


def emit_paths(paths: list[Path]) -> None:
    """Print the paths of what was written, one a line."""
    for path in paths:
        write_line(sys.stdout, str(path))


def emit_json(result: dict[str, Any]) -> None:
    """Print a result as JSON."""
    write_line(sys.stdout, json.dumps(result, indent=2, default=str))


def emit(paths: list[Path], result: dict[str, Any], *, as_json: bool) -> None:
    """Print what a command made: its paths, or the whole result as JSON. Streams were written already."""
    if as_json:
        emit_json({"paths": [str(path) for path in paths], **result})
    else:
        emit_paths(paths)


def picture_output(option: str | None, *, as_json: bool = False) -> Path | BinaryIO | None:
    """Return where a picture goes: None for the command's default, a path, or standard output for `-`."""
    if option == "-":
        return binary_stdout("name a file with -o FILE, or send it on with a pipe or >", as_json=as_json)
    return Path(option) if option is not None else None


def binary_stdout(remedy: str, *, as_json: bool = False) -> BinaryIO:
    """Return standard output for bytes.

    Raises:
        UsageError: it is a terminal, or JSON was asked for on it too.
    """
    if as_json:
        raise UsageError("The result and JSON cannot both go to standard output: name a file with -o FILE.")
    if sys.stdout.isatty():
        raise UsageError(f"Standard output is a terminal and the result is binary: {remedy}.")
    return sys.stdout.buffer


def read_paths(arguments: list[str]) -> list[Path]:
    """Return the paths given as arguments; a `-` among them stands for the lines of standard input.

    Raises:
        UsageError: standard input is a terminal.
    """
    paths: list[Path] = []
    for argument in arguments:
        if argument == "-":
            if sys.stdin.isatty():
                raise missing_stdin("paths", "find photos -name '*.jpg' | facevae COMMAND -")
            # As bytes: a file name need not be text, and `find` writes it as it is.
            paths += [Path(os.fsdecode(line.rstrip(b"\r\n"))) for line in sys.stdin.buffer if line.strip()]
        else:
            paths.append(Path(argument))
    return paths


def read_face(argument: str, command: str) -> Path | bytes:
    """Return the path of a face; `-` stands for the bytes of one image on standard input. `command` is named in errors.

    Raises:
        UsageError: standard input is a terminal or empty.
    """
    if argument != "-":
        return Path(argument)
    data = b"" if sys.stdin.isatty() else sys.stdin.buffer.read()
    if not data:
        raise missing_stdin("an image", f"facevae {command} - < face.jpg")
    return data


def missing_stdin(what: str, example: str) -> UsageError:
    """Return the error for `-` when standard input is a terminal or empty."""
    state = "a terminal" if sys.stdin.isatty() else "empty"
    return UsageError(f"Standard input is {state}: send {what} to it, as in: {example}")
