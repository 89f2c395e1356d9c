"""What the server keeps for the page: faces of pictures that it was given, and means of selections; the newest of each."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from pathlib import PurePath, PureWindowsPath
from typing import Generic, NamedTuple, TypeVar

from facevae.explorer.face_refs import UnknownFaceError
from facevae.model.encoder import Floats, Images
from facevae.storage.weights import FaceModel
from facevae.workflows.face_finding import FaceFinding, FaceOptions
from facevae.workflows.face_loading import FaceLoader, LoadedFace

NEWEST = 50
MOST_FACES = 20
"""Of one picture."""
_LONGEST_NAME = 200
_COMMANDS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

Thing = TypeVar("Thing")


class Kept(Generic[Thing]):
    """The newest of some things, by numbers from 1 on that are never given again."""

    def __init__(self, kind: str, remedy: str) -> None:
        self._kind, self._remedy = kind, remedy
        self._lock = threading.Lock()
        self._things: OrderedDict[int, Thing] = OrderedDict()
        self._number = 0

    def add(self, thing: Thing) -> int:
        """Keep a thing, and forget the oldest where there are too many; return its number."""
        with self._lock:
            self._number += 1
            self._things[self._number] = thing
            if len(self._things) > NEWEST:
                self._things.popitem(last=False)
            return self._number

    def __getitem__(self, number: int) -> Thing:
        """Return the thing of that number.

        Raises:
            UnknownFaceError: there is none, or not any more.
        """
        with self._lock:
            if number not in self._things:
                text = (
                    f"There is no {self._kind} {number}, or not any more: the newest {NEWEST} are kept; {self._remedy}."
                )
                raise UnknownFaceError(text)
            return self._things[number]


class KeptMean(NamedTuple):
    """The mean of some faces: what to call it, and its latent (latent_dim)."""

    name: str
    latent: Floats


class GivenPhoto(NamedTuple):
    """A face of a picture.

    Attributes:
        name: what to call it: the picture's name, with "#2" for its second face.
        short: the same without the suffix.
        file: the picture's name.
        number: which of its faces it is, the largest being 1.
        align: whether it was looked for.
        image: as the network takes it, uint8 (S, S, 3).
        latent: its posterior mean, float32 (latent_dim).
    """

    name: str
    short: str
    file: str
    number: int
    align: bool
    image: Images
    latent: Floats


class PhotoReader:
    """Finds and encodes the faces of pictures; one thread at a time."""

    def __init__(self, model: FaceModel) -> None:
        self._model = model
        self._loaders = {align: self._loader(align) for align in (False, True)}
        self._lock = threading.Lock()

    def _loader(self, align: bool) -> FaceLoader:
        options = FaceOptions(align, which=0 if align else 1, asked=True)
        loader = FaceLoader(self._model.image_size, options)
        loader.finding = FaceFinding(options, whole=False)  # the page has no --no-align to propose
        return loader

    def read(self, data: bytes, name: str, *, align: bool) -> tuple[list[GivenPhoto], list[str]]:
        """Return the faces of a picture, the largest first, and notices. `name` is the picture's, from the page.

        Raises:
            DataError: it cannot be read, or has no face.
            MissingExtraError: a face must be found, and the extra that does it is not installed.
        """
        file = file_name(name)
        with self._lock:
            found = self._loaders[align].faces_of(data, file)
        notices = []
        if len(found) > MOST_FACES:
            notices.append(f"{file} has {len(found)} faces: the largest {MOST_FACES} are taken.")
        faces = [self._given(face, file, number, align) for number, face in enumerate(found[:MOST_FACES], start=1)]
        return faces, notices

    def _given(self, face: LoadedFace, file: str, number: int, align: bool) -> GivenPhoto:
        # One at a time, as the commands encode one: the last digit of a latent may depend on how many there are.
        latent = self._model.encode(face.image[None])[0][0]
        return GivenPhoto(face.name, face.short, file, number, align, face.image, latent)


def file_name(name: str) -> str:
    """Return the file name in what the page calls a picture: without folders, and without what commands a terminal."""
    last = _COMMANDS.sub("", PurePath(PureWindowsPath(name).name).name).strip()[-_LONGEST_NAME:].strip()
    return last if last.strip(".") else "photo"
