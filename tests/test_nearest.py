"""The search for the nearest latents against SciPy's distances, and the means of groups against NumPy's."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from facevae.config import METRICS
from facevae.errors import UsageError
from facevae.model.means import GroupMeans
from facevae.model.nearest import Nearest, NearestSearch, check_metric, distances


class Case(NamedTuple):
    queries: NDArray[np.float32]
    latents: NDArray[np.float32]
    wanted: int
    metric: str
    cuts: list[int]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Queries (Q, D), latents (N, D) with copies among them, and where these are cut into slices."""
    number, dimensions = draw(st.integers(1, 40)), draw(st.integers(1, 6))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    latents = random.normal(0.5, 1, (number, dimensions)).astype(np.float32)
    latents = latents[random.integers(0, number, number)]
    queries = random.normal(0.5, 1, (draw(st.integers(1, 3)), dimensions)).astype(np.float32)
    queries[0] = latents[0]
    cuts = sorted(draw(st.lists(st.integers(0, number), max_size=4)))
    return Case(queries, latents, draw(st.integers(1, 12)), draw(st.sampled_from(METRICS)), [0, *cuts, number])


def search(case: Case, leave_out: NDArray[np.int64] | None = None) -> Nearest:
    found = NearestSearch(case.queries, case.wanted, case.metric, leave_out)
    for start, stop in zip(case.cuts, case.cuts[1:], strict=False):
        found.add(case.latents[start:stop])
    return found.result()


def exact(case: Case) -> NDArray[np.float64]:
    return np.asarray(cdist(case.queries.astype(np.float64), case.latents.astype(np.float64), case.metric))


@given(cases())
def test_distances_are_those_of_scipy(case: Case) -> None:
    found = distances(case.queries, case.latents, case.metric)
    assert found.dtype == np.float64
    assert found.shape == (len(case.queries), len(case.latents))
    # The root of what is left of two squares that are nearly one has half of their digits.
    np.testing.assert_allclose(found, exact(case), rtol=1e-9, atol=1e-7)


@given(cases())
def test_the_nearest_in_any_slices(case: Case) -> None:
    rows, apart = search(case)
    every = exact(case)
    count = min(case.wanted, len(case.latents))
    assert rows.shape == apart.shape == (len(case.queries), count)
    np.testing.assert_allclose(apart, np.sort(every, axis=1)[:, :count], rtol=1e-9, atol=1e-7)
    for query in range(len(rows)):
        assert len(set(rows[query].tolist())) == count
        np.testing.assert_allclose(every[query, rows[query]], apart[query], rtol=1e-9, atol=1e-7)
        assert (np.diff(apart[query]) >= 0).all()


@given(cases())
def test_slices_change_nothing(case: Case) -> None:
    cut, whole = search(case), search(case._replace(cuts=[0, len(case.latents)]))
    assert cut.rows.shape == whole.rows.shape
    np.testing.assert_allclose(cut.distances, whole.distances, rtol=1e-9, atol=1e-7)


def test_of_equally_near_ones_the_earlier_row_comes_first() -> None:
    latents = np.array([[1, 0], [0, 1], [1, 0], [0, 1], [1, 0]], dtype=np.float32)
    for cuts in ([0, 5], [0, 2, 3, 5], [0, 1, 2, 3, 4, 5]):
        found = search(Case(np.array([[1, 0]], dtype=np.float32), latents, 5, "euclidean", cuts))
        assert found.rows.tolist() == [[0, 2, 4, 1, 3]]


@given(cases(), st.data())
def test_a_row_that_is_left_out_is_not_found(case: Case, data: st.DataObject) -> None:
    out = np.array([data.draw(st.integers(-1, len(case.latents) - 1)) for _ in case.queries])
    rows, apart = search(case, out)
    every = exact(case)
    for query, row in enumerate(out):
        assert row not in rows[query]
        every[query, row if row >= 0 else []] = np.inf
    count = min(case.wanted, len(case.latents) - int((out >= 0).any()))
    np.testing.assert_allclose(apart, np.sort(every, axis=1)[:, :count], rtol=1e-9, atol=1e-7)
    assert np.isfinite(apart).all()


def test_a_latent_itself_is_at_distance_nought() -> None:
    latents = np.random.default_rng(0).normal(3, 1, (50, 200)).astype(np.float32)
    for metric in METRICS:
        rows, apart = search(Case(latents[7:8], latents, 1, metric, [0, 50]))
        assert rows.tolist() == [[7]]
        assert 0.0 <= apart[0, 0] < 1e-5


def test_by_cosine_the_origin_is_as_far_as_a_right_angle() -> None:
    latents = np.array([[0, 0], [2, 0], [0, 3], [-1, 0]], dtype=np.float32)
    assert distances(latents[:2], latents, "cosine").tolist() == [[1, 1, 1, 1], [1, 0, 1, 2]]


def test_metrics_that_are_there() -> None:
    for metric in METRICS:
        check_metric(metric)
    with pytest.raises(UsageError) as error:
        check_metric("manhattan")
    assert str(error.value) == "There is no metric manhattan: use cosine or euclidean."


@given(st.integers(0, 2**32), st.lists(st.integers(0, 9), max_size=4))
def test_group_means(seed: int, sizes: list[int]) -> None:
    random = np.random.default_rng(seed)
    latents = random.normal(5, 1, (sum(sizes), 4)).astype(np.float32)
    members = random.random((sum(sizes), 3)) < [0.5, 1.0, 0.0]
    groups = GroupMeans(3, 4)
    for part, names in zip(np.split(latents, np.cumsum(sizes)), np.split(members, np.cumsum(sizes)), strict=True):
        groups.add(part, names)
    assert groups.counts.tolist() == members.sum(axis=0).tolist()
    assert groups.means.dtype == np.float32
    for group in range(3):
        chosen = latents[members[:, group]].astype(np.float64)
        expected = chosen.mean(axis=0) if len(chosen) else np.zeros(4)
        np.testing.assert_allclose(groups.means[group], expected, rtol=1e-6, atol=1e-6)
