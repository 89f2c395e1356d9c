"""What the page asks for: a face with sliders that are not at 0, and other requests in JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from facevae.errors import UsageError
from facevae.explorer.face_refs import FaceRef, parse_face, quoted
from facevae.storage.upscaler_file import check_factor

FARTHEST = 100.0
"""The largest move of an attribute, to either side."""
_MOST_NAMES = 1_000


@dataclass(frozen=True)
class Edit:
    """A face and what is done to it.

    Attributes:
        face: which.
        moves: attributes with how many times their directions are added, in the order of the sum; none is 0.
        keep: attributes that are held still.
    """

    face: FaceRef
    moves: tuple[tuple[str, float], ...] = ()
    keep: tuple[str, ...] = ()


def parse_json(body: bytes) -> Mapping[str, Any]:
    """Return the object that a request's JSON holds.

    Raises:
        UsageError: it is none.
    """
    try:
        found = json.loads(body.decode(), parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise UsageError("The request is not JSON in UTF-8.") from None
    if not isinstance(found, dict):
        raise UsageError("The request is not a JSON object.")
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(text)


def parse_edit(value: object) -> Edit:
    """Return the edit that `{"face": ..., "moves": {...}, "keep": [...]}` asks for.

    Raises:
        UsageError: it is none, or a move is out of range.
    """
    if not isinstance(value, dict):
        raise UsageError(f"{quoted(value)} is no edit: an edit is an object with a face.")
    moves, keep = value.get("moves") or {}, value.get("keep") or []
    if not isinstance(moves, dict) or not isinstance(keep, list) or max(len(moves), len(keep)) > _MOST_NAMES:
        raise UsageError("An edit has moves as an object, and names to keep as a list.")
    if not all(isinstance(name, str) for name in keep):
        raise UsageError("An edit has names to keep as a list of texts.")
    steps = [(name, _step(name, step)) for name, step in moves.items()]
    return Edit(parse_face(value.get("face")), tuple(each for each in steps if each[1]), tuple(keep))


def _step(name: str, value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise UsageError(f"A move of {quoted(name)} by {quoted(value)} is no number.")
    if not -FARTHEST <= value <= FARTHEST:  # which an infinite number is not, either
        shown = f"{value:g}" if isinstance(value, float) else quoted(value)
        raise UsageError(
            f"A move of {quoted(name)} by {shown} is out of range: use a number from {-FARTHEST:g} to {FARTHEST:g}."
        )
    return float(value)


def whole_number(value: object, what: str, least: int, most: int) -> int:
    """Return a value that must be a whole number in a range; `what` names it in the error.

    Raises:
        UsageError: it is none.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise UsageError(f"{what} {quoted(value)} is out of range: use a whole number from {least} to {most}.")
    return value


def number(value: object, what: str, least: float, most: float) -> float:
    """Return a value that must be a number in a range; `what` names it in the error.

    Raises:
        UsageError: it is none.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
        raise UsageError(f"{what} {quoted(value)} is out of range: use a number from {least:g} to {most:g}.")
    return float(value)


def upscale_factor(value: object) -> int:
    """Return the factor by which VDSR is to enlarge, 0 for not at all.

    Raises:
        UsageError: it is none.
    """
    if value is None or value == 0:
        return 0
    if not isinstance(value, int) or isinstance(value, bool):
        raise UsageError(f"Pictures cannot be upscaled {quoted(value)} times: use 0, 2, 3 or 4.")
    check_factor(value)
    return value
