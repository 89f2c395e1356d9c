"""What can go wrong, in a form a user can act on.

Every error that a user can cause is a `FacevaeError`. Its text is one sentence or two: what is wrong, with which value
or file, and what to do next. The command line prints that text and leaves with `exit_code`; it never shows a traceback.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

_COMMANDS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LONGEST = 5000


def in_one_line(text: str) -> str:
    """Return a text with escapes for what would end its line, or command a terminal: it may quote a file of anybody's.

    Of a text without end, the beginning and the end.
    """
    line = _COMMANDS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 200]} ... {line[-200:]}"


class FacevaeError(Exception):
    """Something could not be done. The base of every error that facevae raises on purpose; its text is one line."""

    exit_code: int = 1

    def __init__(self, text: str = "") -> None:
        super().__init__(in_one_line(text))


class UsageError(FacevaeError):
    """The request itself is wrong: a value out of range, a name that does not exist, options that exclude each other."""

    exit_code = 2


class MissingExtraError(UsageError):
    """What was asked for needs packages that only an optional extra installs."""


class DataError(FacevaeError):
    """A file is missing, unreadable, damaged, or of another kind than the one needed."""


class InstallationError(FacevaeError):
    """A part of facevae, or of a package that it takes, is missing or damaged, whatever it is given."""


class MismatchError(FacevaeError):
    """Two files do not belong together, such as latents and the weights that did not make them."""


class TrainingError(FacevaeError):
    """Training cannot go on, for instance because the loss is no longer finite."""


class LostRankError(TrainingError):
    """Of several processes that train together, one is gone."""


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Return the known name nearest to `name`, or None when none is near."""
    by_key = {candidate.casefold(): candidate for candidate in known}
    nearest = get_close_matches(name.casefold(), by_key, n=1, cutoff=0.6)
    return by_key[nearest[0]] if nearest else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `" Did you mean X?"` for the known name nearest to `name`, or an empty string when none is near."""
    nearest = nearest_name(name, known)
    return f" Did you mean {nearest}?" if nearest is not None else ""
