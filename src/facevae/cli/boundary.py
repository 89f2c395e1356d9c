"""The one place where errors become exit codes: 1 it could not be done, 2 wrong usage, 130 interrupted."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import typer

from facevae.cli.console import say
from facevae.errors import FacevaeError

Command = Callable[..., None]


def guarded(command: Command) -> Command:
    """Wrap a command so that what a user did wrong ends in a sentence on stderr and an exit code, never a traceback."""

    @functools.wraps(command)
    def run(**options: Any) -> None:  # noqa: ANN401
        try:
            command(**options)
            sys.stdout.flush()
        except FacevaeError as error:
            say(f"Error: {error}")
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            say("Interrupted.")
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


def _is_out_of_memory(error: BaseException) -> bool:
    """Tell running out of memory, on the CPU or a GPU, from other errors, without importing torch for it."""
    text = str(error).lower()
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in text
        or "out of memory" in text
    )
