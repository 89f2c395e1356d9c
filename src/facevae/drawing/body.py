"""The background, the neck and shoulders with their clothes, and the skin of the head with its light and shade."""

from __future__ import annotations

import numpy as np

from facevae.drawing.canvas import (
    CENTRE,
    Points,
    backdrop_mask,
    darken,
    ellipse,
    mirrored,
    mix,
    open_curve,
    points,
    ribbon,
)
from facevae.drawing.sketch import Sketch


def draw_background(sketch: Sketch) -> None:
    """Fill the canvas with two colours that blend into each other."""
    traits, image = sketch.traits, sketch.canvas.image
    image.paste(traits.background, (0, 0, *image.size))
    image.paste(traits.background_second, (0, 0), backdrop_mask(traits.background_pattern, image.size))


def draw_body(sketch: Sketch) -> None:
    """Draw the neck, the shoulders and the clothes."""
    traits, canvas = sketch.traits, sketch.canvas
    neck = (29.0 if traits.male else 23.0) + 3.0 * max(traits.face_width, 0)
    slope = 6.0 if traits.male else 11.0
    half = points((neck, 140), (neck, 176), (neck + 0.5, 190), (neck + 3, 202), (neck + 4, 250))
    half[:2, 0] -= 1
    column = mirrored(open_curve(half))
    canvas.fill(sketch.shift(column), darken(sketch.skin, 0.93))
    shade = points((neck - 1, 150), (neck - 1, sketch.chin - 3), (neck * 0.6, sketch.chin + 7), (0, sketch.chin + 10))
    canvas.tint([(sketch.shift(mirrored(shade), 0.3), 0.75)], darken(sketch.skin_shadow, 0.9), 2.5, clip=None)
    if traits.necktie:
        _draw_suit(sketch, neck, slope)
    else:
        _draw_top(sketch, neck, slope)
    if traits.necklace:
        _draw_necklace(sketch, neck)


def _shoulders(neck: float, slope: float, top: float) -> Points:
    return open_curve(
        points((neck + 2, top), (neck + 12, top + 5), (60, 197 + slope / 2), (88, 206 + slope), (98, 250))
    )


def _draw_top(sketch: Sketch, neck: float, slope: float) -> None:
    """Draw a jumper: round-necked on men, wider and lower on women."""
    canvas, cloth = sketch.canvas, sketch.traits.clothes
    top = 186.0 if sketch.traits.male else 193.0
    low = top + (15 if sketch.traits.male else 19)
    side = _shoulders(neck, slope, top)
    neckline = open_curve(points((0, low), (neck * 0.6, low - 3), (neck + 2, top)))
    canvas.fill(sketch.shift(mirrored(points(*neckline.tolist(), *side.tolist()))), cloth)
    rim = open_curve(points((-neck - 2, top), (-neck * 0.6, low - 3), (0, low), (neck * 0.6, low - 3), (neck + 2, top)))
    canvas.stroke(sketch.shift(rim), darken(cloth, 0.72), 3.0, 0.8, 0.8)
    _shade_cloth(sketch)


def _draw_suit(sketch: Sketch, neck: float, slope: float) -> None:
    """Draw a jacket over a white shirt with a tie."""
    canvas, traits = sketch.canvas, sketch.traits
    jacket = mix(darken(traits.clothes, 0.4), (30, 32, 42), 0.5)
    side = _shoulders(neck, slope, 184.0)
    shirt = mirrored(points((0, 196), (neck + 3, 180), (neck + 4, 190), (26, 230), (0, 240)))
    canvas.fill(sketch.shift(mirrored(points((0, 228), *side.tolist()))), jacket)
    canvas.fill(sketch.shift(shirt), (238, 240, 244))
    tie = traits.tie_colour
    canvas.fill(sketch.shift(mirrored(points((0, 193), (7, 194), (5, 203), (10, 240)))), tie)
    canvas.fill(sketch.shift(mirrored(points((0, 202), (5.5, 202), (5, 204.5), (0, 204.5)))), darken(tie, 0.65))
    for sign in (-1, 1):
        collar = points((0, 194), (neck + 2, 178), (neck + 6, 186), (15, 206)) * (sign, 1)
        canvas.fill(sketch.shift(collar), (252, 252, 254))
        canvas.stroke(sketch.shift(points((0, 195), (15, 206), (neck + 6, 186)) * (sign, 1)), (186, 190, 200), 1.4)
        lapel = points((neck + 5, 184), (neck + 14, 191), (26, 222), (14, 240)) * (sign, 1)
        canvas.fill(sketch.shift(lapel), darken(jacket, 1.35))
    _shade_cloth(sketch)


def _shade_cloth(sketch: Sketch) -> None:
    side = -1 if sketch.traits.light > 0 else 1
    fold = points((50, 204), (92, 212), (96, 240), (62, 240)) * (side, 1)
    sketch.canvas.tint([(sketch.shift(fold), 0.35)], (0, 0, 0), 6.0)


def _draw_necklace(sketch: Sketch, neck: float) -> None:
    """Draw a string of pearls."""
    top = 186.0 if sketch.traits.necktie else 184.0
    string = open_curve(points((-neck, top), (-neck * 0.72, 199), (0, 207), (neck * 0.72, 199), (neck, top)), 4)
    for x, y in string.tolist():
        sketch.canvas.fill(sketch.shift(ellipse(x, y, 2.4, 2.4)), (196, 178, 140))
        sketch.canvas.fill(sketch.shift(ellipse(x - 0.5, y - 0.6, 1.6, 1.6)), (255, 250, 236))


def draw_skin(sketch: Sketch) -> None:
    """Draw the ears and the bare face, lit from one side."""
    canvas, traits = sketch.canvas, sketch.traits
    covered = traits.hair_length > 0.25 and not traits.bald
    for sign in () if covered else (-1, 1):
        ear = ellipse(sign * (sketch.half_width + 1.5) - sketch.turn * 0.3, 115, 7, 14)
        canvas.fill(sketch.shift(ear), darken(sketch.skin, 0.94))
        inner = ellipse(sign * (sketch.half_width + 2.5) - sketch.turn * 0.3, 114, 3, 9)
        canvas.fill(sketch.shift(inner), mix(sketch.skin, sketch.skin_shadow, 0.55))
    if traits.double_chin:
        _draw_double_chin(sketch)
    canvas.fill(sketch.outline, sketch.skin)
    _draw_light(sketch)
    _draw_relief(sketch)


def _draw_light(sketch: Sketch) -> None:
    """Shade the side turned away from the light and brighten forehead, cheek and chin on the other."""
    traits, canvas, face = sketch.traits, sketch.canvas, sketch.face_mask
    depth = 26 * traits.light
    dark = 0.25 + 0.55 * traits.light_strength
    rim = sketch.outline * (0.9, 0.95) + (0.1 * CENTRE[0] + depth, 5.0)
    canvas.tint([(sketch.outline, dark), (rim, 0.0)], sketch.skin_shadow, 7.0, clip=face)
    glow = 0.25 + 0.45 * traits.light_strength
    bright = [
        (sketch.shift(ellipse(10 * traits.light, 82, 22, 13)), glow),
        (sketch.shift(ellipse(27 * traits.light, 132, 11, 8), 0.2), glow),
        (sketch.shift(ellipse(3 * traits.light, 172, 8, 4), 0.5), glow * 0.7),
    ]
    canvas.tint(bright, sketch.skin_light, 6.0, clip=face)


def _draw_relief(sketch: Sketch) -> None:
    """Shade eye sockets, cheekbones and chin, redden the cheeks, and draw what age and weight add."""
    traits, canvas, face = sketch.traits, sketch.canvas, sketch.face_mask
    bone = max(traits.cheekbones, 0.0)
    lift = 3.0 * max(traits.mouth_curve, 0)
    hollows, apples, blush = [], [], []
    for sign in (-1, 1):
        hollows.append((sketch.shift(ellipse(sign * 19, 107, 13, 8)), 0.22))
        hollows.append(
            (sketch.shift(points((40, 134), (44, 124), (40, 158), (26, 148)) * (sign, 1)), 0.12 + 0.45 * bone)
        )
        apples.append((sketch.shift(ellipse(sign * 27, 130 - lift, 10, 5.5), 0.2), 0.1 + 0.6 * bone))
        blush.append((sketch.shift(ellipse(sign * 28, 135 - lift, 11, 8), 0.2), 0.08 + 0.62 * traits.blush))
    hollows.append((sketch.shift(ellipse(0, 165, 10, 2.5), 0.6), 0.35))
    canvas.tint(hollows, sketch.skin_shadow, 4.0, clip=face)
    rose = mix(sketch.skin, (232, 70, 84), 0.62)
    canvas.tint(blush, rose, 5.0, clip=face)
    canvas.tint(apples, sketch.skin_light, 3.0, clip=face)
    folds = _folds(sketch)
    canvas.tint(folds, darken(sketch.skin_shadow, 0.9), 1.0, clip=face)


def _folds(sketch: Sketch) -> list[tuple[Points, float]]:
    """Return the creases beside the mouth, under the eyes and, with age, on the forehead and beside the eyes."""
    traits = sketch.traits
    old = max(0.0, (traits.age - 0.5) / 0.5)
    smile = max(traits.mouth_curve, 0.0)
    folds: list[tuple[Points, float]] = []
    for sign in (-1, 1):
        beside = open_curve(points((13, 136), (22, 142), (27, 150 - smile), (26, 158)) * (sign, 1))
        folds.append((sketch.shift(ribbon(beside, 3.0), 0.5), 0.12 + 0.3 * smile + 0.45 * old))
        under = open_curve(points((11, 119), (19, 123.5), (29, 120)) * (sign, 1))
        folds.append(
            (sketch.shift(ribbon(under, 3.0 + 3.0 * traits.eye_bags)), 0.1 + 0.5 * traits.eye_bags + 0.2 * old)
        )
        if old:
            foot = open_curve(points((33, 113), (38, 115), (42, 120)) * (sign, 1))
            folds.append((sketch.shift(ribbon(foot, 2.0)), 0.7 * old))
    if old:
        for y, reach in ((76, 19), (83, 25)):
            line = open_curve(points((-reach, y + 1), (-0.4 * reach, y - 1), (0.4 * reach, y - 1), (reach, y + 1)))
            folds.append((sketch.shift(ribbon(line, 2.0, 0.0, 0.0)), 0.45 * old))
    return folds


def _draw_double_chin(sketch: Sketch) -> None:
    """Draw a second, wider chin that shows below the first, with the first one's shade on it."""
    canvas, y, width = sketch.canvas, sketch.chin, sketch.half_width
    half = open_curve(points((width * 0.84, y - 32), (width * 0.8, y - 12), (width * 0.55, y + 6), (0, y + 12)))
    roll = sketch.shift(mirrored(half), 0.4)
    canvas.fill(roll, darken(sketch.skin, 0.98))
    edge = [(roll, 0.6), (roll - np.array((0.0, 6.0)), 0.0)]
    canvas.tint(edge, sketch.skin_shadow, 2.0, clip=canvas.mask(roll))
    fold = sketch.outline + np.array((0.0, 2.5))
    canvas.tint([(fold[fold[:, 1] > y - 16], 0.8)], sketch.skin_shadow, 1.2, clip=canvas.mask(roll))
