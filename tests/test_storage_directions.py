"""Directions by name, of a model: kinds, what is held still, and what is said where something is missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facevae.config import ModelConfig
from facevae.errors import DataError, FacevaeError, UsageError
from facevae.model.directions import (
    along_normal,
    fisher_normal,
    hold_still,
    indicator_covariance,
    regression_directions,
)
from facevae.model.latent_space import attribute_directions
from facevae.model.prior import LatentPrior, fit_prior
from facevae.storage.directions import NamedDirections
from facevae.storage.shipped import shipped_weights
from facevae.storage.weights import FaceModel
from support import ATTRIBUTE_NAMES, make_model, random_faces

UNITS = 6


@pytest.fixture(scope="module")
def model() -> FaceModel:
    """A model with directions, pairs and a prior from latents that depend on the attributes."""
    random = np.random.default_rng(0)
    _, attributes = random_faces(400)
    attributes[:, 2] = np.where(
        random.random(400) < 0.8, attributes[:, 0], attributes[:, 2]
    )  # Male goes with Attractive
    latents = (attributes @ random.normal(size=(5, UNITS)) + random.normal(size=(400, UNITS))).astype(np.float32)
    directions = attribute_directions(latents, attributes)
    prior = fit_prior(latents, np.full_like(latents, -3.0))
    return replace(make_model(ModelConfig(32, 2, UNITS)), directions=directions, prior=prior)


def refusal(model: FaceModel | NamedDirections, *arguments: object) -> tuple[type[FacevaeError], str]:
    with pytest.raises(FacevaeError) as error:
        model.direction(*arguments)  # type: ignore[arg-type]
    return type(error.value), str(error.value)


def parts(model: FaceModel) -> tuple[np.ndarray, np.ndarray, LatentPrior]:
    assert model.directions is not None
    assert model.directions.together is not None
    assert model.prior is not None
    return model.directions.deltas, model.directions.together, model.prior


def test_the_mean_is_the_default_and_as_it_was(model: FaceModel) -> None:
    deltas, _, _ = parts(model)
    assert model.direction("male") is not None
    np.testing.assert_array_equal(model.direction("male"), deltas[2])
    np.testing.assert_array_equal(model.direction("Male", (), "mean"), deltas[2])


def test_the_other_kinds(model: FaceModel) -> None:
    deltas, together, prior = parts(model)
    regression = regression_directions(deltas, indicator_covariance(together, 400))
    np.testing.assert_allclose(model.direction("Male", kind="regression"), regression[2], rtol=1e-5)
    fisher = along_normal(fisher_normal(deltas[2], prior.covariance()), deltas[2])
    found = model.direction("Male", kind="logistic")
    np.testing.assert_allclose(found, fisher, rtol=1e-5)
    assert found.dtype == np.float32
    lengths = [float(np.linalg.norm(model.direction("Male", kind=kind))) for kind in ("mean", "regression", "logistic")]
    assert len({round(length, 3) for length in lengths}) == 3


@pytest.mark.parametrize("kind", ["mean", "logistic", "regression"])
@pytest.mark.parametrize("keep", [["Attractive"], ["smiling", "ATTRACTIVE"]])
def test_what_is_kept_is_still_whatever_the_kind(model: FaceModel, kind: str, keep: list[str]) -> None:
    deltas, _, prior = parts(model)
    columns = [
        ATTRIBUTE_NAMES.index(name)
        for name in ("Smiling", "Attractive")
        if name.casefold() in " ".join(keep).casefold()
    ]
    covariance = prior.covariance()
    found, free = model.direction("Male", keep, kind), model.direction("Male", (), kind)
    scores = np.linalg.solve(covariance, deltas.T)
    assert np.abs(free @ scores[:, columns]).max() > 0.1
    assert np.abs(found @ scores[:, columns]).max() < 1e-4
    assert found @ scores[:, 2] == pytest.approx(free @ scores[:, 2], rel=1e-4)
    named = model.named_directions().direction("male", keep, kind)
    assert (named.name, set(named.kept), named.share) == ("Male", {ATTRIBUTE_NAMES[column] for column in columns}, 1.0)


def test_a_name_given_twice_is_kept_once(model: FaceModel) -> None:
    once = model.named_directions().direction("Male", ["Attractive"])
    twice = model.named_directions().direction("Male", ["Attractive", "attractive"])
    np.testing.assert_array_equal(once.vector, twice.vector)
    assert twice.kept == ("Attractive",)


def test_a_direction_goes_at_most_twice_as_far(model: FaceModel) -> None:
    """For little that is left it is shorter, and still moves nothing that is kept."""
    deltas, _, prior = parts(model)
    near = deltas.copy()
    near[2] = near[0] + 0.1 * near[3]
    assert model.directions is not None
    close = replace(model, directions=model.directions._replace(deltas=near))
    covariance = prior.covariance()
    held = hold_still(near[2], near[2], near[[0]], covariance)
    assert held is not None
    assert held.stretch > 5.0
    found = close.named_directions().direction("Male", ["Attractive"])
    assert found.share == pytest.approx(2.0 / held.stretch)
    np.testing.assert_allclose(found.vector, found.share * held.direction, rtol=1e-5)

    def length(vector: np.ndarray) -> float:
        return float(np.sqrt(vector @ np.linalg.solve(covariance, vector)))

    assert length(found.vector) == pytest.approx(2.0 * length(near[2]), rel=1e-4)


def test_what_cannot_be_done(model: FaceModel) -> None:
    assert refusal(model, "Male", ["male"]) == (
        UsageError,
        "Male cannot be moved and kept at once: leave it out of --attr, or out of --keep.",
    )
    assert refusal(model, "Male", [], "median") == (
        UsageError,
        "There is no direction median: use one of mean, logistic, regression.",
    )
    assert refusal(model, "Male", ["Yong"]) == (
        UsageError,
        "There is no attribute Yong in vae.safetensors. It has Attractive, Bald, Male, Smiling and others: facevae info "
        "vae.safetensors lists them.",
    )
    assert refusal(model, "Male", ["Smilling"])[1].endswith("Did you mean Smiling?")
    assert refusal(model, "Male", ["Bald"]) == (
        DataError,
        "vae.safetensors knows no direction for Bald: its faces all have the same value of it. Choose another attribute, or "
        "train on faces of both kinds.",
    )
    assert model.directions is not None
    same = model.directions.deltas.copy()
    same[2] = -2.0 * same[0]
    alike = replace(model, directions=model.directions._replace(deltas=same))
    assert refusal(alike, "Male", ["Attractive"]) == (
        DataError,
        "Male cannot be moved without Attractive: in vae.safetensors its direction is made up of theirs. Keep fewer "
        "attributes, or others.",
    )


def test_weights_of_an_older_facevae(model: FaceModel, tmp_path: Path) -> None:
    """Without pairs, the regression alone is unknown; without a prior, what needs to know how latents vary."""
    assert model.directions is not None
    old = replace(model, directions=model.directions._replace(together=None))
    old.save(tmp_path / "old.safetensors")
    loaded = FaceModel.load(tmp_path / "old.safetensors", name="old.safetensors")
    np.testing.assert_array_equal(loaded.direction("Male", ["Attractive"]), model.direction("Male", ["Attractive"]))
    assert refusal(loaded, "Male", [], "regression") == (
        DataError,
        "old.safetensors does not say which attributes go together, as an older facevae trained it: let facevae train "
        "--resume add that, or take the direction from latents with --latents.",
    )
    assert loaded.named_directions().correlations() is None
    older = replace(model, prior=None)
    needed = "from which {} knows how latents vary: take the direction from latents with --latents."
    assert refusal(older, "Male", ["Attractive"]) == (
        DataError,
        f"vae.safetensors holds no fitted prior, {needed.format('--keep')}",
    )
    assert refusal(older, "Male", [], "logistic") == (
        DataError,
        f"vae.safetensors holds no fitted prior, {needed.format('--direction')}",
    )
    assert older.direction("Male", (), "regression").any()


def test_a_model_without_attributes_or_directions(model: FaceModel) -> None:
    bare = make_model(ModelConfig(32, 2, UNITS), attribute_names=())
    assert refusal(bare, "Male")[1].startswith("vae.safetensors holds no attributes: ")
    assert refusal(replace(model, directions=None), "Male") == (
        DataError,
        "vae.safetensors holds no attribute directions yet, as its training was broken off: finish it with facevae train "
        "--resume, or take them from latents with --latents.",
    )


def test_correlations_are_those_of_the_indicators(model: FaceModel) -> None:
    found = model.named_directions().correlations()
    assert found is not None
    assert found[0, 2] > 0.4
    assert found[0, 0] == pytest.approx(1.0)
    assert not found[1].any()  # Bald, which no face is


@pytest.mark.parametrize("kind", ["mean", "logistic", "regression"])
def test_the_shipped_weights_know_every_direction(kind: str) -> None:
    model = FaceModel.load(shipped_weights())
    directions = model.named_directions()
    for name in model.attribute_names:
        keep = ["Young"] if name != "Young" else ["Male"]
        found = directions.direction(name, keep, kind)
        assert np.isfinite(found.vector).all()
        assert 0.2 < float(np.linalg.norm(found.vector)) < 7.0, name
        assert found.share > 0.5, name


def test_attractive_without_male_moves_no_linear_score_of_it() -> None:
    """With the shipped weights: what docs/editing.md says of Attractive and Male."""
    model = FaceModel.load(shipped_weights())
    assert model.prior is not None
    free, held = model.direction("Attractive"), model.direction("Attractive", ["Male"])
    assert float(np.linalg.norm(free)) == pytest.approx(1.45, abs=0.01)
    assert float(np.linalg.norm(held)) == pytest.approx(2.13, abs=0.01)
    score = np.linalg.solve(model.prior.covariance(), model.direction("Male"))
    assert abs(held @ score) < 1e-3 * abs(free @ score)
