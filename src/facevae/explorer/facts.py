"""What the page is told of the session and of a face, as JSON has it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from facevae.config import DEFAULT_ATTRIBUTE, SPLIT_CODES
from facevae.explorer.face_refs import FaceRef, PhotoFace, RowFace
from facevae.explorer.face_set import FaceSet
from facevae.explorer.session import Session
from facevae.storage.detector_weights import MISSING, PACKAGE
from facevae.version import __version__

_SPLITS = {code: name for name, code in SPLIT_CODES.items()}
_UNPACKER = "lz4"


def state_facts(session: Session) -> dict[str, Any]:
    """Return what the page has to know before it asks for anything else."""
    pending = session.attributes_pending  # before the faces: what is not pending any more is in them
    faces, model, missing = session.faces, session.model, why_no_align()
    return {
        "id": session.id,
        "title": faces.path.name if faces.path is not None else f"{faces.count:,} random faces",
        "version": __version__,
        "weights": model.name,
        "image_size": model.image_size,
        "latent_dim": model.latent_dim,
        "faces": {
            "kind": faces.kind,
            "count": faces.count,
            "path": str(faces.path) if faces.path is not None else None,
            "originals": faces.originals is not None,
            "why_no_originals": faces.why_no_originals,
        },
        **_attribute_facts(faces, pending=pending),
        **_slider_facts(session),
        "prior": "normal" if model.resolve_prior("auto") is None else "fitted",
        "upscale": list(session.factors),
        "align": missing is None,
        "why_no_align": missing,
        "notices": list(session.notices.texts),
        "map": session.map.state.facts(),
    }


def _attribute_facts(faces: FaceSet, *, pending: bool) -> dict[str, Any]:
    names = faces.attribute_names
    default = DEFAULT_ATTRIBUTE if DEFAULT_ATTRIBUTE in names else next(iter(names), None)
    return {
        "attributes": list(names),
        "counts": faces.has.sum(axis=0).tolist() if faces.has is not None else [],
        "default_attribute": default,
        "attributes_pending": pending,
        "why_no_attributes": faces.why_no_attributes,
    }


def _slider_facts(session: Session) -> dict[str, Any]:
    lengths = session.directions.lengths() if session.directions is not None else {}
    strongest = sorted(lengths, key=lambda name: -lengths[name])
    keep = None
    if session.model.prior is None:
        keep = f"{session.model.name} holds no fitted prior, from which keep knows how latents vary."
    return {
        "sliders": [{"name": name, "length": lengths[name]} for name in strongest],
        "why_no_sliders": session.why_no_sliders,
        "why_no_keep": keep,
    }


def face_facts(session: Session, face: FaceRef) -> dict[str, Any]:
    """Return what the page shows of a face.

    Raises:
        UnknownFaceError: there is none.
    """
    name, faces = session.name_of(face), session.faces
    attributes, split, original = None, None, isinstance(face, PhotoFace)
    if isinstance(face, RowFace):
        point, original = session.map.state.points[face.row], faces.originals is not None
        if faces.has is not None:
            attributes = [name for name, has in zip(faces.attribute_names, faces.has[face.row], strict=True) if has]
        if faces.split is not None:
            split = _SPLITS.get(int(faces.split[face.row]))
    else:
        point = session.map.place(session.latent(face))
    return {
        "face": str(face),
        "name": name,
        "attributes": attributes,
        "split": split,
        "point": [float(value) for value in point],
        "original": original,
    }


def why_no_align() -> str | None:
    """Return why faces of photographs cannot be found, None where they can."""
    return None if find_spec(PACKAGE) is not None and find_spec(_UNPACKER) is not None else MISSING
