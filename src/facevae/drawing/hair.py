"""Hair, bangs, beards and stubble.

A lock of hair lies between two guide lines that run from the parting to the tips; strands are drawn between them.
"""

from __future__ import annotations

import numpy as np

from facevae.drawing.canvas import Points, closed_curve, darken, ellipse, grain_mask, mirrored, mix, open_curve, points
from facevae.drawing.sketch import Sketch


def _lowest(sketch: Sketch) -> float:
    """Return the height at which the hair ends."""
    return 104.0 + 130.0 * sketch.traits.hair_length


def draw_back_hair(sketch: Sketch) -> None:
    """Draw what of long hair lies behind neck and shoulders."""
    traits = sketch.traits
    if traits.bald or traits.hair_length < 0.2:
        return
    bottom = _lowest(sketch)
    width = sketch.half_width + 6 + 9 * traits.hair_volume + 5 * traits.waviness
    half = points(
        (0, 40),
        (38, 50),
        (width, 100),
        (width + 2, (100 + bottom) / 2),
        (width - 4, bottom - 6),
        (width * 0.5, bottom),
        (0, bottom),
    )
    shape = _wave(sketch, closed_curve(mirrored(half), 8), 1.0)
    sketch.canvas.fill(sketch.shift(shape, -0.4), sketch.hair_dark)


def _wave(sketch: Sketch, shape: Points, side: float) -> Points:
    """Let a shape swing to and fro the further down it goes, as much as the hair is wavy."""
    traits = sketch.traits
    swing = 5.0 * max(traits.waviness - 0.15, 0.0)
    ramp = np.clip((shape[:, 1] - 84) / 50, 0, 1)
    angle = shape[:, 1] / (4.6 + 1.6 * traits.hair_volume) + side + traits.strands % 7
    return shape + np.stack([np.sin(angle) * ramp * swing * np.sign(shape[:, 0]), np.zeros(len(shape))], axis=1)


def draw_hair(sketch: Sketch) -> None:
    """Draw the hair on the head, from the parting down both sides, and the bangs."""
    if sketch.traits.bald:
        _draw_fringe_of_the_bald(sketch)
        return
    for side in (-1.0, 1.0):
        outer, inner = _guides(sketch, side)
        _draw_lock(sketch, outer, inner)
    if sketch.traits.bangs:
        _draw_bangs(sketch)


def _guides(sketch: Sketch, side: float) -> tuple[Points, Points]:
    """Return the outer and the inner guide line of the hair on one side, placed in the frame."""
    outer, inner = _crown_guides(sketch, 17.0 * sketch.traits.part * side)
    for guide, below in zip((outer, inner), _side_guides(sketch), strict=True):
        guide += below
    curves = []
    for guide, curl in ((outer, 1.0), (inner, 0.3)):
        path = _curl(sketch, open_curve(np.array(guide), 6), curl)
        curves.append(sketch.shift(_wave(sketch, path, 0.0) * (side, 1), -0.2))
    return curves[0], curves[1]


def _crown_guides(sketch: Sketch, start: float) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Return the control points from the parting, at x = `start`, to the temples: the silhouette and the hairline."""
    traits = sketch.traits
    rise = 8.0 + 9.0 * traits.hair_volume
    out = _reach(sketch)
    outer = [(start, 44 - rise), (start + (36 - start) * 0.78, 49.5 - rise), (out - 3.5, 70 - rise * 0.55)]
    if traits.receding:
        return outer, [(start, 56.0), (start + (26 - start) * 0.6, 48.0), (34.0, 63.0)]
    temple = 30.0 - 2 * traits.hair_length
    return outer, [(start, 56.0), (start + (temple - start) * 0.7, 64.0), (temple + 6, 77.0)]


def _side_guides(sketch: Sketch) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Return the control points from the temples to the tips."""
    out, width = _reach(sketch), sketch.half_width
    if sketch.traits.hair_length <= 0.2:
        return [(out - 0.5, 94), (width + 2.5, 107)], [(width - 5, 92), (width - 4, 106)]
    bottom = max(_lowest(sketch), 118.0)
    drop = (bottom - 112) / 3
    hang = width - 6.0
    outer = [(out, 96.0), (out + 2, 112.0), (out + 4, 112 + drop), (out + 4, 112 + 2 * drop), (out - 6, bottom)]
    inner = [(hang - 1, 96.0), (hang, 112.0), (hang + 2, 112 + drop), (hang - 2, 112 + 2 * drop), (hang + 2, bottom)]
    return outer, inner


def _reach(sketch: Sketch) -> float:
    """Return how far the hair stands out from the middle of the face at the temples."""
    traits = sketch.traits
    return sketch.half_width + 3.0 + 7.0 * traits.hair_volume * (0.35 + min(traits.hair_length, 0.65))


def _curl(sketch: Sketch, path: Points, share: float) -> Points:
    """Give the hair on top of the head an uneven edge if it is wavy, which is all that shows of waves in short hair."""
    swell = 4.5 * share * max(sketch.traits.waviness - 0.5, 0.0)
    if not swell:
        return path
    outward = path - np.array((0.0, 100.0))
    outward = outward / np.linalg.norm(outward, axis=1, keepdims=True)
    bumps = np.sin(np.arange(len(path)) * 1.5 + sketch.traits.strands % 5)
    fade = np.clip((118 - path[:, 1]) / 20, 0, 1)
    curled: Points = path + outward * (swell * bumps * fade)[:, None]
    return curled


def _draw_lock(sketch: Sketch, outer: Points, inner: Points) -> None:
    canvas = sketch.canvas
    canvas.fill(np.concatenate([outer, inner[::-1]]), sketch.hair)
    rng = sketch.rng
    shades = (mix(sketch.hair, sketch.hair_dark, 0.6), mix(sketch.hair, sketch.hair_light, 0.55))
    for index in range(11):
        place, reach = rng.uniform(0.04, 0.96), rng.uniform(0.5, 1.0)
        path = outer + (inner - outer) * place
        first, last = int(len(path) * rng.uniform(0, 0.25)), int(len(path) * reach)
        if last - first > 3:
            canvas.stroke(path[first:last], shades[index % 2], rng.uniform(1.2, 3.6))
    count = len(outer)
    gleam = outer + (inner - outer) * 0.35
    canvas.stroke(gleam[count // 8 : count // 2], mix(sketch.hair, sketch.hair_light, 0.8), 4.5)
    canvas.stroke(inner, sketch.hair_dark, 1.6)


def _draw_bangs(sketch: Sketch) -> None:
    """Draw hair over the forehead down to just above the brows."""
    canvas, traits = sketch.canvas, sketch.traits
    rng = sketch.rng
    width = sketch.half_width - 3
    start = points((17.0 * traits.part, 52))
    below = open_curve(
        points(
            (-width, 104), (-width * 0.8, 95), (-width * 0.3, 92), (width * 0.3, 92), (width * 0.8, 95), (width, 104)
        ),
        4,
    )
    below[1:-1, 1] += rng.uniform(-2.2, 2.2, len(below) - 2)
    above = open_curve(points((width + 1, 88), (28, 58), (0, 50), (-28, 58), (-width - 1, 88)))
    canvas.fill(sketch.shift(np.concatenate([below, above])), sketch.hair)
    shades = (mix(sketch.hair, sketch.hair_dark, 0.7), mix(sketch.hair, sketch.hair_light, 0.55))
    for index, tip in enumerate(below[1:-1]):
        root = start[0] + (tip[0] * 0.55 - start[0, 0] * 0.3, 0.0)
        bend = (root + tip) / 2 + (tip[0] * 0.16, -6.0)
        canvas.stroke(sketch.shift(open_curve(np.stack([root, bend, tip]))), shades[index % 2], 2.4)


def _draw_fringe_of_the_bald(sketch: Sketch) -> None:
    """Draw short hair above the ears and a gleam on the crown."""
    width = sketch.half_width
    strip = points((width - 4, 84), (width + 2, 88), (width + 4, 104), (width - 1, 114), (width - 4, 104))
    sides = [(sketch.shift(strip * (sign, 1), -0.2), 0.75) for sign in (-1, 1)]
    sketch.canvas.tint(sides, darken(sketch.hair, 0.9), 1.6)
    gleam = ellipse(14 * sketch.traits.light, 60, 13, 6)
    sketch.canvas.tint([(sketch.shift(gleam), 0.85)], mix(sketch.skin_light, (255, 255, 255), 0.4), 3.0)


def draw_beard(sketch: Sketch) -> None:
    """Draw stubble, moustache, goatee and sideburns; the last two with a moustache meet in a full beard."""
    traits, canvas = sketch.traits, sketch.canvas
    grain = grain_mask(3, canvas.image.size, 0.35)
    if traits.stubble:
        shadow = mix(mix(sketch.skin, (66, 68, 80), 0.72), sketch.hair, 0.15)
        canvas.tint(
            [(_jaw(sketch, 124), 0.7), (_bare_mouth(sketch), 0.25)], shadow, 3.0, clip=sketch.face_mask, grain=grain
        )
    parts: list[tuple[Points, float]] = []
    if traits.sideburns and traits.goatee:
        parts += [(_jaw(sketch, 104), 1.0), (_bare_mouth(sketch), 0.0)]
    if traits.sideburns:
        parts += [(_sideburn(sketch, sign), 1.0) for sign in (-1, 1)]
    if traits.goatee:
        y = sketch.chin
        chin = points((0, 163), (13, 164), (17, 170), (15, y - 2), (8, y + 3), (0, y + 4))
        parts.append((sketch.shift(mirrored(chin), 0.55), 1.0))
    if traits.mustache:
        parts += [(_mustache(sketch, sign), 1.0) for sign in (-1, 1)]
    canvas.tint(parts, darken(sketch.hair, 0.85), 0.9, grain=grain)


def _jaw(sketch: Sketch, top: float) -> Points:
    """Return the lower face from `top` down, following the outline."""
    return sketch.outline[sketch.outline[:, 1] > top] * (1.0, 1.012)


def _bare_mouth(sketch: Sketch) -> Points:
    """Return the cheeks, nose and mouth, which a beard leaves free."""
    half = points(
        (0, 100), (sketch.half_width - 5, 104), (sketch.half_width - 8, 130), (26, 146), (21, 160), (8, 163), (0, 162)
    )
    return sketch.shift(closed_curve(mirrored(half)), 0.5)


def _sideburn(sketch: Sketch, sign: int) -> Points:
    width = sketch.half_width
    strip = points(
        (width - 7, 98), (width + 1, 98), (width + 0.5, 122), (width - 3, 138), (width - 11, 134), (width - 8, 118)
    )
    return sketch.shift(strip * (sign, 1))


def _mustache(sketch: Sketch, sign: int) -> Points:
    lift = 3.0 * sketch.traits.mouth_curve
    half = points(
        (0, 141), (9, 140), (18, 144 - lift * 0.5), (24, 152 - lift), (16, 149 - lift * 0.5), (7, 147.5), (0, 147)
    )
    return sketch.shift(half * (sign, 1), 0.85)
