"""`evaluate`: how good weights are on faces they were not trained on, every figure by a recipe that stays the same."""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facevae.config import EVALUATED_SPLITS, FACES_FILE, SplitName
from facevae.errors import DataError, UsageError
from facevae.metrics.bound import LatentFigures, latent_figures
from facevae.metrics.edits import EditFigures
from facevae.metrics.estimate import Estimate, mean_estimate
from facevae.metrics.images import peak_signal_to_noise, structural_similarity
from facevae.metrics.probe import ProbeFigures
from facevae.metrics.reconstruction import reconstruct_latents
from facevae.model.encoder import Images
from facevae.progress import Notice, Progress, Report, silent
from facevae.storage.faces import Faces
from facevae.storage.judge_file import AttributeJudge
from facevae.storage.output import StrPath
from facevae.storage.shipped import shipped_judge
from facevae.storage.weights import FaceModel
from facevae.workflows.baselines import PrincipalFigures, fit_baselines
from facevae.workflows.common import check_size, load_model
from facevae.workflows.evaluated import Evaluated
from facevae.workflows.judged import SampleFigures, judged_figures

_NOISE_STREAM = 1

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class ReconstructionFigures:
    """How near the reconstructions come, decoded from posterior means.

    Attributes:
        mse: mean squared error of values in [0, 1].
        psnr: mean over images of 10 log10(1 / MSE), in dB.
        ssim: structural similarity, see `facevae.metrics.images`.
        sampled_mse: the mean squared error of reconstructions from samples of the posterior.
    """

    mse: Estimate
    psnr: Estimate
    ssim: Estimate
    sampled_mse: Estimate


@dataclass(frozen=True)
class Evaluation:
    """All figures of one set of weights on one split of faces.

    Attributes:
        weights: the weights file.
        weights_hash: see `FaceModel.hash`.
        faces: the faces file.
        faces_fingerprint: see `Faces`.
        split: "valid" or "test".
        images: how many faces the split has.
        seed: of everything that was drawn.
        reconstruction: see there.
        latents: KL, active units and the evidence lower bound.
        pca: principal components as the baseline; None without a train split.
        probe: the linear probe on posterior means; None without attributes, or without a train split.
        pca_probe: the same probe on the scores of principal components.
        samples: Fréchet distances; None without a judge.
        edits: edit quality; None if not asked for, without a judge, without attributes or without directions.
        seconds: how long it took.
    """

    weights: str
    weights_hash: str
    faces: str
    faces_fingerprint: str
    split: str
    images: int
    seed: int
    reconstruction: ReconstructionFigures
    latents: LatentFigures
    pca: PrincipalFigures | None
    probe: ProbeFigures | None
    pca_probe: ProbeFigures | None
    samples: SampleFigures | None
    edits: EditFigures | None
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain dictionaries, lists and numbers, for JSON; what isn't known is None."""
        plain: dict[str, Any] = _plain(self)
        return plain


def evaluate(
    weights: StrPath | None = None,
    *,
    faces: StrPath = FACES_FILE,
    split: SplitName = "valid",
    edits: bool = True,
    judge: StrPath | None = None,
    seed: int = 0,
    device: str = "auto",
    report: Report = silent,
) -> Evaluation:
    """Measure how good weights are on a split of prepared faces.

    Args:
        weights: the weights file; by default the workspace's.
        faces: the prepared faces. Its train split is needed for the baseline and the linear probe.
        split: "valid" or "test".
        edits: whether to measure edits too, which is about half of the work.
        judge: the classifier that judges samples and edits; by default the one that comes with facevae.
        seed: of the noise, the samples, and the faces that are taken where not all are.
        device: auto, cpu, cuda or mps.
        report: is called with progress and notices.

    Raises:
        DataError: a file is missing or damaged, the split is empty, or the weights give values that are not finite.
        MismatchError: the faces are not of the size the weights take.
        UsageError: a value is out of range.
    """
    _check_options(split, seed)
    model = load_model(weights, device, report)
    with Faces(faces) as opened:
        return evaluate_model(
            model, opened, split=split, edits=edits, judge=load_judge(judge), seed=seed, report=report
        )


def load_judge(path: StrPath | None = None) -> AttributeJudge:
    """Return the judge in a file, by default the one that comes with facevae."""
    return AttributeJudge.load(Path(path) if path is not None else shipped_judge())


def evaluate_model(
    model: FaceModel,
    faces: Faces,
    *,
    split: SplitName = "valid",
    edits: bool = True,
    judge: AttributeJudge | None = None,
    seed: int = 0,
    report: Report = silent,
) -> Evaluation:
    """Measure a model that is in memory already, see `evaluate`; without a judge, samples and edits are left out."""
    _check_options(split, seed)
    check_size(faces, model)
    started = time.monotonic()
    images = faces.images_of(split)
    _warn_if_trained_on(model, faces, split, report)
    subject, decoded_errors = _reconstruct(model, faces, split, images, seed, report)
    sampled = _sampled_errors(subject)
    report(Progress("reconstruct", 3, 3, "passes"))
    latents = latent_figures(subject.mean, subject.log_variance, sampled, images[0].size)
    if faces.attributes is None:
        report(Notice(f"{faces.path} holds no attributes: linear probes and edits are left out."))
    baselines = fit_baselines(subject, latents.active_units)
    judged = judged_figures(subject, judge, edits=edits)
    return Evaluation(
        weights=model.name,
        weights_hash=model.hash(),
        faces=str(faces.path),
        faces_fingerprint=faces.fingerprint,
        split=split,
        images=len(images),
        seed=seed,
        reconstruction=_reconstruction(subject, decoded_errors, sampled),
        latents=latents,
        pca=baselines.pca,
        probe=baselines.probe,
        pca_probe=baselines.pca_probe,
        samples=judged.samples,
        edits=judged.edits,
        seconds=time.monotonic() - started,
    )


def _check_options(split: str, seed: int) -> None:
    if split not in EVALUATED_SPLITS:
        raise UsageError(
            f"Weights are not evaluated on the split {split}: use valid or test, which they are not trained on."
        )
    if not 0 <= seed < 2**63:
        raise UsageError(f"A seed of {seed} is out of range: use a whole number from 0 to 2^63 - 1.")


def _warn_if_trained_on(model: FaceModel, faces: Faces, split: str, report: Report) -> None:
    same_faces = model.training.get("faces_fingerprint") == faces.fingerprint
    if same_faces and model.training.get("split") in (split, "all"):
        report(
            Notice(
                f"{model.name} was trained on the very faces of {split}: these figures say little about faces it never saw."
            )
        )


def _reconstruct(
    model: FaceModel, faces: Faces, split: SplitName, images: Images, seed: int, report: Report
) -> tuple[Evaluated, Doubles]:
    """Return the images with what the model makes of them, and the squared errors of its reconstructions."""
    report(Progress("reconstruct", 0, 3, "passes"))
    mean, log_variance = model.encode(images)
    if not (np.isfinite(mean).all() and np.isfinite(log_variance).all()):
        raise DataError(f"{model.name} gives latents that are not finite: train again, with a lower learning rate.")
    report(Progress("reconstruct", 1, 3, "passes"))
    decoded, errors = reconstruct_latents(model.vae, mean, images)
    report(Progress("reconstruct", 2, 3, "passes"))
    return Evaluated(model, faces, split, images, mean, log_variance, decoded, seed, report), errors


def _sampled_errors(subject: Evaluated) -> Doubles:
    noise = subject.random(_NOISE_STREAM).standard_normal(subject.mean.shape, dtype=np.float32)
    latents = subject.mean + np.exp(0.5 * subject.log_variance) * noise
    return reconstruct_latents(subject.model.vae, latents, subject.images).squared_errors


def _reconstruction(subject: Evaluated, errors: Doubles, sampled: Doubles) -> ReconstructionFigures:
    return ReconstructionFigures(
        mse=mean_estimate(errors),
        psnr=mean_estimate(peak_signal_to_noise(errors)),
        ssim=mean_estimate(structural_similarity(subject.images, subject.reconstructions)),
        sampled_mse=mean_estimate(sampled),
    )


def _plain(value: Any) -> Any:  # noqa: ANN401
    """Return dataclasses and named tuples as dictionaries, arrays as lists, and what is no number as None."""
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Estimate):
        return _plain(value.to_dict())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return {name: _plain(item) for name, item in value.items()} if isinstance(value, dict) else value
