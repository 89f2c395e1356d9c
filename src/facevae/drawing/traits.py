"""What a drawn face is like, how likely each look is, and which CelebA attributes follow from it.

The attributes are read off the traits that are drawn, never chosen beside them, so a label and its picture cannot
disagree. Rates and correlations follow those that CelebA reports, except that glasses, baldness and a few other rare
looks are more common here, so that a small data set holds enough of them to learn from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Colour = tuple[int, int, int]
HairColour = Literal["black", "brown", "blond", "gray", "auburn"]
Glasses = Literal["none", "clear", "sun"]
Hat = Literal["none", "beanie", "cap", "brim"]


@dataclass(frozen=True)
class FaceTraits:
    """Everything that decides how a face is drawn. Plain numbers run from 0 to 1 unless a comment says otherwise.

    The defaults describe one neutral face, from which `dataclasses.replace` makes variations.
    """

    male: bool = False
    age: float = 0.3
    opinion: float = 0.0  # not drawn: the taste of whoever judges the face, a standard normal; see `Attractive`

    skin: float = 0.25  # 0 very pale, 1 deep brown
    hair_colour: HairColour = "brown"
    hair_shade: float = 0.5  # darker to lighter within the hair colour
    eye_colour: Colour = (92, 70, 50)
    clothes: Colour = (70, 92, 128)
    background: Colour = (176, 186, 190)
    background_second: Colour = (120, 134, 142)
    background_pattern: int = 0

    yaw: float = 0.0  # -1 to 1: the nose points to the left or to the right of the picture
    roll: float = 0.0  # degrees
    scale: float = 1.0
    offset_x: float = 0.0  # pixels of the 178x218 frame
    offset_y: float = 0.0
    light: float = -0.7  # -1 to 1: where the light comes from, left to right
    light_strength: float = 0.5

    face_width: float = 0.0  # -1 to 1
    jaw: float = 0.3  # 0 tapered, 1 square
    cheekbones: float = 0.3
    double_chin: bool = False
    nose_size: float = 0.3
    nose_point: float = 0.3
    lip_fullness: float = 0.4
    eye_openness: float = 0.7
    eye_bags: float = 0.0
    brow_thickness: float = 0.4
    brow_arch: float = 0.3
    asymmetry: float = 0.0  # -1 to 1: one brow and one corner of the mouth sit a little higher

    mouth_curve: float = 0.0  # -1 to 1: corners down to corners up
    mouth_open: float = 0.0

    hair_length: float = 0.75  # 0 above the ears, 0.5 to the chin, 1 beyond the picture
    hair_volume: float = 0.5
    waviness: float = 0.4
    part: float = -0.3  # -1 to 1: where the hair is parted, left to right
    bangs: bool = False
    bald: bool = False
    receding: bool = False
    strands: int = 0  # the seed of the small irregularities of the hair

    stubble: bool = False
    mustache: bool = False
    goatee: bool = False
    sideburns: bool = False

    glasses: Glasses = "none"
    glasses_roundness: float = 0.5
    glasses_colour: Colour = (28, 24, 26)
    hat: Hat = "none"
    hat_colour: Colour = (120, 40, 48)
    earrings: bool = False
    necklace: bool = False
    necktie: bool = False
    tie_colour: Colour = (140, 30, 40)

    makeup: float = 0.0
    lipstick: bool = False
    lipstick_colour: Colour = (186, 44, 66)
    blush: float = 0.1

    blur: float = 0.0  # standard deviation in pixels of the 178x218 frame


def _eyes_visible(traits: FaceTraits) -> bool:
    return traits.glasses != "sun"


def _top_visible(traits: FaceTraits) -> bool:
    return traits.hat == "none"


def _waves_visible(traits: FaceTraits) -> bool:
    return not traits.bald and (_top_visible(traits) or traits.hair_length > 0.25)


def _has_hair(traits: FaceTraits, colour: HairColour) -> bool:
    return traits.hair_colour == colour and not traits.bald


def _beardless(traits: FaceTraits) -> bool:
    return not (traits.stubble or traits.mustache or traits.goatee or traits.sideburns)


def _chubby(traits: FaceTraits) -> bool:
    return traits.face_width > 0.6


def _oval(traits: FaceTraits) -> bool:
    return traits.face_width < 0.2 and traits.jaw < 0.35


def _attractive(traits: FaceTraits) -> bool:
    """Give the verdict of one judge. CelebA's label is such a judgement, so it is noisy here as well."""
    score = (
        1.3 * (traits.age < 0.6)
        + 1.0 * (traits.makeup > 0.5)
        - 0.2 * traits.male
        - 1.8 * _chubby(traits)
        + 0.4 * _oval(traits)
        + 0.3 * (traits.brow_arch > 0.6)
        + 0.2 * (traits.mouth_curve > 0.25)
        - 0.5 * (traits.nose_size > 0.6)
        - 0.4 * (traits.eye_bags > 0.5)
        - 0.6 * (traits.glasses != "none")
        - 0.5 * (traits.bald or traits.receding)
        - 0.4 * abs(traits.asymmetry)
        + 1.1 * traits.opinion
    )
    return bool(score > 1.1)


_RULES: dict[str, Callable[[FaceTraits], bool]] = {
    "5_o_Clock_Shadow": lambda t: t.stubble,
    "Arched_Eyebrows": lambda t: t.brow_arch > 0.6,
    "Attractive": _attractive,
    "Bags_Under_Eyes": lambda t: t.eye_bags > 0.5 and _eyes_visible(t),
    "Bald": lambda t: t.bald and _top_visible(t),
    "Bangs": lambda t: t.bangs and not t.bald and _top_visible(t),
    "Big_Lips": lambda t: t.lip_fullness > 0.6,
    "Big_Nose": lambda t: t.nose_size > 0.6,
    "Black_Hair": lambda t: _has_hair(t, "black"),
    "Blond_Hair": lambda t: _has_hair(t, "blond"),
    "Blurry": lambda t: t.blur > 0.8,
    "Brown_Hair": lambda t: _has_hair(t, "brown"),
    "Bushy_Eyebrows": lambda t: t.brow_thickness > 0.65,
    "Chubby": _chubby,
    "Double_Chin": lambda t: t.double_chin,
    "Eyeglasses": lambda t: t.glasses != "none",
    "Goatee": lambda t: t.goatee,
    "Gray_Hair": lambda t: _has_hair(t, "gray"),
    "Heavy_Makeup": lambda t: t.makeup > 0.5,
    "High_Cheekbones": lambda t: t.cheekbones > 0.5,
    "Male": lambda t: t.male,
    "Mouth_Slightly_Open": lambda t: t.mouth_open > 0.2,
    "Mustache": lambda t: t.mustache,
    "Narrow_Eyes": lambda t: t.eye_openness < 0.4 and _eyes_visible(t),
    "No_Beard": _beardless,
    "Oval_Face": _oval,
    "Pale_Skin": lambda t: t.skin < 0.05,
    "Pointy_Nose": lambda t: t.nose_point > 0.6,
    "Receding_Hairline": lambda t: t.receding and not t.bald and _top_visible(t),
    "Rosy_Cheeks": lambda t: t.blush > 0.6,
    "Sideburns": lambda t: t.sideburns,
    "Smiling": lambda t: t.mouth_curve > 0.25,
    "Straight_Hair": lambda t: t.waviness < 0.2 and _waves_visible(t),
    "Wavy_Hair": lambda t: t.waviness > 0.6 and _waves_visible(t),
    "Wearing_Earrings": lambda t: t.earrings,
    "Wearing_Hat": lambda t: t.hat != "none",
    "Wearing_Lipstick": lambda t: t.lipstick,
    "Wearing_Necklace": lambda t: t.necklace,
    "Wearing_Necktie": lambda t: t.necktie,
    "Young": lambda t: t.age < 0.6,
}

ATTRIBUTE_NAMES: tuple[str, ...] = tuple(_RULES)
"""CelebA's forty attribute names, in CelebA's order."""


def attributes_of(traits: FaceTraits) -> dict[str, bool]:
    """Return which of CelebA's forty attributes a face with these traits shows, in the order of `ATTRIBUTE_NAMES`.

    What a hat or sunglasses hide does not count as shown.
    """
    return {name: bool(rule(traits)) for name, rule in _RULES.items()}


def random_traits(rng: np.random.Generator) -> FaceTraits:
    """Draw the traits of one face, using `rng` alone as the source of chance."""
    male = _chance(rng, 0.42)
    young = _chance(rng, 0.66 if male else 0.86)
    values: dict[str, Any] = {
        "male": male,
        "age": rng.uniform(0.05, 0.5) if young else rng.uniform(0.68, 1.0),
        "opinion": rng.normal(),
    }
    values |= _random_scene(rng)
    values |= _random_head(rng, male, young)
    values |= _random_expression(rng, male)
    values |= _random_hair(rng, male, young, values["skin"])
    values |= _random_beard(rng, male)
    values |= _random_makeup(rng, male, young)
    values |= _random_accessories(rng, male, young)
    return FaceTraits(**values)


def _chance(rng: np.random.Generator, probability: float) -> bool:
    return bool(rng.random() < probability)


def _level(rng: np.random.Generator, high: bool, low: tuple[float, float], top: tuple[float, float]) -> float:
    """Draw a number from one of two separate ranges, so that few faces sit on the border of an attribute."""
    return float(rng.uniform(*(top if high else low)))


def _colour(rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]) -> Colour:
    """Draw a colour of any hue with saturation and value (lightness of the strongest channel) in the given ranges."""
    hue, s, v = rng.random(), rng.uniform(*saturation), rng.uniform(*value)
    red, green, blue = (255 * v * (1 - s * min(max(abs((hue * 6 + n) % 6 - 3) - 1, 0), 1)) for n in (3, 1, 5))
    return int(red), int(green), int(blue)


_EYE_COLOURS: tuple[Colour, ...] = ((66, 44, 30), (92, 62, 38), (110, 84, 52), (84, 104, 76), (82, 116, 150))


def _random_scene(rng: np.random.Generator) -> dict[str, Any]:
    side = 1.0 if _chance(rng, 0.5) else -1.0
    # Calm backgrounds: their colours would otherwise be most of what there is to learn.
    first = _colour(rng, (0.02, 0.22), (0.5, 0.8))
    second = tuple(int(np.clip(channel * rng.uniform(0.75, 1.05) + rng.uniform(-8, 10), 0, 255)) for channel in first)
    return {
        "background": first,
        "background_second": second,
        "background_pattern": int(rng.integers(8)),
        "yaw": float(np.clip(rng.normal(0, 0.45), -1, 1)),
        "roll": float(np.clip(rng.normal(0, 1.5), -4, 4)),
        "scale": float(rng.uniform(0.97, 1.04)),
        "offset_x": float(rng.uniform(-1.2, 1.2)),
        "offset_y": float(rng.uniform(-1.2, 1.2)),
        "light": side * float(rng.uniform(0.35, 1.0)),
        "light_strength": float(rng.uniform(0.2, 0.9)),
        "clothes": _colour(rng, (0.05, 0.55), (0.25, 0.7)),
        "blur": float(rng.uniform(1.3, 2.0)) if _chance(rng, 0.05) else 0.0,
    }


def _random_head(rng: np.random.Generator, male: bool, young: bool) -> dict[str, Any]:
    chubby = _chance(rng, 0.04 + 0.06 * male + 0.05 * (not young))
    oval = not chubby and _chance(rng, 0.22 if male else 0.36)
    skin = rng.uniform(0.0, 0.03) if _chance(rng, 0.03 if male else 0.07) else 0.08 + 0.85 * rng.beta(1.2, 2.2)
    return {
        "skin": float(skin),
        "eye_colour": _EYE_COLOURS[int(rng.integers(2 if skin > 0.5 else 5))],
        "face_width": float(rng.uniform(0.75, 1.0) if chubby else rng.uniform(-0.8, 0.15 if oval else 0.5)),
        "jaw": float(rng.uniform(0.0, 0.3) if oval else rng.uniform(0.4, 1.0 if male else 0.7)),
        "double_chin": _chance(rng, 0.55 if chubby else 0.01 + 0.04 * (not young)),
        "nose_size": _level(rng, _chance(rng, 0.4 if male else 0.11), (0.0, 0.5), (0.7, 1.0)),
        "nose_point": _level(rng, _chance(rng, 0.2 if male else 0.34), (0.0, 0.5), (0.7, 1.0)),
        "lip_fullness": _level(rng, _chance(rng, 0.16 if male else 0.3), (0.0, 0.5), (0.7, 1.0)),
        "eye_openness": _level(rng, _chance(rng, 0.12), (0.55, 1.0), (0.05, 0.3)),
        "eye_bags": _level(rng, _chance(rng, 0.12 + 0.2 * male + 0.1 * (not young)), (0.0, 0.3), (0.7, 1.0)),
        "brow_thickness": _level(rng, _chance(rng, 0.26 if male else 0.06), (0.0, 0.5), (0.75, 1.0)),
        "brow_arch": _level(rng, _chance(rng, 0.06 if male else 0.43), (0.0, 0.45), (0.7, 1.0)),
        "asymmetry": float(np.clip(rng.normal(0, 0.4), -1, 1)),
    }


def _random_expression(rng: np.random.Generator, male: bool) -> dict[str, Any]:
    smiling = _chance(rng, 0.41 if male else 0.53)
    open_mouth = _chance(rng, 0.88 if smiling else 0.18)
    return {
        "mouth_curve": float(rng.uniform(0.65, 1.0) if smiling else rng.uniform(-0.4, 0.1)),
        "mouth_open": float(rng.uniform(0.4, 1.0)) if open_mouth else 0.0,
        "cheekbones": _level(rng, _chance(rng, 0.78 if smiling else 0.15), (0.0, 0.35), (0.65, 1.0)),
    }


def _random_hair_colour(rng: np.random.Generator, male: bool, young: bool, skin: float) -> HairColour:
    if not young and _chance(rng, 0.26 if male else 0.1):
        return "gray"
    fair = 0.0 if skin > 0.6 else 1.0
    weights: dict[HairColour, float] = {
        "black": 0.30 + 0.5 * (1 - fair) + 0.1 * male,
        "brown": 0.30,
        "blond": (0.10 if male else 0.36) * fair,
        "auburn": 0.16,
    }
    shares = np.array(list(weights.values()))
    return list(weights)[int(rng.choice(len(weights), p=shares / shares.sum()))]


def _random_hair(rng: np.random.Generator, male: bool, young: bool, skin: float) -> dict[str, Any]:
    bald = _chance(rng, (0.07 if young else 0.18) if male else 0.002)
    wavy = _chance(rng, 0.16 if male else 0.46)
    straight = not wavy and _chance(rng, 0.3)
    waves = (0.7, 1.0) if wavy else (0.0, 0.15) if straight else (0.25, 0.55)
    bangs = not bald and _chance(rng, 0.09 if male else 0.21)
    long_hair = rng.uniform(0.5, 1.0) if _chance(rng, 0.9) else rng.uniform(0.25, 0.45)
    short_hair = rng.uniform(0.0, 0.15) if _chance(rng, 0.92) else rng.uniform(0.3, 0.6)
    return {
        "hair_colour": _random_hair_colour(rng, male, young, skin),
        "hair_shade": float(rng.random()),
        "hair_length": float(short_hair if male else long_hair),
        "hair_volume": float(rng.random()),
        "waviness": float(rng.uniform(*waves)),
        "part": float(rng.uniform(-0.8, 0.8)),
        "bangs": bangs,
        "bald": bald,
        "receding": not bald and not bangs and _chance(rng, (0.1 if young else 0.3) if male else 0.035),
        "strands": int(rng.integers(2**31)),
    }


def _random_beard(rng: np.random.Generator, male: bool) -> dict[str, Any]:
    if not male:
        return {}
    full = _chance(rng, 0.08)
    stubble = not full and _chance(rng, 0.27)
    return {
        "stubble": stubble,
        "mustache": full or _chance(rng, 0.04),
        "goatee": full or _chance(rng, 0.07),
        "sideburns": full or _chance(rng, 0.06),
    }


def _random_makeup(rng: np.random.Generator, male: bool, young: bool) -> dict[str, Any]:
    made_up = not male and _chance(rng, 0.72 if young else 0.45)
    lipstick = made_up and _chance(rng, 0.97)
    lipstick = lipstick or (not male and _chance(rng, 0.36))
    rosy = _chance(rng, 0.19 if made_up else 0.03 * (not male))
    lips = ((190, 40, 62), (206, 74, 92), (164, 36, 60), (214, 96, 104), (150, 44, 74))
    return {
        "makeup": float(rng.uniform(0.7, 1.0)) if made_up else float(rng.uniform(0, 0.15) if not male else 0.0),
        "lipstick": lipstick,
        "lipstick_colour": lips[int(rng.integers(len(lips)))],
        "blush": float(rng.uniform(0.8, 1.0) if rosy else rng.uniform(0.0, 0.35)),
    }


def _random_accessories(rng: np.random.Generator, male: bool, young: bool) -> dict[str, Any]:
    glasses = _chance(rng, (0.17 if male else 0.08) + 0.14 * (not young))
    kind = "none" if not glasses else "sun" if _chance(rng, 0.22) else "clear"
    frames: tuple[Colour, ...] = ((24, 22, 26), (24, 22, 26), (58, 30, 20), (30, 36, 62))
    hats = ("beanie", "cap", "brim")
    return {
        "glasses": kind,
        "glasses_roundness": float(rng.random()),
        "glasses_colour": frames[int(rng.integers(len(frames)))],
        "hat": hats[int(rng.integers(len(hats)))] if _chance(rng, 0.07 if male else 0.04) else "none",
        "hat_colour": _colour(rng, (0.1, 0.75), (0.15, 0.85)),
        "earrings": _chance(rng, 0.015 if male else 0.32),
        "necklace": _chance(rng, 0.01 if male else 0.2),
        "necktie": male and _chance(rng, 0.1 if young else 0.3),
        "tie_colour": _colour(rng, (0.4, 0.85), (0.25, 0.7)),
    }
