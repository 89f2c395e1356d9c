"""The command line that makes the files of this process, for them to say by which they were made."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

_LONGEST = 2_000
"""Characters: a shell may put 100,000 file names in the place of a star."""

_command = ""


def set_command(arguments: Sequence[str]) -> None:
    """Say that `facevae ARGUMENTS` runs in this process."""
    global _command
    text = shlex.join(["facevae", *arguments])
    text = text.encode("utf-8", "backslashreplace").decode()
    _command = text if len(text) <= _LONGEST else text[: _LONGEST - 4] + " ..."


def command() -> str:
    """Return the command line that runs in this process, as it may be typed again; "" where the library is used without."""
    return _command
