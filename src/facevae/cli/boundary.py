"""The one place where errors become exit codes: 1 it could not be done, 2 wrong usage, 130 interrupted."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import typer

from facevae.cli.console import say
from facevae.cli.start import was_interrupted
from facevae.errors import FacevaeError

Command = Callable[..., None]

_interruption_told = False


def guarded(command: Command) -> Command:
    """Wrap a command so that what a user did wrong ends in a sentence on stderr and an exit code, never a traceback."""

    @functools.wraps(command)
    def run(**options: Any) -> None:  # noqa: ANN401
        try:
            _interruptible(command, options)
            sys.stdout.flush()
        except FacevaeError as error:
            say(f"Error: {error}")
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            tell_interruption()
            raise typer.Exit(130) from None
        except BrokenPipeError:
            # The reader has gone. Python would complain once more when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except OSError as error:
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
