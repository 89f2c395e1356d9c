"""Eyes, brows, nose and mouth."""

from __future__ import annotations

import numpy as np

from facevae.drawing.canvas import Points, Rgb, darken, ellipse, mix, open_curve, points
from facevae.drawing.sketch import Sketch

EYE_X = 19.5
EYE_Y = 111.0
MOUTH_Y = 151.0


def draw_eyes(sketch: Sketch) -> None:
    """Draw both eyes with lids, lashes and, where worn, eye shadow."""
    traits = sketch.traits
    if traits.makeup > 0.3:
        shadow = mix(sketch.skin, (92, 52, 84), 0.75)
        lids = [(sketch.shift(ellipse(sign * (EYE_X + 1.5), 104.5, 12, 5)), 0.8 * traits.makeup) for sign in (-1, 1)]
        sketch.canvas.tint(lids, shadow, 1.6)
    for sign in (-1.0, 1.0):
        _draw_eye(sketch, sign)


def _eye_outline(sketch: Sketch, sign: float) -> tuple[Points, Points]:
    """Return the upper and the lower edge of the eye's opening, from the inner to the outer corner."""
    traits = sketch.traits
    squint = 1.0 - 0.22 * max(traits.mouth_curve, 0.0)
    height = (2.0 + 5.6 * traits.eye_openness) * squint * (0.92 if traits.male else 1.06)
    # The eye on the far side of a turned head looks a little narrower.
    half = 11.0 * (1.0 - 0.06 * traits.yaw * sign)
    inner, outer = EYE_X - half, EYE_X + half
    upper = open_curve(
        points((inner, 113), (EYE_X - 4, EYE_Y - height * 0.86), (EYE_X + 4, EYE_Y - height * 0.9), (outer, 110))
    )
    lower = open_curve(
        points(
            (inner, 113), (EYE_X - 3, EYE_Y + 1 + height * 0.5), (EYE_X + 5, EYE_Y + 0.5 + height * 0.5), (outer, 110)
        )
    )
    return sketch.shift(upper * (sign, 1)), sketch.shift(lower * (sign, 1))


def _draw_eye(sketch: Sketch, sign: float) -> None:
    traits, canvas = sketch.traits, sketch.canvas
    upper, lower = _eye_outline(sketch, sign)
    canvas.fill(np.concatenate([upper, lower[::-1]]), (240, 236, 233))
    _draw_iris(sketch, sign, upper, lower)
    dark = mix(sketch.skin_shadow, (30, 18, 16), 0.75)
    canvas.stroke(lower, mix(sketch.skin_shadow, (150, 70, 64), 0.3), 1.1)
    lash = 2.0 + 1.6 * traits.makeup + 0.5 * (not traits.male)
    line = upper + np.array((0.0, -0.4))
    if not traits.male:
        line = np.concatenate([line, line[-1:] + np.array((sign * 2.0, -1.2 - traits.makeup))])
    canvas.stroke(line, (24, 16, 18) if traits.makeup > 0.3 else dark, lash, 0.3, 0.35)
    crease = upper + np.array((0.0, -4.0))
    canvas.stroke(crease, mix(sketch.skin, sketch.skin_shadow, 0.75), 1.4)


def _draw_iris(sketch: Sketch, sign: float, upper: Points, lower: Points) -> None:
    """Draw iris, pupil and highlight, and hide what the lids cover by cutting their polygons at the opening."""
    canvas, traits = sketch.canvas, sketch.traits
    x = sign * EYE_X + 1.2 * traits.yaw
    centre = sketch.shift(points((x, EYE_Y - 0.3)))[0]
    for radius, colour in ((6.0, darken(traits.eye_colour, 0.55)), (5.1, traits.eye_colour), (2.6, (14, 10, 12))):
        canvas.fill(_between(ellipse(centre[0], centre[1], radius, radius), upper, lower), colour)
    spot = ellipse(centre[0] + (2.0 if traits.light >= 0 else -2.0), centre[1] - 2.2, 1.5, 1.5)
    canvas.fill(_between(spot, upper, lower), (255, 255, 255))


def _between(shape: Points, upper: Points, lower: Points) -> Points:
    """Clamp the shape's height to lie between two edges given as functions of x."""
    order = slice(None) if upper[0, 0] < upper[-1, 0] else slice(None, None, -1)
    top = np.interp(shape[:, 0], upper[order, 0], upper[order, 1])
    bottom = np.interp(shape[:, 0], lower[order, 0], lower[order, 1])
    return np.stack([shape[:, 0], np.clip(shape[:, 1], top, np.maximum(top, bottom))], axis=1)


def draw_brows(sketch: Sketch) -> None:
    """Draw the eyebrows, in a colour near that of the hair."""
    traits = sketch.traits
    colour = mix(darken(sketch.hair, 0.72), sketch.skin_shadow, 0.25)
    width = 2.6 + 5.6 * traits.brow_thickness + 0.8 * traits.male
    arch = 1.5 + 4.2 * traits.brow_arch
    for sign in (-1.0, 1.0):
        rise = 0.9 * traits.asymmetry * sign
        base = (97.5 if traits.male else 96.0) - 1.0 * max(traits.mouth_curve, 0) - rise
        path = points((8, base), (17, base - arch * 0.6), (25, base - arch), (36, base + 1.5)) * (sign, 1)
        sketch.canvas.stroke(sketch.shift(open_curve(path)), colour, width, 0.75, 0.15)


def draw_nose(sketch: Sketch) -> None:
    """Draw the nose: its shaded side, its bright ridge and tip, and the nostrils."""
    traits, canvas = sketch.traits, sketch.canvas
    half = 8.0 + 8.5 * traits.nose_size - 2.5 * max(traits.nose_point - 0.4, 0) + 0.8 * traits.male
    tip = 136.0 + 2.5 * traits.nose_size + 2.0 * traits.nose_point
    side = -1.0 if traits.light > 0 else 1.0
    strength = 0.35 + 0.4 * traits.light_strength
    flank = points(
        (4 * side, 106), (6.0 * side, 120), (half * 0.95 * side, tip - 3), (half * 0.4 * side, tip), (2.5 * side, 122)
    )
    under = points((-half, tip - 1), (half, tip - 1), (half * 0.6, tip + 5), (0, tip + 6), (-half * 0.6, tip + 5))
    canvas.tint([(_lean(sketch, flank), strength), (_lean(sketch, under), 0.45)], sketch.skin_shadow, 1.8)
    ridge = points((-1.6, 104), (1.6, 104), (2.0, 126), (-2.0, 126)) + np.array((-1.0 * side, 0.0))
    ball = ellipse(-1.5 * side, tip - 5.5, 3.6 - 1.2 * traits.nose_point + 2 * traits.nose_size, 3.2)
    canvas.tint([(_lean(sketch, ridge), 0.5), (_lean(sketch, ball), 0.75)], sketch.skin_light, 1.4)
    _draw_nostrils(sketch, half, tip)


def _draw_nostrils(sketch: Sketch, half: float, tip: float) -> None:
    canvas, traits = sketch.canvas, sketch.traits
    wing = mix(sketch.skin, sketch.skin_shadow, 0.85)
    hole = darken(sketch.skin_shadow, 0.55)
    for sign in (-1, 1):
        path = open_curve(
            points((half - 1.5, tip - 8), (half, tip - 4), (half - 1.0, tip - 0.5), (half - 3.5, tip)) * (sign, 1)
        )
        canvas.stroke(_lean(sketch, path), wing, 1.8)
        nostril = ellipse(sign * half * 0.5, tip + 0.2, half * 0.24, 1.5)
        canvas.fill(_lean(sketch, nostril), hole)
    if traits.nose_point > 0.6:
        drop = open_curve(points((-half * 0.5, tip), (0, tip + 3.0), (half * 0.5, tip)))
        canvas.stroke(_lean(sketch, drop), wing, 2.2)


def _lean(sketch: Sketch, shape: Points) -> Points:
    """Place a part of the nose: the further down, the further it stands out of the face."""
    depth = np.clip((shape[:, 1:] - 104) / 32, 0, 1)
    return sketch.shift(shape + depth * (sketch.turn, 0.0))


def draw_mouth(sketch: Sketch) -> None:
    """Draw the lips and, where they part, the teeth and the dark between them."""
    canvas = sketch.canvas
    edge = _lip_edges(sketch)
    lips, line = _lip_colours(sketch)
    for upper, lower, colour in (
        (edge["top"], edge["inner_top"], darken(lips, 0.9)),
        (edge["inner_bottom"], edge["bottom"], lips),
    ):
        canvas.fill(np.concatenate([upper, lower[::-1]]), colour)
    if sketch.traits.mouth_open > 0:
        _draw_opening(sketch, edge["inner_top"], edge["inner_bottom"])
    else:
        canvas.stroke(edge["inner_top"], line, 2.2, 0.4, 0.4)
    middle = edge["bottom"][len(edge["bottom"]) // 2]
    shine = ellipse(middle[0] - 2, middle[1] - 3.4, 6, 1.3)
    canvas.tint([(shine, 0.35 + 0.35 * sketch.traits.lipstick)], mix(lips, (255, 240, 236), 0.8), 0.8)
    corners = [(ellipse(x, y, 2.2, 2.0), 0.6) for x, y in (edge["top"][0], edge["top"][-1])]
    canvas.tint(corners, sketch.skin_shadow, 0.9)


def _lip_colours(sketch: Sketch) -> tuple[Rgb, Rgb]:
    traits = sketch.traits
    natural = mix(sketch.skin, (176, 72, 72), 0.36 if traits.male else 0.5)
    lips = mix(natural, traits.lipstick_colour, 0.9) if traits.lipstick else natural
    return lips, mix(darken(lips, 0.45), (60, 20, 24), 0.3)


def _lip_edges(sketch: Sketch) -> dict[str, Points]:
    """Return the four edges of the lips from the left corner to the right, placed in the frame."""
    traits = sketch.traits
    curve = traits.mouth_curve
    smile = max(curve, 0.0)
    # A smile is broader and shows more teeth than in life: it has to show in 32 pixels, and to be learned there.
    gap = (10.0 + 5.0 * smile) * traits.mouth_open
    half = 19.5 + 9.5 * smile - 1.5 * (traits.mouth_open > 0) * (1 - smile)
    full = (0.62 + 0.95 * traits.lip_fullness) * (0.85 if traits.male else 1.0) * (1 - 0.22 * smile)
    corner = MOUTH_Y - 7.5 * curve
    upper = MOUTH_Y + 1.4 * smile - 0.3 * gap
    lower = upper + gap * (1 + 0.15 * smile)
    tilt = 1.1 * traits.asymmetry

    def edge(middle: float, side: float, bow: float = 0.0) -> Points:
        """Run through both corners; `side` is the height at a third of the way, `bow` dips the middle."""
        path = points(
            (-half, corner),
            (-half * 0.55, side),
            (-half * 0.18, middle),
            (0, middle + bow),
            (half * 0.18, middle),
            (half * 0.55, side),
            (half, corner),
        )
        path[:, 1] += tilt * path[:, 0] / half
        return sketch.shift(open_curve(path), 0.75)

    def side(middle: float, share: float) -> float:
        return middle + (corner - middle) * share

    return {
        "top": edge(upper - 5.4 * full, side(upper - 3.6 * full, 0.25), 1.2),
        "inner_top": edge(upper, side(upper, 0.3), 0.7 if gap == 0 else 0.0),
        "inner_bottom": edge(lower, side(lower, 0.3), 0.7 if gap == 0 else 0.0),
        "bottom": edge(lower + 8.0 * full, side(lower + 6.6 * full, 0.22), 0.3),
    }


def _draw_opening(sketch: Sketch, top: Points, bottom: Points) -> None:
    """Fill the space between the lips; a smile shows nearly only teeth, a mouth that just hangs open few."""
    canvas = sketch.canvas
    canvas.fill(np.concatenate([top, bottom[::-1]]), (66, 20, 26))
    share = 0.88 if sketch.traits.mouth_curve > 0.25 else 0.38
    inner = slice(2, -2)
    teeth_edge = top + (bottom - top) * share
    canvas.fill(np.concatenate([top[inner], teeth_edge[inner][::-1]]), (250, 247, 240))
    canvas.stroke(top + np.array((0.0, 0.4)), darken(_lip_colours(sketch)[0], 0.55), 1.2)


def draw_glasses(sketch: Sketch) -> None:
    """Draw glasses or sunglasses: thick frames, so that they still read at 32x32."""
    traits, canvas = sketch.traits, sketch.canvas
    for sign in (-1.0, 1.0):
        _draw_lens(sketch, sign)
        arm = points((sign * 36, 107), (sign * (sketch.half_width + 3), 108))
        canvas.stroke(sketch.shift(arm, 0.1), traits.glasses_colour, 4.0, 1.0, 1.0)
    bridge = open_curve(points((-5, 109), (0, 106.5), (5, 109)))
    canvas.stroke(sketch.shift(bridge, 0.3), traits.glasses_colour, 4.0, 1.0, 1.0)


def _draw_lens(sketch: Sketch, sign: float) -> None:
    traits, canvas = sketch.traits, sketch.canvas
    unit = _superellipse(2.0 + 3.0 * (1 - traits.glasses_roundness))
    height = 10.2 + 1.5 * traits.glasses_roundness
    centre = sketch.shift(points((sign * (EYE_X + 1), EYE_Y + 1.5)), 0.25)
    rim, hole = unit * (17.5, height + 3.3) + centre, unit * (14.0, height) + centre
    glare = unit * (7.0, 4.5) + centre - np.array((3.0, 3.5))
    if traits.glasses == "sun":
        canvas.fill(rim, traits.glasses_colour)
        canvas.fill(hole, (30, 28, 34))
        canvas.tint([(glare, 0.45)], (150, 160, 176), 2.5)
    else:
        canvas.tint([(glare, 0.28)], (255, 255, 255), 2.0)
        canvas.fill(np.concatenate([rim, rim[:1], hole[:1], hole[::-1]]), traits.glasses_colour)


def _superellipse(exponent: float) -> Points:
    """Return a unit circle for exponent 2, ever nearer to a square for larger ones."""
    unit = ellipse(0, 0, 1, 1)
    norm: Points = (np.abs(unit) ** exponent).sum(axis=1, keepdims=True) ** (1 / exponent)
    return unit / norm
