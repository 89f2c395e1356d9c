"""Hats and earrings."""

from __future__ import annotations

import numpy as np

from facevae.drawing.canvas import darken, ellipse, mirrored, mix, open_curve, points
from facevae.drawing.sketch import Sketch


def draw_hat(sketch: Sketch) -> None:
    """Draw the hat, if one is worn."""
    kind = sketch.traits.hat
    if kind == "beanie":
        _draw_beanie(sketch)
    elif kind == "cap":
        _draw_cap(sketch)
    elif kind == "brim":
        _draw_brimmed_hat(sketch)


def _crown(sketch: Sketch, top: float, bottom: float, wide: float) -> None:
    """Draw the round part of a hat with its shaded side."""
    canvas, cloth = sketch.canvas, sketch.traits.hat_colour
    half = points((0, top), (wide * 0.62, top + 6), (wide * 0.96, top + 30), (wide, bottom), (0, bottom))
    outline = mirrored(np.concatenate([open_curve(half[:-1]), half[-1:]]))
    canvas.fill(sketch.shift(outline, -0.3), cloth)
    side = -1 if sketch.traits.light > 0 else 1
    shade = points((wide * 0.55, top + 8), (wide * 0.94, top + 30), (wide * 0.98, bottom), (wide * 0.6, bottom)) * (
        side,
        1,
    )
    canvas.tint(
        [(sketch.shift(shade, -0.3), 0.45)], darken(cloth, 0.4), 5.0, clip=canvas.mask(sketch.shift(outline, -0.3))
    )


def _draw_beanie(sketch: Sketch) -> None:
    canvas, cloth = sketch.canvas, sketch.traits.hat_colour
    wide = sketch.half_width + 9
    _crown(sketch, 18, 84, wide)
    for x in range(-40, 41, 10):
        rib = open_curve(points((x * 0.35, 22), (x * 0.9, 45), (x * 1.1, 74)))
        canvas.stroke(sketch.shift(rib, -0.3), darken(cloth, 0.8), 2.0)
    fold = np.concatenate(
        [
            open_curve(points((-wide - 1, 74), (0, 66), (wide + 1, 74))),
            open_curve(points((wide + 1, 92), (0, 83), (-wide - 1, 92))),
        ]
    )
    canvas.fill(sketch.shift(fold, -0.2), mix(cloth, (255, 255, 255), 0.14))


def _draw_cap(sketch: Sketch) -> None:
    canvas, cloth = sketch.canvas, sketch.traits.hat_colour
    wide = sketch.half_width + 6
    _crown(sketch, 24, 82, wide)
    for x in (-0.55, 0.0, 0.55):
        seam = open_curve(points((0, 25), (wide * x * 0.8, 45), (wide * x, 76)))
        canvas.stroke(sketch.shift(seam, -0.2), darken(cloth, 0.75), 1.6)
    visor = np.concatenate(
        [
            open_curve(points((-wide + 2, 80), (-30, 74), (0, 72), (30, 74), (wide - 2, 80))),
            open_curve(points((wide - 4, 89), (30, 93), (0, 95), (-30, 93), (-wide + 4, 89))),
        ]
    )
    canvas.fill(sketch.shift(visor, 0.5), darken(cloth, 0.62))


def _draw_brimmed_hat(sketch: Sketch) -> None:
    canvas, cloth = sketch.canvas, sketch.traits.hat_colour
    wide = sketch.half_width + 3
    _crown(sketch, 16, 76, wide)
    band = np.concatenate(
        [
            open_curve(points((-wide, 60), (0, 64), (wide, 60))),
            open_curve(points((wide, 74), (0, 78), (-wide, 74))),
        ]
    )
    canvas.fill(sketch.shift(band, -0.2), darken(cloth, 0.45))
    canvas.fill(sketch.shift(ellipse(0, 78, 80, 11), 0.1), darken(cloth, 0.75))
    canvas.fill(sketch.shift(ellipse(0, 75.5, 80, 9.5), 0.1), cloth)


def draw_earrings(sketch: Sketch) -> None:
    """Draw large drop earrings, over the hair so that they show."""
    if not sketch.traits.earrings:
        return
    for sign in (-1, 1):
        x = sign * (sketch.half_width + 4.0) - sketch.turn * 0.3
        for y, radius in ((130.0, 2.2), (139.0, 4.6)):
            sketch.canvas.fill(sketch.shift(ellipse(x, y, radius, radius * 1.3)), (150, 112, 40))
            sketch.canvas.fill(sketch.shift(ellipse(x - 0.6, y - 0.8, radius * 0.7, radius * 0.95)), (250, 220, 132))
