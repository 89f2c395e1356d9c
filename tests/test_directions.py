"""The mathematics of directions against scikit-learn, NumPy's least squares and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LinearRegression, LogisticRegression

from facevae.model.directions import (
    Held,
    along_normal,
    fisher_normal,
    hold_still,
    indicator_correlation,
    indicator_covariance,
    logistic_normal,
    regression_directions,
)
from facevae.model.latent_space import attribute_directions

Doubles = NDArray[np.float64]


def drawn(seed: int, count: int = 400, attributes: int = 4, units: int = 3) -> tuple[Doubles, NDArray[np.int8]]:
    """Latents (N, D) that depend on attributes (N, A) in {-1, 1}, which go together, and on noise."""
    random = np.random.default_rng(seed)
    common = random.normal(size=(count, 1))
    has = random.normal(size=(count, attributes)) + common * random.uniform(-1.5, 1.5, attributes) > 0.3
    latents = has @ random.normal(size=(attributes, units)) + random.normal(0, 0.5, (count, units))
    return latents.astype(np.float32).astype(np.float64), np.where(has, 1, -1).astype(np.int8)


def statistics(latents: Doubles, attributes: NDArray[np.int8]) -> tuple[Doubles, Doubles]:
    """The differences of the class means, and the covariance of the indicators."""
    table = attribute_directions(latents.astype(np.float32), attributes)
    assert table.together is not None
    return table.deltas.astype(np.float64), indicator_covariance(table.together, len(latents))


# ------------------------------------------------------------------------------------------ indicators


@given(st.integers(0, 10**6), st.integers(2, 40))
@settings(max_examples=25, deadline=None)
def test_covariance_and_correlation_of_indicators_are_numpys(seed: int, count: int) -> None:
    latents, attributes = drawn(seed, count)
    _, covariance = statistics(latents, attributes)
    np.testing.assert_allclose(covariance, np.cov(attributes.T > 0, bias=True), atol=1e-12)
    varies = covariance.diagonal() > 0
    correlation = indicator_correlation(covariance)
    expected = np.corrcoef(attributes[:, varies].T) if varies.any() else np.zeros((0, 0))
    np.testing.assert_allclose(correlation[np.ix_(varies, varies)], np.atleast_2d(expected), atol=1e-12)
    assert not correlation[~varies].any()
    assert not correlation[:, ~varies].any()


# ------------------------------------------------------------------------------------------ regression


@given(st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_regression_directions_are_the_coefficients_of_a_linear_regression(seed: int) -> None:
    latents, attributes = drawn(seed)
    deltas, covariance = statistics(latents, attributes)
    expected = LinearRegression().fit(attributes > 0, latents).coef_.T
    np.testing.assert_allclose(regression_directions(deltas, covariance), expected, atol=1e-5)


def test_the_regression_finds_what_each_attribute_brings_where_the_means_do_not() -> None:
    """Two attributes that go together; the second one brings nothing."""
    random = np.random.default_rng(0)
    first = random.random(4000) < 0.5
    second = first ^ (random.random(4000) < 0.1)
    latents = np.where(first[:, None], [3.0, 0.0], 0.0) + random.normal(0, 0.1, (4000, 2))
    deltas, covariance = statistics(latents, np.where(np.stack([first, second], 1), 1, -1).astype(np.int8))
    assert np.linalg.norm(deltas[1]) > 2.0
    found = regression_directions(deltas, covariance)
    np.testing.assert_allclose(found, [[3.0, 0.0], [0.0, 0.0]], atol=0.02)


def test_an_attribute_that_never_varies_leaves_the_others_as_they_are() -> None:
    latents, attributes = drawn(3)
    deltas, covariance = statistics(latents, attributes)
    attributes = np.insert(attributes, 2, 1, axis=1)
    more, larger = statistics(latents, attributes)
    found = regression_directions(more, larger)
    assert not found[2].any()
    np.testing.assert_allclose(np.delete(found, 2, axis=0), regression_directions(deltas, covariance), atol=1e-9)


def test_attributes_that_determine_each_other_get_the_least_coefficients() -> None:
    """The same twice share one coefficient; of three of which each face has one, the coefficients add up to nought."""
    latents, attributes = drawn(4)
    deltas, covariance = statistics(latents, attributes)
    alone = regression_directions(deltas, covariance)
    deltas, covariance = statistics(latents, np.concatenate([attributes, attributes[:, :1]], axis=1))
    twice = regression_directions(deltas, covariance)
    np.testing.assert_allclose(twice[[0, 4]], np.stack([alone[0], alone[0]]) / 2, atol=1e-5)
    np.testing.assert_allclose(twice[1:4], alone[1:], atol=1e-5)

    random = np.random.default_rng(5)
    kinds = random.integers(0, 3, 3000)
    means = np.array([[0.0, 1.0], [2.0, 0.0], [-1.0, -1.0]])
    one_of_three = np.where(kinds[:, None] == np.arange(3), 1, -1).astype(np.int8)
    found = regression_directions(*statistics(means[kinds], one_of_three))
    np.testing.assert_allclose(found[1] - found[0], means[1] - means[0], atol=1e-4)
    np.testing.assert_allclose(found[2] - found[0], means[2] - means[0], atol=1e-4)
    assert np.abs(found).max() < 3.0


# ------------------------------------------------------------------------------------------ normals


@given(st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_fishers_normal_is_that_of_a_linear_discriminant_analysis(seed: int) -> None:
    latents, attributes = drawn(seed)
    deltas, _ = statistics(latents, attributes)
    normal = fisher_normal(deltas[0], np.cov(latents.T))
    expected = LinearDiscriminantAnalysis(solver="lsqr").fit(latents, attributes[:, 0] > 0).coef_[0]
    cosine = normal @ expected / np.linalg.norm(normal) / np.linalg.norm(expected)
    assert cosine == pytest.approx(1.0, abs=1e-6)


def test_the_logistic_normal_is_that_of_a_regression_solved_otherwise() -> None:
    latents, attributes = drawn(6)
    found = logistic_normal(latents.astype(np.float32), attributes[:, 1] > 0)
    expected = LogisticRegression(solver="lbfgs", tol=1e-10, max_iter=1000).fit(latents, attributes[:, 1] > 0).coef_[0]
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_the_logistic_normal_leaves_a_unit_that_says_nothing_alone() -> None:
    random = np.random.default_rng(7)
    has = random.random(3000) < 0.4
    latents = random.normal(size=(3000, 3)).astype(np.float32)
    latents[:, 0] += has
    latents[:, 2] *= 1e-4  # a unit that the VAE does not use
    normal = logistic_normal(latents, has)
    assert normal[0] > 0.8
    assert np.abs(normal[1:]).max() < 0.1


@given(st.integers(0, 10**6), st.integers(1, 6))
@settings(max_examples=20, deadline=None)
def test_along_a_normal_the_logit_moves_as_far_as_along_delta(seed: int, units: int) -> None:
    random = np.random.default_rng(seed)
    normal, delta = random.normal(size=(2, units))
    found = along_normal(normal, delta)
    assert normal @ found == pytest.approx(normal @ delta)
    np.testing.assert_allclose(np.outer(found, normal), np.outer(normal, found), atol=1e-9)  # parallel


# ------------------------------------------------------------------------------------------ holding still


def problem(seed: int, kept: int, units: int = 6) -> tuple[Doubles, Doubles, Doubles, Doubles]:
    """A direction (D), a delta (D), the deltas to be kept (K, D), and a covariance (D, D)."""
    random = np.random.default_rng(seed)
    factor = random.normal(size=(units, units))
    direction, delta = random.normal(size=(2, units))
    return direction, delta, random.normal(size=(kept, units)), factor @ factor.T + 0.1 * np.eye(units)


def held_still(direction: Doubles, delta: Doubles, kept: Doubles, covariance: Doubles) -> Held:
    held = hold_still(direction, delta, kept, covariance)
    assert held is not None
    return held


@given(st.integers(0, 10**6), st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_kept_scores_stay_and_the_own_score_moves_as_far(seed: int, kept: int) -> None:
    direction, delta, others, covariance = problem(seed, kept)
    found = held_still(direction, delta, others, covariance).direction
    np.testing.assert_allclose(others @ np.linalg.solve(covariance, found), 0.0, atol=1e-6)
    own = np.linalg.solve(covariance, delta)
    assert own @ found == pytest.approx(own @ direction, rel=1e-6, abs=1e-6)


@given(st.integers(0, 10**6), st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_no_other_direction_that_does_so_is_nearer(seed: int, kept: int) -> None:
    """The optimum under linear constraints, from its normal equations with Lagrange's multipliers."""
    direction, delta, others, covariance = problem(seed, kept)
    precision = np.linalg.inv(covariance)
    scores = np.concatenate([others, delta[None]]) @ precision
    wanted = np.append(np.zeros(kept), scores[-1] @ direction)
    size, rows = len(delta), len(scores)
    equations = np.block([[precision, scores.T], [scores, np.zeros((rows, rows))]])
    expected = np.linalg.solve(equations, np.concatenate([precision @ direction, wanted]))[:size]
    np.testing.assert_allclose(held_still(direction, delta, others, covariance).direction, expected, atol=1e-5)


def test_the_own_delta_beside_one_that_is_kept_in_closed_form() -> None:
    """Equal variances: what is left of delta beside the other, r of its length squared, divided by r."""
    delta, other = np.array([1.0, 0.0]), np.array([1.0, 1.0])
    held = held_still(delta, delta, other[None], 4.0 * np.eye(2))
    np.testing.assert_allclose(held.direction, [1.0, -1.0], atol=1e-12)  # ([1, 0] - [0.5, 0.5]) / 0.5
    assert held.stretch == pytest.approx(np.sqrt(2.0))
    # Where the first unit hardly varies it is nearly all of what tells: C^-1-lengths, not lengths, are meant.
    held = held_still(delta, delta, other[None], np.diag([0.01, 1.0]))
    np.testing.assert_allclose(held.direction, [1.0, -100.0], rtol=1e-9)


def test_what_is_kept_anyway_changes_nothing() -> None:
    delta, other = np.array([3.0, 0.0, 1.0]), np.array([0.0, 2.0, 0.0])
    held = held_still(delta, delta, other[None], np.diag([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(held.direction, delta, atol=1e-12)
    assert held.stretch == pytest.approx(1.0)


def test_a_kept_attribute_may_be_named_in_two_ways() -> None:
    direction, delta, others, covariance = problem(8, 2)
    once = held_still(direction, delta, others, covariance).direction
    again = held_still(direction, delta, np.concatenate([others, -2.0 * others[:1]]), covariance).direction
    np.testing.assert_allclose(again, once, atol=1e-8)


@pytest.mark.parametrize("kept", [[[2.0, -4.0]], [[1.0, 0.0], [0.0, 1.0]]])
def test_a_delta_that_is_made_up_of_kept_ones_cannot_be_moved(kept: list[list[float]]) -> None:
    delta = np.array([-1.0, 2.0])
    assert hold_still(delta, delta, np.array(kept), np.diag([1.0, 2.0])) is None
