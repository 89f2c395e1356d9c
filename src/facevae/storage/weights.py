"""`vae.safetensors`: a trained VAE in one file, enough to encode, decode, sample and morph.

Tensors: the network's, under `vae.`, and `attribute_directions` float32 (A, latent_dim) where the training faces had
attributes. Metadata, as JSON: `model` (the configuration), `training` (how it was trained), `attribute_names` and
`attribute_counts` ([with, without] for each).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facevae.config import ModelConfig
from facevae.errors import DataError, UsageError
from facevae.model.device import resolve_device
from facevae.model.encoder import Floats, Images
from facevae.model.inference import decode_latents, encode_images
from facevae.model.latent_space import AttributeDirections
from facevae.model.vae import VAE
from facevae.storage.attributes import find_attribute
from facevae.storage.kinds import WEIGHTS
from facevae.storage.output import check_output
from facevae.storage.safetensors_file import read_tensors, write_tensors

FORMAT = "facevae weights"
REMEDY = "Train some with: facevae train (or name another file with --weights)"
_PREFIX = "vae."
_DIRECTIONS = "attribute_directions"


@dataclass(frozen=True)
class FaceModel:
    """A trained VAE with its attribute directions: what the workflows and a Python user work with.

    Images are uint8 arrays (B, S, S, 3); latents are float32 arrays (B, latent_dim).

    Attributes:
        vae: the network, on the device it was loaded to.
        training: how it was trained (configuration, seed, data fingerprint, epochs, losses, versions).
        attribute_names: A names, empty when it was trained on faces without attributes.
        directions: the attribute directions, or None.
        name: what to call it in messages, usually the file name.
    """

    vae: VAE
    training: Mapping[str, Any] = field(default_factory=dict)
    attribute_names: tuple[str, ...] = ()
    directions: AttributeDirections | None = None
    name: str = "the model"

    @property
    def image_size(self) -> int:
        """S, the side of the images in pixels."""
        return self.vae.config.image_size

    @property
    def latent_dim(self) -> int:
        """The number of latent units."""
        return self.vae.config.latent_dim

    def encode(self, images: Images) -> tuple[Floats, Floats]:
        """Return the posterior's `(mean, log_variance)`, each (B, latent_dim), for images (B, S, S, 3) uint8.

        Raises:
            UsageError: the images are of another shape or type.
        """
        size = self.image_size
        if images.ndim != 4 or images.shape[1:] != (size, size, 3) or images.dtype != np.uint8:
            raise UsageError(
                f"{self.name} takes images of shape (N, {size}, {size}, 3) and type uint8, not {images.shape} {images.dtype}."
            )
        return encode_images(self.vae, images)

    def decode(self, latents: Floats) -> Images:
        """Return images (B, S, S, 3) uint8 for latents (B, latent_dim).

        Raises:
            UsageError: the latents are of another width.
        """
        if latents.ndim != 2 or latents.shape[1] != self.latent_dim:
            raise UsageError(f"{self.name} takes latents of shape (N, {self.latent_dim}), not {latents.shape}.")
        return decode_latents(self.vae, latents)

    def sample(self, count: int, *, seed: int | None = None, temperature: float = 1.0) -> Images:
        """Return `count` new faces (count, S, S, 3) uint8, decoded from z ~ N(0, temperature^2 I)."""
        latents = np.random.default_rng(seed).standard_normal((count, self.latent_dim))
        return self.decode((temperature * latents).astype(np.float32))

    def direction(self, attribute: str) -> Floats:
        """Return the direction (latent_dim) of an attribute, named without regard to case and underscores.

        Raises:
            UsageError: there is no such attribute.
            DataError: the model has no directions, or the training faces all had the same value of it.
        """
        index = find_attribute(attribute, self.attribute_names, self.name)
        if self.directions is None:
            raise DataError(
                f"{self.name} holds no attribute directions yet, as its training was broken off: "
                "finish it with facevae train --resume, or take them from latents with --latents."
            )
        delta: Floats = self.directions.deltas[index]
        check_direction(delta, self.attribute_names[index], self.name)
        return delta

    def hash(self) -> str:
        """Return the SHA-256 of the network's tensors: equal for equal networks, whatever the metadata."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.vae.state_dict().items()):
            array = tensor.detach().cpu().contiguous().numpy()
            digest.update(f"{name}:{array.dtype}:{array.shape};".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()

    def save(self, path: str | Path) -> None:
        """Write the model to `path` as safetensors, atomically.

        Raises:
            DataError: the file cannot be written.
            UsageError: the file holds data of another kind.
        """
        path = Path(path)
        check_output(path, kind=WEIGHTS)
        tensors: dict[str, Tensor] = {_PREFIX + name: tensor for name, tensor in self.vae.state_dict().items()}
        metadata: dict[str, Any] = {"model": self.vae.config.to_dict(), "training": dict(self.training)}
        if self.attribute_names:
            metadata["attribute_names"] = list(self.attribute_names)
        if self.directions is not None and self.attribute_names:
            tensors[_DIRECTIONS] = torch.from_numpy(self.directions.deltas)
            counts = np.stack([self.directions.positive, self.directions.negative], axis=1)
            metadata["attribute_counts"] = counts.tolist()
        write_tensors(path, FORMAT, tensors, metadata)

    @classmethod
    def load(cls, path: str | Path, device: torch.device | str = "cpu") -> FaceModel:
        """Read a model from `path` onto `device`.

        Raises:
            DataError: the file is missing, damaged, or does not hold facevae weights.
        """
        path = Path(path)
        if isinstance(device, str):
            device = resolve_device(device)
        tensors, metadata = read_tensors(path, FORMAT, "VAE weights", REMEDY)
        try:
            config = ModelConfig.from_dict(metadata["model"])
            if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
                raise ValueError("it holds values that are not finite")
            directions = _read_directions(tensors.pop(_DIRECTIONS, None), metadata, config.latent_dim)
            state = {name.removeprefix(_PREFIX): tensor for name, tensor in tensors.items()}
            _check_shapes(config, state)
            vae = VAE(config)
            vae.load_state_dict(state)
            names = tuple(str(name) for name in metadata.get("attribute_names", ()))
            training = dict(metadata.get("training", {}))
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError, UsageError) as error:
            reason = " ".join(str(error).split())[:120]
            raise DataError(f"{path} is damaged ({reason}). {REMEDY}") from error
        vae.to(device).eval()
        return cls(vae, training, names, directions, str(path))


def _check_shapes(config: ModelConfig, state: Mapping[str, Tensor]) -> None:
    """Raise a `ValueError` unless the tensors are those of the configured network, before any memory is spent on it."""
    with torch.device("meta"):
        expected = {name: tensor.shape for name, tensor in VAE(config).state_dict().items()}
    if {name: tensor.shape for name, tensor in state.items()} != expected:
        raise ValueError("its tensors are not those of the network it describes")


def _read_directions(deltas: Tensor | None, metadata: Mapping[str, Any], latent_dim: int) -> AttributeDirections | None:
    if deltas is None:
        return None
    names = metadata["attribute_names"]
    counts: NDArray[np.int64] = np.asarray(metadata["attribute_counts"], dtype=np.int64)
    if tuple(deltas.shape) != (len(names), latent_dim) or counts.shape != (len(names), 2):
        raise ValueError("the attribute directions do not fit their names")
    return AttributeDirections(deltas.float().numpy(), counts[:, 0], counts[:, 1])


def check_direction(delta: Floats, attribute: str, where: str) -> None:
    """Raise a `DataError` for the zero direction of an attribute of which the faces had only one value."""
    if not np.any(delta):
        raise DataError(
            f"{where} knows no direction for {attribute}: its faces all have the same value of it. "
            "Choose another attribute, or train on faces of both kinds."
        )
