"""A latents file as a table: which columns, and its rows a slice at a time, for CSV, NPZ and Parquet alike."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facevae.config import SPLIT_CODES
from facevae.errors import DataError, UsageError
from facevae.progress import Progress, Report
from facevae.provenance import command
from facevae.storage.kinds import EXPORT_FORMAT
from facevae.storage.latents import REMEDY, Latents

FORMAT_VERSION = 1
_SPLIT_WORDS = np.array(list(SPLIT_CODES))


@dataclass(frozen=True)
class Rows:
    """B rows of the table.

    Attributes:
        names: B names, each of them text.
        split: str (B), the words train, valid and test; None where the latents have no splits.
        attributes: int8 (B, A) in {-1, 1}, or None.
        mean: float32 (B, latent_dim).
        log_variance: float32 (B, latent_dim), or None where it was not asked for.
    """

    names: list[str]
    split: NDArray[np.str_] | None
    attributes: NDArray[np.int8] | None
    mean: NDArray[np.float32]
    log_variance: NDArray[np.float32] | None


@dataclass(frozen=True)
class Table:
    """An open latents file as a table, with the log-variances or without, with the attributes or without."""

    latents: Latents
    with_log_variance: bool
    with_attributes: bool

    @cached_property
    def attribute_names(self) -> tuple[str, ...]:
        """The attributes that are columns: none where the latents have none, or where they are left out."""
        return self.latents.attribute_names if self.with_attributes else ()

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, from left to right."""
        parts = ("z", "logvar") if self.with_log_variance else ("z",)
        numbered = [f"{part}{number}" for part in parts for number in range(self.latents.latent_dim)]
        return ("name", *(["split"] if self.latents.has_split else []), *self.attribute_names, *numbered)

    def check_columns(self) -> None:
        """Raise a `UsageError` where two columns would have the same name, as of an attribute called split."""
        twice = [name for name, times in Counter(self.columns).items() if times > 1]
        if twice:
            raise UsageError(
                f"Two columns would be called {twice[0]}, because {self.latents.path} has an attribute of that name: "
                "leave the attributes out with --no-attributes."
            )

    def metadata(self) -> str:
        """Return where the latents come from, as JSON: what the root attributes of `latents.h5` say."""
        latents = self.latents
        facts: dict[str, Any] = {
            "format": EXPORT_FORMAT,
            "format_version": FORMAT_VERSION,
            "weights_hash": latents.weights_hash,
            "faces_fingerprint": latents.faces_fingerprint,
            "precision": latents.precision,
            "facevae_version": latents.facevae_version,
        }
        if command():
            facts["command"] = command()
        if latents.shard is not None:
            facts |= {**asdict(latents.shard), "first_row": latents.shard.rows.start}
        return json.dumps(facts)

    def ranges(self, rows: int, report: Report) -> Iterator[tuple[int, int]]:
        """Yield the first row and the one after the last of slices of so many `rows`, and report each when it is done."""
        count = self.latents.count
        for start in range(0, count, rows):
            stop = min(start + rows, count)
            yield start, stop
            report(Progress("export", stop, count, "latents"))

    def slices(self, rows: int, report: Report) -> Iterator[Rows]:
        """Yield the table, so many `rows` at a time."""
        for start, stop in self.ranges(rows, report):
            names, split, attributes = self.latents.columns(start, stop)
            yield Rows(
                [as_text(name) for name in names],
                None if split is None else self.split_words(split),
                attributes if self.attribute_names else None,
                self.latents.mean(start, stop),
                self.latents.log_variance(start, stop) if self.with_log_variance else None,
            )

    def split_words(self, split: NDArray[np.uint8]) -> NDArray[np.str_]:
        """Return splits as words."""
        if split.size and split.max() >= len(_SPLIT_WORDS):
            raise DataError(f"{self.latents.path} is damaged (split holds {split.max()}). {REMEDY}")
        words: NDArray[np.str_] = _SPLIT_WORDS[split]
        return words


def as_text(name: str) -> str:
    r"""Return a name as text that every reader takes: of a file name that is not UTF-8, the odd bytes as `\xff`."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
