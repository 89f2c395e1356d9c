"""The one place where errors become exit codes: 1 it could not be done, 2 wrong usage, 130 interrupted.

A file whose name begins with a dash is taken for options; an error that may come of it says so.
"""

from __future__ import annotations

import errno
import functools
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import typer
from typer.core import TyperCommand

from facevae.cli.console import say
from facevae.cli.start import was_interrupted
from facevae.errors import FacevaeError, in_one_line

Command = Callable[..., None]

_ArgumentsError: type[Exception] = typer.BadParameter.__bases__[0]
"""What Typer raises for arguments that it cannot read. Its home depends on the release of Typer."""

_interruption_told = False
_dashed_files: list[str] = []
"""Of the arguments of the command that runs, the files that are taken for options."""


class GuardedCommand(TyperCommand):
    """A command that knows of files among its arguments that are taken for options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - of no public class
        """Read the arguments; an error that may come of a dash says so."""
        _dashed_files[:] = dashed_files(args)
        try:
            return super().parse_args(ctx, args)
        except _ArgumentsError as error:
            error.message = with_dash_hint(error.message)  # type: ignore[attr-defined]
            raise


def dashed_files(arguments: Sequence[str]) -> list[str]:
    """Return those of the arguments that begin with a dash and are names of files, up to a `--`, which ends the options."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return [each for each in options if each.startswith("-") and each != "-" and os.path.lexists(each)]


def with_dash_hint(text: str) -> str:
    """Return an error with a hint, if a file was taken for options."""
    if not _dashed_files:
        return text
    name = in_one_line(_dashed_files[0])
    return (
        f"{text.removesuffix('.')}. What begins with a dash is taken for options: write ./{name} for the file {name}."
    )


def guarded(command: Command) -> Command:
    """Wrap a command so that what a user did wrong ends in a sentence on stderr and an exit code, never a traceback."""

    @functools.wraps(command)
    def run(**options: Any) -> None:  # noqa: ANN401
        try:
            _interruptible(command, options)
            sys.stdout.flush()
        except FacevaeError as error:
            say(f"Error: {with_dash_hint(str(error))}")
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            tell_interruption()
            raise typer.Exit(130) from None
        except BrokenPipeError:
            _give_up_stdout()  # the reader has gone
            raise typer.Exit(1) from None
        except OSError as error:
            if error.errno == errno.EBADF and not error.filename:
                say("Error: standard output is closed: leave it open, or send it into a file.")
                _give_up_stdout()
                raise typer.Exit(1) from None
            where = f"{error.filename}: " if error.filename else ""
            say(f"Error: {where}{(error.strerror or str(error)).lower()}.")
            raise typer.Exit(1) from None
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            say(
                "Error: there is not enough memory for this: use a smaller --batch-size, fewer images, or --device cpu."
            )
            raise typer.Exit(1) from None

    return run


def _give_up_stdout() -> None:
    """Let what was not written vanish: Python would complain of it once more when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _interruptible(command: Command, options: dict[str, Any]) -> None:
    """Run a command; once Ctrl-C came, whatever ends it is that."""
    try:
        command(**options)
    except Exception:
        if was_interrupted():
            raise KeyboardInterrupt from None
        raise


def tell_interruption() -> None:
    """Say that Ctrl-C or SIGTERM ended the command."""
    global _interruption_told
    _interruption_told = True
    say("Interrupted.")


def interruption_was_told() -> bool:
    """Return whether this process has said so."""
    return _interruption_told


def _is_out_of_memory(error: BaseException) -> bool:
    """Tell running out of memory, on the CPU or a GPU, from other errors, without importing torch for it."""
    text = str(error).lower()
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in text
        or "out of memory" in text
    )
