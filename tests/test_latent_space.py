"""Attribute directions and walks against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from facevae.model.latent_space import ClassSums, attribute_directions, walk

Table = tuple[NDArray[np.float32], NDArray[np.int8]]


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Latents (N, D) and attributes (N, A); among the attributes are some that all or none of the faces have."""
    count, latent_dim, attributes = draw(st.integers(1, 30)), draw(st.integers(1, 5)), draw(st.integers(1, 4))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    latents = random.normal(draw(st.floats(-5, 5)), 2, (count, latent_dim)).astype(np.float32)
    shares = random.choice([0.0, 0.3, 0.7, 1.0], attributes)
    return latents, np.where(random.random((count, attributes)) < shares, 1, -1).astype(np.int8)


@given(tables())
def test_direction_is_the_difference_of_the_class_means(table: Table) -> None:
    latents, attributes = table
    directions = attribute_directions(latents, attributes)
    assert directions.deltas.dtype == np.float32
    assert directions.deltas.shape == (attributes.shape[1], latents.shape[1])
    for index, column in enumerate(attributes.T):
        having, lacking = latents[column == 1].astype(np.float64), latents[column == -1].astype(np.float64)
        assert (directions.positive[index], directions.negative[index]) == (len(having), len(lacking))
        if len(having) and len(lacking):
            expected = having.mean(axis=0) - lacking.mean(axis=0)
            np.testing.assert_allclose(directions.deltas[index], expected, rtol=1e-6, atol=1e-6)
        else:
            assert not directions.deltas[index].any()


@pytest.mark.parametrize("distance", [0.25, 4.0, 1000.0])
def test_direction_is_not_normalised(distance: float) -> None:
    latents = np.zeros((6, 3), dtype=np.float32)
    latents[:2, 1] = distance
    attributes = np.array([[1], [1], [-1], [-1], [-1], [-1]], dtype=np.int8)
    deltas = attribute_directions(latents, attributes).deltas
    np.testing.assert_array_equal(deltas, np.array([[0, distance, 0]], dtype=np.float32))


def test_a_small_class_next_to_a_large_offset_keeps_its_digits() -> None:
    random = np.random.default_rng(0)
    latents = (1000 + random.normal(0, 0.01, (5000, 2))).astype(np.float32)
    attributes = np.full((5000, 1), -1, dtype=np.int8)
    attributes[:3] = 1
    expected = latents[:3].astype(np.float64).mean(axis=0) - latents[3:].astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(attribute_directions(latents, attributes).deltas[0], expected, rtol=1e-5)


@given(tables(), st.integers(1, 7))
def test_batches_add_up_to_the_whole(table: Table, batch: int) -> None:
    latents, attributes = table
    sums = ClassSums(attributes.shape[1], latents.shape[1])
    for start in range(0, len(latents), batch):
        sums.add(latents[start : start + batch], attributes[start : start + batch])
    streamed, whole = sums.directions(), attribute_directions(latents, attributes)
    np.testing.assert_allclose(streamed.deltas, whole.deltas, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(streamed.positive, whole.positive)
    np.testing.assert_array_equal(streamed.negative, whole.negative)
    np.testing.assert_array_equal(streamed.together, whole.together)


@given(tables())
def test_pairs_are_counted(table: Table) -> None:
    latents, attributes = table
    found = attribute_directions(latents, attributes).together
    assert found is not None
    for one, first in enumerate(attributes.T):
        for other, second in enumerate(attributes.T):
            assert found[one, other] == sum((first == 1) & (second == 1))


def test_no_images_give_zero_directions() -> None:
    directions = ClassSums(2, 3).directions()
    assert directions.deltas.tolist() == [[0.0] * 3] * 2
    assert directions.positive.tolist() == directions.negative.tolist() == [0, 0]
    assert directions.together is not None
    assert directions.together.tolist() == [[0, 0]] * 2


@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 5), st.integers(1, 4))
def test_walk_is_z_plus_n_delta(seed: int, count: int, steps: int, latent_dim: int) -> None:
    random = np.random.default_rng(seed)
    latents = random.normal(size=(count, latent_dim)).astype(np.float32)
    delta = random.normal(size=latent_dim).astype(np.float32)
    numbers = random.uniform(-3, 3, steps).astype(np.float32)
    moved = walk(latents, delta, numbers)
    assert moved.shape == (count, steps, latent_dim)
    assert moved.dtype == np.float32
    for row in range(count):
        for column in range(steps):
            expected = latents[row].astype(np.float64) + float(numbers[column]) * delta.astype(np.float64)
            np.testing.assert_allclose(moved[row, column], expected, rtol=1e-5, atol=1e-5)


def test_walk_of_no_length_stays() -> None:
    latents = np.array([[1.5, -2.0]], dtype=np.float32)
    moved = walk(latents, np.array([10.0, 20.0], dtype=np.float32), np.array([0.0], dtype=np.float32))
    np.testing.assert_array_equal(moved, latents[:, None])
