"""facevae: train, sample, morph and look inside a variational autoencoder of faces.

The functions here are the command line's commands, with the same names; `FaceModel` is a trained model. They are imported on
first use, so that `import facevae` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from facevae.version import __version__

if TYPE_CHECKING:
    from facevae.config import ModelConfig as ModelConfig
    from facevae.config import TrainConfig as TrainConfig
    from facevae.errors import FacevaeError as FacevaeError
    from facevae.explorer.explore import explore as explore
    from facevae.model.latent_space import attribute_directions as attribute_directions
    from facevae.storage.dataset import FacesDataset as FacesDataset
    from facevae.storage.faces import Faces as Faces
    from facevae.storage.latents import Latents as Latents
    from facevae.storage.upscaler_file import Upscaler as Upscaler
    from facevae.storage.weights import FaceModel as FaceModel
    from facevae.workflows.activations import activations as activations
    from facevae.workflows.align import align as align
    from facevae.workflows.attributes import attributes as attributes
    from facevae.workflows.average import average as average
    from facevae.workflows.demo import demo as demo
    from facevae.workflows.encode import encode as encode
    from facevae.workflows.evaluate import evaluate as evaluate
    from facevae.workflows.export import export as export
    from facevae.workflows.info import info as info
    from facevae.workflows.interpolate import interpolate as interpolate
    from facevae.workflows.merge import merge as merge
    from facevae.workflows.morph import morph as morph
    from facevae.workflows.neighbours import neighbours as neighbours
    from facevae.workflows.prepare import prepare as prepare
    from facevae.workflows.reconstruct import reconstruct as reconstruct
    from facevae.workflows.sample import sample as sample
    from facevae.workflows.system import system as system
    from facevae.workflows.train import train as train
    from facevae.workflows.train_upscaler import train_upscaler as train_upscaler
    from facevae.workflows.umap import umap as umap
    from facevae.workflows.upscale import upscale as upscale

_HOMES = {
    "FaceModel": "facevae.storage.weights",
    "Faces": "facevae.storage.faces",
    "FacesDataset": "facevae.storage.dataset",
    "FacevaeError": "facevae.errors",
    "Latents": "facevae.storage.latents",
    "ModelConfig": "facevae.config",
    "TrainConfig": "facevae.config",
    "Upscaler": "facevae.storage.upscaler_file",
    "attribute_directions": "facevae.model.latent_space",
    "explore": "facevae.explorer.explore",
} | {
    verb: f"facevae.workflows.{verb}"
    for verb in (
        "activations",
        "align",
        "attributes",
        "average",
        "demo",
        "encode",
        "evaluate",
        "export",
        "info",
        "interpolate",
        "merge",
        "morph",
        "neighbours",
        "prepare",
        "reconstruct",
        "sample",
        "system",
        "train",
        "train_upscaler",
        "umap",
        "upscale",
    )
}

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _HOMES:
        raise AttributeError(f"module 'facevae' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
