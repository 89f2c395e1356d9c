"""How the page names a face: `row/12`, `random/7/0.8`, `photo/3`, `mean/2`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from facevae.errors import UsageError
from facevae.workflows.draws import MAX_TEMPERATURE

LARGEST = 2**53 - 1
"""The largest whole number that a page's script holds exactly."""
_NUMBER = re.compile(r"0|[1-9][0-9]{0,15}", re.ASCII)
_DECIMAL = re.compile(r"[0-9]{1,3}(\.[0-9]{1,20})?(e-?[0-9]{1,3})?", re.ASCII)


@dataclass(frozen=True)
class RowFace:
    """A face on the map, by its row."""

    row: int

    def __str__(self) -> str:
        return f"row/{self.row}"


@dataclass(frozen=True)
class RandomFace:
    """The face that `sample -n 1 --seed SEED --temperature X` draws."""

    seed: int
    temperature: float

    def __str__(self) -> str:
        return f"random/{self.seed}/{plain_number(self.temperature)}"


@dataclass(frozen=True)
class PhotoFace:
    """A face of a picture that the server was given, by its number."""

    number: int

    def __str__(self) -> str:
        return f"photo/{self.number}"


@dataclass(frozen=True)
class MeanFace:
    """The mean of some faces of the map, by its number."""

    number: int

    def __str__(self) -> str:
        return f"mean/{self.number}"


FaceRef = RowFace | RandomFace | PhotoFace | MeanFace

_KINDS: dict[str, type[RowFace | PhotoFace | MeanFace]] = {"row": RowFace, "photo": PhotoFace, "mean": MeanFace}


class UnknownFaceError(UsageError):
    """There is no such face, or not any more."""


def parse_face(text: object) -> FaceRef:
    """Return the face that a text such as "row/12" names.

    Raises:
        UsageError: it names none.
    """
    kind, *parts = text.split("/") if isinstance(text, str) else ("",)
    whole = [int(part) for part in parts[:1] if _NUMBER.fullmatch(part) and int(part) <= LARGEST]
    if whole and len(parts) == 1 and kind in _KINDS:
        return _KINDS[kind](whole[0])
    if whole and len(parts) == 2 and kind == "random" and _DECIMAL.fullmatch(parts[1]):
        temperature = float(parts[1])
        if temperature <= MAX_TEMPERATURE:
            return RandomFace(whole[0], temperature)
    raise UsageError(f"There is no face {quoted(text)}: a face is row/N, random/SEED/TEMPERATURE, photo/N or mean/N.")


def quoted(value: object, longest: int = 60) -> str:
    """Return what a page sent as a sentence can quote it."""
    text = value if isinstance(value, str) else repr(value)
    text = text if len(text) <= longest else f"{text[:longest]}..."
    return repr(text) if isinstance(value, str) else text


def plain_number(value: float) -> str:
    """Return the shortest text that is read as this number: 1, 0.8, -2.5."""
    if not math.isfinite(value):
        raise ValueError("not a finite number")
    text = f"{value:g}"
    return text.replace("e+", "e") if float(text) == value else repr(float(value)).replace("e+", "e")
