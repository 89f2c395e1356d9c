"""What `evaluate` asks the judge: how near samples come to real faces, and what edits do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facevae.metrics.edits import EditFigures, JudgedFaces, edit_figures
from facevae.metrics.estimate import Estimate
from facevae.metrics.frechet import frechet_estimate
from facevae.model.encoder import Floats
from facevae.model.inference import decode_latents
from facevae.model.judge import JUDGE_SIZE, JudgeView
from facevae.progress import Notice, Progress
from facevae.storage.judge_file import AttributeJudge
from facevae.workflows.evaluated import Evaluated, draw_rows, read_rows

DISTANCE_FACES = 5_000
"""Images in each set of a Fréchet distance, at most."""
_SETS = 6
_ROWS_STREAM, _PRIOR_STREAM, _BOOTSTRAP_STREAM = 3, 4, 5


@dataclass(frozen=True)
class SampleFigures:
    """Fréchet distances to real faces of the split, in the features of the judge; see `facevae.metrics.frechet`.

    Attributes:
        images: how many images each set has.
        features: in how many dimensions.
        normal: samples decoded from N(0, I).
        fitted: samples decoded from the prior fitted to the latents; None where the weights have none.
        reconstructions: the reconstructions of the same faces.
        floor: other real faces, of the train split; None if that has too few.
    """

    images: int
    features: int
    normal: Estimate
    fitted: Estimate | None
    reconstructions: Estimate
    floor: Estimate | None


@dataclass(frozen=True)
class Judged:
    """What the judge said; see `Evaluation`."""

    samples: SampleFigures | None = None
    edits: EditFigures | None = None


def judged_figures(subject: Evaluated, judge: AttributeJudge | None, *, edits: bool) -> Judged:
    """Have the judge look at the images, their reconstructions, samples, and, where wanted, edits."""
    if judge is None:
        return Judged()
    if subject.model.image_size < JUDGE_SIZE:
        text = f"The judge takes faces from {JUDGE_SIZE} x {JUDGE_SIZE} pixels on: Fréchet distances and edits are left out."
        subject.report(Notice(text))
        return Judged()
    looking = _Looking(subject, judge)
    return Judged(looking.samples(), looking.edits() if edits else None)


class _Looking:
    """The judge with what it has seen of the split's faces."""

    def __init__(self, subject: Evaluated, judge: AttributeJudge) -> None:
        self._subject, self._judge = subject, judge
        subject.report(Progress("samples", 0, _SETS, "sets"))
        self._real: JudgeView = judge.look(subject.images)
        subject.report(Progress("samples", 1, _SETS, "sets"))
        self._decoded: JudgeView = judge.look(subject.reconstructions)
        subject.report(Progress("samples", 2, _SETS, "sets"))

    def samples(self) -> SampleFigures:
        subject = self._subject
        rows = draw_rows(np.arange(len(subject.images)), DISTANCE_FACES, subject.random(_ROWS_STREAM))
        real, count = self._real.features[rows], len(rows)
        fitted = self._sampled(count, fitted=True) if subject.model.prior is not None else None
        others = self._other_faces(count)
        return SampleFigures(
            images=count,
            features=real.shape[1],
            normal=self._distance(self._sampled(count, fitted=False), real, 3),
            fitted=self._distance(fitted, real, 4) if fitted is not None else None,
            reconstructions=self._distance(self._decoded.features[rows], real, 5, paired=True),
            floor=self._distance(others, real, 6) if others is not None else None,
        )

    def _distance(self, features: Floats, real: Floats, done: int, *, paired: bool = False) -> Estimate:
        found = frechet_estimate(features, real, self._subject.random(_BOOTSTRAP_STREAM), paired=paired)
        self._subject.report(Progress("samples", done, _SETS, "sets"))
        return found

    def _sampled(self, count: int, *, fitted: bool) -> Floats:
        """Return the features of samples from the fitted prior or from N(0, I)."""
        model, random = self._subject.model, self._subject.random(_PRIOR_STREAM)
        if fitted and model.prior is not None:
            latents = model.prior.sample(count, random)
        else:
            latents = random.standard_normal((count, model.latent_dim), dtype=np.float32)
        return self._judge.look(decode_latents(model.vae, latents)).features

    def _other_faces(self, count: int) -> Floats | None:
        faces, subject = self._subject.faces, self._subject
        train = faces.rows_of("train")
        if len(train) < count:
            if len(train):
                fewer = f"{faces.path} has fewer faces in train than in {subject.split}"
                subject.report(Notice(f"{fewer}: the distance of other real faces is left out."))
            return None
        rows = draw_rows(train, count, subject.random(_ROWS_STREAM))
        return self._judge.look(np.concatenate(list(read_rows(faces, rows)))).features

    def edits(self) -> EditFigures | None:
        model, faces = self._subject.model, self._subject.faces
        attributes = self._subject.attributes()
        if attributes is None:
            return None
        if model.directions is None:
            self._subject.report(Notice(f"{model.name} holds no attribute directions: edits are left out."))
            return None
        lists = (model.attribute_names, faces.attribute_names, self._judge.attribute_names)
        names = [name for name in lists[0] if name in lists[1] and name in lists[2]]
        of_model, of_faces, of_judge = ([known.index(name) for name in names] for known in lists)
        judged = JudgedFaces(
            self._subject.mean,
            self._subject.reconstructions,
            attributes[:, of_faces],
            self._decoded.logits[:, of_judge],
            self._real.logits[:, of_judge],
        )
        figures = edit_figures(
            model.vae,
            judged,
            names,
            model.directions.deltas[of_model],
            lambda images: self._judge.look(images).logits[:, of_judge],
            seed=self._subject.seed,
            report=self._subject.report,
        )
        if figures is None:
            text = "Weights, faces and judge share no attribute that can be edited: edits are left out."
            self._subject.report(Notice(text))
        return figures
