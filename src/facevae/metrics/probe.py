"""The linear probe: how much of each attribute a logistic regression reads from the latents (Alain & Bengio 2016)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from facevae.metrics.estimate import Estimate, mean_estimate, share_estimate
from facevae.metrics.threads import each_alone
from facevae.progress import Progress, Report, silent


@dataclass(frozen=True)
class ProbeScore:
    """How often the probe is right about one attribute.

    Attributes:
        name: the attribute.
        accuracy: the share of images judged rightly.
        balanced_accuracy: the mean of the shares among those with and those without; None if all are of one kind.
        majority: the accuracy of always saying what most of the images fitted on are.
    """

    name: str
    accuracy: Estimate
    balanced_accuracy: Estimate | None
    majority: float


@dataclass(frozen=True)
class ProbeFigures:
    """The probe of every attribute that has both kinds among the images fitted on, and the means over these.

    `mean_balanced_accuracy` is over those that have both kinds among the tested images too, or None if none has.
    """

    attributes: tuple[ProbeScore, ...]
    mean_accuracy: Estimate
    mean_balanced_accuracy: Estimate | None
    mean_majority: float


class _Tested:
    """Which of the tested images the probe was right about (N), and which have the attribute."""

    def __init__(self, right: NDArray[np.bool_], has: NDArray[np.bool_]) -> None:
        self.right, self.has = right, has

    def score(self, name: str, usual: bool) -> ProbeScore:
        """Return the score; `usual` is what most of the images fitted on are."""
        majority = float((self.has == usual).mean())
        balanced = self._balanced() if self.has_both() else None
        return ProbeScore(name, share_estimate(self.right), balanced, majority)

    def has_both(self) -> bool:
        return bool(self.has.any() and not self.has.all())

    def _balanced(self) -> Estimate:
        sides = [share_estimate(self.right[self.has]), share_estimate(self.right[~self.has])]
        errors = [side.standard_error for side in sides]
        known = [error for error in errors if error is not None]
        error = 0.5 * math.hypot(*known) if len(known) == len(errors) else None
        return Estimate(0.5 * sum(side.value for side in sides), error)

    def balanced_parts(self) -> NDArray[np.float64]:
        """Return each image's part in the balanced accuracy (N), to first order: their mean is it, their spread its error's."""
        parts = np.zeros(len(self.right))
        for side in (self.has, ~self.has):
            share = float(self.right[side].mean())
            parts += 0.5 * (share + np.where(side, (self.right - share) / side.mean(), 0.0))
        return parts


def linear_probe(
    train: NDArray[Any],
    train_attributes: NDArray[np.int8],
    test: NDArray[Any],
    test_attributes: NDArray[np.int8],
    names: tuple[str, ...],
    *,
    stage: str = "linear probe",
    report: Report = silent,
) -> ProbeFigures | None:
    """Fit a logistic regression for each attribute on `train` (N, F), and test it on `test` (M, F).

    Each feature is scaled to mean 0 and variance 1 over `train`; the regression has scikit-learn's penalty, |w|^2 / 2 with C = 1.
    Attributes are (N, A) and (M, A) in {-1, 1}. None if no attribute has both kinds in `train`.
    """
    scaler = StandardScaler().fit(train.astype(np.float64))
    inputs, tests = (scaler.transform(side.astype(np.float64)) for side in (train, test))

    def probe(column: int) -> tuple[ProbeScore, _Tested] | None:
        wanted, has = train_attributes[:, column] > 0, test_attributes[:, column] > 0
        if wanted.all() or not wanted.any():
            return None
        # Newton's method: a few steps to the very optimum, where others take a hundred to come near it.
        model = LogisticRegression(solver="newton-cholesky").fit(inputs, wanted)
        found = _Tested(model.predict(tests) == has, has)
        return found.score(names[column], bool(wanted.mean() > 0.5)), found

    probes = []
    for number, found in enumerate(each_alone(probe, range(len(names))), start=1):
        probes += [found] if found is not None else []
        report(Progress(stage, number, len(names), "attributes"))
    return _figures(probes) if probes else None


def _figures(probes: list[tuple[ProbeScore, _Tested]]) -> ProbeFigures:
    """Average over attributes first and images last, since what is known of one image is not independent."""
    balanced = [found.balanced_parts() for _, found in probes if found.has_both()]
    return ProbeFigures(
        attributes=tuple(score for score, _ in probes),
        mean_accuracy=mean_estimate(np.mean([found.right for _, found in probes], axis=0)),
        mean_balanced_accuracy=mean_estimate(np.mean(balanced, axis=0)) if balanced else None,
        mean_majority=float(np.mean([score.majority for score, _ in probes])),
    )
