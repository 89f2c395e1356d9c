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
    """Return the share of true values (N) and its standard error, sqrt(p (1 - p) / N).

    For the error of a share of 0 or 1, p is that of two more values of each kind (Agresti & Coull 1998), as it would be 0.
    """
    share, count = float(hits.mean()), len(hits)
    if count < 2:
        return Estimate(share, None)
    spread = share if 0.0 < share < 1.0 else (share * count + 2.0) / (count + 4.0)
    return Estimate(share, math.sqrt(spread * (1.0 - spread) / count))
