"""Temporary folders, which are gone afterwards: also when the program is interrupted, and those of killed runs with the next."""

from __future__ import annotations

import os
import platform
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

HOST = "".join(letter for letter in platform.node() if letter.isalnum())[:24] or "host"
"""In the name of what is temporary, because a folder may be shared with machines that have process ids of their own."""

_REMAINS = re.compile(rf"facevae-{HOST}-([0-9]+)-[0-9a-f]{{16}}")


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a new folder that only this user can look into, in TMPDIR or the system's folder for such; it is removed afterwards.

    Raises:
        OSError: it cannot be made.
    """
    above = Path(tempfile.gettempdir())
    _remove_remains(above)
    # The name is known before the folder is made, so that it is removed whenever Ctrl-C comes: `tempfile` would forget it.
    folder = above / f"facevae-{HOST}-{os.getpid()}-{secrets.token_hex(8)}"
    try:
        folder.mkdir(mode=0o700)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_remains(above: Path) -> None:
    """Remove the folders of this machine's processes that are no more."""
    with suppress(OSError):
        for path in above.iterdir():
            match = _REMAINS.fullmatch(path.name)
            if match and is_gone(int(match[1])):
                shutil.rmtree(path, ignore_errors=True)  # those of other users stay


def is_gone(process: int) -> bool:
    """Return whether there is certainly no process of that number on this machine."""
    if os.name != "posix":
        return False  # there is no harmless way to ask
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        pass  # it is another user's, or none that the system could have
    return False
