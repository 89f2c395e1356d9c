"""The pictures of the explorer that have labels, drawn as the commands draw them. Apart, for what draws loads Matplotlib."""

from __future__ import annotations

import numpy as np

from facevae.explorer.edits import Edit
from facevae.explorer.session import Session
from facevae.figures.animation import animation_bytes
from facevae.figures.interpolation import interpolation_frames
from facevae.model.encoder import Images
from facevae.model.latent_space import walk
from facevae.progress import silent
from facevae.workflows.common import decode_rows, tile_size
from facevae.workflows.latents_faces import short_face_name
from facevae.workflows.morph_faces import FoundFaces
from facevae.workflows.morph_picture import MorphPicture, Walked
from facevae.workflows.picture_format import STRIP

STRIP_STEPS = (0.0, 0.25, 0.5, 0.75, 1.0)
ANIMATION_STEPS = 25


def strip(session: Session, edit: Edit, upscale: int = 0) -> bytes:
    """Return a PNG as `morph` draws it: the face, and on its way to the edit 0, 1/4, 1/2, 3/4 and all of it.

    Raises:
        UsageError: nothing is moved, or there is no such face or factor.
    """
    movement, latent = session.movement(edit), session.latent(edit.face)
    morphs = decode_rows(
        session.model,
        walk(latent[None], movement.delta, np.asarray(STRIP_STEPS, dtype=np.float32)),
        "morph",
        "faces",
        silent,
    )
    original = session.original(edit.face)
    shown = original if original is not None else session.model.decode(latent[None])[0]
    faces = FoundFaces([session.name_of(edit.face)], latent[None], shown[None], [original is None], [], [])
    picture = MorphPicture(
        STRIP,
        tile_size(session.model.image_size, upscale or None),
        session.upscaling(upscale, "photographs"),
        session.upscaling(upscale, "reconstructions"),
    )
    return picture.drawn(faces, morphs, [Walked(movement, STRIP_STEPS)], "strip.png")


def animation(session: Session, first: Edit, second: Edit, upscale: int = 0) -> bytes:
    """Return a GIF as `interpolate` draws it: from one edited face to another and back, between the two.

    A face that is not moved is shown as its original at its end, if there is one.
    """
    between = session.between(first, second, ANIMATION_STEPS, upscale)
    ends = np.stack([_end(session, edit, upscale) for edit in (first, second)])
    names = [short_face_name(session.name_of(edit.face)) for edit in (first, second)]
    places = (np.arange(ANIMATION_STEPS) / (ANIMATION_STEPS - 1)).tolist()
    side = tile_size(session.model.image_size, upscale or None)
    return animation_bytes(interpolation_frames(ends, between[None], places, names, side), "gif")


def _end(session: Session, edit: Edit, upscale: int) -> Images:
    original = None if edit.moves else session.original(edit.face)
    if original is None:
        return session.decode(edit, upscale)
    shown: Images = session.enlarged(original[None], upscale, "photographs")[0]
    return shown
