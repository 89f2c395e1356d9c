"""`facevae.evaluate`: what is measured on which faces, what is left out, and that it is the same each time."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import facevae
import support
from facevae.config import ModelConfig, TrainConfig
from facevae.errors import DataError, MismatchError, UsageError
from facevae.metrics.frechet import frechet_distance
from facevae.metrics.images import structural_similarity
from facevae.model.judge import Judge
from facevae.model.prior import LatentPrior
from facevae.model.training import evaluate_loss
from facevae.progress import Notice, Progress
from facevae.storage.faces import Faces
from facevae.storage.judge_file import AttributeJudge
from facevae.storage.weights import FaceModel
from facevae.workflows.evaluate import Evaluation, evaluate_model

WIDTHS = (2, 3, 3, 4)


@cache
def small_judge(names: tuple[str, ...] = support.ATTRIBUTE_NAMES) -> AttributeJudge:
    """An untrained judge that says yes to about half of the faces, whatever they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        network = Judge(len(names), WIDTHS).eval()
    judge = AttributeJudge(network, names, {}, "the small judge")
    with torch.no_grad():
        middle = np.median(judge.look(support.random_images(40)).logits, axis=0)
        network.head.bias.sub_(torch.from_numpy(middle))
    return judge


@cache
def calm_model() -> FaceModel:
    """An untrained model whose latents differ and stay near the origin, as those of a trained one."""
    config = ModelConfig(channels=4, latent_dim=6)
    return replace(support.make_model(config), vae=support.randomised(config))


def fitted_prior(latent_dim: int = 6) -> LatentPrior:
    means, scales = np.zeros((1, latent_dim), np.float32), 0.1 * np.eye(latent_dim, dtype=np.float32)[None]
    return LatentPrior(np.ones(1), means, scales)


@pytest.fixture(scope="module")
def many_faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return support.write_faces(tmp_path_factory.mktemp("faces") / "faces.h5", count=240)


@pytest.fixture(scope="module")
def events() -> support.Recorder:
    return support.Recorder()


@pytest.fixture(scope="module")
def found(many_faces: Path, events: support.Recorder) -> Evaluation:
    """Everything there is to measure: 40 valid faces, 160 of train."""
    with Faces(many_faces) as faces:
        model = replace(calm_model(), prior=fitted_prior())
        return evaluate_model(model, faces, judge=small_judge(), report=events)


def valid_images(path: Path) -> Any:
    with Faces(path) as faces:
        return faces.images_of("valid")


def evaluated(path: Path, model: FaceModel | None = None, **options: Any) -> tuple[Evaluation, list[str]]:
    report = support.Recorder()
    with Faces(path) as faces:
        return evaluate_model(model or calm_model(), faces, report=report, **options), report.notices


# ------------------------------------------------------------------------------------------ figures


def test_the_record_says_what_was_measured(found: Evaluation, many_faces: Path) -> None:
    with Faces(many_faces) as faces:
        assert (found.faces, found.faces_fingerprint) == (str(many_faces), faces.fingerprint)
    assert (found.weights, found.weights_hash) == ("vae.safetensors", calm_model().hash())
    assert (found.split, found.images, found.seed) == ("valid", 40, 0)
    assert found.seconds > 0


def test_reconstructions_are_of_the_split_and_from_posterior_means(found: Evaluation, many_faces: Path) -> None:
    model, images = calm_model(), valid_images(many_faces)
    decoded = model.decode(model.encode(images)[0])
    errors = np.square(images / 255.0 - decoded / 255.0).mean(axis=(1, 2, 3))
    assert found.reconstruction.mse.value == pytest.approx(errors.mean(), abs=3e-5)
    assert found.reconstruction.psnr.value == pytest.approx((-10 * np.log10(errors)).mean(), abs=0.01)
    assert found.reconstruction.ssim.value == pytest.approx(structural_similarity(images, decoded).mean())


def test_the_loss_of_training_is_found_again(found: Evaluation, many_faces: Path) -> None:
    """`train` evaluates posterior samples, with other noise."""
    expected = evaluate_loss(calm_model().vae, torch.from_numpy(valid_images(many_faces)), TrainConfig())
    assert found.latents.kl.value == pytest.approx(expected.kl, rel=1e-4)
    assert found.latents.active_units == expected.active_units
    assert found.latents.latent_dim == 6
    assert found.reconstruction.sampled_mse.value == pytest.approx(expected.mse, rel=0.05)
    assert found.latents.noise_scale**2 == pytest.approx(found.reconstruction.sampled_mse.value)


def test_baselines_are_fitted_on_train(found: Evaluation) -> None:
    assert found.pca is not None
    assert found.pca.fitted_on == 160
    assert [count for count, _ in found.pca.errors] == [20, 40, 100]
    values = [estimate.value for _, estimate in found.pca.errors]
    assert values == sorted(values, reverse=True)
    assert found.latents.active_units == 2
    assert found.pca.at_active_units is not None
    assert found.pca.at_active_units.value > values[0]
    for probe in (found.probe, found.pca_probe):
        assert probe is not None
        assert [score.name for score in probe.attributes] == ["Attractive", "Male", "Smiling", "Wearing_Hat"]
        assert probe.mean_accuracy.value > 0.7


def test_distances_are_between_sets_of_one_size(found: Evaluation, many_faces: Path) -> None:
    samples = found.samples
    assert samples is not None
    assert (samples.images, samples.features) == (40, 4)
    model, judge, images = calm_model(), small_judge(), valid_images(many_faces)
    real = judge.look(images).features
    again = judge.look(model.decode(model.encode(images)[0])).features
    assert samples.reconstructions.value == pytest.approx(frechet_distance(again, real))
    assert samples.floor is not None
    assert samples.fitted is not None
    assert samples.floor.value < samples.normal.value
    assert samples.fitted.value != samples.normal.value
    estimates = (samples.normal, samples.fitted, samples.reconstructions, samples.floor)
    assert all(estimate.standard_error is not None and estimate.standard_error > 0 for estimate in estimates)


def test_edits_are_of_all_attributes_with_a_direction(found: Evaluation) -> None:
    edits = found.edits
    assert edits is not None
    assert [score.name for score in edits.attributes] == ["Attractive", "Male", "Smiling", "Wearing_Hat"]
    assert edits.judged == support.ATTRIBUTE_NAMES
    assert edits.effects.shape == (4, 5)
    assert edits.side_faces == 40
    for score in edits.attributes:
        assert 0 < score.given_faces + score.taken_faces <= 40
        for estimate in (score.given, score.taken, score.others_kept):
            assert estimate is None or 0.0 <= estimate.value <= 1.0


def test_everything_can_be_written_as_json(found: Evaluation) -> None:
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["reconstruction"]["mse"] == found.reconstruction.mse.to_dict()
    assert plain["pca"]["errors"][0][0] == 20
    assert found.edits is not None
    np.testing.assert_array_equal(plain["edits"]["effects"], found.edits.effects)
    assert plain["edits"]["judged"] == list(support.ATTRIBUTE_NAMES)
    assert plain["probe"]["attributes"][0]["name"] == "Attractive"


def test_progress_covers_every_stage(found: Evaluation, events: support.Recorder) -> None:
    assert events.notices == []
    last = {event.stage: event for event in events.progress}
    assert list(last) == [
        "reconstruct",
        "principal components",
        "probe of latents",
        "probe of components",
        "samples",
        "edits",
    ]
    assert all(event.done == event.total for event in last.values())


def test_the_seed_decides_all_that_is_drawn(found: Evaluation, many_faces: Path) -> None:
    model = replace(calm_model(), prior=fitted_prior())
    same, _ = evaluated(many_faces, model, judge=small_judge())
    assert {**same.to_dict(), "seconds": 0} == {**found.to_dict(), "seconds": 0}
    other, _ = evaluated(many_faces, model, judge=small_judge(), seed=1, edits=False)
    assert other.reconstruction.mse == found.reconstruction.mse
    assert other.reconstruction.sampled_mse != found.reconstruction.sampled_mse
    assert other.samples is not None
    assert found.samples is not None
    assert other.samples.normal != found.samples.normal
    assert other.edits is None


def test_the_other_split(many_faces: Path) -> None:
    test, _ = evaluated(many_faces, split="test")
    assert (test.split, test.images) == ("test", 40)
    assert (test.samples, test.edits) == (None, None)


# ------------------------------------------------------------------------------------------ what is left out


def test_without_attributes(tmp_path: Path) -> None:
    path = support.write_faces(tmp_path / "plain.h5", attributes=False)
    found, notices = evaluated(path, judge=small_judge())
    assert (found.probe, found.pca_probe, found.edits) == (None, None, None)
    assert found.pca is not None
    assert found.samples is not None
    assert notices == [f"{path} holds no attributes: linear probes and edits are left out."]


def test_without_a_train_split(tmp_path: Path) -> None:
    path = support.write_faces(tmp_path / "faces.h5", count=20, split=np.ones(20, dtype=np.uint8))
    found, notices = evaluated(path, judge=small_judge())
    assert (found.pca, found.probe, found.pca_probe) == (None, None, None)
    assert found.samples is not None
    assert found.samples.floor is None
    assert found.edits is not None
    assert notices == [f"{path} has no train split: principal components and linear probes are left out."]


def test_with_fewer_faces_in_train_than_in_the_split(tmp_path: Path) -> None:
    split = np.ones(20, dtype=np.uint8)
    split[:5] = 0
    path = support.write_faces(tmp_path / "faces.h5", count=20, split=split)
    found, notices = evaluated(path, judge=small_judge(), edits=False)
    assert found.samples is not None
    assert found.samples.floor is None
    assert notices == [f"{path} has fewer faces in train than in valid: the distance of other real faces is left out."]


def test_without_directions(many_faces: Path) -> None:
    found, notices = evaluated(many_faces, replace(calm_model(), directions=None), judge=small_judge())
    assert found.edits is None
    assert found.probe is not None
    assert notices == ["vae.safetensors holds no attribute directions: edits are left out."]


def test_with_a_judge_of_other_attributes(many_faces: Path) -> None:
    found, notices = evaluated(many_faces, judge=small_judge(("Smiling", "Elsewhere")))
    assert found.edits is not None
    assert found.edits.judged == ("Smiling",)
    assert found.edits.attributes[0].others_kept is None
    assert notices == []
    found, notices = evaluated(many_faces, judge=small_judge(("Elsewhere", "Bald")))
    assert found.edits is None
    assert notices == ["Weights, faces and judge share no attribute that can be edited: edits are left out."]


@pytest.mark.parametrize(
    ("size", "notice"),
    [
        (16, "The judge takes faces from 32 x 32 pixels on: Fréchet distances and edits are left out."),
        (64, "Principal components are fitted to faces of up to 32 x 32 pixels: they are left out."),
    ],
)
def test_faces_of_other_sizes(size: int, notice: str, tmp_path: Path) -> None:
    path = support.write_faces(tmp_path / "faces.h5", size=size)
    model = support.make_model(ModelConfig(image_size=size, channels=2, latent_dim=3))
    found, notices = evaluated(path, model, judge=small_judge())
    assert notices == [notice]
    assert (found.pca is None) == (found.pca_probe is None) == (size == 64)
    assert (found.samples is None) == (found.edits is None) == (size == 16)
    assert found.probe is not None


def test_one_face_has_no_standard_errors(tmp_path: Path) -> None:
    split = np.zeros(9, dtype=np.uint8)
    split[3] = 1
    path = support.write_faces(tmp_path / "faces.h5", count=9, split=split)
    found, _ = evaluated(path, judge=small_judge())
    assert found.reconstruction.mse.standard_error is None
    assert found.samples is not None
    assert found.samples.normal.standard_error is None
    assert "NaN" not in json.dumps(found.to_dict())


def test_weights_that_were_trained_on_these_faces(many_faces: Path) -> None:
    with Faces(many_faces) as faces:
        fingerprint = faces.fingerprint
    for split, warned in (("all", True), ("valid", True), ("train", False)):
        training = {"faces_fingerprint": fingerprint, "split": split}
        _, notices = evaluated(many_faces, replace(calm_model(), training=training))
        text = (
            "vae.safetensors was trained on the very faces of valid: these figures say little about faces it never saw."
        )
        assert notices == ([text] if warned else [])


# ------------------------------------------------------------------------------------------ files and errors


def test_from_files_in_one_call(faces_file: Path, weights_file: Path, workspace: Path, small_model: FaceModel) -> None:
    small_judge().save("judge.safetensors")
    report = support.Recorder()
    found = facevae.evaluate(judge="judge.safetensors", split="test", edits=False, device="cpu", report=report)
    assert (found.weights, found.faces, found.split) == ("vae.safetensors", "faces.h5", "test")
    assert found.weights_hash == small_model.hash()
    assert found.samples is not None
    assert all(isinstance(event, Notice | Progress) for event in report.events)


def test_wrong_requests(faces_file: Path, weights_file: Path, workspace: Path) -> None:
    for split in ("train", "all", "some"):
        with pytest.raises(UsageError) as error:
            facevae.evaluate(split=split)  # type: ignore[arg-type]
        assert str(error.value) == (
            f"Weights are not evaluated on the split {split}: use valid or test, which they are not trained on."
        )
    with pytest.raises(UsageError) as error:
        facevae.evaluate(seed=-1)
    assert str(error.value) == "A seed of -1 is out of range: use a whole number from 0 to 2^63 - 1."
    with pytest.raises(DataError) as missing:
        facevae.evaluate(judge="none.safetensors")
    assert str(missing.value).startswith("There is no none.safetensors.")


def test_files_that_do_not_fit(faces_file: Path, tmp_path: Path) -> None:
    with pytest.raises(MismatchError) as error:
        evaluated(faces_file, support.make_model(ModelConfig(image_size=16, channels=2, latent_dim=3)))
    assert "holds faces of 32 x 32 pixels, but vae.safetensors takes 16 x 16" in str(error.value)
    path = support.write_faces(tmp_path / "train.h5", count=6, split=np.zeros(6, dtype=np.uint8))
    with pytest.raises(DataError) as empty:
        evaluated(path)
    assert str(empty.value) == f"{path} has no images in the split valid: name another split, or prepare again."


def test_ruined_weights(faces_file: Path) -> None:
    model = support.make_model()
    with torch.no_grad():
        model.vae.encoder.mean.weight.fill_(float("nan"))
    with pytest.raises(DataError) as error:
        evaluated(faces_file, model)
    assert str(error.value) == (
        "vae.safetensors gives latents that are not finite: train again, with a lower learning rate."
    )
