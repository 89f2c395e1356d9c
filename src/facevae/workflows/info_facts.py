"""What `info` knows of a file: as text for people, and as plain numbers, truth values and texts for programs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facevae.config import SPLIT_CODES
from facevae.errors import DataError
from facevae.storage.kinds import EXPORTED, kind_of

_DEEPEST = 8


@dataclass(frozen=True)
class FileInfo:
    """A facevae file described: its `kind`, what is known of it, and its attributes.

    Attributes:
        path: the file.
        kind: what it is, in words.
        facts: what is worth a line each, as text for people.
        attributes: a row for each: (name, images with it, images without it, length of its direction or None).
        values: the same as `facts` for programs, under names that stay: numbers, truth values, texts, and lists and
            dictionaries of these; None for what is not known. `docs/commands/info.md` lists them.
    """

    path: Path
    kind: str
    facts: dict[str, Any]
    attributes: tuple[tuple[str, int, int, float | None], ...]
    values: dict[str, Any]

    def with_file_facts(self, command: object, size: int, sha256: str) -> FileInfo:
        """Return this with what every file has: the command that made it (as the file says, if it does), bytes and digest."""
        text = " ".join(command.split()) if isinstance(command, str) else ""
        words = {"command": text} if text else {}
        facts = self.facts | words | {"size": f"{size:,} bytes", "file SHA-256": sha256}
        values = {"shipped_as": None, "bytes": size, "sha256": sha256, "command": text or None}
        return replace(self, facts=facts, values=values | self.values)

    def shipped_as(self, name: str, replaced: str) -> FileInfo:
        """Return this as what comes with facevae under a name, and is used where there is no `replaced`."""
        facts = {"shipped as": f"{name}, used where there is no {replaced}"} | self.facts
        return replace(self, facts=facts, values=self.values | {"shipped_as": name})


class Made(NamedTuple):
    """A file described, and the command line that it says it was made by, of whatever type the file has it."""

    info: FileInfo
    command: object


def foreign(path: Path) -> DataError:
    """Return the error for a file that is none of facevae's, or none that `info` describes."""
    if kind_of(path) == EXPORTED:
        return DataError(f"{path} holds exported latents, for other tools: name the latents that it was made from.")
    return DataError(
        f"{path} is none of facevae's files. Name weights (.safetensors), faces or latents (.h5) that facevae wrote."
    )


def plain(value: Any, depth: int = _DEEPEST) -> Any:  # noqa: ANN401 - from a file
    """Return what a file holds as JSON can have it: None for numbers that are not finite, and for what is nested too deep."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): plain(each, depth - 1) for name, each in value.items()} if depth else None
    if isinstance(value, list | tuple):
        return [plain(each, depth - 1) for each in value] if depth else None
    return str(value)


def words(values: Mapping[str, Any]) -> dict[str, str]:
    """Return values as text, those that are None left out, under their names with blanks for underscores."""
    return {
        name.replace("_", " "): f"{value:g}"
        if isinstance(value, float)
        else ", ".join(map(str, value))
        if isinstance(value, list | tuple)
        else str(value)
        for name, value in values.items()
        if value is not None
    }


def in_one_line(values: Mapping[str, Any]) -> str:
    """Return values as one line of text."""
    return ", ".join(f"{name} {value}" for name, value in words(values).items())


def attribute_counts(
    attributes: NDArray[np.int8] | None, names: tuple[str, ...]
) -> tuple[tuple[str, int, int, None], ...]:
    """Return for each attribute how many faces have it and how many do not."""
    if attributes is None:
        return ()
    positive = (attributes > 0).sum(axis=0)
    return tuple(
        (name, int(count), len(attributes) - int(count), None) for name, count in zip(names, positive, strict=True)
    )


def split_counts(split: NDArray[np.uint8] | None) -> dict[str, int] | None:
    """Return how many faces each split has; None where the file has no splits."""
    if split is None:
        return None
    return {name: int((split == code).sum()) for name, code in SPLIT_CODES.items()}


def splits_in_words(counts: dict[str, int] | None) -> str:
    """Return the counts of `split_counts` as text."""
    return "none" if counts is None else ", ".join(f"{name} {count:,}" for name, count in counts.items())
