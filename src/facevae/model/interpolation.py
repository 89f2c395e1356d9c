"""From one latent to another: along the straight line, or along the great circle."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

_SAME_LINE = 1e-12
"""The sine of an angle below which two directions are taken as one, or as opposite."""


def linear(first: Floats, second: Floats, places: Floats) -> Floats:
    """Return (1 - t) first + t second, float32 (K, D), for latents (D) and K places t."""
    start, end, t = (np.asarray(values, dtype=np.float64) for values in (first, second, places))
    between: Doubles = (1.0 - t)[:, None] * start + t[:, None] * end
    return between.astype(np.float32)


def spherical(first: Floats, second: Floats, places: Floats) -> Floats:
    """Return latents float32 (K, D) on the great circle from `first` to `second` (D), at K places t from 0 to 1.

    The direction is Shoemake's slerp (1985): sin((1 - t) w) / sin w of the one and sin(t w) / sin w of the other, w being the
    angle between them. It is computed as cos(t w) u + sin(t w) v, with v at right angles to u, which needs no division by the
    sine. The length goes from that of the one to that of the other in equal steps: on the straight line two latents of one
    length have one between them that is shorter, by three tenths if they are at right angles.

    Of two opposite latents no great circle is the shortest, and one of them is taken, always the same. Where a latent is the
    origin, or there is one dimension only, there is no direction to turn through, and the way is the straight line.
    """
    start, end, t = (np.asarray(values, dtype=np.float64) for values in (first, second, places))
    lengths = np.linalg.norm(start), np.linalg.norm(end)
    if min(lengths) == 0.0 or len(start) < 2:
        return linear(first, second, places)
    direction, towards = start / lengths[0], end / lengths[1]
    cosine = float(direction @ towards)
    aside = towards - cosine * direction
    sine = float(np.linalg.norm(aside))
    if sine < _SAME_LINE:
        sine, aside = 0.0, _perpendicular(direction)
    aside /= np.linalg.norm(aside)
    angles = t[:, None] * np.arctan2(sine, cosine)
    turned = np.cos(angles) * direction + np.sin(angles) * aside
    between: Doubles = ((1.0 - t) * lengths[0] + t * lengths[1])[:, None] * turned
    return between.astype(np.float32)


def _perpendicular(direction: Doubles) -> Doubles:
    """Return a vector at right angles to a unit vector (D), D > 1: what is left of the axis that it follows least."""
    axis = int(np.abs(direction).argmin())
    aside: Doubles = -direction[axis] * direction
    aside[axis] += 1.0
    return aside
