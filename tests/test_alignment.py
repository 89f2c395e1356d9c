"""Similarities, their fit, and pictures warped along them: against closed forms, SciPy and Pillow."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from PIL import Image
from scipy.linalg import orthogonal_procrustes

from facevae.model.alignment import (
    FRAME_COVARIANCE,
    FRAME_EYES,
    FRAME_HEIGHT,
    FRAME_LANDMARKS,
    FRAME_WIDTH,
    Similarity,
    distance_from_frame,
    fit_similarity,
    to_frame,
)
from facevae.model.warping import resized_picture, warped

MIRRORED = [1, 0, 2, 4, 3]

similarities = st.builds(
    lambda scale, degrees, x, y: Similarity.of(scale=scale, degrees=degrees, shift=(x, y)),
    st.floats(0.05, 20),
    st.floats(-180, 180),
    st.floats(-5000, 5000),
    st.floats(-5000, 5000),
)
seeds = st.integers(0, 2**32 - 1)


def random_points(seed: int, count: int = 5, spread: float = 40.0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(90, spread, (count, 2))


def decibels(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    error = np.mean((one.astype(float) - other.astype(float)) ** 2)
    return 10 * math.log10(255**2 / max(float(error), 1e-9))


def smooth(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """A picture without sharp edges."""
    small = np.random.default_rng(seed).integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8)
    return np.array(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


# ------------------------------------------------------------------------------------------ similarities


@given(similarities, seeds)
def test_a_similarity_and_its_inverse_cancel(similarity: Similarity, seed: int) -> None:
    points = random_points(seed)
    assert_allclose(similarity.inverse()(similarity(points)), points, atol=1e-6)
    assert_allclose(similarity.then(similarity.inverse()).matrix, [[1, 0, 0], [0, 1, 0]], atol=1e-6)


@given(similarities, similarities, seeds)
def test_one_then_another_is_both(first: Similarity, second: Similarity, seed: int) -> None:
    points = random_points(seed)
    assert_allclose(first.then(second)(points), second(first(points)), rtol=1e-9, atol=1e-6)


@given(similarities)
def test_scale_and_angle_are_those_of_the_matrix(similarity: Similarity) -> None:
    assert similarity.scale == pytest.approx(math.sqrt(np.linalg.det(similarity.matrix[:, :2])))
    again = Similarity.of(
        scale=similarity.scale, degrees=similarity.degrees, shift=(similarity.shift_x, similarity.shift_y)
    )
    assert_allclose(again.matrix, similarity.matrix, atol=1e-9)


def test_degrees_turn_clockwise_where_y_points_down() -> None:
    turned = Similarity.of(scale=2.0, degrees=90.0, shift=(10.0, 0.0))([1.0, 0.0])
    assert_allclose(turned, [10.0, 2.0], atol=1e-12)


# ------------------------------------------------------------------------------------------ the fit


@given(similarities, seeds, st.integers(2, 8))
def test_the_fit_finds_the_similarity_that_moved_the_points(similarity: Similarity, seed: int, count: int) -> None:
    points = random_points(seed, count)
    fitted = fit_similarity(points, similarity(points))
    assert_allclose(fitted(points), similarity(points), atol=1e-6)
    assert fitted.scale == pytest.approx(similarity.scale, rel=1e-6)


@given(similarities, seeds)
def test_the_fit_is_umeyamas(similarity: Similarity, seed: int) -> None:
    """SciPy's orthogonal Procrustes solution gives Umeyama's rotation and scale, by a singular value decomposition."""
    source = random_points(seed)
    target = similarity(source + np.random.default_rng(seed + 1).normal(0, 3, source.shape))
    centred, goal = source - source.mean(axis=0), target - target.mean(axis=0)
    rotation, trace = orthogonal_procrustes(centred, goal)
    scale = trace / np.sum(centred**2)
    assert np.linalg.det(rotation) > 0
    fitted = fit_similarity(source, target)
    assert_allclose(fitted.matrix[:, :2], scale * rotation.T, rtol=1e-6, atol=1e-7)
    assert_allclose(fitted(source.mean(axis=0)), target.mean(axis=0), atol=1e-6)


@given(seeds)
def test_precision_of_one_and_of_none_are_the_same(seed: int) -> None:
    source, target = random_points(seed), random_points(seed + 1)
    assert_allclose(fit_similarity(source, target, np.eye(10)).matrix, fit_similarity(source, target).matrix, atol=1e-6)


@given(seeds)
def test_points_of_no_precision_do_not_count(seed: int) -> None:
    source, target = random_points(seed), random_points(seed + 1)
    eyes = np.diag([1.0] * 4 + [0.0] * 6)
    assert_allclose(
        fit_similarity(source, target, eyes).matrix, fit_similarity(source[:2], target[:2]).matrix, atol=1e-6
    )


@given(seeds)
def test_the_fit_with_precision_is_the_nearest(seed: int) -> None:
    """Whatever is done to the fitted transform, the distance grows."""
    random = np.random.default_rng(seed)
    source, target, root = random_points(seed), random_points(seed + 1), random.normal(0, 1, (10, 10))
    precision = root @ root.T + np.eye(10)

    def distance(similarity: Similarity) -> float:
        difference = (similarity(source) - target).reshape(-1)
        return float(difference @ precision @ difference)

    fitted = fit_similarity(source, target, precision)
    numbers = np.array([fitted.a, fitted.b, fitted.shift_x, fitted.shift_y])
    for step in random.normal(0, 1, (8, 4)) * [1e-3, 1e-3, 1e-1, 1e-1]:
        assert distance(Similarity(*(numbers + step))) > distance(fitted)


# ------------------------------------------------------------------------------------------ CelebA's frame


def test_the_constants_of_the_frame_are_those_of_a_symmetric_face() -> None:
    assert_allclose(FRAME_LANDMARKS, (FRAME_LANDMARKS * [-1, 1] + [FRAME_WIDTH, 0])[MIRRORED], atol=1e-9)
    turned = FRAME_COVARIANCE.reshape(5, 2, 5, 2)[MIRRORED][:, :, MIRRORED] * np.outer([-1, 1], [-1, 1])[None, :, None]
    assert_allclose(turned.reshape(10, 10), FRAME_COVARIANCE, atol=1e-9)
    assert_allclose(FRAME_COVARIANCE, FRAME_COVARIANCE.T, atol=1e-9)
    assert np.linalg.eigvalsh(FRAME_COVARIANCE).min() > 0
    assert np.abs(FRAME_LANDMARKS[:2] - FRAME_EYES).max() < 0.5


@given(similarities)
def test_a_mean_face_goes_to_the_frame_from_anywhere(similarity: Similarity) -> None:
    fitted = to_frame(similarity(FRAME_LANDMARKS))
    assert_allclose(fitted(similarity(FRAME_EYES)), FRAME_EYES, atol=1e-6)


def test_a_turned_head_moves_the_frame_less_than_equal_weights_would() -> None:
    """The nose and the mouth go aside, the eyes stay: the frame should nearly stay too."""
    turned = np.add(FRAME_LANDMARKS, [[0, 0], [0, 0], [8, 0], [3, 0], [3, 0]])

    def miss(fitted: Similarity) -> float:
        return float(np.abs(fitted(FRAME_EYES) - FRAME_EYES).max())

    assert miss(to_frame(turned)) < 0.7 * miss(fit_similarity(turned, FRAME_LANDMARKS))


def test_the_distance_from_the_frame_is_mahalanobis() -> None:
    assert distance_from_frame(FRAME_LANDMARKS) == 0.0
    drawn = np.random.default_rng(0).multivariate_normal(FRAME_LANDMARKS.reshape(-1), FRAME_COVARIANCE, 4000)
    assert np.mean([distance_from_frame(one.reshape(5, 2)) for one in drawn]) == pytest.approx(10, abs=0.3)


# ------------------------------------------------------------------------------------------ warped pictures


def test_the_identity_changes_nothing() -> None:
    image = np.random.default_rng(0).integers(0, 256, (31, 47, 3), dtype=np.uint8)
    assert np.array_equal(warped(image, Similarity(), 31, 47), image)


def test_a_shift_by_whole_pixels_copies_and_repeats_the_border() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    moved = warped(image, Similarity(shift_x=4, shift_y=-3), 25, 40)
    expected = np.pad(image, ((0, 8), (4, 6), (0, 0)), mode="edge")[3:]
    assert np.array_equal(moved, expected)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_right_angles_are_exact(turns: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    about = Similarity(shift_x=-10, shift_y=-10).then(Similarity.of(degrees=90.0 * turns, shift=(10, 10)))
    assert np.array_equal(warped(image, about, 20, 20), np.rot90(image, -turns))


@pytest.mark.parametrize("scale", [0.5, 0.25, 0.1])
def test_a_reduction_is_pillows(scale: float) -> None:
    image = np.random.default_rng(0).integers(0, 256, (400, 300, 3), dtype=np.uint8)
    height, width = round(400 * scale), round(300 * scale)
    expected = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
    assert decibels(warped(image, Similarity.of(scale=scale), height, width), expected) > 45


def test_a_turned_reduction_does_not_alias() -> None:
    """Stripes of one pixel, reduced to a fifth, are grey."""
    stripes = np.zeros((300, 300, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    centre = Similarity(shift_x=-150, shift_y=-150).then(Similarity.of(scale=0.2, degrees=30, shift=(20, 20)))
    small = warped(stripes, centre, 40, 40)
    assert np.abs(small.astype(int) - 127).max() <= 3


def test_what_is_beyond_the_picture_has_the_colour_of_its_border() -> None:
    image = np.full((10, 12, 3), 40, dtype=np.uint8)
    image[:, -1] = 200
    far = warped(image, Similarity(shift_x=-500), 10, 12)
    assert (far == 200).all()


@given(st.floats(0.9, 1.5), st.floats(-40, 40), st.integers(0, 1000))
def test_there_and_back_is_the_picture(scale: float, degrees: float, seed: int) -> None:
    """The face region of a smooth picture, brought to the frame and back, stays within 40 dB."""
    photo = smooth(300, 320, seed)
    centre = np.array([160.0, 150.0])
    turn = Similarity.of(scale=scale, degrees=degrees)
    shift = np.array([FRAME_WIDTH / 2, FRAME_HEIGHT / 2]) - turn(centre)
    aligned = turn.then(Similarity(shift_x=float(shift[0]), shift_y=float(shift[1])))
    back = warped(warped(photo, aligned, FRAME_HEIGHT, FRAME_WIDTH), aligned.inverse(), 300, 320)
    face = np.s_[120:180, 130:190]
    assert decibels(back[face], photo[face]) > 40


def test_the_part_that_is_seen_is_as_the_whole() -> None:
    """Only what is far from the part does not count."""
    image, place = smooth(300, 320), Similarity.of(scale=1.3, degrees=20, shift=(-150, -160))
    other = image.copy()
    seen = place.inverse()([(0, 0), (60, 0), (0, 50), (60, 50)])
    left, top = np.floor(seen.min(axis=0)).astype(int) - 12
    right, bottom = np.ceil(seen.max(axis=0)).astype(int) + 12
    other[:top] = other[bottom:] = other[:, :left] = other[:, right:] = 0
    assert np.array_equal(warped(other, place, 50, 60), warped(image, place, 50, 60))


def test_linear_splines_are_pillows_bilinear() -> None:
    image = smooth(100, 120)
    turn = Similarity.of(scale=1.5, degrees=25, shift=(10, -20))
    back = tuple(turn.inverse().matrix.reshape(-1).tolist())
    expected = Image.fromarray(image).transform((90, 80), Image.Transform.AFFINE, back, Image.Resampling.BILINEAR)
    found = warped(image, turn, 80, 90, order=1)
    inside = np.asarray(Image.new("L", (120, 100), 1).transform((90, 80), Image.Transform.AFFINE, back)) == 1
    inside &= np.roll(inside, 2, 0) & np.roll(inside, -2, 0) & np.roll(inside, 2, 1) & np.roll(inside, -2, 1)
    assert inside.sum() > 1000
    assert np.abs(found[inside].astype(int) - np.asarray(expected)[inside]).max() <= 1


def test_pictures_that_may_not_be_written_to_are_read_and_left_alone() -> None:
    image = smooth(64, 64)
    before = image.copy()
    image.flags.writeable = False
    warped(image, Similarity.of(scale=0.5), 32, 32)
    assert resized_picture(image, 16, 16).shape == (16, 16, 3)
    assert np.array_equal(image, before)


def test_resized_is_pillows_bilinear() -> None:
    image = np.random.default_rng(0).integers(0, 256, (109, 89, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BILINEAR))
    assert np.abs(resized_picture(image, 32, 32).astype(int) - expected).max() <= 1
    assert resized_picture(image, 109, 89) is image
