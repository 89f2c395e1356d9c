"""Where the dots of the map are: on the plane of two principal components at first, then where UMAP puts them."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from facevae.explorer.plane import Plane
from facevae.progress import Progress
from facevae.workflows.umap_fit import N_NEIGHBORS
from facevae.workflows.umap_place import place

Floats = NDArray[np.float32]
Status = Literal["fitting", "ready", "failed"]


@dataclass(frozen=True)
class MapState:
    """The map at one moment.

    Attributes:
        points: the dots, float32 (N, 2).
        method: what put them there.
        revision: counts the times that they moved, from 1.
        status: whether better places are being computed, or that has failed.
        progress: of that.
        message: a sentence on it, or None.
        plane: of principal components; None for a UMAP.
    """

    points: Floats
    method: Literal["PCA", "UMAP"]
    revision: int
    status: Status
    progress: Progress | None
    message: str | None
    plane: Plane | None

    def facts(self) -> dict[str, Any]:
        """Return what the page is told."""
        going = self.progress
        return {
            "status": self.status,
            "method": self.method,
            "revision": self.revision,
            "progress": {"stage": going.stage, "done": going.done, "total": going.total} if going else None,
            "message": self.message,
        }


class FaceMap:
    """The map of latents `mean` (N, latent_dim). Several threads may ask and tell."""

    def __init__(self, mean: Floats, points: Floats | None = None) -> None:
        """Begin with UMAP's `points` (N, 2), or without them with the principal components."""
        self._mean = mean
        self._lock = threading.Lock()
        if points is not None:
            self._state = MapState(points, "UMAP", 1, "ready", None, None, None)
        else:
            plane = Plane.of(mean)
            self._state = MapState(plane.project(mean), "PCA", 1, "ready", None, None, plane)

    @property
    def state(self) -> MapState:
        """The map now."""
        return self._state

    def fitting(self, progress: Progress | None = None, message: str | None = None) -> None:
        """Say that a better map is being fitted, and how far that is."""
        with self._lock:
            self._state = replace(
                self._state, status="fitting", progress=progress, message=message or self._state.message
            )

    def fitted(self, points: Floats) -> None:
        """Move the dots to where UMAP puts them, (N, 2)."""
        with self._lock:
            revision = self._state.revision + 1
            self._state = MapState(points, "UMAP", revision, "ready", None, None, None)

    def stay(self, message: str, *, failed: bool) -> None:
        """Say why the map stays as it is."""
        with self._lock:
            status: Status = "failed" if failed else "ready"
            self._state = replace(self._state, status=status, progress=None, message=message)

    def place(self, latent: Floats) -> Floats:
        """Return where a latent (latent_dim) belongs on the map now, (2)."""
        state = self._state
        if state.plane is not None:
            placed: Floats = state.plane.project(latent[None])[0]
        else:
            placed = place(latent[None], self._mean, state.points, N_NEIGHBORS)[0]
        return placed
