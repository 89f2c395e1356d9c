"""Along what faces are moved: attributes with their weights, added up, from a weights file or from latents."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facevae.errors import UsageError
from facevae.model.directions import logistic_normal
from facevae.model.latent_space import Floats, attribute_directions
from facevae.model.prior import LatentMoments
from facevae.progress import Notice, Report
from facevae.storage.directions import Direction, NamedDirections, check_kind
from facevae.storage.latents import Latents
from facevae.storage.weights import FaceModel


class WeightedAttribute(NamedTuple):
    """An attribute, and how many times its direction counts."""

    name: str
    weight: float


Attributes = str | Mapping[str, float] | Sequence[str | tuple[str, float]]
"""An attribute or several: "Smiling", "Smiling=2", {"Smiling": 2, "Eyeglasses": -1}, or a list of such texts or of pairs."""


@dataclass(frozen=True)
class Movement:
    """What is added to the latents for n = 1.

    Attributes:
        attributes: by their proper names.
        direction: of which kind the directions are, see `facevae.config.DIRECTIONS`.
        kept: the attributes that are held still.
        delta: the sum of the directions (latent_dim).
        delta_without_keep: the same, were nothing held still.
    """

    attributes: tuple[WeightedAttribute, ...]
    direction: str
    kept: tuple[str, ...]
    delta: Floats
    delta_without_keep: Floats

    @property
    def length(self) -> float:
        """The Euclidean length of `delta`."""
        return float(np.linalg.norm(self.delta))

    @property
    def label(self) -> str:
        """The sum in words: "Smiling", "2 Smiling − Eyeglasses" (with a true minus sign)."""
        text = ""
        for name, weight in self.attributes:
            times = "" if abs(weight) == 1.0 else f"{abs(weight):g} "
            sign = "−" if weight < 0.0 else "+" if text else ""
            text += f" {sign} {times}{name}" if text else f"{sign}{times}{name}"
        return text


def parse_attribute(text: str) -> WeightedAttribute:
    """Return the attribute that a text such as "Smiling" or "Smiling=-2" names, with its weight, 1 where it gives none.

    Raises:
        UsageError: there is no name in it, or the weight is no number, or 0.
    """
    name, equals, number = text.rpartition("=")
    if not equals:
        name, number = text, "1"
    try:
        weight = float(number)
    except ValueError:
        weight = math.nan
    if not name.strip() or not math.isfinite(weight):
        raise UsageError(
            f"Cannot read the attribute {text!r}: write a name such as Smiling, or with a weight Smiling=2."
        )
    return _weighted(name.strip(), weight)


def weighted_attributes(attributes: Attributes) -> list[WeightedAttribute]:
    """Return attributes with their weights, see `Attributes`.

    Raises:
        UsageError: there is none, or one cannot be read.
    """
    if isinstance(attributes, str):
        return [parse_attribute(attributes)]
    given = attributes.items() if isinstance(attributes, Mapping) else attributes
    found = [parse_attribute(each) if isinstance(each, str) else _weighted(*each) for each in given]
    if not found:
        raise UsageError("There is no attribute to move along: name at least one.")
    return found


def _weighted(name: str, weight: float) -> WeightedAttribute:
    if not math.isfinite(weight) or weight == 0.0:
        raise UsageError(
            f"A weight of {weight:g} for {name} is out of range: use a number other than 0, such as 2 or -1."
        )
    return WeightedAttribute(name, float(weight))


def names_in(keep: str | Sequence[str]) -> list[str]:
    """Return the names in a text such as "Male,Young", or in several such texts."""
    texts = [keep] if isinstance(keep, str) else keep
    return [name.strip() for text in texts for name in text.split(",") if name.strip()]


def find_movement(
    directions: NamedDirections, attributes: Attributes, keep: str | Sequence[str], kind: str, report: Report
) -> Movement:
    """Return the sum of the directions of attributes, times their weights.

    Raises:
        UsageError: there is no such attribute or kind, or one is given twice, or is both moved and kept.
        DataError: a direction is not known.
    """
    check_kind(kind)
    kept, wanted = names_in(keep), weighted_attributes(attributes)
    found = [directions.direction(name, kept, kind) for name, _ in wanted]
    names = [direction.name for direction in found]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"{twice} is given twice: give it once, with the sum of its weights.")
    plain = found
    if kept:
        plain = [directions.direction(name, (), kind) for name in names]
        _report_shares(found, report)
    weights = [weight for _, weight in wanted]
    return Movement(
        tuple(WeightedAttribute(name, weight) for name, weight in zip(names, weights, strict=True)),
        kind,
        found[0].kept,
        _sum(weights, [direction.vector for direction in found]),
        _sum(weights, [direction.vector for direction in plain]),
    )


def report_stand_in(directions: NamedDirections, kind: str, report: Report) -> None:
    """Say what a logistic direction is where there are no latents."""
    if kind == "logistic" and directions.logistic is None:
        text = "Without --latents there is nothing to fit a logistic regression to: Fisher's discriminant stands in."
        report(Notice(text))


def _sum(weights: list[float], vectors: list[Floats]) -> Floats:
    # One attribute with weight 1 is to be moved along its own direction, to the last bit.
    total = vectors[0] if weights[0] == 1.0 else np.float32(weights[0]) * vectors[0]
    for weight, vector in zip(weights[1:], vectors[1:], strict=True):
        total = total + np.float32(weight) * vector
    return total


def _report_shares(found: Sequence[Direction], report: Report) -> None:
    for name, _, kept, share in found:
        if share < 1.0:
            text = f"Little of {name} is left beside {', '.join(kept)}: n = 1 moves its score {share:.0%} as far."
            report(Notice(text))


@contextmanager
def open_directions(model: FaceModel, latents: Path | None) -> Iterator[NamedDirections]:
    """Give the directions that a model knows, or those of latents that it made, while these are open.

    Raises:
        DataError: the latents are missing, damaged or without attributes, or the model has no directions.
        MismatchError: the latents were made by other weights.
    """
    if latents is None:
        yield model.named_directions()
        return
    with Latents(latents) as opened:
        opened.check_made_by(model.hash(), model.name)
        yield directions_of_latents(opened)


def directions_of_latents(latents: Latents) -> NamedDirections:
    """Return the directions of open latents.

    Raises:
        DataError: they are damaged or without attributes.
    """
    attributes = latents.attributes
    if attributes is None:
        attributes = np.zeros((latents.count, 0), dtype=np.int8)
    mean = cache(latents.mean)

    def covariance() -> NDArray[np.float64]:
        # As the prior of a training: with the posteriors' own variances, which keep it positive definite for few faces too.
        moments = LatentMoments(latents.latent_dim)
        moments.add(mean(), latents.log_variance())
        return moments.prior().covariance()

    def logistic(index: int) -> NDArray[np.float64]:
        return logistic_normal(mean(), attributes[:, index] > 0)

    table = attribute_directions(mean(), attributes)
    return NamedDirections(latents.attribute_names, table, str(latents.path), cache(covariance), logistic)
