"""`vae.safetensors`: a trained VAE in one file, enough to encode, decode, sample and morph.

Tensors: the network's, under `vae.`; `attribute_directions` float32 (A, latent_dim) where the training faces had
attributes; and the fitted prior, where there is one: `prior_weights` (K), `prior_means` (K, D), and `prior_scale_trils`
(K, D (D + 1) / 2), the lower triangles row by row. The kernels and matrices of the network, and the prior's means and
triangles, may be in half precision. Metadata, as JSON: `model` (the configuration), `training` (how it was trained),
`attribute_names`, `attribute_counts` ([with, without] for each) and `attribute_pairs` (A x A: the images that have both).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
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
from facevae.model.inference import decode_latents, decode_levels, encode_images
from facevae.model.latent_space import AttributeDirections, ClassSums
from facevae.model.prior import LatentPrior, check_prior_name
from facevae.model.vae import VAE
from facevae.storage.directions import NamedDirections
from facevae.storage.kinds import WEIGHTS
from facevae.storage.output import check_output
from facevae.storage.safetensors_file import read_tensors, write_tensors
from facevae.storage.shipped import SHIPPED_NAME

FORMAT = "facevae weights"
REMEDY = "Train some with: facevae train (or name another file with --weights)"
_MISSING = (
    f"Check its name and folder, use --weights {SHIPPED_NAME} for those shipped, or train some with: facevae train"
)
_PREFIX = "vae."
_DIRECTIONS = "attribute_directions"
_PRIOR = ("prior_weights", "prior_means", "prior_scale_trils")


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
        prior: the prior fitted to the latents of the training faces, or None.
    """

    vae: VAE
    training: Mapping[str, Any] = field(default_factory=dict)
    attribute_names: tuple[str, ...] = ()
    directions: AttributeDirections | None = None
    name: str = "the model"
    prior: LatentPrior | None = None

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
        self._check_latents(latents)
        return decode_latents(self.vae, latents)

    def decode_levels(self, latents: Floats) -> Floats:
        """Return what `decode` rounds to whole grey levels: float32 (B, S, S, 3), from 0 to 255.

        Raises:
            UsageError: the latents are of another width.
        """
        self._check_latents(latents)
        return decode_levels(self.vae, latents)

    def _check_latents(self, latents: Floats) -> None:
        if latents.ndim != 2 or latents.shape[1] != self.latent_dim:
            raise UsageError(f"{self.name} takes latents of shape (N, {self.latent_dim}), not {latents.shape}.")

    def sample(self, count: int, *, seed: int | None = None, temperature: float = 1.0, prior: str = "auto") -> Images:
        """Return `count` new faces (count, S, S, 3), decoded from latents that are drawn at random: see `draw`."""
        return self.decode(self.draw(count, seed=seed, temperature=temperature, prior=prior))

    def draw(self, count: int, *, seed: int | None = None, temperature: float = 1.0, prior: str = "auto") -> Floats:
        """Return `count` latents (count, latent_dim), drawn at random.

        Args:
            count: how many. With a seed they depend on it: the first of forty is not the one of one.
            seed: for repeatable latents.
            temperature: multiplies the standard deviation of the latents.
            prior: "fitted" draws them from the fitted prior, "normal" from N(0, I), "auto" from the fitted one if there is one.

        Raises:
            DataError: the model has no fitted prior.
            UsageError: there is no such prior.
        """
        generator = np.random.default_rng(seed)
        fitted = self.resolve_prior(prior)
        if fitted is not None:
            return fitted.sample(count, generator, temperature)
        latents = generator.standard_normal((count, self.latent_dim))
        return (temperature * latents).astype(np.float32)

    def resolve_prior(self, name: str) -> LatentPrior | None:
        """Return the prior that "auto", "fitted" or "normal" means for this model; None is N(0, I).

        Raises:
            DataError: the fitted one is asked for, and there is none.
            UsageError: there is no such prior.
        """
        check_prior_name(name)
        if name == "fitted" and self.prior is None:
            raise DataError(f"{self.name} holds no fitted prior: use --prior normal, or other weights.")
        return None if name == "normal" else self.prior

    def direction(self, attribute: str, keep: Sequence[str] = (), kind: str = "mean") -> Floats:
        """Return the direction (latent_dim) of an attribute, named without regard to case and underscores.

        Args:
            attribute: the attribute.
            keep: attributes that the direction is to hold still.
            kind: "mean", the difference of the class means; "regression", what the attribute brings while all others stay; or
                "logistic", along a linear classifier's normal, for which Fisher's discriminant is taken. See
                `facevae.model.directions`.

        Raises:
            UsageError: there is no such attribute or kind, or the attribute is among those to be kept.
            DataError: the model has no directions, or not what this one takes; or the training faces were all alike in it.
        """
        return self.named_directions().direction(attribute, keep, kind).vector

    def named_directions(self) -> NamedDirections:
        """Return what the directions of the attributes are computed from.

        Raises:
            DataError: the model has attributes, but no directions.
        """
        if self.directions is None and self.attribute_names:
            raise DataError(
                f"{self.name} holds no attribute directions yet, as its training was broken off: "
                "finish it with facevae train --resume, or take them from latents with --latents."
            )
        table = self.directions or ClassSums(0, self.latent_dim).directions()
        prior = self.prior
        covariance = cache(prior.covariance) if prior is not None else lambda: None
        return NamedDirections(self.attribute_names, table, self.name, covariance)

    def hash(self) -> str:
        """Return the SHA-256 of the network's tensors: equal for equal networks, whatever the metadata."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.vae.state_dict().items()):
            array = tensor.detach().cpu().contiguous().numpy()
            digest.update(f"{name}:{array.dtype}:{array.shape};".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()

    def save(self, path: str | Path, *, half: bool = False) -> None:
        """Write the model to `path` as safetensors, atomically.

        Args:
            path: the file.
            half: store the network's kernels and matrices, and the prior, in half precision, which halves the file. Loaded they
                are single again, but rounded, so that the loaded network has a hash of its own.

        Raises:
            DataError: the file cannot be written.
            UsageError: the file holds data of another kind.
        """
        path = Path(path)
        check_output(path, kind=WEIGHTS)
        state = self.vae.state_dict()
        tensors: dict[str, Tensor] = {
            _PREFIX + name: _stored(tensor, half=half and tensor.dim() > 1) for name, tensor in state.items()
        }
        metadata: dict[str, Any] = {"model": self.vae.config.to_dict(), "training": dict(self.training)}
        if self.attribute_names:
            metadata["attribute_names"] = list(self.attribute_names)
        if self.directions is not None and self.attribute_names:
            tensors[_DIRECTIONS] = torch.from_numpy(self.directions.deltas)
            counts = np.stack([self.directions.positive, self.directions.negative], axis=1)
            metadata["attribute_counts"] = counts.tolist()
            if self.directions.together is not None:
                # Not a tensor: a facevae that does not know it would take the file for damaged.
                metadata["attribute_pairs"] = self.directions.together.tolist()
        if self.prior is not None:
            tensors |= _prior_tensors(self.prior, half=half)
        write_tensors(path, FORMAT, tensors, metadata)

    @classmethod
    def load(cls, path: str | Path, device: torch.device | str = "cpu", *, name: str | None = None) -> FaceModel:
        """Read a model from `path` onto `device`, in single precision; `name` is what to call it, by default the path.

        Raises:
            DataError: the file is missing, damaged, or does not hold facevae weights.
        """
        path = Path(path)
        if isinstance(device, str):
            device = resolve_device(device)
        tensors, metadata = read_tensors(path, FORMAT, "VAE weights", REMEDY, near=[SHIPPED_NAME], missing=_MISSING)
        try:
            config = ModelConfig.from_dict(metadata["model"])
            if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
                raise ValueError("it holds values that are not finite")
            directions = _read_directions(tensors.pop(_DIRECTIONS, None), metadata, config.latent_dim)
            prior = _read_prior([tensors.pop(name, None) for name in _PRIOR], config.latent_dim)
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
        return cls(vae, training, names, directions, str(path) if name is None else name, prior)


def _stored(tensor: Tensor, *, half: bool) -> Tensor:
    """Return a tensor as it is written: in half precision if asked for and all its values are in the range of that."""
    halved = tensor.half() if half else tensor
    return halved if torch.isfinite(halved).all() else tensor


def _prior_tensors(prior: LatentPrior, *, half: bool) -> dict[str, Tensor]:
    rows, columns = np.tril_indices(prior.latent_dim)
    # A standard deviation below the range of half precision would come back as nought.
    half_trils = half and float(np.diagonal(prior.scale_trils, axis1=1, axis2=2).min()) > 1e-6
    tensors = (
        torch.from_numpy(prior.weights.astype(np.float32)),
        _stored(torch.from_numpy(prior.means), half=half),
        _stored(torch.from_numpy(prior.scale_trils[:, rows, columns]), half=half_trils),
    )
    return dict(zip(_PRIOR, tensors, strict=True))


def _read_prior(tensors: Sequence[Tensor | None], latent_dim: int) -> LatentPrior | None:
    given = [tensor.float().numpy() for tensor in tensors if tensor is not None]
    if not given:
        return None
    if len(given) < len(_PRIOR):
        raise ValueError("a part of its prior is missing")
    weights, means, packed = given
    if (
        means.ndim != 2
        or means.shape[1] != latent_dim
        or packed.shape != (len(means), latent_dim * (latent_dim + 1) // 2)
    ):
        raise ValueError("the prior does not fit the network")
    scale_trils = np.zeros((len(means), latent_dim, latent_dim), dtype=np.float32)
    scale_trils[:, *np.tril_indices(latent_dim)] = packed
    return LatentPrior(weights.astype(np.float64), means, scale_trils)


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
    together = _read_pairs(metadata.get("attribute_pairs"), counts)
    return AttributeDirections(deltas.float().numpy(), counts[:, 0], counts[:, 1], together)


def _read_pairs(pairs: Any, counts: NDArray[np.int64]) -> NDArray[np.int64] | None:  # noqa: ANN401 - from a file
    """Return how many images have both of two attributes (A, A), where the file says it; `counts` (A, 2) are of each alone."""
    if pairs is None:
        return None
    together: NDArray[np.int64] = np.asarray(pairs, dtype=np.int64).reshape(len(counts), len(counts))
    alone = counts[:, 0]
    impossible = (together < 0) | (together != together.T) | (together > np.minimum.outer(alone, alone))
    if impossible.any() or (np.diagonal(together) != alone).any() or (counts.sum(axis=1) != counts[0].sum()).any():
        raise ValueError("the pairs of attributes do not fit their counts")
    return together
