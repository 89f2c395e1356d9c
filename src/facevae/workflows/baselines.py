"""What `evaluate` fits on the train split: principal components, and the linear probes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from facevae.metrics.estimate import Estimate
from facevae.metrics.principal import PrincipalComponents, component_errors, fit_components
from facevae.metrics.probe import ProbeFigures, linear_probe
from facevae.model.encoder import Images
from facevae.progress import Notice, Progress
from facevae.workflows.evaluated import Evaluated, draw_rows, read_rows

SHOWN_COMPONENTS = (20, 40, 100, 200)
PROBE_COMPONENTS = 200
PROBE_FACES = 50_000
"""Faces that the probes are fitted on, at most: more take their time, and hardly change the accuracy."""
MOST_VALUES = 3 * 32 * 32
"""The largest image whose covariance is still a matter of seconds."""
_PROBE_STREAM = 2


@dataclass(frozen=True)
class PrincipalFigures:
    """Reconstruction by principal components, fitted on the train split.

    Attributes:
        fitted_on: how many faces that was.
        errors: (components, mean squared error on the split), for some numbers of components.
        at_active_units: as many components as the weights have active units; None if they have none, or more than were fitted.
    """

    fitted_on: int
    errors: tuple[tuple[int, Estimate], ...]
    at_active_units: Estimate | None


@dataclass(frozen=True)
class Baselines:
    """What could be fitted; see `Evaluation`."""

    pca: PrincipalFigures | None = None
    probe: ProbeFigures | None = None
    pca_probe: ProbeFigures | None = None


def fit_baselines(subject: Evaluated, active_units: int) -> Baselines:
    """Fit on the train split, and test on the images of `subject`."""
    train = subject.faces.rows_of("train")
    attributes = subject.attributes()
    if len(train) < 2:
        text = f"{subject.faces.path} has no train split: principal components and linear probes are left out."
        subject.report(Notice(text))
        return Baselines()
    components = _components(subject, train)
    pca = _principal_figures(subject, components, len(train), active_units) if components is not None else None
    return Baselines(pca, *(_probes(subject, train, attributes, components) if attributes is not None else ()))


def _components(subject: Evaluated, train: NDArray[np.int64]) -> PrincipalComponents | None:
    if subject.images[0].size > MOST_VALUES:
        subject.report(Notice("Principal components are fitted to faces of up to 32 x 32 pixels: they are left out."))
        return None

    def read() -> Iterator[Images]:
        done = 0
        for batch in read_rows(subject.faces, train):
            yield batch
            done += len(batch)
            subject.report(Progress("principal components", done, len(train)))

    return fit_components(read(), max(PROBE_COMPONENTS, subject.model.latent_dim))


def _principal_figures(
    subject: Evaluated, components: PrincipalComponents, fitted_on: int, active_units: int
) -> PrincipalFigures:
    errors = dict(component_errors(components, subject.images, {*SHOWN_COMPONENTS, active_units} - {0}))
    shown = tuple((count, error) for count, error in errors.items() if count in SHOWN_COMPONENTS)
    return PrincipalFigures(fitted_on, shown, errors.get(active_units))


def _probes(
    subject: Evaluated,
    train: NDArray[np.int64],
    attributes: NDArray[np.int8],
    components: PrincipalComponents | None,
) -> tuple[ProbeFigures | None, ProbeFigures | None]:
    """Return the probe of the posterior means, and that of the principal components' scores."""
    faces = subject.faces
    rows = draw_rows(train, PROBE_FACES, subject.random(_PROBE_STREAM))
    images = np.concatenate(list(read_rows(faces, rows)))
    labels = faces.attributes[rows] if faces.attributes is not None else attributes[:0]
    fit = partial(linear_probe, train_attributes=labels, test_attributes=attributes, names=faces.attribute_names)
    mean, _ = subject.model.encode(images)
    probe = fit(train=mean, test=subject.mean, stage="probe of latents", report=subject.report)
    if components is None:
        return probe, None
    leading = PrincipalComponents(components.mean, components.components[:PROBE_COMPONENTS])
    scores, tested = leading.scores(images), leading.scores(subject.images)
    return probe, fit(train=scores, test=tested, stage="probe of components", report=subject.report)
