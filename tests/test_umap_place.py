"""Placing new latents on a map: exact neighbours, strengths that add up, and dots that land where their like are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from facevae.workflows import umap_place
from facevae.workflows.umap_place import membership, nearest, place
from support import Recorder

CLUSTERS = 5


def clusters(count: int, seed: int, dimensions: int = 20) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Latents in five clusters, and which cluster each is in."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(scale=2.0, size=(CLUSTERS, dimensions))
    which = random.integers(CLUSTERS, size=count)
    return (centres[which] + random.normal(size=(count, dimensions))).astype(np.float32), which


def drawn_map(which: NDArray[np.int64], seed: int = 0) -> NDArray[np.float32]:
    """A map with the clusters on a circle of radius ten, as a fit might draw it."""
    angles = 2 * np.pi * which / CLUSTERS
    scatter = np.random.default_rng(seed).normal(size=(len(which), 2))
    return (10 * np.stack([np.cos(angles), np.sin(angles)], axis=1) + scatter).astype(np.float32)


@settings(max_examples=15)
@given(
    count=st.integers(1, 40),
    fitted_count=st.integers(15, 60),
    dimensions=st.integers(1, 8),
    seed=st.integers(0, 1000),
)
def test_the_nearest_are_those_of_all_distances(count: int, fitted_count: int, dimensions: int, seed: int) -> None:
    """In blocks of a few rows and columns, so that many are put together."""
    random = np.random.default_rng(seed)
    new = random.normal(size=(count, dimensions)).astype(np.float32)
    fitted = random.normal(size=(fitted_count, dimensions)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(umap_place, "_ROWS", 7)
        patch.setattr(umap_place, "_COLUMNS", 11)
        indices, distances = nearest(new, fitted, 5)
    every = np.linalg.norm(fitted[None].astype(np.float64) - new[:, None], axis=2)
    assert np.allclose(distances, np.sort(every, axis=1)[:, :5], atol=1e-5)
    assert np.allclose(np.take_along_axis(every, indices, axis=1), distances, atol=1e-5)
    assert (np.diff(distances, axis=1) >= 0).all()
    assert all(len(set(row)) == 5 for row in indices.tolist())


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_strengths_sum_to_one_and_fall_with_the_distance(scale: float) -> None:
    random = np.random.default_rng(0)
    distances = (scale * np.sort(random.uniform(1, 2, (50, 15)), axis=1)).astype(np.float32)
    strengths = membership(distances)
    assert np.allclose(strengths.sum(axis=1), 1, atol=1e-6)
    assert (np.diff(strengths, axis=1) <= 0).all()
    # Before they are scaled all together have log2(15), and each exp(-d / sigma) with one sigma a row.
    sigma = -distances / np.log(strengths * np.log2(15))
    assert np.allclose(sigma, sigma[:, :1], rtol=1e-3)


def test_equal_distances_have_equal_strengths() -> None:
    assert np.allclose(membership(np.full((2, 4), 3.0, dtype=np.float32)), 0.25)
    assert np.allclose(membership(np.zeros((2, 4), dtype=np.float32)), 0.25)


def test_new_faces_land_among_their_like() -> None:
    fitted, which = clusters(400, 1)
    dots = drawn_map(which)
    new, of = clusters(200, 2)
    placed = place(new, fitted, dots, 15)
    assert placed.shape == (200, 2)
    assert placed.dtype == np.float32
    centres = np.stack([dots[which == number].mean(axis=0) for number in range(CLUSTERS)])
    found = np.linalg.norm(placed[:, None] - centres[None], axis=2).argmin(axis=1)
    assert (found == of).mean() > 0.98
    # They cover their cluster, instead of gathering in its middle.
    spread = np.std(placed - centres[of], axis=0)
    assert (spread > 0.4).all()
    assert (spread < 1.6).all()


def test_a_fitted_face_lands_on_its_own_dot() -> None:
    fitted, which = clusters(100, 1)
    dots = drawn_map(which)
    assert np.array_equal(place(fitted[20:30], fitted, dots, 15), dots[20:30])


def test_where_a_face_lands_depends_on_nothing_but_itself() -> None:
    fitted, which = clusters(200, 1)
    dots = drawn_map(which)
    new = clusters(50, 2)[0]
    together = place(new, fitted, dots, 15)
    assert np.array_equal(together, place(new, fitted, dots, 15))
    apart = np.concatenate([place(new[:1], fitted, dots, 15), place(new[1:], fitted, dots, 15)])
    assert np.allclose(together, apart, atol=1e-3)


def test_fewer_dots_than_neighbours() -> None:
    fitted, which = clusters(10, 1)
    placed = place(clusters(5, 2)[0], fitted, drawn_map(which), 15)
    assert np.isfinite(placed).all()


def test_placing_is_reported() -> None:
    fitted, which = clusters(50, 1)
    recorder = Recorder()
    place(clusters(5, 2)[0], fitted, drawn_map(which), 15, report=recorder)
    assert [(event.stage, event.done, event.total, event.unit) for event in recorder.progress] == [
        ("umap: neighbours", 0, 5, "faces"),
        ("umap: neighbours", 5, 5, "faces"),
        ("umap: layout", 0, 5, "faces"),
        ("umap: layout", 5, 5, "faces"),
    ]
