"""When to stop early, as a function of the loss history alone: a resumed training decides as an unbroken one would."""

from __future__ import annotations

from collections.abc import Sequence

from facevae.storage.history import HistoryPoint


def best_valid(history: Sequence[HistoryPoint]) -> HistoryPoint | None:
    """Return the first point with the lowest loss on valid; None without any."""
    return min((point for point in history if point.split == "valid"), key=lambda point: point.loss, default=None)


def epochs_without_progress(history: Sequence[HistoryPoint]) -> int:
    """Return how many epochs have passed since the one with the lowest loss on valid; an equal loss is not a lower one."""
    valid = [point for point in history if point.split == "valid"]
    best = best_valid(valid)
    return len(valid) - 1 - valid.index(best) if best is not None else 0


def is_stalled(history: Sequence[HistoryPoint], patience: int) -> bool:
    """Return whether `patience` epochs (0 for any number) have passed without a lower loss on valid."""
    return 0 < patience <= epochs_without_progress(history)
