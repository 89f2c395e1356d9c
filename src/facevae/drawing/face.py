"""From traits to a picture: the order in which the parts of a face are laid over each other."""

from __future__ import annotations

from PIL import Image, ImageFilter

from facevae.drawing.accessories import draw_earrings, draw_hat
from facevae.drawing.body import draw_background, draw_body, draw_skin
from facevae.drawing.canvas import FINENESS, FRAME
from facevae.drawing.features import draw_brows, draw_eyes, draw_glasses, draw_mouth, draw_nose
from facevae.drawing.hair import draw_back_hair, draw_beard, draw_hair
from facevae.drawing.sketch import Sketch
from facevae.drawing.traits import FaceTraits


def draw_face(traits: FaceTraits, size: tuple[int, int] = FRAME) -> Image.Image:
    """Draw one face in CelebA's aligned frame and return it as an RGB image of `size` (width, height).

    In the 178x218 frame the eyes lie at about (69, 111) and (108, 111); roll and offset move them by a pixel or two.
    Other sizes are the same picture resized, whatever their proportions. Equal traits give equal pixels.
    """
    sketch = Sketch(traits)
    draw_background(sketch)
    draw_back_hair(sketch)
    draw_body(sketch)
    draw_skin(sketch)
    draw_beard(sketch)
    draw_mouth(sketch)
    draw_nose(sketch)
    draw_eyes(sketch)
    draw_brows(sketch)
    if traits.glasses != "none":
        draw_glasses(sketch)
    draw_hair(sketch)
    draw_hat(sketch)
    draw_earrings(sketch)
    image = sketch.canvas.image
    image = image.reduce(FINENESS) if size == FRAME else image.resize(size, Image.Resampling.BOX)
    if traits.blur > 0:
        image = image.filter(ImageFilter.GaussianBlur(traits.blur * size[1] / FRAME[1]))
    return image
