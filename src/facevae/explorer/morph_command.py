"""The command line that makes what the page shows, so that play becomes script."""

from __future__ import annotations

import re
import shlex
from typing import NamedTuple

from facevae.config import LATENTS_FILE
from facevae.explorer.edits import Edit
from facevae.explorer.face_refs import MeanFace, PhotoFace, RandomFace, RowFace, plain_number
from facevae.explorer.session import Session
from facevae.progress import Event, Notice
from facevae.workflows.latents_faces import short_face_name
from facevae.workflows.moving import find_movement

_STRIP_STEPS = "0,0.25,0.5,0.75,1"
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST_NAME = 60


class MorphCommands(NamedTuple):
    """Command lines, each None where there is none, and what is to be said of them.

    Attributes:
        picture: draws the face and the edit.
        strip: draws the way there.
        note: a sentence, or None.
    """

    picture: str | None
    strip: str | None
    note: str | None


def morph_commands(session: Session, edit: Edit, upscale: int, weights: str | None) -> MorphCommands:
    """Return the command lines for an edit; `weights` is what the explorer was told to use.

    Raises:
        UsageError: there is no such face, or no such attribute, or one is both moved and kept.
        DataError: a direction is not known.
    """
    name = session.name_of(edit.face)
    if not edit.moves:
        return MorphCommands(
            None, None, "Nothing is moved yet: move a slider, and the command line that does so stands here."
        )
    notes = _notes_of_directions(session, edit)
    words, note = _face_words(session, edit)
    if words is None:
        return MorphCommands(None, None, note)
    line = ["facevae", "morph", *words]
    for attribute, weight in edit.moves:
        line += ["--attr", f"{attribute}={plain_number(weight)}"]
    line += ["--keep", ",".join(edit.keep)] if edit.keep else []
    line += ["--upscale", str(upscale)] if upscale else []
    line += ["--weights", weights] if weights is not None else []
    stem = _stem(name)
    both = [
        shlex.join([*line, "--steps", steps, "-o", f"{stem}-{what}.png"])
        for steps, what in (("1", "morph"), (_STRIP_STEPS, "strip"))
    ]
    notes += [note] if note is not None else []
    return MorphCommands(both[0], both[1], " ".join(notes) or None)


def _face_words(session: Session, edit: Edit) -> tuple[list[str] | None, str | None]:
    """Return how a command line names the face, None where it cannot, and what is to be said of that."""
    face = session.faces.same_face(edit.face.row) if isinstance(edit.face, RowFace) else edit.face
    if isinstance(face, RandomFace):
        words = ["--sample", str(face.seed)]
        return [*words, *(["--temperature", plain_number(face.temperature)] if face.temperature != 1.0 else [])], None
    if isinstance(face, RowFace):
        return _row_words(session, face.row)
    if isinstance(face, PhotoFace):
        photo = session.photo(face)
        file = f"./{photo.file}" if photo.file.startswith("-") else photo.file
        words = [
            file,
            *(["--face", str(photo.number)] if photo.number > 1 else []),
            *([] if photo.align else ["--no-align"]),
        ]
        return words, f"Run it in the folder that holds {photo.file}."
    assert isinstance(face, MeanFace)
    return None, f"The {session.name_of(face)} has no command line: no command averages a selection of the map."


def _row_words(session: Session, row: int) -> tuple[list[str] | None, str | None]:
    name, path = session.faces.names[row], session.faces.path
    if session.faces.names.index(name) != row:
        return None, f"Several faces of {path} are called {name}: a command line would take the first of them."
    among = ["--among", str(path)] if path is not None and path != LATENTS_FILE else []
    # With an equals sign: a name may begin with a dash.
    return [
        f"--name={name}" if name.startswith("-") else "--name",
        *([] if name.startswith("-") else [name]),
        *among,
    ], None


def _notes_of_directions(session: Session, edit: Edit) -> list[str]:
    """Return what `morph` would say of the directions."""
    notes: list[str] = []

    def report(event: Event) -> None:
        if isinstance(event, Notice):
            notes.append(event.text)

    session.movement(edit)
    if session.directions is not None:
        find_movement(session.directions, edit.moves, edit.keep, "mean", report)
    return notes


def _stem(name: str) -> str:
    """Return the beginning of a file name for a face."""
    return _UNSAFE.sub("-", short_face_name(name)).strip("-.")[:_LONGEST_NAME] or "face"
