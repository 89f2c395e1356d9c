"""Where a face lies: similarity transforms (rotation, scale, shift), fitted to points by least squares.

Coordinates are pixels from the top left corner of a picture, x to the right and y down: the centre of the first pixel is
(0.5, 0.5). Points are float arrays (..., 2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Similarity:
    """The map (x, y) -> (a x - b y + shift_x, b x + a y + shift_y): a turn with a scale, then a shift; never a mirror image."""

    a: float = 1.0
    b: float = 0.0
    shift_x: float = 0.0
    shift_y: float = 0.0

    @classmethod
    def of(cls, *, scale: float = 1.0, degrees: float = 0.0, shift: tuple[float, float] = (0.0, 0.0)) -> Similarity:
        """Make one that turns by `degrees`, clockwise as one sees it, and scales, both about the origin, and then shifts."""
        angle = math.radians(degrees)
        return cls(scale * math.cos(angle), scale * math.sin(angle), *shift)

    @property
    def scale(self) -> float:
        """By how much lengths grow."""
        return math.hypot(self.a, self.b)

    @property
    def degrees(self) -> float:
        """The angle of the rotation, clockwise as one sees it, from -180 to 180."""
        return math.degrees(math.atan2(self.b, self.a))

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The 2 x 3 matrix that takes (x, y, 1)."""
        return np.array([[self.a, -self.b, self.shift_x], [self.b, self.a, self.shift_y]])

    def __call__(self, points: ArrayLike) -> NDArray[np.float64]:
        """Return where points (..., 2) go."""
        matrix = self.matrix
        moved: NDArray[np.float64] = np.asarray(points, dtype=np.float64) @ matrix[:, :2].T + matrix[:, 2]
        return moved

    def then(self, second: Similarity) -> Similarity:
        """Return the transform that does this one first and `second` after it."""
        shift_x, shift_y = second((self.shift_x, self.shift_y))
        a = second.a * self.a - second.b * self.b
        b = second.a * self.b + second.b * self.a
        return Similarity(a, b, float(shift_x), float(shift_y))

    def inverse(self) -> Similarity:
        """Return the transform back. The scale must not be zero."""
        squared = self.a**2 + self.b**2
        a, b = self.a / squared, -self.b / squared
        return Similarity(a, b, -(a * self.shift_x - b * self.shift_y), -(b * self.shift_x + a * self.shift_y))


def fit_similarity(source: ArrayLike, target: ArrayLike, precision: ArrayLike | None = None) -> Similarity:
    """Return the similarity that takes `source` nearest to `target`: by the sum of squared distances, or by `precision`.

    Without `precision` this is the solution of Umeyama, *Least-Squares Estimation of Transformation Parameters Between Two Point
    Patterns* (1991), without its mirror images. In the plane such a transform is linear in its four numbers, so that any other
    quadratic distance is as easy.

    Args:
        source: (N, 2), N >= 2, not all one point.
        target: (N, 2).
        precision: (2 N, 2 N), positive definite: what lies between the differences x0, y0, x1, y1, ... in the distance. With the
            inverse covariance of the target points, the transform is the one under which the source points are the most likely.
    """
    goal = np.asarray(target, dtype=np.float64)
    points = np.asarray(source, dtype=np.float64)
    centre = points.mean(axis=0)  # for accuracy: far from the origin, turning and shifting would be hard to tell apart
    (x, y), zero = (points - centre).T, np.zeros(len(points))
    columns = np.stack([np.stack([x, -y, zero + 1, zero], axis=1), np.stack([y, x, zero, zero + 1], axis=1)], axis=1)
    design = columns.reshape(-1, 4)
    weighted = design.T if precision is None else design.T @ np.asarray(precision, dtype=np.float64)
    a, b, shift_x, shift_y = np.linalg.solve(weighted @ design, weighted @ goal.reshape(-1)).tolist()
    return Similarity(shift_x=-centre[0], shift_y=-centre[1]).then(Similarity(a, b, shift_x, shift_y))


FRAME_WIDTH, FRAME_HEIGHT = 178, 218
"""The size of CelebA's aligned images, in pixels."""
FRAME_EYES = np.array([[69.5, 111.5], [108.5, 111.5]])
"""Where CelebA's eyes belong in that frame: in the pixels (69, 111) and (108, 111)."""
FRAME_LANDMARKS = np.array([[69.25, 111.60], [108.75, 111.60], [89.00, 135.89], [71.34, 153.35], [106.66, 153.35]])
"""Where the landmarks that `face_finder` finds lie in the frame: eyes, tip of the nose, corners of the mouth.

The means over 1,499 faces of CelebA's train split and their mirror images, without the 3% that lie the farthest off
(`benchmarks/align.py --measure --least-side 89 --count 1500`).
"""
FRAME_COVARIANCE = np.array(
    [
        [2.35, -0.65, -0.94, -0.46, 1.66, -1.85, 2.85, 0.95, -2.58, 1.13],
        [-0.65, 1.77, 0.46, 1.02, 0.37, 1.73, -1.28, -0.33, 1.29, -0.88],
        [-0.94, 0.46, 2.35, 0.65, 1.66, 1.85, -2.58, -1.13, 2.85, -0.95],
        [-0.46, 1.02, 0.65, 1.77, -0.37, 1.73, -1.29, -0.88, 1.28, -0.33],
        [1.66, 0.37, 1.66, -0.37, 32.80, 0.00, -0.19, 0.71, -0.19, -0.71],
        [-1.85, 1.73, 1.85, 1.73, 0.00, 14.30, -4.52, -0.62, 4.52, -0.62],
        [2.85, -1.28, -2.58, -1.29, -0.19, -4.52, 7.15, 2.17, -5.55, 2.04],
        [0.95, -0.33, -1.13, -0.88, 0.71, -0.62, 2.17, 2.68, -2.04, 2.16],
        [-2.58, 1.29, 2.85, 1.28, -0.19, 4.52, -5.55, -2.04, 7.15, -2.17],
        [1.13, -0.88, -0.95, -0.33, -0.71, -0.62, 2.04, 2.16, -2.17, 2.68],
    ]
)  # fmt: skip
"""How they vary there, of the same faces: x and y of the five, in pixels squared.

A turned head moves the nose by some pixels and hardly the eyes, a smile the corners of the mouth, and what moves together is
beside the diagonal: so each point counts for as much as it tells of the frame.
"""
_PRECISION = np.linalg.inv(FRAME_COVARIANCE)


def to_frame(landmarks: ArrayLike) -> Similarity:
    """Return the similarity that brings a face with these landmarks (5, 2) to CelebA's frame: the likeliest."""
    return fit_similarity(landmarks, FRAME_LANDMARKS, _PRECISION)


def distance_from_frame(landmarks: ArrayLike) -> float:
    """Return how unlikely landmarks (5, 2) are in CelebA's frame: the squared Mahalanobis distance, on average 10 there."""
    difference = (np.asarray(landmarks, dtype=np.float64) - FRAME_LANDMARKS).reshape(-1)
    return float(difference @ _PRECISION @ difference)
