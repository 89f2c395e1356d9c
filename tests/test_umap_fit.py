"""How a fit is set up, with a stand-in for umap-learn: its threads, its start, its stages, and what is said of its cost."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from facevae.workflows import machine, umap_fit
from facevae.workflows.umap_fit import fit, memory_needed, seconds_needed, start
from support import Recorder

THREADS = 6
GB = 1_000_000_000


class Library:
    """Stands in for umap-learn and numba's threads, and keeps what they were given."""

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self.neighbour_threads: int | None = None
        self.threads = 1
        self.threads_within = 0
        self.error: Exception | None = None

    def neighbours(self, latents: NDArray[np.float32], count: int, *rest: Any, n_jobs: int) -> tuple[Any, Any, None]:
        self.neighbour_threads = n_jobs
        shape = (len(latents), count)
        return np.zeros(shape, dtype=np.int32), np.zeros(shape, dtype=np.float32), None

    def umap(self, **options: Any) -> Library:
        self.options = options
        return self

    def fit_transform(self, latents: NDArray[np.float32]) -> NDArray[np.float32]:
        self.threads_within = self.threads
        if self.error is not None:
            raise self.error
        return latents[:, :2]


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    library = Library()
    modules: dict[str, dict[str, Any]] = {
        "umap": {"UMAP": library.umap},
        "umap.umap_": {"nearest_neighbors": library.neighbours},
        "numba": {
            "get_num_threads": lambda: library.threads,
            "set_num_threads": lambda threads: setattr(library, "threads", threads),
        },
        "numba.core": {"config": type("config", (), {"NUMBA_NUM_THREADS": THREADS})},
    }
    for name, attributes in modules.items():
        module = ModuleType(name)
        vars(module).update(attributes)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(umap_fit, "memory", lambda: (None, None))
    return library


def latents(count: int, dimensions: int = 3) -> NDArray[np.float32]:
    scales = np.linspace(2, 1, dimensions)
    return (np.random.default_rng(0).normal(size=(count, dimensions)) * scales).astype(np.float32)


def test_without_a_seed_all_is_on_all_threads(library: Library) -> None:
    """Even where something left numba at one thread, as a seeded fit of umap-learn that fails does."""
    fit(latents(5000), None, Recorder())
    assert library.neighbour_threads == library.threads_within == THREADS
    assert (library.options["n_jobs"], library.options["random_state"]) == (THREADS, None)
    assert library.threads == 1  # what it was before


def test_with_a_seed_the_layout_alone_is_on_one(library: Library) -> None:
    fit(latents(5000), 3, Recorder())
    assert library.neighbour_threads == THREADS
    assert (library.options["n_jobs"], library.options["random_state"]) == (1, 3)


def test_threads_are_put_back_after_an_error(library: Library) -> None:
    library.error = ValueError("no")
    with pytest.raises(ValueError, match=r"^no$"):
        fit(latents(100), None, Recorder())
    assert library.threads == 1


def test_small_fits_are_on_one_thread_and_yet_differ(library: Library) -> None:
    states = []
    for _ in range(2):
        fit(latents(1999), None, Recorder())
        assert library.options["n_jobs"] == 1
        states.append(library.options["random_state"])
    assert states[0] != states[1]
    fit(latents(1999), 7, Recorder())
    assert library.options["random_state"] == 7
    fit(latents(2000), None, Recorder())
    assert library.options["n_jobs"] == THREADS


@pytest.mark.parametrize(("count", "own"), [(15, False), (4095, False), (4096, True)])
def test_few_latents_are_compared_each_with_each(library: Library, count: int, own: bool) -> None:
    fit(latents(count), None, Recorder())
    assert (library.neighbour_threads is not None) == own
    assert (library.options["precomputed_knn"][0] is not None) == own
    assert library.options["n_neighbors"] == min(15, count - 1)


def test_many_latents_start_from_their_principal_components(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(umap_fit, "_SPECTRAL_UP_TO", 4000)
    fit(latents(4000), None, Recorder())
    assert library.options["init"] == "spectral"
    fit(latents(4001), None, Recorder())
    assert library.options["init"].shape == (4001, 2)


def test_the_start_is_the_first_two_principal_components() -> None:
    values = latents(500, 6) + 7
    centred = values - values.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    expected = centred @ axes[:2].T
    found = start(values, None)
    assert found.dtype == np.float32
    assert abs(np.abs(found).max() - 10) < 0.01
    for column in range(2):
        assert abs(np.corrcoef(found[:, column], expected[:, column])[0, 1]) > 0.9999
    assert np.array_equal(start(values, 1), start(values, 1))


def test_equal_latents_start_apart() -> None:
    found = start(np.ones((50, 4), dtype=np.float32), None)
    assert np.isfinite(found).all()
    assert len(np.unique(found, axis=0)) == 50


def test_the_stages_are_reported(library: Library) -> None:
    recorder = Recorder()
    fit(latents(5000), None, recorder)
    assert [event.stage for event in recorder.progress] == ["umap: start", "umap: neighbours", "umap: layout"]


# ------------------------------------------------------------------------------------------ cost


def notices(library: Library, count: int, seed: int | None = None) -> list[str]:
    recorder = Recorder()
    fit(latents(count), seed, recorder)
    return recorder.notices


def test_a_small_fit_says_nothing(library: Library) -> None:
    assert notices(library, 9_999) == []


def test_a_large_fit_says_what_it_will_take(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(umap_fit, "memory_needed", lambda count, latent_dim: 1_240_000_000)
    monkeypatch.setattr(umap_fit, "seconds_needed", lambda *arguments, seeded: 600.0 if seeded else 61.0)
    text = "Mapping 10,000 latents on 6 threads takes roughly {}, if nothing else runs there, and 1.2 GB of memory."
    assert notices(library, 10_000) == [text.format("1 minute")]
    assert notices(library, 10_000, seed=1) == [
        text.format("10 minutes") + " With a seed the layout runs on one core; without, it takes 1 minute."
    ]


def test_too_little_memory_is_said_first(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(umap_fit, "memory", lambda: (None, GB))
    monkeypatch.setattr(umap_fit, "memory_needed", lambda count, latent_dim: GB // 2 + 200_000 * count)
    need = "The map needs about 1.5 GB of memory, of which 1.0 GB are free: "
    assert notices(library, 5_000) == [need + "--max-points 2000 would fit."]
    monkeypatch.setattr(umap_fit, "memory_needed", lambda count, latent_dim: GB * 3 // 2 + count)
    assert notices(library, 5_000) == [need + "end other programs first."]


def test_the_cost_grows_with_the_latents() -> None:
    assert 1.3 * GB < memory_needed(202_599, 200) < 1.6 * GB  # 1.30 GB was measured
    for count in (1_000, 20_000, 200_000):
        assert memory_needed(count, 200) < memory_needed(2 * count, 200) < memory_needed(2 * count, 400)
        assert seconds_needed(count, 200, 4, seeded=False) < seconds_needed(count, 200, 4, seeded=True)
        assert seconds_needed(count, 200, 8, seeded=False) < seconds_needed(count, 200, 4, seeded=False)


# ------------------------------------------------------------------------------------------ the machine


def test_a_container_lends_less_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    free = machine.memory()[1]
    if free is None:
        pytest.skip("this system does not tell its memory")
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("2500000\n")
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 100000\nactive_file 20000\n")
    assert machine.memory()[1] == 620_000
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.memory()[1] > 620_000  # type: ignore[operator]
