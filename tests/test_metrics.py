"""The figures of `evaluate`, each against another source: closed forms, scikit-learn, torch.distributions, a naive SSIM."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import scipy.ndimage
import scipy.stats
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score

import support
from facevae.metrics.bound import latent_figures, unit_kl
from facevae.metrics.edits import EditFigures, EditScore, JudgedFaces, SideEffect, edit_figures
from facevae.metrics.estimate import Estimate, mean_estimate, share_estimate
from facevae.metrics.frechet import frechet_distance, frechet_estimate
from facevae.metrics.images import (
    channel_similarity,
    gradient_errors,
    gradient_magnitude,
    peak_signal_to_noise,
    squared_errors,
    structural_similarity,
)
from facevae.metrics.principal import component_errors, fit_components
from facevae.metrics.probe import linear_probe
from facevae.metrics.reconstruction import reconstruct_latents
from facevae.model.encoder import Floats, Images
from facevae.model.inference import decode_latents, to_tensor
from facevae.progress import Progress

# ------------------------------------------------------------------------------------------ estimates


def test_the_mean_and_its_standard_error() -> None:
    values = np.array([1.0, 2.0, 4.0, 9.0])
    assert mean_estimate(values) == pytest.approx((4.0, scipy.stats.sem(values)))
    assert mean_estimate(values[:1]) == Estimate(1.0, None)
    assert Estimate(4.0, 0.5).to_dict() == {"value": 4.0, "standard_error": 0.5}


def test_a_share_and_its_standard_error() -> None:
    hits = np.array([True, False, True, True])
    assert share_estimate(hits) == pytest.approx((0.75, math.sqrt(0.75 * 0.25 / 4)))
    assert share_estimate(hits[:1]) == Estimate(1.0, None)
    # Of all or none of 6, the error is that of 2 in 10.
    sure = math.sqrt(0.2 * 0.8 / 6)
    assert share_estimate(np.zeros(6, dtype=bool)) == pytest.approx((0.0, sure))
    assert share_estimate(np.ones(6, dtype=bool)) == pytest.approx((1.0, sure))


# ------------------------------------------------------------------------------------------ images


def pair(count: int = 3, size: int = 32) -> tuple[Images, Images]:
    images = support.random_images(count, size, seed=3)
    noise = np.random.default_rng(0).normal(0, 20, images.shape)
    return images, np.clip(images + noise, 0, 255).astype(np.uint8)


def test_squared_error_and_psnr_are_those_of_the_formula() -> None:
    images, others = pair()
    device = torch.device("cpu")
    found = squared_errors(to_tensor(images, device), to_tensor(others, device))
    expected = ((images / 255.0 - others / 255.0) ** 2).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(peak_signal_to_noise(np.array([1.0, 0.01, 0.0])), [0.0, 20.0, 100.0])


def naive_ssim(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Wang et al. 2004, equation 13, at the places where the whole 11 x 11 window is inside, averaged with the channels."""
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2

    def smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
        result: NDArray[np.float64] = scipy.ndimage.convolve(values, window)[5:-5, 5:-5]
        return result

    found = []
    for channel in range(3):
        x, y = one[:, :, channel] / 255.0, other[:, :, channel] / 255.0
        mean_x, mean_y = smooth(x), smooth(y)
        var_x, var_y = smooth(x * x) - mean_x**2, smooth(y * y) - mean_y**2
        covariance = smooth(x * y) - mean_x * mean_y
        numerator = (2 * mean_x * mean_y + 0.01**2) * (2 * covariance + 0.03**2)
        found.append(numerator / ((mean_x**2 + mean_y**2 + 0.01**2) * (var_x + var_y + 0.03**2)))
    return float(np.mean(found))


@pytest.mark.parametrize("size", [16, 32])
def test_ssim_is_that_of_the_paper(size: int) -> None:
    images, others = pair(size=size)
    expected = [naive_ssim(one, other) for one, other in zip(images, others, strict=True)]
    np.testing.assert_allclose(structural_similarity(images, others), expected, atol=2e-4)
    np.testing.assert_allclose(structural_similarity(images, images), 1.0, atol=1e-6)
    assert structural_similarity(images[:0], others[:0]).shape == (0,)


# ------------------------------------------------------------------------------------------ bound


def posteriors(count: int = 50, units: int = 4) -> tuple[Floats, Floats]:
    random = np.random.default_rng(1)
    mean, log_variance = random.normal(0, 1, (2, count, units)).astype(np.float32)
    mean[:, 0], log_variance[:, 0] = 0.1, 0.01  # carries nothing
    return mean, log_variance


def test_similarity_of_any_channels_is_that_of_each() -> None:
    rng = np.random.default_rng(4)
    one, other = (rng.integers(0, 256, (3, 20, 20, 3), dtype=np.uint8) for _ in range(2))
    cpu = torch.device("cpu")
    channels = [
        channel_similarity(to_tensor(one, cpu)[:, [index]], to_tensor(other, cpu)[:, [index]]) for index in range(3)
    ]
    np.testing.assert_allclose(np.mean(channels, axis=0), structural_similarity(one, other), atol=1e-6)


def test_the_gradient_is_sobels() -> None:
    lumas = np.random.default_rng(5).random((4, 1, 9, 13))
    found = gradient_magnitude(torch.from_numpy(lumas)).numpy()
    assert found.shape == (4, 1, 7, 11)
    for luma, magnitude in zip(lumas[:, 0], found[:, 0], strict=True):
        down, right = (scipy.ndimage.sobel(luma, axis=axis) / 8.0 for axis in (0, 1))
        np.testing.assert_allclose(magnitude, np.hypot(down, right)[1:-1, 1:-1], atol=1e-12)


def test_a_ramp_has_its_slope_as_gradient_and_another_ramp_the_difference_as_error() -> None:
    ramp = torch.linspace(0.0, 0.9, 10).expand(2, 1, 8, 10)
    assert gradient_magnitude(ramp).flatten().tolist() == pytest.approx([0.1] * (2 * 6 * 8), abs=1e-6)
    assert gradient_errors(ramp, 0.5 * ramp).tolist() == pytest.approx([0.05] * 2, abs=1e-6)


def test_kl_is_that_of_torch() -> None:
    mean, log_variance = posteriors()
    of_images = torch.distributions.Normal(torch.from_numpy(mean), torch.from_numpy(log_variance).mul(0.5).exp())
    expected = torch.distributions.kl_divergence(of_images, torch.distributions.Normal(0.0, 1.0))
    np.testing.assert_allclose(unit_kl(mean, log_variance), expected.numpy(), rtol=1e-4, atol=1e-6)


def test_the_bound_is_that_of_a_gaussian_at_its_best_scale() -> None:
    mean, log_variance = posteriors()
    values = 12
    difference = np.random.default_rng(2).normal(0, 0.2, (len(mean), values))
    found = latent_figures(mean, log_variance, np.square(difference).mean(axis=1), values)

    def negative_elbo(scale: float) -> NDArray[np.float64]:
        log_density = scipy.stats.norm(0.0, scale).logpdf(difference).sum(axis=1)
        result: NDArray[np.float64] = unit_kl(mean, log_variance).sum(axis=1) - log_density
        return result

    of_images = negative_elbo(found.noise_scale)
    assert found.negative_elbo.value == pytest.approx(of_images.mean())
    assert found.negative_elbo.standard_error == pytest.approx(scipy.stats.sem(of_images))
    assert all(negative_elbo(found.noise_scale * factor).mean() > of_images.mean() for factor in (0.98, 1.02))
    assert (found.active_units, found.latent_dim) == (3, 4)
    assert found.kl == mean_estimate(unit_kl(mean, log_variance).sum(axis=1))


def test_the_error_of_the_bound_counts_in_that_the_scale_is_fitted() -> None:
    """Over many sets of images the bound, each time with its own scale, spreads as much as its standard error says."""
    random = np.random.default_rng(4)
    values, found = 50, []
    for _ in range(300):
        mean, log_variance = random.normal(0, 1, (2, 80, 2)).astype(np.float32)
        errors = random.gamma(3.0, 0.01, 80)
        found.append(latent_figures(mean, log_variance, errors, values).negative_elbo)
    spread = np.std([estimate.value for estimate in found], ddof=1)
    claimed = np.mean([estimate.standard_error for estimate in found if estimate.standard_error is not None])
    assert claimed == pytest.approx(spread, rel=0.15)


def test_bits_are_those_of_the_probabilities_of_8_bit_values() -> None:
    """Without a KL divergence the bound is the density itself, and its integrals over the bins of width 1/255 are exact."""
    random = np.random.default_rng(5)
    scale, values = 0.05, 30
    decoded = np.full((400, values), 0.5)
    pixels = np.rint((decoded + random.normal(0, scale, decoded.shape)) * 255) / 255
    nothing = np.zeros((400, 1), dtype=np.float32)
    found = latent_figures(nothing, nothing, np.square(pixels - decoded).mean(axis=1), values)
    normal = scipy.stats.norm(decoded, found.noise_scale)
    exact = -np.log2(normal.cdf(pixels + 0.5 / 255) - normal.cdf(pixels - 0.5 / 255)).mean()
    assert found.bits_per_dimension is not None
    assert found.bits_per_dimension.value == pytest.approx(exact, abs=2e-3)
    fine = latent_figures(nothing, nothing, np.full(400, 1e-6), values)
    assert fine.bits_per_dimension is None


# ------------------------------------------------------------------------------------------ principal components


@pytest.mark.parametrize("count", [300, 1500])
def test_components_are_those_of_scikit_learn(count: int) -> None:
    train, tested = support.random_images(count, 16, seed=1), support.random_images(40, 16, seed=2)
    found = fit_components(iter([train[:100], train[100:101], train[101:]]), 10)
    flat, flat_tested = (images.reshape(len(images), -1) / 255.0 for images in (train, tested))
    expected = PCA(10, svd_solver="full").fit(flat)
    np.testing.assert_allclose(found.mean, expected.mean_, rtol=1e-6)
    np.testing.assert_allclose(np.abs(found.components @ expected.components_.T), np.eye(10), atol=1e-3)
    scores = expected.transform(flat_tested)
    np.testing.assert_allclose(np.abs(found.scores(tested)), np.abs(scores), atol=2e-3)
    errors = dict(component_errors(found, tested, [0, 3, 10, 11]))
    assert list(errors) == [0, 3, 10]
    for kept, estimate in errors.items():
        restored = expected.mean_ + scores[:, :kept] @ expected.components_[:kept]
        of_images = np.square(flat_tested - restored).mean(axis=1)
        assert estimate.value == pytest.approx(of_images.mean(), rel=1e-4)
        assert estimate.standard_error == pytest.approx(scipy.stats.sem(of_images), rel=1e-3)


def test_there_are_no_more_components_than_images_allow() -> None:
    train = support.random_images(5, 16)
    assert fit_components([train], 200).components.shape == (4, 768)
    alone = fit_components([train[:1]], 200)
    assert alone.components.shape == (0, 768)
    assert [count for count, _ in component_errors(alone, train, [0, 1])] == [0]


# ------------------------------------------------------------------------------------------ probe


def labelled(count: int, seed: int) -> tuple[Floats, NDArray[np.int8]]:
    """Latents of which the first three units tell three attributes, the last by chance alone, and a fourth that none has."""
    random = np.random.default_rng(seed)
    latents = random.normal(3.0, [1.0, 10.0, 0.1, 1.0], (count, 4))
    score = (latents - 3.0) / [1.0, 10.0, 0.1, 1.0] + random.normal(0, [0.1, 1.0, 1.0, 1.0], (count, 4))
    has = np.stack([score[:, 0] > 0, score[:, 1] > 1.2, random.random(count) < 0.3, np.zeros(count, bool)], axis=1)
    return latents.astype(np.float32), np.where(has, 1, -1).astype(np.int8)


def test_the_probe_scores_as_scikit_learn_counts() -> None:
    names = ("clear", "rare", "noise", "never")
    train, tested = labelled(600, 1), labelled(200, 2)
    events: list[Any] = []
    found = linear_probe(*train, *tested, names, stage="x", report=events.append)
    assert found is not None
    assert [score.name for score in found.attributes] == ["clear", "rare", "noise"]
    assert events[-1] == Progress("x", 4, 4, "attributes")
    mean, scale = train[0].mean(axis=0), train[0].std(axis=0)
    for column, score in enumerate(found.attributes):
        model = LogisticRegression(tol=1e-8, max_iter=1000)
        model.fit((train[0] - mean) / scale, train[1][:, column])
        said = model.predict((tested[0] - mean) / scale)
        assert score.accuracy.value == pytest.approx((said == tested[1][:, column]).mean())
        assert score.balanced_accuracy is not None
        assert score.balanced_accuracy.value == pytest.approx(balanced_accuracy_score(tested[1][:, column], said))
    assert found.attributes[0].accuracy.value > 0.9
    assert found.attributes[2].majority == pytest.approx((tested[1][:, 2] < 0).mean())
    assert found.mean_accuracy.value == pytest.approx(np.mean([score.accuracy.value for score in found.attributes]))
    balanced = [score.balanced_accuracy.value for score in found.attributes if score.balanced_accuracy is not None]
    assert found.mean_balanced_accuracy is not None
    assert found.mean_balanced_accuracy.value == pytest.approx(np.mean(balanced))
    assert found.mean_majority == pytest.approx(np.mean([score.majority for score in found.attributes]))


def test_the_errors_of_the_probe_are_the_spread_over_tested_images() -> None:
    """Tested on many sets of images, the figures spread as much as their standard errors say."""
    train = labelled(400, 1)
    runs = [linear_probe(*train, *labelled(150, 100 + seed), ("a", "b", "c", "d")) for seed in range(60)]
    for name in ("mean_accuracy", "mean_balanced_accuracy"):
        estimates = [getattr(run, name) for run in runs]
        spread = np.std([estimate.value for estimate in estimates], ddof=1)
        assert np.mean([estimate.standard_error for estimate in estimates]) == pytest.approx(spread, rel=0.3), name
    single = [run.attributes[1].balanced_accuracy for run in runs if run is not None]
    spread = np.std([estimate.value for estimate in single if estimate is not None], ddof=1)
    claimed = [estimate.standard_error for estimate in single if estimate is not None and estimate.standard_error]
    assert np.mean(claimed) == pytest.approx(spread, rel=0.3)


def test_what_cannot_be_probed_is_left_out() -> None:
    latents, attributes = labelled(50, 1)
    assert linear_probe(latents, attributes[:, 3:], latents, attributes[:, 3:], ("never",)) is None
    tested = np.full((50, 1), -1, dtype=np.int8)
    found = linear_probe(latents, attributes[:, :1], latents, tested, ("clear",))
    assert found is not None
    assert found.attributes[0].balanced_accuracy is None
    assert found.mean_balanced_accuracy is None


# ------------------------------------------------------------------------------------------ Fréchet distance


def with_moments(mean: NDArray[np.float64], covariance: NDArray[np.float64], count: int = 500) -> NDArray[np.float64]:
    """Features of which mean and covariance are exactly these."""
    noise = np.random.default_rng(len(mean)).normal(size=(count, len(mean)))
    noise -= noise.mean(axis=0)
    whitened = noise @ np.linalg.inv(np.linalg.cholesky(np.cov(noise.T))).T
    return whitened @ np.linalg.cholesky(covariance).T + mean


def test_the_distance_of_diagonal_gaussians_is_that_of_the_closed_form() -> None:
    one, other = np.array([1.0, 4.0, 9.0]), np.array([4.0, 1.0, 0.25])
    shift = np.array([0.5, -2.0, 0.0])
    found = frechet_distance(with_moments(np.zeros(3), np.diag(one)), with_moments(shift, np.diag(other)))
    assert found == pytest.approx((shift**2).sum() + ((np.sqrt(one) - np.sqrt(other)) ** 2).sum())


def test_the_distance_is_that_of_the_root_of_the_product() -> None:
    random = np.random.default_rng(3)
    roots = random.normal(size=(2, 5, 5))
    one, other = (root @ root.T for root in roots)
    shift = random.normal(size=5)
    found = frechet_distance(with_moments(np.zeros(5), one), with_moments(shift, other))
    expected = (shift**2).sum() + np.trace(one + other - 2 * scipy.linalg.sqrtm(one @ other).real)
    assert found == pytest.approx(expected)


def test_singular_covariances_do_no_harm() -> None:
    """Fewer images than features, features that never vary, and a set against itself."""
    few = np.random.default_rng(4).normal(size=(4, 10)).astype(np.float32)
    assert frechet_distance(few, few) == pytest.approx(0.0, abs=1e-6)
    assert frechet_distance(few, few + 2.0) == pytest.approx(40.0)
    assert frechet_distance(np.zeros((3, 2)), np.ones((3, 2))) == pytest.approx(2.0)
    assert frechet_estimate(few[:1], few[:1], np.random.default_rng(0)) == Estimate(0.0, None)


def test_the_error_of_the_distance_is_its_spread_over_sets() -> None:
    random = np.random.default_rng(6)
    found = [
        frechet_estimate(random.normal(0, 1, (300, 3)), random.normal(0.5, 1, (300, 3)), random) for _ in range(30)
    ]
    spread = np.std([estimate.value for estimate in found], ddof=1)
    claimed = [estimate.standard_error for estimate in found if estimate.standard_error is not None]
    assert np.mean(claimed) == pytest.approx(spread, rel=0.4)
    again = frechet_estimate(np.eye(3), 2 * np.eye(3), np.random.default_rng(7))
    assert again == frechet_estimate(np.eye(3), 2 * np.eye(3), np.random.default_rng(7))


# ------------------------------------------------------------------------------------------ reconstruction and edits


def test_reconstructions_are_those_of_the_decoder() -> None:
    from helpers import lively_model

    model, images = lively_model(), support.random_images(70, seed=5)
    mean, _ = model.encode(images)
    found = reconstruct_latents(model.vae, mean, images)
    np.testing.assert_array_equal(found.images, model.decode(mean))
    with torch.inference_mode():
        decoded = model.vae.decode(torch.from_numpy(mean)).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(
        found.squared_errors, np.square(images / 255.0 - decoded).mean(axis=(1, 2, 3)), rtol=1e-4
    )


NAMES = ("Bright", "Red", "Flat")


def look(images: Images) -> Floats:
    """A judge of three attributes, which some faces of `lively_model` have: bright, red; nothing has the third."""
    means = images.mean(axis=(1, 2)) / 255.0
    logits = np.stack([means.mean(axis=1) - 0.65, means[:, 0] - means[:, 1] + 0.35, np.full(len(images), -1.0)], axis=1)
    return logits.astype(np.float32)


def judged_faces(count: int = 60) -> tuple[Any, JudgedFaces]:
    from helpers import lively_model

    model = lively_model()
    latents = np.random.default_rng(8).normal(0, 1, (count, model.latent_dim)).astype(np.float32)
    images = model.decode(latents)
    logits = look(images)
    attributes = np.where(logits > 0, 1, -1).astype(np.int8)
    attributes[: count // 3, 0] *= -1  # reconstructions that show the wrong thing
    return model, JudgedFaces(latents, images, attributes, logits, look(support.random_images(40)))


def test_edits_are_counted_as_the_definition_says() -> None:
    model, faces = judged_faces()
    deltas = np.random.default_rng(9).normal(0, 1, (3, model.latent_dim)).astype(np.float32)
    deltas[1] = 0.0
    found = edit_figures(model.vae, faces, NAMES, deltas, look)
    assert found is not None
    assert [score.name for score in found.attributes] == ["Bright", "Flat"]
    bright = found.attributes[0]
    right = (faces.attributes[:, 0] > 0) == (faces.logits[:, 0] > 0)
    kinds = {"given": right & (faces.logits[:, 0] <= 0), "taken": right & (faces.logits[:, 0] > 0)}
    kept, similar = [], []
    for (figure, rows), step in zip(kinds.items(), (2.0, -2.0), strict=True):
        images = decode_latents(model.vae, faces.latents[rows] + np.float32(step) * deltas[0])
        after = look(images)
        flipped = (after[:, 0] > 0) != (faces.logits[rows, 0] > 0)
        assert getattr(bright, figure) == share_estimate(flipped)
        assert getattr(bright, f"{figure}_faces") == rows.sum()
        kept.append(((after > 0) == (faces.logits[rows] > 0))[:, 1:].mean(axis=1))
        similar.append(structural_similarity(faces.reconstructions[rows], images))
    assert bright.others_kept == mean_estimate(np.concatenate(kept))
    assert bright.similarity is not None
    assert bright.similarity.value == pytest.approx(np.concatenate(similar).mean(), rel=1e-5)
    flat = found.attributes[1]
    never = share_estimate(np.zeros(60, dtype=bool))
    assert (flat.given, flat.given_faces, flat.taken, flat.taken_faces) == (never, 60, None, 0)


def test_side_effects_are_mean_changes_in_units_of_the_real_spread() -> None:
    model, faces = judged_faces()
    deltas = np.random.default_rng(9).normal(0, 1, (3, model.latent_dim)).astype(np.float32)
    found = edit_figures(model.vae, faces, NAMES, deltas, look)
    assert found is not None
    for row in range(3):
        change = look(decode_latents(model.vae, faces.latents + deltas[row])) - faces.logits
        spread = faces.real_logits.std(axis=0)
        spread[2] = 1.0
        np.testing.assert_allclose(found.effects[row], change.mean(axis=0) / spread, rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(found.effect_errors[row], scipy.stats.sem(change) / spread, rtol=1e-3, atol=1e-6)
    assert found.judged == NAMES
    assert found.side_faces == 60


def test_faces_are_drawn_by_the_seed_where_there_are_too_many() -> None:
    model, faces = judged_faces()
    deltas = np.random.default_rng(9).normal(0, 1, (3, model.latent_dim)).astype(np.float32)
    one, same, other = (edit_figures(model.vae, faces, NAMES, deltas, look, seed=seed, limit=5) for seed in (0, 0, 1))
    assert one is not None
    assert same is not None
    assert other is not None
    assert (one.attributes[2].given_faces, one.side_faces) == (5, 5)
    np.testing.assert_array_equal(one.effects, same.effects)
    assert not np.array_equal(one.effects, other.effects)


def test_nothing_to_edit_is_none() -> None:
    model, faces = judged_faces(4)
    assert edit_figures(model.vae, faces, NAMES, np.zeros((3, model.latent_dim), np.float32), look) is None


def test_companions_and_means_of_edit_figures() -> None:
    def score(name: str, given: Estimate | None) -> EditScore:
        return EditScore(name, given, None, 4, 0, None, None)

    scores = (score("Red", Estimate(0.5, 0.3)), score("Flat", Estimate(1.0, 0.4)), score("Bright", None))
    effects = np.array([[0.3, 0.9, -0.4], [0.1, 0.2, 0.3], [0.0, 0.0, 0.0]])
    figures = EditFigures(scores, NAMES, effects, np.where(effects > 0.5, np.nan, 0.1), 9)
    assert figures.own_effect(0) == Estimate(0.9, None)
    assert figures.companions(0) == [SideEffect("Flat", Estimate(-0.4, 0.1)), SideEffect("Bright", Estimate(0.3, 0.1))]
    assert figures.mean("given") == pytest.approx((0.75, 0.25))
    assert figures.mean("taken") is None


def test_paired_sets_are_resampled_together() -> None:
    """Images and their reconstructions: what differs between resamples is mostly common to both."""
    one = np.random.default_rng(3).standard_normal((400, 5))
    other = one + 0.05 * np.random.default_rng(4).standard_normal((400, 5)) + 0.2
    apart = frechet_estimate(one, other, np.random.default_rng(0))
    paired = frechet_estimate(one, other, np.random.default_rng(0), paired=True)
    assert paired.value == apart.value
    assert apart.standard_error is not None
    assert paired.standard_error is not None
    assert paired.standard_error < 0.5 * apart.standard_error
