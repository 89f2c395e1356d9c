from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from facevae.model import pasting
from facevae.model.alignment import FRAME_HEIGHT, FRAME_WIDTH, Similarity
from facevae.model.pasting import MASK_CENTRE, MASK_CORE, MASK_RADII, pasted, soft_mask

Picture = NDArray[np.uint8]
Floats = NDArray[np.float32]
Matrix = NDArray[np.float64]


def noise(height: int, width: int, seed: int = 0) -> Picture:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth_difference(size: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(0, 30, (size, size, 3)).astype(np.float32)


def placed(scale: float, degrees: float, centre: tuple[float, float]) -> Matrix:
    """The matrix to the frame for a face of which the frame was scaled and turned, and its middle laid on `centre`."""
    turn = Similarity.of(scale=1 / scale, degrees=-degrees)
    x, y = turn(centre).tolist()
    return turn.then(Similarity(shift_x=FRAME_WIDTH / 2 - x, shift_y=FRAME_HEIGHT / 2 - y)).matrix


def frame_places(photo: Picture, matrix: Matrix) -> tuple[Matrix, Matrix]:
    """Where in the frame the centres of all pixels lie."""
    height, width = photo.shape[:2]
    places = np.empty((2, height, width))
    for row in range(height):
        for column in range(width):
            places[:, row, column] = matrix @ [column + 0.5, row + 0.5, 1]
    return places[0], places[1]


def radius(x: Matrix, y: Matrix) -> Matrix:
    return np.asarray(np.hypot((x - MASK_CENTRE[0]) / MASK_RADII[0], (y - MASK_CENTRE[1]) / MASK_RADII[1]))


def by_definition(photo: Picture, difference: Floats, matrix: Matrix) -> Matrix:
    """The sum in double precision, before it is rounded, by another way through SciPy."""
    x, y = frame_places(photo, matrix)
    size = len(difference)
    rows, columns = y * size / FRAME_HEIGHT - 0.5, x * size / FRAME_WIDTH - 0.5
    part = np.clip((1 - radius(x, y)) / (1 - MASK_CORE), 0, 1)
    result = photo.astype(np.float64)
    for channel in range(3):
        plane = difference[..., channel].astype(np.float64)
        found = map_coordinates(plane, [rows, columns], order=3, mode="reflect")
        result[..., channel] += (3 * part**2 - 2 * part**3) * found
    return result.clip(0, 255)


placements = st.builds(
    placed,
    scale=st.floats(0.4, 3.0),
    degrees=st.floats(-180, 180),
    centre=st.tuples(st.floats(-20, 80), st.floats(-20, 70)),
)

# ------------------------------------------------------------------------------- what is added


@given(matrix=placements, seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_the_difference_is_added_along_cubic_splines_under_the_mask(matrix: Matrix, seed: int) -> None:
    photo, difference = noise(50, 60, seed), smooth_difference(32, seed)
    result = pasted(photo, difference, matrix)
    assert (result.dtype, result.shape) == (np.dtype(np.uint8), photo.shape)
    assert np.abs(result - by_definition(photo, difference, matrix)).max() < 0.501


def test_a_squashed_frame_is_its_own_photograph() -> None:
    photo, difference = noise(64, 64), smooth_difference(32)
    matrix = np.array([[FRAME_WIDTH / 64, 0, 0], [0, FRAME_HEIGHT / 64, 0]])
    result = pasted(photo, difference, matrix)
    assert np.abs(result - by_definition(photo, difference, matrix)).max() < 0.501


def test_at_its_own_size_a_difference_is_added_as_it_is() -> None:
    photo = np.full((32, 32, 3), 100, np.uint8)
    difference = smooth_difference(32).round()
    result = pasted(photo, difference, np.array([[FRAME_WIDTH / 32, 0, 0], [0, FRAME_HEIGHT / 32, 0]]))
    assert np.array_equal(result[16:18, 14:18], 100 + difference[16:18, 14:18])


@pytest.mark.parametrize(("scale", "degrees"), [(1.0, 0.0), (0.6, 20.0), (1.3, -35.0), (0.9, 180.0)])
def test_a_ramp_stays_a_ramp_where_the_mask_is_one(scale: float, degrees: float) -> None:
    photo = np.full((150, 140, 3), 90, np.uint8)
    slopes, base = np.array([[0.5, -0.25], [0.2, 0.4], [-0.3, 0.1]]), np.array([3.0, -20.0, 40.0])
    middles = np.stack(np.meshgrid(np.arange(32) + 0.5, np.arange(32) + 0.5), axis=-1) * (
        FRAME_WIDTH / 32,
        FRAME_HEIGHT / 32,
    )
    difference = (middles @ slopes.T + base).astype(np.float32)
    matrix = placed(scale, degrees, (70.0, 75.0))
    x, y = frame_places(photo, matrix)
    core = radius(x, y) <= MASK_CORE
    assert core.sum() > 1000
    expected = 90 + np.stack([x, y], axis=-1)[core] @ slopes.T + base
    assert np.abs(pasted(photo, difference, matrix)[core] - expected).max() < 0.502


def test_a_sum_beyond_black_and_white_is_cut_off_there() -> None:
    photo = noise(60, 50)
    matrix = placed(0.3, 0.0, (25.0, 30.0))
    core = radius(*frame_places(photo, matrix)) <= MASK_CORE
    for change, value in ((300.0, 255), (-300.0, 0)):
        assert (pasted(photo, np.full((32, 32, 3), change, np.float32), matrix)[core] == value).all()


def test_work_by_blocks_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    photo, difference = noise(90, 80), smooth_difference(32)
    matrix = placed(0.4, 30.0, (45.0, 40.0))
    whole = pasted(photo, difference, matrix)
    for pixels in (1, 1000):
        monkeypatch.setattr(pasting, "_BLOCK_PIXELS", pixels)
        assert np.array_equal(pasted(photo, difference, matrix), whole)


# ------------------------------------------------------------------------------- what stays


@given(matrix=placements)
@settings(max_examples=15, deadline=None)
def test_no_difference_is_no_change(matrix: Matrix) -> None:
    photo = noise(50, 60)
    result = pasted(photo, np.zeros((32, 32, 3), np.float32), matrix)
    assert np.array_equal(result, photo)
    assert not np.shares_memory(result, photo)


@given(matrix=placements)
@settings(max_examples=15, deadline=None)
def test_outside_the_mask_nothing_changes(matrix: Matrix) -> None:
    photo = np.full((50, 60, 3), 100, np.uint8)
    result = pasted(photo, np.full((32, 32, 3), 100, np.float32), matrix)
    distance = radius(*frame_places(photo, matrix))
    assert (result[distance >= 1 - 1e-6] == 100).all()
    assert (result[distance < 0.9] > 100).all()


def test_a_photograph_is_left_as_it_is_and_may_be_read_only() -> None:
    photo = noise(50, 60)
    photo.setflags(write=False)
    result = pasted(photo, np.full((32, 32, 3), 50, np.float32), placed(0.3, 10.0, (30.0, 25.0)))
    assert np.array_equal(photo, noise(50, 60))
    assert not np.array_equal(result, photo)


# ------------------------------------------------------------------------------- odd photographs


def test_a_face_beside_the_photograph_changes_nothing() -> None:
    photo = noise(20, 30)
    for centre in ((500.0, 10.0), (-500.0, 10.0), (10.0, 500.0), (1e7, -1e7)):
        assert np.array_equal(pasted(photo, np.full((32, 32, 3), 50, np.float32), placed(1.0, 5.0, centre)), photo)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (9, 1)])
def test_photographs_of_few_pixels(height: int, width: int) -> None:
    photo = np.full((height, width, 3), 100, np.uint8)
    face_fills_it = placed(0.01, 0.0, (width / 2, height / 2))
    within_the_face = placed(50.0, 40.0, (width / 2, height / 2))
    difference = np.full((32, 32, 3), 50, np.float32)
    assert (pasted(photo, difference, within_the_face) == 150).all()
    assert pasted(photo, difference, face_fills_it)[height // 2, width // 2].tolist() == [150] * 3


def test_a_face_of_less_than_a_pixel() -> None:
    photo = np.full((9, 9, 3), 100, np.uint8)
    result = pasted(photo, np.full((32, 32, 3), 50, np.float32), placed(0.001, 20.0, (4.5, 4.5)))
    changed = np.argwhere((result != photo).any(axis=-1)).tolist()
    assert changed == [[4, 4]]
    assert result[4, 4].tolist() == [150] * 3


def test_where_the_photograph_is_coarser_nothing_aliases() -> None:
    rows, columns = np.indices((64, 64))
    stripes = np.where((columns + rows) % 2, 100, -100).astype(np.float32)
    difference = np.stack([stripes, np.full((64, 64), 30, np.float32), -stripes], axis=-1)
    photo = np.full((40, 40, 3), 120, np.uint8)
    matrix = placed(0.11, 15.0, (20.0, 20.0))  # a frame of 20 x 24 pixels
    result = pasted(photo, difference, matrix).astype(int)
    core = radius(*frame_places(photo, matrix)) <= MASK_CORE
    assert core.sum() > 50
    assert np.abs(result[..., ::2] - 120).max() <= 3
    assert (result[core][:, 1] == 150).all()


@given(centre=st.tuples(st.floats(4, 5), st.floats(4, 5)), degrees=st.floats(-180, 180))
@settings(max_examples=30, deadline=None)
def test_beyond_its_outermost_pixels_a_difference_goes_on(centre: tuple[float, float], degrees: float) -> None:
    photo = np.full((9, 9, 3), 100, np.uint8)
    matrix = placed(0.016, degrees, centre)  # a frame of 3 x 3.5 pixels
    mask = soft_mask(np.stack(frame_places(photo, matrix), axis=-1)).astype(np.float64)
    result = pasted(photo, np.full((32, 32, 3), 150, np.float32), matrix)
    assert np.abs(result[..., 0] - (100 + 150 * mask)).max() < 0.501


# ------------------------------------------------------------------------------- the mask


def test_the_mask_covers_the_face_and_ends_within_the_frame() -> None:
    eyes_nose_mouth_forehead = [(69.5, 111.5), (108.5, 111.5), (89, 136), (89, 153), (89, 80)]
    assert soft_mask(eyes_nose_mouth_forehead).tolist() == [1.0] * 5
    assert soft_mask([(71, 153), (107, 153)]).min() > 0.99
    across, down = np.linspace(0, FRAME_WIDTH, 200), np.linspace(0, FRAME_HEIGHT, 200)
    for edge in (0.0, FRAME_WIDTH, -50.0, 1e6):
        assert not soft_mask(np.stack([np.full(200, edge), down], axis=-1)).any()
    for edge in (0.0, FRAME_HEIGHT, -50.0, 1e6):
        assert not soft_mask(np.stack([across, np.full(200, edge)], axis=-1)).any()


def test_the_mask_lies_between_nought_and_one_and_is_as_its_mirror_image() -> None:
    x, y = np.meshgrid(np.arange(0, 178.5, 0.5), np.arange(0, 218.5, 0.5))
    mask = soft_mask(np.stack([x, y], axis=-1))
    assert (mask.shape, mask.dtype) == (x.shape, np.dtype(np.float32))
    assert (mask.min(), mask.max()) == (0.0, 1.0)
    assert np.array_equal(mask, mask[:, ::-1])


@pytest.mark.parametrize("degrees", range(0, 360, 45))
def test_the_mask_falls_without_an_edge(degrees: int) -> None:
    step = 0.5
    way = np.arange(0, 150, step)[:, None] * [np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))]
    mask = soft_mask(way + MASK_CENTRE).astype(np.float64)
    slope = np.diff(mask) / step
    assert slope.max() <= 1e-6
    # The curvature of 3 t^2 - 2 t^3 is at most 6, and t goes from 0 to 1 over at least 35 pixels; an edge's would be greater.
    assert np.abs(np.diff(slope) / step).max() < 6 / 35**2 + 1e-4
