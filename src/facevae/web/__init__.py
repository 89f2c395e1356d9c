"""What the pages in the browser are made of: style sheets, scripts and markup, without a build step and without dependencies."""

from __future__ import annotations

import re
from importlib.resources import files

_IMPORT = re.compile(r"^import [^;]*;\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=class |function |const )", re.MULTILINE)
SCATTER_MODULES = ("scatter_index.js", "scatter_draw.js", "scatter_overlay.js", "scatter.js")
"""`scatter.js` with what it imports, each after those that it needs."""


def asset(name: str) -> bytes:
    """Return the bytes of a file of this folder.

    Raises:
        FileNotFoundError: there is no such file.
    """
    return files(__name__).joinpath(name).read_bytes()


def text(name: str) -> str:
    """Return a file of this folder as text.

    Raises:
        FileNotFoundError: there is no such file.
    """
    return asset(name).decode()


def bundle(*names: str) -> str:
    """Return JavaScript modules of this folder as one, for a page that is a single file: each after those that it imports."""
    return "\n".join(_EXPORT.sub("", _IMPORT.sub("", text(name))) for name in names)
