"""`activations`: what every convolution gives out for one face."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facevae.config import ACTIVATIONS_DIRECTORY
from facevae.errors import UsageError
from facevae.figures.activations import input_picture, layer_picture, overview_picture
from facevae.figures.picture import image_bytes
from facevae.model.hooks import face_activations
from facevae.model.inference import to_images, to_tensor
from facevae.progress import Progress, Report, silent
from facevae.storage.images import open_image
from facevae.storage.output import StrPath, check_output, make_folder, write_bytes
from facevae.workflows.common import load_model
from facevae.workflows.face_finding import FaceChoice, FaceOptions
from facevae.workflows.face_loading import load_faces
from facevae.workflows.picture_sources import as_source


@dataclass(frozen=True)
class ActivationsResult:
    """What `activations` made: the pictures, overview first, and the maps (C, H, W) float32 of each layer by name."""

    paths: tuple[Path, ...]
    layers: dict[str, NDArray[np.float32]]


def activations(
    face: StrPath | bytes,
    output: StrPath = ACTIVATIONS_DIRECTORY,
    *,
    align: bool = True,
    which: FaceChoice = None,
    weights: StrPath | None = None,
    device: str = "auto",
    report: Report = silent,
) -> ActivationsResult:
    """Draw one face's way through the network: the input, each of the nine convolutions, and an overview.

    Writes `overview.png`, `00-input.png`, `01-encoder-1.png` ... `09-decoder-5.png` into the folder `output`.

    Args:
        face: an image file, or the bytes of an image.
        output: the folder, made if it does not exist.
        align: find the faces of pictures that are not CelebA's frames and bring them there; False takes every picture as a frame.
        which: of a picture with several faces, 1 for the largest, 2 for the next, and so on; by default the largest.
        weights: the weights file; by default the workspace's, or the shipped ones if it has none.
        device: auto, cpu, cuda or mps.
        report: is called with progress and notices.

    Raises:
        DataError: a file is missing, damaged, or cannot be written.
    """
    source, output = as_source(face), Path(output)
    options = FaceOptions.of(align, which)
    if output == Path("-"):
        raise UsageError("Eleven pictures cannot go to standard output: name a folder with -o.")
    model = load_model(weights, device, report)
    loaded = load_faces([source], model.image_size, options, report)
    if len(loaded) > 1:
        raise UsageError(f"{loaded[0].short} is one of {len(loaded)} faces, and one is drawn: name it, as in --face 1.")
    scaled = loaded[0].image
    frame = loaded[0].frame
    original = open_image(loaded[0].source, loaded[0].name) if frame is None else Image.fromarray(frame)
    layers, reconstruction = face_activations(model.vae, to_tensor(scaled[None], model.vae.device)[0])
    maps = {layer.name: layer.maps.float().cpu().numpy() for layer in layers}
    shown = to_images(reconstruction[None])[0]

    pictures = {
        "overview": overview_picture(
            original, scaled, shown, [(layer.name.replace("-", " "), maps[layer.name]) for layer in layers]
        )
    }
    pictures["00-input"] = input_picture(original, scaled)
    for number, layer in enumerate(layers, start=1):
        pictures[f"{number:02}-{layer.name}"] = layer_picture(layer.title, maps[layer.name])
        report(Progress("activations", number, len(layers), "layers"))
    make_folder(output)
    paths = {key: output / f"{key}.png" for key in pictures}
    for path in paths.values():
        check_output(path, inputs=[source] if isinstance(source, Path) else [])
    for key, picture in pictures.items():
        write_bytes(paths[key], image_bytes(picture))
    return ActivationsResult(tuple(paths.values()), maps)
