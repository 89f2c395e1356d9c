"""How well faces can be edited: z' = z + n delta, looked at by a judge that the VAE never saw.

For each attribute, faces without it are moved by n = +2 and faces with it by n = -2. Counted are only faces whose own
reconstruction the judge sees rightly, so that a flip is the edit's doing. Of the same pairs is told what is kept: the structural
similarity of the edited to the unedited reconstruction, and how many of the judgements of other attributes stay as they were.
What else an edit moves is the mean change, at n = +1, of each attribute's logit, in standard deviations of that logit over the
real faces.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facevae.metrics.estimate import Estimate, mean_estimate, share_estimate
from facevae.metrics.images import structural_similarity
from facevae.model.encoder import Floats, Images
from facevae.model.inference import decode_latents
from facevae.model.vae import VAE
from facevae.progress import Progress, Report, silent

FLIP_STEP = 2.0
"""The n at which an edit should have flipped the attribute."""
SIDE_STEP = 1.0
EDITED_FACES = 200
"""Faces of each kind, and for the side effects, at most: for every attribute they are decoded and judged anew."""

Look = Callable[[Images], Floats]
"""Gives the logits (N, A) of images (N, S, S, 3) uint8."""


class JudgedFaces(NamedTuple):
    """The faces to edit.

    Attributes:
        latents: posterior means (N, latent_dim).
        reconstructions: decoded from these (N, S, S, 3) uint8.
        attributes: (N, A) in {-1, 1}.
        logits: the judge's of the reconstructions (N, A).
        real_logits: of the real faces (N, A).
    """

    latents: Floats
    reconstructions: Images
    attributes: NDArray[np.int8]
    logits: Floats
    real_logits: Floats


@dataclass(frozen=True)
class EditScore:
    """How well one attribute can be given and taken away.

    Attributes:
        name: the attribute.
        given: how often n = +2 makes a face without the attribute one that is judged to have it; None if there was no face.
        taken: how often n = -2 makes a face with it one that is judged not to have it; None if there was no face.
        given_faces: the faces behind `given`.
        taken_faces: the faces behind `taken`.
        similarity: SSIM of edited and unedited reconstruction, over both kinds of edits; None if there was no face.
        others_kept: the share of the other attributes whose judgement stays; None if there was no face, or no other attribute.
    """

    name: str
    given: Estimate | None
    taken: Estimate | None
    given_faces: int
    taken_faces: int
    similarity: Estimate | None
    others_kept: Estimate | None


class SideEffect(NamedTuple):
    """By how many standard deviations of its logit `name` moves."""

    name: str
    change: Estimate


@dataclass(frozen=True)
class EditFigures:
    """The edits of every attribute that has a direction.

    Attributes:
        attributes: E of them, one for each edited attribute.
        judged: the names of all A attributes that were judged.
        effects: float64 (E, A): the change of each judged attribute's logit at n = +1 of the edited one, in standard deviations
            of the logit over the real faces.
        effect_errors: its standard errors (E, A).
        side_faces: the faces behind `effects`.
    """

    attributes: tuple[EditScore, ...]
    judged: tuple[str, ...]
    effects: NDArray[np.float64]
    effect_errors: NDArray[np.float64]
    side_faces: int

    def mean(self, figure: str) -> Estimate | None:
        """Return the mean over attributes of `given`, `taken`, `similarity` or `others_kept`, as if they were independent."""
        found = [value for score in self.attributes if (value := getattr(score, figure)) is not None]
        if not found:
            return None
        known = [estimate.standard_error for estimate in found if estimate.standard_error is not None]
        error = math.hypot(*known) / len(found) if len(known) == len(found) else None
        return Estimate(float(np.mean([estimate.value for estimate in found])), error)

    def own_effect(self, row: int) -> Estimate:
        """Return what an edit does to its own attribute."""
        return self._effect(row, self.judged.index(self.attributes[row].name))

    def companions(self, row: int) -> list[SideEffect]:
        """Return what an edit does to the other attributes, the strongest first."""
        others = [column for column, name in enumerate(self.judged) if name != self.attributes[row].name]
        others.sort(key=lambda column: -abs(float(self.effects[row, column])))
        return [SideEffect(self.judged[column], self._effect(row, column)) for column in others]

    def _effect(self, row: int, column: int) -> Estimate:
        error = float(self.effect_errors[row, column])
        return Estimate(float(self.effects[row, column]), error if math.isfinite(error) else None)


def edit_figures(
    vae: VAE,
    faces: JudgedFaces,
    names: Sequence[str],
    deltas: Floats,
    look: Look,
    *,
    seed: int = 0,
    limit: int = EDITED_FACES,
    report: Report = silent,
) -> EditFigures | None:
    """Edit `faces` along every direction of `deltas` (A, latent_dim) that isn't zero; None if all are.

    Which faces are taken, where there are more than `limit`, depends on the seed.
    """
    spread = faces.real_logits.astype(np.float64).std(axis=0)
    spread[spread == 0.0] = 1.0
    edited = [column for column in range(len(names)) if np.any(deltas[column])]
    side_rows = _drawn(np.ones(len(faces.latents), dtype=bool), limit, np.random.default_rng([seed, len(names)]))
    scores, effects, errors = [], [], []
    for number, column in enumerate(edited, start=1):
        pairs = _Edit.of(faces, column, limit, seed)
        rows = np.concatenate([pairs.rows, side_rows])
        steps = np.concatenate([pairs.steps, np.full(len(side_rows), SIDE_STEP)]).astype(np.float32)
        images = decode_latents(vae, faces.latents[rows] + steps[:, None] * deltas[column])
        logits = look(images)
        flips = len(pairs.rows)
        scores.append(pairs.score(faces, column, names[column], images[:flips], logits[:flips]))
        change = (logits[flips:].astype(np.float64) - faces.logits[side_rows]) / spread
        effects.append(change.mean(axis=0))
        errors.append(_mean_errors(change))
        report(Progress("edits", number, len(edited), "attributes"))
    if not scores:
        return None
    return EditFigures(tuple(scores), tuple(names), np.array(effects), np.array(errors), len(side_rows))


class _Edit(NamedTuple):
    """The faces of one attribute's edits: `without` it, then those with it; in one array `rows`, with the `steps` of each."""

    rows: NDArray[np.int64]
    steps: NDArray[np.float64]
    without: int

    @classmethod
    def of(cls, faces: JudgedFaces, column: int, limit: int, seed: int) -> _Edit:
        has, seen = faces.attributes[:, column] > 0, faces.logits[:, column] > 0
        random = np.random.default_rng([seed, column])
        without, with_it = _drawn(~has & ~seen, limit, random), _drawn(has & seen, limit, random)
        steps = np.repeat([FLIP_STEP, -FLIP_STEP], [len(without), len(with_it)])
        return cls(np.concatenate([without, with_it]), steps, len(without))

    def score(self, faces: JudgedFaces, column: int, name: str, images: Images, logits: Floats) -> EditScore:
        before, after = faces.logits[self.rows] > 0, logits > 0
        flipped = before[:, column] != after[:, column]
        same = np.delete(before == after, column, axis=1)
        some = len(self.rows) > 0
        return EditScore(
            name=name,
            given=share_estimate(flipped[: self.without]) if self.without else None,
            taken=share_estimate(flipped[self.without :]) if self.without < len(self.rows) else None,
            given_faces=self.without,
            taken_faces=len(self.rows) - self.without,
            similarity=mean_estimate(structural_similarity(faces.reconstructions[self.rows], images)) if some else None,
            others_kept=mean_estimate(same.mean(axis=1)) if some and same.shape[1] else None,
        )


def _drawn(wanted: NDArray[np.bool_], limit: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Return at most `limit` of the wanted rows."""
    rows = np.flatnonzero(wanted)
    return rows if len(rows) <= limit else np.sort(random.choice(rows, limit, replace=False))


def _mean_errors(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard error of the mean over the first axis, NaN where there is one row only."""
    if len(values) < 2:
        return np.full(values.shape[1], np.nan)
    errors: NDArray[np.float64] = values.std(axis=0, ddof=1) / math.sqrt(len(values))
    return errors
