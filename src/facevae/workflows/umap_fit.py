"""Fitting a UMAP on all cores: what it will cost is said first, the threads are set here, and the stages are reported.

umap-learn computes on one core where it is given a random state, and where an earlier fit in the same process left numba at one
thread. So the stages are called one by one: the neighbours, which are found on all cores and repeatably; the start; and
the layout, which is on all cores without a seed, and with one on a single core, for its threads race.

Small fits are on one core on purpose: an epoch of theirs is over before threads have met, and compiling for several takes longer.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facevae.errors import DataError
from facevae.progress import Notice, Progress, Report
from facevae.workflows.machine import memory

N_NEIGHBORS = 15
MIN_DIST = 0.1

_EXACT_BELOW = 4096
"""Fewer latents than these are compared each with each, by umap-learn itself."""
_SPECTRAL_UP_TO = 10_000
"""Above, eigenvectors of the neighbour graph take minutes on one core, and the map becomes no better for them."""
_THREADS_FROM = 2_000
_NOTICE_FROM = 10_000
_EPOCHS_CHANGE = 10_000
"""Up to here umap-learn lays out in 500 epochs, above in 200."""


def fit(latents: NDArray[np.float32], seed: int | None, report: Report) -> NDArray[np.float32]:
    """Return the UMAP coordinates (N, 2) float32 of latents (N, latent_dim), reporting the stages.

    Any N from 10 on; with a seed the fit is repeatable, on one machine with the same versions.

    Raises:
        DataError: there is no finite layout.
    """
    report(Progress("umap: start", 0, None, "epochs"))
    with _unwarned(), _all_threads() as threads:
        _tell_cost(len(latents), latents.shape[1], threads, seed, report)
        from umap import UMAP

        if len(latents) < _THREADS_FROM:
            seed, threads = int(np.random.default_rng().integers(2**32)) if seed is None else seed, 1
        model = UMAP(
            n_components=2,
            n_neighbors=min(N_NEIGHBORS, len(latents) - 1),
            min_dist=MIN_DIST,
            init=start(latents, seed) if len(latents) > _SPECTRAL_UP_TO else "spectral",
            precomputed_knn=_neighbours(latents, threads, seed, report),
            random_state=seed,
            n_jobs=threads if seed is None else 1,
            tqdm_kwds=_tqdm_options(report),
        )
        report(Progress("umap: layout", 0, None, "epochs"))
        coordinates: NDArray[np.float32] = np.asarray(model.fit_transform(latents), dtype=np.float32)
    if not np.isfinite(coordinates).all():
        raise DataError("UMAP found no finite layout for these latents: try other latents, or more of them.")
    return coordinates


@contextmanager
def _unwarned() -> Iterator[None]:
    """What umap-learn and numba warn of (missing optional parts, few samples) is nothing the user can act on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _all_threads() -> Iterator[int]:
    """Let numba use all threads that it may, yield their number, and put back what it was at."""
    import numba
    from numba.core import config

    threads = int(config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    before = numba.get_num_threads()
    numba.set_num_threads(threads)
    try:
        yield threads
    finally:
        numba.set_num_threads(before)


def _neighbours(
    latents: NDArray[np.float32], threads: int, seed: int | None, report: Report
) -> tuple[NDArray[Any] | None, NDArray[Any] | None, None]:
    """Return the indices and distances (N, k) of the nearest neighbours; None where umap-learn shall find them."""
    report(Progress("umap: neighbours", 0, None, "epochs"))
    if len(latents) < _EXACT_BELOW:
        return None, None, None
    from umap.umap_ import nearest_neighbors

    state = np.random.RandomState(seed)
    indices, distances, _ = nearest_neighbors(latents, N_NEIGHBORS, "euclidean", {}, False, state, n_jobs=threads)
    return indices, distances, None


def start(latents: NDArray[np.float32], seed: int | None) -> NDArray[np.float32]:
    """Return where the layout of latents (N, latent_dim) starts: their first two principal components (N, 2).

    Scaled to at most 10, with a little noise so that equal latents start apart, as umap-learn does with its own starts.
    """
    centred = latents - latents.mean(axis=0, dtype=np.float64).astype(np.float32)
    _, axes = np.linalg.eigh(centred.T @ centred)
    components = centred @ axes[:, :-3:-1]
    components *= 10 / max(float(np.abs(components).max()), 1e-12)
    noise = np.random.default_rng(seed or 0).normal(scale=1e-4, size=components.shape)
    placed: NDArray[np.float32] = (components + noise).astype(np.float32)
    return placed


def memory_needed(count: int, latent_dim: int) -> int:
    """Return roughly the peak memory in bytes of a fit of `count` latents, latents and libraries included.

    Measured with umap-learn 0.5.12 and pynndescent 0.7; it errs on the large side.
    """
    return 540_000_000 + count * (12 * latent_dim + 1_800)


def seconds_needed(count: int, latent_dim: int, threads: int, *, seeded: bool) -> float:
    """Return roughly how long a fit of `count` latents takes on free cores, compiling included.

    From CPU seconds that were measured on two cores of an AMD EPYC.
    """
    neighbours = 1.2e-6 * count * latent_dim / threads
    layout = 2.2e-6 * count * (200 if count > _EPOCHS_CHANGE else 500) / (1 if seeded else threads)
    return 30 + neighbours + layout


def _tell_cost(count: int, latent_dim: int, threads: int, seed: int | None, report: Report) -> None:
    needed, available = memory_needed(count, latent_dim), memory()[1]
    if count >= _NOTICE_FROM:
        minutes = _minutes(seconds_needed(count, latent_dim, threads, seeded=seed is not None))
        report(
            Notice(
                f"Mapping {count:,} latents on {_threads(threads)} takes roughly {minutes}, if nothing else runs there, "
                f"and {needed / 1e9:.1f} GB of memory." + _seed_cost(count, latent_dim, threads, seed)
            )
        )
    if available is not None and needed > available:
        fewer = _fits_into(available, latent_dim)
        remedy = f"--max-points {fewer} would fit" if fewer else "end other programs first"
        report(
            Notice(
                f"The map needs about {needed / 1e9:.1f} GB of memory, of which {available / 1e9:.1f} GB are free: {remedy}."
            )
        )


def _seed_cost(count: int, latent_dim: int, threads: int, seed: int | None) -> str:
    if seed is None or threads == 1:
        return ""
    minutes = _minutes(seconds_needed(count, latent_dim, threads, seeded=False))
    return f" With a seed the layout runs on one core; without, it takes {minutes}."


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _minutes(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    return "1 minute" if minutes == 1 else f"{minutes} minutes"


def _fits_into(available: int, latent_dim: int) -> int:
    """Return how many latents fit into the memory, in thousands rounded down; 0 where not even a thousand do."""
    each = memory_needed(1, latent_dim) - memory_needed(0, latent_dim)
    return max(0, (available - memory_needed(0, latent_dim)) // each // 1000 * 1000)


class _TqdmListener(io.StringIO):
    """Stands in for the terminal of umap-learn's own progress bar, and passes its count on to `report`."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self._report = report

    def write(self, text: str) -> int:
        done, _, total = text.strip().partition("/")
        if done.isdecimal() and total.isdecimal():
            self._report(Progress("umap: layout", int(done), int(total), "epochs"))
        return len(text)


def _tqdm_options(report: Report) -> dict[str, object]:
    return {
        "file": _TqdmListener(report),
        "bar_format": "{n_fmt}/{total_fmt}",
        "disable": False,
        "mininterval": 0.2,
        "desc": "",
    }
