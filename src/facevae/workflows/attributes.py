"""`attributes`: what faces can be moved along, and what goes along with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facevae.errors import DataError, UsageError
from facevae.progress import Notice, Report, silent
from facevae.storage.directions import NamedDirections
from facevae.storage.latents import Latents
from facevae.storage.output import StrPath
from facevae.workflows.common import load_model
from facevae.workflows.moving import directions_of_latents


class Companion(NamedTuple):
    """Another attribute: how the two go together.

    `correlation` is that of having the one and having the other, None where the file does not say; `cosine` that of the angle
    between their directions.
    """

    name: str
    correlation: float | None
    cosine: float


@dataclass(frozen=True)
class AttributeFacts:
    """One attribute: how many images have it (`positive`) and how many have not, the Euclidean length of its direction, and all
    other attributes, those first that go along with it most, or least. Without a direction, where all images are alike, none.
    """

    name: str
    positive: int
    negative: int
    delta_length: float
    companions: tuple[Companion, ...]


@dataclass(frozen=True)
class AttributeList:
    """The attributes of a weights file or of latents; `where` names it."""

    where: str
    attributes: tuple[AttributeFacts, ...]


def attributes(
    weights: StrPath | None = None, *, latents: StrPath | None = None, report: Report = silent
) -> AttributeList:
    """Return the attributes that faces can be moved along, with the counts behind them, and what goes along with each.

    Args:
        weights: the weights file; by default the workspace's, or the shipped ones if it has none.
        latents: a `latents.h5` to read them from instead.
        report: is called with notices.

    Raises:
        DataError: a file is missing or damaged, or has no attributes.
        UsageError: both files are named.
    """
    if latents is None:
        return _listed(load_model(weights, "cpu", report).named_directions(), report)
    if weights is not None:
        raise UsageError("--weights and --latents both say where attributes come from: leave one of the two out.")
    with Latents(Path(latents)) as opened:
        return _listed(directions_of_latents(opened), report)


def _listed(directions: NamedDirections, report: Report) -> AttributeList:
    names, table = directions.names, directions.table
    if not names:
        raise DataError(
            f"{directions.where} holds no attributes: it was made from single images, or from faces without an attribute table. "
            "Prepare faces with one (list_attr_celeba.txt) and begin from there."
        )
    lengths = np.linalg.norm(table.deltas.astype(np.float64), axis=1)
    unit = table.deltas / np.where(lengths > 0.0, lengths, 1.0)[:, None]
    cosines, correlations = unit @ unit.T, directions.correlations()
    if correlations is None:
        text = f"{directions.where} does not say which attributes go together, as an older facevae trained it: told are cosines."
        report(Notice(text))
    rows = [
        AttributeFacts(
            name,
            int(table.positive[row]),
            int(table.negative[row]),
            float(lengths[row]),
            _companions(row, names, lengths, cosines, correlations),
        )
        for row, name in enumerate(names)
    ]
    return AttributeList(directions.where, tuple(rows))


def _companions(
    row: int,
    names: Sequence[str],
    lengths: NDArray[np.floating],
    cosines: NDArray[np.floating],
    correlations: NDArray[np.float64] | None,
) -> tuple[Companion, ...]:
    if lengths[row] == 0.0:
        return ()
    strength = np.abs(cosines if correlations is None else correlations)[row]
    others = [column for column in range(len(names)) if column != row and lengths[column] > 0.0]
    others.sort(key=lambda column: -strength[column])
    return tuple(
        Companion(
            names[column],
            float(correlations[row, column]) if correlations is not None else None,
            float(cosines[row, column]),
        )
        for column in others
    )
