"""What a user may have meant by the name of a file that is not there."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from facevae.errors import nearest_name

_LOOKED_AT = 2_000
"""Files of the folder, at most: it may hold 200,000 faces."""


def near_file(missing: Path, suffixes: tuple[str, ...], names: Iterable[str] = ()) -> str:
    """Return `" Did you mean X?"` for the file beside a missing one with the nearest name, or an empty string.

    The suffixes are left out of the comparison, as they make any two names alike.

    Args:
        missing: the file that is not there.
        suffixes: of the files that may be meant, such as ".safetensors".
        names: what may be named in place of a file, such as "faces-32".
    """
    try:
        beside = [entry.name for entry in islice(missing.parent.iterdir(), _LOOKED_AT)]
    except (OSError, ValueError):
        beside = []
    meant = [name for name in beside if name.endswith(suffixes) and not name.startswith(".") and name != missing.name]
    # Of two that differ in their suffixes alone, the one with the suffix that was given.
    meant.sort(key=lambda name: (Path(name).suffix == missing.suffix, name))
    known = {Path(name).stem: name for name in meant}
    if missing.parent == Path():
        known |= {name: name for name in names}
    cut_off = any(suffix.startswith(missing.suffix) for suffix in suffixes)  # as in "vae.safe"
    nearest = nearest_name(missing.stem if cut_off else missing.name, known)
    return f" Did you mean {known[nearest]}?" if nearest is not None else ""
