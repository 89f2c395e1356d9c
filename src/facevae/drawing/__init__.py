"""Drawn faces: a data set in CelebA's own layout that needs no download and shows no real person.

`random_traits` draws what a face is like, `attributes_of` says which of CelebA's forty attributes it has,
`draw_face` draws it, and `write_drawn_faces` writes a whole data set of such faces.
"""

from __future__ import annotations

from facevae.drawing.dataset import MARKER_NAME, write_drawn_faces
from facevae.drawing.face import draw_face
from facevae.drawing.traits import ATTRIBUTE_NAMES, FaceTraits, attributes_of, random_traits

__all__ = [
    "ATTRIBUTE_NAMES",
    "MARKER_NAME",
    "FaceTraits",
    "attributes_of",
    "draw_face",
    "random_traits",
    "write_drawn_faces",
]
