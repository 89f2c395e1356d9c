"""The prior fitted to the latents: its density, its draws, how it is fitted, and its way through the weights file."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file
from scipy.stats import multivariate_normal
from torch import Tensor

from facevae.config import ModelConfig
from facevae.errors import DataError, FacevaeError, UsageError
from facevae.model.prior import LatentMoments, LatentPrior, fit_prior
from facevae.storage.weights import FaceModel
from facevae.workflows.info import info
from helpers import lively_model, refusal, succeed
from support import make_model

REMEDY = "Train some with: facevae train (or name another file with --weights)"
TINY = ModelConfig(image_size=16, channels=2, latent_dim=3)


def make_prior(components: int = 2, size: int = 3, seed: int = 0) -> LatentPrior:
    random = np.random.default_rng(seed)
    weights = random.uniform(1, 3, components)
    trils = np.tril(random.normal(0, 0.5, (components, size, size)))
    trils[:, range(size), range(size)] = random.uniform(0.3, 1.5, (components, size))
    means = random.normal(0, 2, (components, size))
    return LatentPrior(weights / weights.sum(), means.astype(np.float32), trils.astype(np.float32))


def covariances(prior: LatentPrior) -> NDArray[np.float64]:
    trils = prior.scale_trils.astype(np.float64)
    return np.asarray(trils @ trils.transpose(0, 2, 1))


def posteriors(count: int = 400, size: int = 4, seed: int = 1) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Posteriors of two clusters with correlated units."""
    random = np.random.default_rng(seed)
    means = random.normal(0, 1, (count, size)) @ random.normal(0, 1, (size, size))
    means[: count // 4] += 8.0
    log_variances = random.normal(-2, 0.5, (count, size))
    return means.astype(np.float32), log_variances.astype(np.float32)


# ------------------------------------------------------------------------------------------ the mixture


@pytest.mark.parametrize("components", [1, 3])
def test_the_density_is_that_of_scipy(components: int) -> None:
    prior = make_prior(components)
    points = np.random.default_rng(2).normal(0, 3, (50, 3)).astype(np.float32)
    each = [
        weight * multivariate_normal(mean, covariance).pdf(points)
        for weight, mean, covariance in zip(prior.weights, prior.means, covariances(prior), strict=True)
    ]
    np.testing.assert_allclose(prior.log_density(points), np.log(np.sum(each, axis=0)), rtol=1e-9)


def test_the_density_far_away_is_finite() -> None:
    far = make_prior().log_density(np.full((1, 3), 1e6, dtype=np.float32))
    assert np.isfinite(far).all()
    assert far[0] < -1e9


def test_draws_have_the_moments_of_the_mixture() -> None:
    prior = make_prior()
    draws = prior.sample(40_000, np.random.default_rng(0))
    assert draws.shape == (40_000, 3)
    assert draws.dtype == np.float32
    mean = prior.weights @ prior.means
    apart = prior.means - mean
    covariance = np.einsum("k,kij->ij", prior.weights, covariances(prior) + apart[:, :, None] * apart[:, None, :])
    np.testing.assert_allclose(draws.mean(axis=0), mean, atol=0.06)
    np.testing.assert_allclose(np.cov(draws.T), covariance, rtol=0.05, atol=0.1)
    np.testing.assert_allclose(prior.covariance(), covariance, rtol=1e-5)
    doubled = replace(prior, weights=prior.weights * (1.0 + 5e-4))  # as read from a file of single precision
    np.testing.assert_allclose(doubled.covariance(), prior.covariance(), rtol=1e-9)


def test_draws_are_repeatable_and_the_temperature_scales_their_spread() -> None:
    prior = make_prior(1)
    hot, cool, cold = (prior.sample(5, np.random.default_rng(3), temperature) for temperature in (2.0, 1.0, 0.0))
    np.testing.assert_array_equal(cool, prior.sample(5, np.random.default_rng(3)))
    np.testing.assert_allclose(hot - prior.means, 2 * (cool - prior.means), rtol=1e-5)
    np.testing.assert_array_equal(cold, np.repeat(prior.means, 5, axis=0))
    assert prior.sample(0, np.random.default_rng(3)).shape == (0, 3)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"weights": np.array([1.0])}, "the tensors of the prior do not fit each other"),
        ({"means": np.zeros((0, 3), np.float32)}, "the tensors of the prior do not fit each other"),
        ({"means": np.zeros(3, np.float32)}, "the tensors of the prior do not fit each other"),
        ({"scale_trils": np.zeros((2, 3, 4), np.float32)}, "the tensors of the prior do not fit each other"),
        ({"weights": np.array([0.5, np.nan])}, "the prior holds values that are not finite"),
        ({"means": np.full((2, 3), np.inf, np.float32)}, "the prior holds values that are not finite"),
        ({"weights": np.array([0.5, 0.6])}, "the weights of the prior are not positive with sum 1"),
        ({"weights": np.array([1.5, -0.5])}, "the weights of the prior are not positive with sum 1"),
        ({"scale_trils": np.zeros((2, 3, 3), np.float32)}, "the covariances of the prior are not positive definite"),
        ({"scale_trils": np.ones((2, 3, 3), np.float32)}, "the covariances of the prior are not positive definite"),
    ],
)
def test_what_is_no_mixture_is_refused(changes: dict[str, NDArray[np.float32]], reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}$"):
        replace(make_prior(), **changes)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------ fitting


@pytest.mark.parametrize("posterior_variance", [True, False])
def test_one_gaussian_has_the_moments_of_the_posteriors(posterior_variance: bool) -> None:
    means, log_variances = posteriors()
    prior = fit_prior(means, log_variances, posterior_variance=posterior_variance)
    expected = np.cov(means.astype(np.float64).T, bias=True)
    if posterior_variance:
        expected += np.diag(np.exp(log_variances.astype(np.float64)).mean(axis=0))
    assert (prior.components, prior.latent_dim) == (1, 4)
    np.testing.assert_allclose(prior.means[0], means.mean(axis=0, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(covariances(prior)[0], expected, rtol=1e-4, atol=1e-4)


@settings(max_examples=20)
@given(cuts=st.lists(st.integers(0, 60), max_size=4), offset=st.sampled_from([0.0, 1e4]))
def test_batches_add_up_to_the_whole(cuts: list[int], offset: float) -> None:
    """Also empty ones, ones of a single face, and of units whose mean is ten thousand times their spread."""
    means, log_variances = posteriors(60)
    means = means + np.float32(offset)
    moments = LatentMoments(4)
    edges = [0, *sorted(cuts), 60]
    for start, stop in pairwise(edges):
        moments.add(means[start:stop], log_variances[start:stop])
    whole, parts = fit_prior(means, log_variances), moments.prior()
    np.testing.assert_allclose(parts.means, whole.means, rtol=1e-6)
    np.testing.assert_allclose(parts.scale_trils, whole.scale_trils, rtol=1e-5, atol=1e-6)
    expected = np.cov(means.astype(np.float64).T, bias=True) + np.diag(np.exp(log_variances).mean(axis=0))
    np.testing.assert_allclose(covariances(parts)[0], expected, rtol=1e-4, atol=1e-4)


def test_a_mixture_finds_the_clusters() -> None:
    means, log_variances = posteriors()
    prior = fit_prior(means, log_variances, components=2, seed=0)
    assert sorted(prior.weights) == pytest.approx([0.25, 0.75], abs=0.01)
    small = int(np.argmin(prior.weights))
    np.testing.assert_allclose(prior.means[small], means[:100].mean(axis=0), atol=0.1)
    expected = np.cov(means[:100].T, bias=True) + np.diag(np.exp(log_variances[:100]).mean(axis=0))
    np.testing.assert_allclose(covariances(prior)[small], expected, atol=0.1)
    alone = fit_prior(means, log_variances, components=2, seed=0, posterior_variance=False)
    np.testing.assert_allclose(covariances(alone)[small], np.cov(means[:100].T, bias=True), atol=0.1)
    one = fit_prior(means, log_variances)
    assert prior.log_density(means).mean() > one.log_density(means).mean() + 0.5


def test_a_fit_is_repeatable() -> None:
    one, other = (fit_prior(*posteriors(), components=3, seed=5) for _ in range(2))
    np.testing.assert_array_equal(one.scale_trils, other.scale_trils)


@pytest.mark.parametrize("components", [1, 2])
def test_units_that_never_vary(components: int) -> None:
    """As of a collapsed posterior without its variance: the covariance is singular."""
    means, log_variances = posteriors()
    means[:, 1] = 0.25
    means[:, 2] = means[:, 3]
    prior = fit_prior(means, log_variances, components, posterior_variance=False)
    assert np.isfinite(prior.log_density(means)).all()
    assert np.abs(prior.sample(100, np.random.default_rng(0))[:, 1] - 0.25).max() < 0.02


def test_one_face_is_enough_for_one_gaussian() -> None:
    means, log_variances = posteriors(1)
    np.testing.assert_allclose(fit_prior(means, log_variances).means, means, rtol=1e-6)


def test_what_cannot_be_fitted() -> None:
    def told(count: int, components: int = 1, *, at: float = 0.0, log_variance: float = 0.0) -> str:
        means, log_variances = posteriors(max(count, 1))
        means[0, 0] += at
        log_variances[0, 0] += log_variance
        with pytest.raises(FacevaeError) as error:
            fit_prior(means[:count], log_variances[:count], components)
        return str(error.value)

    few = "There are too few latents to fit a prior to: encode more faces, or ask for fewer components."
    broken = "No prior can be fitted to latents that are not finite: train again, with a lower learning rate."
    assert told(0) == few
    assert told(4, 5) == few
    assert told(10, 0) == "A prior of 0 components is out of range: ask for at least 1."
    assert told(10, at=np.inf) == broken
    assert told(10, 2, at=np.nan) == broken
    assert told(10, log_variance=1e4) == broken
    assert told(10, 2, log_variance=1e4) == broken


def test_one_gaussian_needs_no_scikit_learn() -> None:
    """It takes a second to import, which a training and every command with a model would wait for."""
    code = "import sys, facevae.storage.weights; sys.exit('sklearn' in sys.modules or 'scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ------------------------------------------------------------------------------------------ the weights file


def model_with_prior(components: int = 2) -> FaceModel:
    return replace(make_model(TINY), prior=make_prior(components))


def same_prior(one: LatentPrior | None, other: LatentPrior | None, *, rtol: float = 0.0) -> bool:
    assert one is not None
    assert other is not None
    pairs = [(one.means, other.means), (one.scale_trils, other.scale_trils)]
    return np.allclose(one.weights, other.weights, rtol=1e-6) and all(
        np.allclose(first, second, rtol=rtol, atol=0.0) for first, second in pairs
    )


@pytest.mark.parametrize("components", [1, 4])
def test_a_prior_is_saved_and_loaded(tmp_path: Path, components: int) -> None:
    model = model_with_prior(components)
    model.save(tmp_path / "vae.safetensors")
    loaded = FaceModel.load(tmp_path / "vae.safetensors")
    assert same_prior(loaded.prior, model.prior)
    assert loaded.hash() == model.hash() == replace(model, prior=None).hash()
    with safe_open(tmp_path / "vae.safetensors", framework="pt") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys() if "prior" in name}  # noqa: SIM118
    assert shapes == {
        "prior_weights": (components,),
        "prior_means": (components, 3),
        "prior_scale_trils": (components, 6),
    }


def test_without_a_prior_there_is_none(weights_file: Path) -> None:
    assert FaceModel.load(weights_file).prior is None


def test_half_precision_halves_the_file_and_hardly_changes_the_model(tmp_path: Path) -> None:
    model = replace(lively_model(), prior=make_prior(2, 6))
    whole, half = tmp_path / "whole.safetensors", tmp_path / "half.safetensors"
    model.save(whole)
    model.save(half, half=True)
    loaded, again = FaceModel.load(half), FaceModel.load(half)
    assert {tensor.dtype for tensor in loaded.vae.state_dict().values()} == {torch.float32, torch.int64}
    assert loaded.hash() == again.hash() != model.hash()
    assert same_prior(loaded.prior, model.prior, rtol=1e-3)
    assert loaded.directions is not None
    assert model.directions is not None
    np.testing.assert_array_equal(loaded.directions.deltas, model.directions.deltas)
    with safe_open(half, framework="pt") as file:
        types = {name: file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118 - not a mapping
    halved = {name for name, kind in types.items() if kind == torch.float16}
    matrices = {f"vae.{name}" for name, tensor in model.vae.state_dict().items() if tensor.dim() > 1}
    assert halved == matrices | {"prior_means", "prior_scale_trils"}
    with safe_open(whole, framework="pt") as file:
        assert not {file.get_tensor(name).dtype for name in file.keys()} & {torch.float16}  # noqa: SIM118
    faces = model.sample(8, seed=1)
    # Of a network that turns latents into noise between black and white; one that was trained changes by less.
    assert np.abs(faces.astype(int) - loaded.sample(8, seed=1)).mean() < 0.5
    for one, other in zip(model.encode(faces), loaded.encode(faces), strict=True):
        np.testing.assert_allclose(one, other, atol=0.002 * float(np.abs(one).max()))


def test_a_loaded_half_is_saved_without_another_loss(tmp_path: Path) -> None:
    path = tmp_path / "vae.safetensors"
    model_with_prior().save(path, half=True)
    first = FaceModel.load(path)
    first.save(path, half=True)
    second = FaceModel.load(path)
    assert second.hash() == first.hash()
    assert same_prior(second.prior, first.prior)


def test_values_beyond_half_precision_stay_single(tmp_path: Path) -> None:
    """A weight of 1e5, a mean of 1e6, and a standard deviation of 1e-9."""
    prior = make_prior()
    means, trils = prior.means.copy(), prior.scale_trils.copy()
    means[0, 0], trils[0, 1, 1] = 1e6, 1e-9
    model = replace(make_model(TINY), prior=replace(prior, means=means, scale_trils=trils))
    model.vae.state_dict()["decoder.output.weight"][0, 0, 0, 0] = 1e5
    model.save(tmp_path / "vae.safetensors", half=True)
    loaded = FaceModel.load(tmp_path / "vae.safetensors")
    assert same_prior(loaded.prior, model.prior)
    assert loaded.vae.state_dict()["decoder.output.weight"][0, 0, 0, 0] == 1e5


def put(tensors: dict[str, Tensor], name: str, value: Tensor | None) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in {**tensors, name: value}.items() if tensor is not None}


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("prior_weights", None, "a part of its prior is missing"),
        ("prior_scale_trils", None, "a part of its prior is missing"),
        ("prior_means", torch.zeros(2, 4), "the prior does not fit the network"),
        ("prior_means", torch.zeros(6), "the prior does not fit the network"),
        ("prior_scale_trils", torch.ones(2, 5), "the prior does not fit the network"),
        ("prior_scale_trils", torch.ones(3, 6), "the prior does not fit the network"),
        ("prior_weights", torch.ones(1), "the tensors of the prior do not fit each other"),
        ("prior_weights", torch.ones(2), "the weights of the prior are not positive with sum 1"),
        ("prior_scale_trils", -torch.ones(2, 6), "the covariances of the prior are not positive definite"),
        ("prior_means", torch.full((2, 3), torch.nan), "it holds values that are not finite"),
    ],
)
def test_a_prior_that_is_none(tmp_path: Path, name: str, value: Tensor | None, reason: str) -> None:
    path = tmp_path / "vae.safetensors"
    model_with_prior().save(path)
    with safe_open(path, framework="pt") as file:
        header = dict(file.metadata())
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
    save_file(put(tensors, name, value), path, metadata=header)
    with pytest.raises(DataError) as error:
        FaceModel.load(path)
    assert str(error.value) == f"{path} is damaged ({reason}). {REMEDY}"


# ------------------------------------------------------------------------------------------ sampling from it


@pytest.fixture
def model(workspace: Path) -> FaceModel:
    """The workspace's weights, with a prior."""
    model = replace(lively_model(), prior=make_prior(2, 6))
    model.save(workspace / "vae.safetensors")
    return model


def test_auto_takes_the_fitted_prior_where_there_is_one(model: FaceModel) -> None:
    assert model.prior is not None
    fitted = model.decode(model.prior.sample(4, np.random.default_rng(3), 0.5))
    normal = model.decode((0.5 * np.random.default_rng(3).standard_normal((4, 6))).astype(np.float32))
    assert not np.array_equal(fitted, normal)
    for prior, expected in (("auto", fitted), ("fitted", fitted), ("normal", normal)):
        np.testing.assert_array_equal(model.sample(4, seed=3, temperature=0.5, prior=prior), expected)
    np.testing.assert_array_equal(replace(model, prior=None).sample(4, seed=3, temperature=0.5), normal)


@pytest.mark.parametrize(("options", "used"), [([], "fitted"), (["--prior", "fitted"], "fitted")])
def test_the_command_says_what_it_drew_from(model: FaceModel, options: list[str], used: str) -> None:
    found = succeed("sample", "-n", 3, "--seed", 2, "--json", *options).json
    assert found == {"paths": ["samples.png"], "faces": 3, "seed": 2, "prior": used}
    fitted = Path("samples.png").read_bytes()
    normal = succeed("sample", "-n", 3, "--seed", 2, "--json", "--prior", "normal").json
    assert normal == {"paths": ["samples.png"], "faces": 3, "seed": 2, "prior": "normal"}
    assert Path("samples.png").read_bytes() != fitted


def test_the_library_says_it_too(model: FaceModel) -> None:
    import facevae

    drawn = facevae.sample(3, seed=2)
    assert drawn.prior == "fitted"
    np.testing.assert_array_equal(drawn.faces, model.sample(3, seed=2))
    np.testing.assert_array_equal(
        facevae.sample(3, seed=2, prior="normal").faces, model.sample(3, seed=2, prior="normal")
    )


def test_weights_without_a_prior(weights_file: Path, workspace: Path) -> None:
    assert succeed("sample", "--json").json["prior"] == "normal"
    Path("samples.png").unlink()
    assert refusal("sample", "--prior", "fitted") == (
        "vae.safetensors holds no fitted prior: use --prior normal, or other weights."
    )
    assert not Path("samples.png").exists()


def test_there_is_no_other_prior(model: FaceModel) -> None:
    sentence = "There is no prior uniform: use one of auto, fitted, normal."
    assert refusal("sample", "--prior", "uniform", code=2) == sentence
    with pytest.raises(UsageError, match=f"^{sentence}$"):
        model.sample(1, prior="uniform")


@pytest.mark.parametrize(
    ("components", "words"),
    [
        (1, "fitted, one Gaussian"),
        (2, "fitted, a mixture of 2 Gaussians"),
        (0, "none fitted: sample draws from N(0, I)"),
    ],
)
def test_info_tells_the_prior(workspace: Path, components: int, words: str) -> None:
    (model_with_prior(components) if components else make_model(TINY)).save("vae.safetensors")
    assert info("vae.safetensors").facts["prior"] == words
    wanted = {"components": components} if components else None
    assert succeed("info", "vae.safetensors", "--json").json["prior"] == wanted
