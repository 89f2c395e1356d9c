"""A figure and how sure it is: the standard error of estimates from independent images."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Estimate(NamedTuple):
    """`value`, and its `standard_error` or None where one image, or none, is all there is."""

    value: float
    standard_error: float | None = None

    def to_dict(self) -> dict[str, float | None]:
        """Return both as a plain dictionary, for JSON."""
        return {"value": self.value, "standard_error": self.standard_error}


def mean_estimate(values: NDArray[Any]) -> Estimate:
    """Return the mean of values (N), one for each image, and its standard error, s / sqrt(N)."""
    values = np.asarray(values, dtype=np.float64)
    error = float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None
    return Estimate(float(values.mean()), error)


def share_estimate(hits: NDArray[np.bool_]) -> Estimate:
    """Return the share of true values (N) and its standard error, sqrt(p (1 - p) / N)."""
    share = float(hits.mean())
    return Estimate(share, math.sqrt(share * (1.0 - share) / len(hits)) if len(hits) > 1 else None)
