"""The upscalers that commands use: found, loaded, and given faces to enlarge."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facevae.config import RECONSTRUCTIONS_UPSCALER_FILE, UPSCALER_FILE, UPSCALER_INPUTS, UpscalerInputs
from facevae.errors import UsageError
from facevae.model.device import resolve_device
from facevae.model.upscaling import count_tiles
from facevae.progress import Notice, Progress, Report
from facevae.storage.output import StrPath
from facevae.storage.shipped import named_upscaler, shipped_upscaler
from facevae.storage.upscaler_file import Upscaler, check_factor

Images = NDArray[np.uint8]

_WORKSPACE: dict[UpscalerInputs, Path] = {
    "photographs": UPSCALER_FILE,
    "reconstructions": RECONSTRUCTIONS_UPSCALER_FILE,
}
_PIXELS_AT_A_TIME = 2**24
"""Of enlarged faces, so that memory does not grow with the number of faces: 1,820 faces of 96 x 96, 50 MB."""


class UpscalerFile(NamedTuple):
    """A file of an upscaler, what to call it in messages, and whether it is one of those that come with facevae."""

    path: Path
    name: str
    shipped: bool


def find_upscaler(upscaler: StrPath | None, inputs: UpscalerInputs) -> UpscalerFile:
    """Return the file that `upscaler` names; by default the workspace's for these inputs, or the shipped one if it has none.

    "photographs" and "reconstructions" name the shipped ones, unless there is a file of that name. A file that is named need
    not exist.

    Raises:
        DataError: a shipped upscaler is wanted, and missing or damaged.
    """
    if upscaler is not None:
        named = named_upscaler(upscaler)
        if named is None:
            return UpscalerFile(Path(upscaler), str(upscaler), shipped=False)
        return UpscalerFile(shipped_upscaler(named), named, shipped=True)
    own = _WORKSPACE[inputs]
    if own.exists() or own.is_symlink():
        return UpscalerFile(own, str(own), shipped=False)
    return UpscalerFile(shipped_upscaler(inputs), inputs, shipped=True)


def load_upscaler(upscaler: StrPath | None, inputs: UpscalerInputs, device: str, report: Report) -> Upscaler:
    """Return the upscaler that `find_upscaler` finds, on the device of that name.

    Of a file that was trained for other inputs than these a notice says so.

    Raises:
        DataError: there is no such file, or it is damaged or no upscaler.
        UsageError: there is no such device.
    """
    place = resolve_device(device)
    path, name, shipped = find_upscaler(upscaler, inputs)
    loaded = Upscaler.load(path, place, name=name)
    if not shipped and loaded.inputs in UPSCALER_INPUTS and loaded.inputs != inputs:
        report(Notice(f"{name} was trained to enlarge {loaded.inputs}, and enlarges {inputs} here."))
    return loaded


@dataclass(frozen=True)
class FaceUpscaling:
    """How a command enlarges the faces that it shows: by VDSR, or not at all where `upscaler` is None.

    In the second case the figures enlarge them, bicubically.
    """

    upscaler: Upscaler | None
    factor: int
    report: Report

    @classmethod
    def load(
        cls, upscale: int | None, upscaler: StrPath | None, inputs: UpscalerInputs, device: str, report: Report
    ) -> FaceUpscaling:
        """Return what `--upscale` and `--upscaler` ask for, see `load_upscaler`; they have passed `check_upscale`."""
        if upscale is None:
            return cls(None, 1, report)
        return cls(load_upscaler(upscaler, inputs, device, report), upscale, report)

    def each(self, faces: Images) -> Iterator[Images]:
        """Yield each of the faces (N, S, S, 3) uint8, enlarged."""
        if self.upscaler is None or not len(faces):
            yield from faces
            return
        tiles = count_tiles([faces[0]], self.factor)
        at_a_time = max(1, _PIXELS_AT_A_TIME // (faces[0, :, :, 0].size * self.factor**2))
        for start in range(0, len(faces), at_a_time):

            def told(done: int, before: int = start * tiles) -> None:
                self.report(Progress("upscale", before + done, len(faces) * tiles, "tiles"))

            yield from self.upscaler.upscale(faces[start : start + at_a_time], self.factor, told=told)

    def all(self, faces: Images) -> Images:
        """Return faces (..., S, S, 3) uint8 enlarged, all in one array of as many dimensions."""
        if self.upscaler is None:
            return faces
        flat = faces.reshape(-1, *faces.shape[-3:])
        enlarged = np.stack(list(self.each(flat)))
        return enlarged.reshape(*faces.shape[:-3], *enlarged.shape[1:])


def check_upscale(upscale: int | None, upscaler: StrPath | None, scale: int | None) -> None:
    """Raise a `UsageError` unless these options go together, and there is such a factor."""
    if upscale is None:
        if upscaler is not None:
            raise UsageError("--upscaler says what enlarges faces: use it with --upscale 2, 3 or 4.")
        return
    if scale is not None:
        raise UsageError("--scale and --upscale both say how much larger to show faces: leave one of the two out.")
    check_factor(upscale)
