"""Running the commands inside the test process, and pictures and weights for them to work on."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
from PIL import Image

import support

if TYPE_CHECKING:
    import pytest
    from numpy.typing import NDArray

    from facevae.model.face_finder import Face
    from facevae.storage.upscaler_file import Upscaler
    from facevae.storage.weights import FaceModel

LATENT_DIM = 6


@dataclass(frozen=True)
class Outcome:
    """What a command left behind: its exit code, the bytes on stdout, the text on stderr."""

    code: int
    stdout: bytes
    stderr: str

    @property
    def lines(self) -> list[str]:
        return self.stdout.decode().splitlines()

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


class Terminal(io.TextIOWrapper):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def run(*arguments: str | Path | float, stdin: bytes = b"", terminal: str = "") -> Outcome:
    """Run `facevae ARGUMENTS` in this process; the stream named by `terminal` claims to be a terminal."""
    from facevae.cli.main import app

    def stream(name: str, data: bytes = b"") -> io.TextIOWrapper:
        kind = Terminal if name == terminal else io.TextIOWrapper
        return kind(io.BytesIO(data), encoding="utf-8", newline="\n")

    streams = {"stdin": stream("stdin", stdin), "stdout": stream("stdout"), "stderr": stream("stderr")}
    code = 0
    with ExitStack() as stack:
        for name, replacement in streams.items():
            stack.enter_context(mock.patch.object(sys, name, replacement))
        try:
            app([str(argument) for argument in arguments], prog_name="facevae")
        except SystemExit as error:
            code = int(error.code or 0)
        for name in ("stdout", "stderr"):
            streams[name].flush()
        stdout, stderr = (streams[name].buffer.getvalue() for name in ("stdout", "stderr"))  # type: ignore[attr-defined]
    return Outcome(code, stdout, stderr.decode())


def succeed(*arguments: str | Path | float, stdin: bytes = b"") -> Outcome:
    """Run a command that must succeed."""
    outcome = run(*arguments, stdin=stdin)
    assert outcome.code == 0, outcome.stderr
    return outcome


def refusal(*arguments: str | Path | float, code: int = 1, stdin: bytes = b"", terminal: str = "") -> str:
    """Run a command that must fail with `code`, one line on stderr and nothing on stdout; return its sentence."""
    outcome = run(*arguments, stdin=stdin, terminal=terminal)
    assert outcome.code == code, outcome
    assert outcome.stdout == b""
    assert outcome.stderr.startswith("Error: ")
    assert outcome.stderr.endswith("\n")
    assert outcome.stderr.count("\n") == 1
    return outcome.stderr.removeprefix("Error: ").removesuffix("\n")


@cache
def lively_model() -> FaceModel:
    """An untrained model whose faces differ: as initialised, all that it decodes is the same grey."""
    import torch

    model = support.make_model()
    with torch.no_grad():
        for parameter in model.vae.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
    return model


def put_weights(folder: Path) -> FaceModel:
    """Write `lively_model` as the `vae.safetensors` of a folder."""
    lively_model().save(folder / "vae.safetensors")
    return lively_model()


def put_other_weights(path: Path, *, size: int = 32, attributes: bool = True) -> FaceModel:
    """Write a model that is not `lively_model`, for other images or without attributes."""
    from facevae.config import ModelConfig

    config = ModelConfig(image_size=size, channels=2, latent_dim=LATENT_DIM)
    names = support.ATTRIBUTE_NAMES if attributes else ()
    model = support.make_model(config, seed=1, attribute_names=names)
    model.save(path)
    return model


def put_latents(folder: Path, *, attributes: bool = True) -> Path:
    """Write the `latents.h5` of a folder: 60 faces encoded by `lively_model`."""
    faces = support.write_faces(folder / "faces-of-latents.h5", attributes=attributes)
    path = support.write_latents(folder / "latents.h5", lively_model(), faces)
    faces.unlink()
    return path


def tiny_upscaler(inputs: str = "photographs", *, seed: int = 0) -> Upscaler:
    """An untrained upscaler of three layers that adds something to the bicubic enlargement, for other seeds something else."""
    import torch

    from facevae.config import UpscalerConfig
    from facevae.model.vdsr import VDSR
    from facevae.storage.upscaler_file import Upscaler

    generator = torch.Generator().manual_seed(seed)
    network = VDSR(UpscalerConfig(depth=3, channels=4)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.15)
    return Upscaler(network, {"inputs": inputs})


def put_upscaler(path: Path, inputs: str = "photographs", *, seed: int = 0) -> Upscaler:
    """Write a `tiny_upscaler`."""
    upscaler = tiny_upscaler(inputs, seed=seed)
    upscaler.save(path)
    return upscaler


def ship_upscalers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Upscaler]:
    """Make a folder stand for that of the package, with two small upscalers in it."""
    from facevae.storage import shipped

    folder.mkdir(exist_ok=True)
    made = {}
    for seed, (inputs, name) in enumerate(shipped.UPSCALERS.items(), start=5):
        made[str(inputs)] = put_upscaler(folder / name, inputs, seed=seed)
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        monkeypatch.setitem(shipped.SHA256, name, digest)
    monkeypatch.setattr(shipped, "FOLDER", folder)
    return made


def put_pictures(folder: Path, count: int, *, size: int = 32, suffix: str = ".png") -> list[Path]:
    """Write `face1.png` and so on, and return their paths relative to the current directory, as users type them."""
    folder.mkdir(exist_ok=True)
    paths = []
    for number, image in enumerate(support.random_images(count, size, seed=7), start=1):
        Image.fromarray(image).save(folder / f"face{number}{suffix}")
        paths.append(folder / f"face{number}{suffix}")
    return paths


def put_photographs(folder: Path, *counts: int) -> list[Path]:
    """Write `photo1.png` and so on, of 100 x 80 pixels, in which `FakeFaces` finds so many faces; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, (count, image) in enumerate(
        zip(counts, support.random_images(len(counts), 100, seed=9), strict=True), start=1
    ):
        image[0, 0] = count
        Image.fromarray(image[:80]).save(folder / f"photo{number}.png")
        paths.append(folder / f"photo{number}.png")
    return paths


class FakeFaces:
    """In place of the networks, and without their extra: a picture has as many faces as its first pixel says.

    Attributes:
        loaded: how many times the networks were loaded.
        frames: whether pictures whose size leaves it open are CelebA's frames.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, frames: bool = False) -> None:
        from facevae.workflows import face_finding

        self.loaded, self.frames = 0, frames
        monkeypatch.setattr(face_finding, "load_face_networks", self._load)
        monkeypatch.setattr(face_finding, "is_celeba_frame", lambda networks, pixels: self.frames)
        monkeypatch.setattr(face_finding, "locate_faces", self._locate)

    def _load(self) -> object:
        self.loaded += 1
        return self

    def _locate(self, networks: object, image: NDArray[np.uint8]) -> list[Face]:
        assert networks is self
        return [self.face(number) for number in range(1, int(image[0, 0, 0]) + 1)]

    @staticmethod
    def face(number: int) -> Face:
        """The N-th face: the larger N, the smaller, and the further to the right."""
        from facevae.model.alignment import FRAME_LANDMARKS, Similarity
        from facevae.model.face_finder import Face

        to_frame = Similarity.of(scale=1.5 + number / 2, degrees=10 - 7 * number, shift=(-35.0 * number, 12.0))
        side = 80.0 / number
        return Face((0.0, 0.0, side, side), 0.9, to_frame.inverse()(FRAME_LANDMARKS), to_frame)

    @classmethod
    def frame(cls, path: Path, number: int = 1) -> NDArray[np.uint8]:
        """What becomes of the N-th face of a photograph: it in CelebA's frame."""
        from facevae.model.face_finder import align_face

        return align_face(pixels(path), cls.face(number))


def through_a_pipe(path: Path, data: bytes) -> threading.Thread:
    """Make a named pipe and send bytes through it, once; the thread that does it ends when they were read."""
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(data,), daemon=True)
    writer.start()
    return writer


def files(folder: str = ".") -> list[str]:
    """The names of all that lies in a folder, sorted."""
    return sorted(path.name for path in Path(folder).iterdir())


def pixels(source: Path | bytes) -> NDArray[np.uint8]:
    """The pixels of a picture file (H, W, 3)."""
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
        return np.array(image.convert("RGB"))


def tile(picture: NDArray[np.uint8], left: int, top: int, side: int) -> NDArray[np.uint8]:
    """Cut a square out of a picture."""
    return picture[top : top + side, left : left + side]


def border(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The outermost pixels of a picture (N, 3), where nothing may be drawn: labels that reach them are cropped."""
    return np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
