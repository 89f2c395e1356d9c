"""A drawing surface twice as fine as the picture, with smooth curves, tapered strokes and soft, blurred tints.

Everything is given in pixels of CelebA's aligned 178x218 frame; the canvas applies the pose (roll, scale, offset), so
the code that draws a nose never needs to know how the head is turned.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import cos, radians, sin
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

Points = NDArray[np.float64]
"""Shape (n, 2): x to the right and y downwards."""
Rgb = tuple[float, float, float]

FRAME = (178, 218)
CENTRE = (88.5, 111.0)
FINENESS = 2  # canvas pixels to a frame pixel
COARSENESS = 2  # frame pixels to a pixel of the small masks that are blurred: blur needs no fine detail


def mix(first: Sequence[float], second: Sequence[float], share: float) -> Rgb:
    """Return the colour that lies `share` of the way (0 to 1) from `first` to `second`."""
    r, g, b = (a + (c - a) * share for a, c in zip(first, second, strict=True))
    return r, g, b


def darken(colour: Sequence[float], factor: float) -> Rgb:
    """Return `colour` times `factor`, which may be above 1."""
    r, g, b = (min(255.0, channel * factor) for channel in colour)
    return r, g, b


def points(*pairs: tuple[float, float]) -> Points:
    """Return the pairs (x, y) as an array."""
    return np.array(pairs, dtype=np.float64)


def mirrored(half: Points) -> Points:
    """Close a right half, given from top to bottom about x = 0, with its mirror image on the left."""
    left = half[::-1] * (-1.0, 1.0)
    return np.concatenate([half, left[left[:, 0] < 0]])


@lru_cache(maxsize=64)
def _catmull_rom(count: int, steps: int, closed: bool) -> NDArray[np.float64]:
    """Return the matrix that takes `count` control points to the points of a Catmull-Rom spline through them."""
    t = np.arange(steps) / steps
    weights = 0.5 * np.stack(
        [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3], axis=1
    )
    segments = count if closed else count - 1
    matrix = np.zeros((segments * steps + (not closed), count))
    for segment in range(segments):
        rows = slice(segment * steps, (segment + 1) * steps)
        for tap in range(4):
            index = segment + tap - 1
            index = index % count if closed else min(max(index, 0), count - 1)
            matrix[rows, index] += weights[:, tap]
    if not closed:
        matrix[-1, -1] = 1.0
    return matrix


def closed_curve(control: Points, steps: int = 5) -> Points:
    """Return a smooth closed curve through the control points, `steps` points to each of them."""
    return _catmull_rom(len(control), steps, True) @ control


def open_curve(control: Points, steps: int = 5) -> Points:
    """Return a smooth curve from the first control point to the last, `steps` points to each piece."""
    return _catmull_rom(len(control), steps, False) @ control


@lru_cache(maxsize=8)
def _circle(count: int) -> Points:
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def ellipse(x: float, y: float, radius_x: float, radius_y: float) -> Points:
    """Return the outline of an ellipse."""
    return _circle(28) * (radius_x, radius_y) + (x, y)


@lru_cache(maxsize=64)
def _taper(count: int, start: float, end: float) -> NDArray[np.float64]:
    t = np.linspace(0, 1, count)
    body = np.sin(np.pi * t) ** 0.6
    return np.maximum(body, np.where(t < 0.5, start, end))[:, None]


def ribbon(path: Points, width: float, start: float = 0.1, end: float = 0.1) -> Points:
    """Return the outline of a stroke along `path`: `width` in the middle, tapered to these shares of it at the ends."""
    step = np.empty_like(path)
    step[1:-1] = path[2:] - path[:-2]
    step[0], step[-1] = path[1] - path[0], path[-1] - path[-2]
    normal = step[:, ::-1] * (-1.0, 1.0) / (np.sqrt((step**2).sum(axis=1, keepdims=True)) + 1e-9)
    side = normal * (_taper(len(path), start, end) * (width / 2))
    return np.concatenate([path + side, (path - side)[::-1]])


class Canvas:
    """An RGB picture being drawn, `FINENESS` times as fine as the frame.

    `roll` is in degrees, `offset` in frame pixels; both and `scale` act about the point between the eyes.
    """

    def __init__(self, roll: float = 0.0, scale: float = 1.0, offset: tuple[float, float] = (0.0, 0.0)) -> None:
        self.image = Image.new("RGB", (FRAME[0] * FINENESS, FRAME[1] * FINENESS))
        self._draw = ImageDraw.Draw(self.image)
        angle = radians(roll)
        turn = scale * np.array([[cos(angle), sin(angle)], [-sin(angle), cos(angle)]])
        self._matrix = FINENESS * turn
        # Half a pixel, since ImageDraw takes whole coordinates to be the middle of a pixel.
        self._shift = FINENESS * (np.array(CENTRE) + offset - np.array(CENTRE) @ turn) + FINENESS / 2 - 0.5

    def _place(self, shape: Points) -> Points:
        return shape @ self._matrix + self._shift

    def fill(self, shape: Points, colour: Sequence[float]) -> None:
        """Fill a polygon."""
        self._draw.polygon(self._place(shape).ravel().tolist(), fill=_to_bytes(colour))

    def stroke(self, path: Points, colour: Sequence[float], width: float, start: float = 0.1, end: float = 0.1) -> None:
        """Draw a tapered stroke; see `ribbon`."""
        self.fill(ribbon(path, width, start, end), colour)

    def mask(self, shape: Points) -> Image.Image:
        """Return a mask (mode L) of the canvas's size that is 255 inside the polygon."""
        mask = Image.new("L", self.image.size, 0)
        ImageDraw.Draw(mask).polygon(self._place(shape).ravel().tolist(), fill=255)
        return mask

    def tint(
        self,
        shapes: Sequence[tuple[Points, float]],
        colour: Sequence[float],
        blur: float,
        *,
        clip: Image.Image | None = None,
        grain: Image.Image | None = None,
    ) -> None:
        """Lay `colour` softly over polygons, each with its opacity (0 to 1); a later polygon replaces an earlier one.

        `blur` is the standard deviation in frame pixels. `clip` and `grain` are masks of the canvas's size that
        weaken the tint where they are dark.
        """
        if not shapes:
            return
        shrink = FINENESS * COARSENESS
        placed = [(self._place(shape) / shrink, opacity) for shape, opacity in shapes]
        box = self._coarse_box([shape for shape, _ in placed], 2.5 * blur / COARSENESS + 1)
        if box is None:
            return
        left, top, right, bottom = box
        small = Image.new("L", (right - left, bottom - top), 0)
        draw = ImageDraw.Draw(small)
        for shape, opacity in placed:
            draw.polygon((shape - (left, top)).ravel().tolist(), fill=int(255 * min(max(opacity, 0.0), 1.0)))
        small = small.filter(ImageFilter.GaussianBlur(blur / COARSENESS))
        area = (left * shrink, top * shrink, right * shrink, bottom * shrink)
        mask = small.resize((area[2] - area[0], area[3] - area[1]), Image.Resampling.BILINEAR)
        for other in (clip, grain):
            if other is not None:
                mask = ImageChops.multiply(mask, other.crop(area))
        self.image.paste(_to_bytes(colour), area, mask)

    def _coarse_box(self, shapes: Sequence[Points], margin: float) -> tuple[int, int, int, int] | None:
        everything = np.concatenate(shapes)
        low, high = everything.min(axis=0) - margin, everything.max(axis=0) + margin + 1
        shrink = FINENESS * COARSENESS
        limit = (self.image.width // shrink, self.image.height // shrink)
        left, top = max(int(low[0]), 0), max(int(low[1]), 0)
        right, bottom = min(int(high[0]) + 1, limit[0]), min(int(high[1]) + 1, limit[1])
        return (left, top, right, bottom) if left < right and top < bottom else None


def _to_bytes(colour: Sequence[float]) -> tuple[int, int, int]:
    red, green, blue = (int(min(max(channel, 0.0), 255.0)) for channel in colour)
    return red, green, blue


@lru_cache(maxsize=16)
def grain_mask(seed: int, size: tuple[int, int], strength: float = 0.5) -> Image.Image:
    """Return a mask of short vertical streaks, for hair and beards: 255 at most, `1 - strength` of that at least."""
    rng = np.random.default_rng(seed)
    noise: Any = rng.random((size[1] // 6 + 1, size[0] // 2 + 1))
    values = (255 * (1 - strength * noise)).astype(np.uint8)
    return Image.fromarray(values).resize(size, Image.Resampling.BICUBIC)


@lru_cache(maxsize=16)
def backdrop_mask(pattern: int, size: tuple[int, int]) -> Image.Image:
    """Return one of eight smooth patterns as a mask: slopes, a glow, and out-of-focus blobs."""
    width, height = size
    y, x = np.mgrid[0 : height // 4, 0 : width // 4] * 4.0
    x, y = x / width, y / height
    if pattern % 8 < 4:
        slope = ((x + y) / 2, (1 - x + y) / 2, y, np.clip(1.3 * np.hypot(x - 0.5, y - 0.4), 0, 1))[pattern % 8]
        field = slope
    else:
        rng = np.random.default_rng(pattern)
        field = 0.25 * y
        for _ in range(7):
            distance = np.hypot(x - rng.random(), (y - rng.random()) * height / width)
            field = field + rng.uniform(0.3, 0.8) / (1 + np.exp((distance - rng.uniform(0.1, 0.28)) * 30))
        field = np.clip(field, 0, 1)
    return Image.fromarray((255 * field).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
