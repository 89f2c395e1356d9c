"""From latent to latent: the straight line, and the great circle against SciPy's slerp and plain geometry."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from facevae.model.interpolation import linear, spherical

PLACES = np.linspace(0.0, 1.0, 9, dtype=np.float32)

Latent = NDArray[np.float32]


@st.composite
def pairs(draw: st.DrawFn, least: int = 2) -> tuple[Latent, Latent]:
    """Two latents (D) of any lengths, often near to one line."""
    size = draw(st.integers(least, 8))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    first = random.normal(0, 1, size) * draw(st.floats(0.01, 50))
    near = first * draw(st.sampled_from([1.0, -1.0, 0.3])) * draw(st.sampled_from([0.0, 1.0]))
    second = near + random.normal(0, 1, size) * draw(st.sampled_from([1e-6, 1e-2, 1.0, 30.0]))
    return first.astype(np.float32), second.astype(np.float32)


def latent(*values: float) -> Latent:
    return np.array(values, dtype=np.float32)


def angle(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """The angle between two vectors, which Kahan's formula gives to the last digits, however small."""
    a, b = (np.asarray(vector, dtype=np.float64) / np.linalg.norm(vector) for vector in (first, second))
    return float(2.0 * np.arctan2(np.linalg.norm(a - b), np.linalg.norm(a + b)))


@given(pairs(least=1))
def test_the_line_is_straight(pair: tuple[Latent, Latent]) -> None:
    first, second = pair
    between = linear(first, second, PLACES)
    assert between.dtype == np.float32
    assert between.shape == (9, len(first))
    assert np.array_equal(between[0], first)
    assert np.array_equal(between[-1], second)
    steps = np.diff(between.astype(np.float64), axis=0)
    expected = np.broadcast_to((second.astype(np.float64) - first) / 8, steps.shape)
    np.testing.assert_allclose(steps, expected, atol=1e-5 * (np.abs(first).max() + np.abs(second).max()))


@given(pairs())
def test_the_great_circle_keeps_lengths_and_turns_evenly(pair: tuple[Latent, Latent]) -> None:
    first, second = pair
    assume(min(np.linalg.norm(first), np.linalg.norm(second)) > 1e-9)
    between = spherical(first, second, PLACES).astype(np.float64)
    whole = angle(first, second)
    lengths = [float(np.linalg.norm(latent)) for latent in pair]
    np.testing.assert_allclose(np.linalg.norm(between, axis=1), np.linspace(lengths[0], lengths[1], 9), rtol=1e-6)
    turned = [angle(first, point) for point in between]
    np.testing.assert_allclose(turned, whole * PLACES, atol=1e-5)
    left = [angle(point, second) for point in between]
    np.testing.assert_allclose(left, whole * (1 - PLACES), atol=1e-5)


@given(pairs())
def test_the_great_circle_stays_in_the_plane_of_both(pair: tuple[Latent, Latent]) -> None:
    first, second = pair
    assume(1e-3 < angle(first, second) < np.pi - 1e-3)
    between = spherical(first, second, PLACES).astype(np.float64)
    basis = np.linalg.qr(np.stack([first, second], axis=1).astype(np.float64))[0]
    outside = between - between @ basis @ basis.T
    scale = np.linalg.norm([first, second], axis=1).max()
    # A plane through two vectors that are nearly one is known less well than they are.
    assert np.abs(outside).max() <= 1e-6 * scale / min(1.0, np.sin(angle(first, second)))


@given(st.integers(0, 2**32))
def test_it_is_slerp(seed: int) -> None:
    """On unit quaternions SciPy turns the shorter way, so those are taken that have it."""
    first, second = np.random.default_rng(seed).normal(0, 1, (2, 4))
    first, second = first / np.linalg.norm(first), second / np.linalg.norm(second)
    second = second if first @ second >= 0 else -second
    slerp = Slerp([0, 1], Rotation.from_quat(np.stack([first, second])))
    expected = slerp(PLACES).as_quat()
    expected *= np.sign(expected @ (first + second))[:, None]
    between = spherical(first.astype(np.float32), second.astype(np.float32), PLACES)
    np.testing.assert_allclose(between, expected, atol=2e-6)


@given(pairs())
def test_it_is_the_formula_of_shoemake(pair: tuple[Latent, Latent]) -> None:
    first, second = (vector.astype(np.float64) / np.linalg.norm(vector) for vector in pair)
    whole = angle(first, second)
    assume(1e-3 < whole < np.pi - 1e-3)
    t = PLACES.astype(np.float64)[:, None]
    expected = np.sin((1 - t) * whole) / np.sin(whole) * first + np.sin(t * whole) / np.sin(whole) * second
    between = spherical(first.astype(np.float32), second.astype(np.float32), PLACES)
    np.testing.assert_allclose(between, expected, atol=2e-6 / np.sin(whole))


def test_a_quarter_of_a_circle() -> None:
    first, second = latent(2, 0, 0), latent(0, 0, 2)
    expected = [latent(2, 0, 0), latent(2**0.5, 0, 2**0.5), latent(0, 0, 2)]
    np.testing.assert_allclose(spherical(first, second, latent(0, 0.5, 1)), np.stack(expected), atol=1e-6)
    shorter = linear(first, second, latent(0.5))
    assert np.linalg.norm(shorter) == pytest.approx(2 / 2**0.5)


@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_the_same_direction(factor: float) -> None:
    first = latent(0.5, -1, 2, 0)
    np.testing.assert_allclose(
        spherical(first, first * np.float32(factor), PLACES),
        linear(first, first * np.float32(factor), PLACES),
        rtol=1e-6,
    )


@pytest.mark.parametrize("first", [[1, 0], [0, 1], [3, 4, 0], [1, 1, 1, 1], [0, 0, -2]])
def test_opposite_directions_go_round_and_not_through_the_origin(first: list[float]) -> None:
    start = np.array(first, dtype=np.float32)
    between = spherical(start, -start, PLACES).astype(np.float64)
    np.testing.assert_allclose(np.linalg.norm(between, axis=1), np.linalg.norm(start), rtol=1e-6)
    np.testing.assert_allclose([angle(start, point) for point in between], np.pi * PLACES, atol=1e-6)
    assert np.array_equal(between, spherical(start, -start, PLACES))


def test_the_origin_has_no_direction_so_the_way_is_straight() -> None:
    nought, other = np.zeros(3, dtype=np.float32), latent(1, 2, 3)
    for first, second in ((nought, other), (other, nought), (nought, nought)):
        assert np.array_equal(spherical(first, second, PLACES), linear(first, second, PLACES))


def test_one_dimension_has_no_circle() -> None:
    first, second = latent(2), latent(-1)
    assert np.array_equal(spherical(first, second, PLACES), linear(first, second, PLACES))
