"""`info`: what a facevae file is and how it was made; without a file, the network layer by layer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from facevae.config import SPLIT_CODES, WEIGHTS_FILE, ModelConfig
from facevae.errors import DataError
from facevae.storage import shipped
from facevae.storage.kinds import EXPORTED, kind_of
from facevae.storage.output import StrPath, describe_os_error

if TYPE_CHECKING:
    from facevae.model.prior import LatentPrior
    from facevae.storage.latents import Latents

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class FileInfo:
    """A facevae file described: its `kind`, the `facts` worth a line each, and its attributes.

    `attributes` has a row for each: (name, images with it, images without it, length of its direction or None).
    """

    path: Path
    kind: str
    facts: dict[str, Any]
    attributes: tuple[tuple[str, int, int, float | None], ...]


@dataclass(frozen=True)
class NetworkInfo:
    """The network as rows of (layer, kind, output shape, parameters), and its configuration."""

    config: ModelConfig
    layers: tuple[tuple[str, str, tuple[int, ...], int], ...]
    parameters: int


def network_info(config: ModelConfig | None = None) -> NetworkInfo:
    """Return the network of `config`, by default the reference, layer by layer. Shapes are channels, height, width."""
    from facevae.model.hooks import layer_table
    from facevae.model.training import new_vae

    config = config or ModelConfig()
    vae = new_vae(config, seed=0)
    rows = tuple((row.name, row.kind, row.shape, row.parameters) for row in layer_table(vae))
    return NetworkInfo(config, rows, sum(parameter.numel() for parameter in vae.parameters()))


@dataclass(frozen=True)
class ShippedInfo:
    """A file of weights that comes with facevae: its `name`, path and SHA-256, and the `problem` with it, or None."""

    name: str
    path: Path
    sha256: str
    problem: str | None


def shipped_info() -> ShippedInfo:
    """Return what VAE weights come with facevae, and whether they are as they should be."""
    return _shipped(shipped.SHIPPED_NAME, shipped.WEIGHTS, shipped.shipped_weights)


def shipped_upscalers_info() -> tuple[ShippedInfo, ...]:
    """Return which upscalers come with facevae, and whether they are as they should be."""
    return tuple(
        _shipped(inputs, file, partial(shipped.shipped_upscaler, inputs)) for inputs, file in shipped.UPSCALERS.items()
    )


def _shipped(name: str, file: str, check: Callable[[], Path]) -> ShippedInfo:
    problem = None
    try:
        check()
    except DataError as error:
        problem = str(error)
    return ShippedInfo(name, shipped.FOLDER / file, shipped.SHA256[file], problem)


def info(path: StrPath) -> FileInfo:
    """Describe a weights, upscaler, checkpoint, faces, latents or UMAP file.

    "faces-32" names the weights shipped with facevae, "photographs" and "reconstructions" the upscalers.

    Raises:
        DataError: the file is missing, damaged, or none of facevae's.
    """
    if shipped.names_shipped(path):
        found = info(shipped.shipped_weights())
        return replace(found, facts={"shipped as": f"{path}, used where there is no {WEIGHTS_FILE}"} | found.facts)
    upscaler = shipped.named_upscaler(path)
    if upscaler is not None:
        found = info(shipped.shipped_upscaler(upscaler))
        used = f"{path}, used where there is no {shipped.UPSCALERS[upscaler]}"
        return replace(found, facts={"shipped as": used} | found.facts)
    path = Path(path)
    if not path.exists():
        raise DataError(f"There is no {path}. Name a file that facevae wrote, such as vae.safetensors or faces.h5.")
    if path.is_dir():
        raise DataError(f"{path} is a folder. Name a file that facevae wrote, such as vae.safetensors or faces.h5.")
    try:
        with path.open("rb") as file:
            head = file.read(9)
        common = {"size": f"{path.stat().st_size:,} bytes", "file SHA-256": _sha256(path)}
    except OSError as error:
        raise DataError(f"{path} cannot be read: {describe_os_error(error)}.") from error
    if head.startswith(_HDF5_SIGNATURE):
        return _hdf5_info(path, common)
    if head[8:9] == b"{":
        return _safetensors_info(path, common)
    raise _foreign(path)


def _command(value: object) -> dict[str, str]:
    """Return the command line that a file says it was made by, if it says one."""
    text = " ".join(value.split()) if isinstance(value, str) else ""
    return {"command": text} if text else {}


def _foreign(path: Path) -> DataError:
    if kind_of(path) == EXPORTED:
        return DataError(f"{path} holds exported latents, for other tools: name the latents that it was made from.")
    return DataError(
        f"{path} is none of facevae's files. Name weights (.safetensors), faces or latents (.h5) that facevae wrote."
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _counts(attributes: NDArray[np.int8] | None, names: tuple[str, ...]) -> tuple[tuple[str, int, int, None], ...]:
    if attributes is None:
        return ()
    positive = (attributes > 0).sum(axis=0)
    return tuple(
        (name, int(count), len(attributes) - int(count), None) for name, count in zip(names, positive, strict=True)
    )


def _split_counts(split: NDArray[np.uint8] | None) -> str:
    if split is None:
        return "none"
    return ", ".join(f"{name} {int((split == code).sum()):,}" for name, code in SPLIT_CODES.items())


def _hdf5_info(path: Path, common: dict[str, Any]) -> FileInfo:
    from facevae.storage.hdf5_checks import format_of

    found, made_by = format_of(path)
    readers = {"facevae faces": _faces_info, "facevae latents": _latents_info, "facevae umap": _umap_info}
    if found not in readers:
        raise _foreign(path)
    return readers[found](path, _command(made_by) | common)


def _faces_info(path: Path, common: dict[str, Any]) -> FileInfo:
    from facevae.storage.faces import Faces

    with Faces(path) as faces:
        size = faces.image_size
        facts = {
            "faces": f"{faces.count:,}",
            "images": f"uint8 ({faces.count}, {size}, {size}, 3)",
            "splits": _split_counts(faces.split),
            "split rule": faces.record["split_rule"],
            "resize rule": faces.record["resize_rule"],
            **({"smallest side": f"{faces.min_side} pixels, smaller left out"} if faces.min_side is not None else {}),
            "source": faces.record["source"],
            "made by": f"facevae {faces.record['facevae_version']}",
            "fingerprint": faces.fingerprint,
        }
        return FileInfo(path, "prepared faces", facts | common, _counts(faces.attributes, faces.attribute_names))


def _latents_info(path: Path, common: dict[str, Any]) -> FileInfo:
    from facevae.storage.latents import Latents

    with Latents(path) as latents:
        facts = {
            "latents": f"{latents.count:,}",
            **_shard_facts(latents),
            "mean, log_variance": f"float32 ({latents.count}, {latents.latent_dim})",
            "splits": _split_counts(latents.split),
            "made by weights": latents.weights_hash,
            "from faces": latents.faces_fingerprint or "single images",
            "precision": latents.precision,
            "made by": f"facevae {latents.facevae_version}",
        }
        return FileInfo(path, "latents", facts | common, _counts(latents.attributes, latents.attribute_names))


def _shard_facts(latents: Latents) -> dict[str, str]:
    shard = latents.shard
    if shard is None:
        return {}
    return {"part": f"{shard}: faces {shard.rows.start + 1:,} to {shard.rows.stop:,} of {shard.total:,}"}


def _umap_info(path: Path, common: dict[str, Any]) -> FileInfo:
    from facevae.storage import coordinates, hdf5

    remedy = coordinates.REMEDY
    with hdf5.open_hdf5(path, coordinates.FORMAT, remedy) as file, hdf5.damaged_as_data_error(path, remedy):
        names = ("n_neighbors", "min_dist", "seed", "weights_hash")
        facts = {"points": f"{len(file['coordinates']):,}"}
        facts |= {name.replace("_", " "): str(file.attrs.get(name, "unknown")) for name in names}
        facts["made by"] = f"facevae {file.attrs.get('facevae_version', 'unknown')}"
        facts["takes new faces"] = "yes, with umap --fit-on" if "mean" in file else "no"
    return FileInfo(path, "UMAP coordinates", facts | common, ())


def _safetensors_info(path: Path, common: dict[str, Any]) -> FileInfo:
    from safetensors import SafetensorError, safe_open

    from facevae.storage import checkpoint as checkpoints
    from facevae.storage import upscaler_checkpoint, upscaler_file, weights

    try:
        with safe_open(str(path), framework="np") as file:
            header = file.metadata() or {}
    except SafetensorError:
        header = {}
    found = header.get("format")
    common = _command(header.get("command")) | common
    if found == upscaler_file.FORMAT:
        with checkpoints.damaged_as_data_error(path, upscaler_file.REMEDY):
            return _upscaler_info(path, common)
    if found == upscaler_checkpoint.FORMAT:
        return _upscaler_checkpoint_info(path, common)
    if found != checkpoints.FORMAT:
        with checkpoints.damaged_as_data_error(path, weights.REMEDY):
            return _weights_info(path, common)
    checkpoint = checkpoints.load_checkpoint(path)
    facts = {
        "epochs finished": str(checkpoint.epoch),
        "steps into the next": str(checkpoint.step),
        "trained for": f"{checkpoint.seconds:.0f} s",
        **_words(checkpoint.train.to_dict()),
        "faces": checkpoint.faces_fingerprint,
    }
    return FileInfo(path, "training checkpoint", facts | common, ())


def _upscaler_checkpoint_info(path: Path, common: dict[str, Any]) -> FileInfo:
    from facevae.storage.upscaler_checkpoint import load_upscaler_checkpoint

    checkpoint = load_upscaler_checkpoint(path)
    facts = {
        "network": _in_one_line(checkpoint.network.to_dict()),
        "epochs finished": str(checkpoint.epoch),
        "steps into the next": str(checkpoint.step),
        "trained for": f"{checkpoint.seconds:.0f} s",
        **_words(checkpoint.train.to_dict()),
        "faces": checkpoint.faces_fingerprint,
        **({"reconstructions by": checkpoint.vae} if checkpoint.vae else {}),
    }
    return FileInfo(path, "upscaler checkpoint", facts | common, ())


def _upscaler_info(path: Path, common: dict[str, Any]) -> FileInfo:
    from facevae.storage.upscaler_file import Upscaler

    upscaler = Upscaler.load(path)
    training = {name: value for name, value in upscaler.training.items() if name not in ("inputs", "valid", "versions")}
    facts = {
        "network": f"VDSR, {_in_one_line(upscaler.network.config.to_dict())}",
        "parameters": f"{sum(parameter.numel() for parameter in upscaler.network.parameters()):,}",
        "enlarges": upscaler.inputs,
        **_gain_in_words(upscaler.training.get("valid")),
        **_words(training),
    }
    versions = upscaler.training.get("versions")
    if isinstance(versions, dict):
        facts["made by"] = _in_one_line(versions)
    return FileInfo(path, "upscaler weights", facts | common, ())


def _gain_in_words(valid: Any) -> dict[str, str]:  # noqa: ANN401 - from a file
    """Return what held-out faces gained, if the file says it."""
    figures = [valid.get(name) for name in ("gain", "psnr", "faces")] if isinstance(valid, dict) else [None]
    if not all(isinstance(figure, int | float) for figure in figures):
        return {}
    gain, psnr, faces = figures
    return {"gain": f"{gain:+.2f} dB of luma over bicubic, to {psnr:.2f} dB, on {faces:,} held-out faces"}


def _in_one_line(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in _words(values).items())


def _words(values: dict[str, Any]) -> dict[str, str]:
    return {
        name.replace("_", " "): f"{value:g}"
        if isinstance(value, float)
        else ", ".join(map(str, value))
        if isinstance(value, list | tuple)
        else str(value)
        for name, value in values.items()
        if value is not None
    }


def _prior_in_words(prior: LatentPrior | None) -> str:
    if prior is None:
        return "none fitted: sample draws from N(0, I)"
    return "fitted, one Gaussian" if prior.components == 1 else f"fitted, a mixture of {prior.components} Gaussians"


def _weights_info(path: Path, common: dict[str, Any]) -> FileInfo:
    from facevae.storage.weights import FaceModel

    model = FaceModel.load(path)
    training = dict(model.training)
    losses = training.pop("losses", {})
    versions = training.pop("versions", {})
    facts = {
        "network": _in_one_line(model.vae.config.to_dict()),
        "parameters": f"{sum(parameter.numel() for parameter in model.vae.parameters()):,}",
        "weights hash": model.hash(),
        "prior": _prior_in_words(model.prior),
        **_words(training),
        **{
            f"last {split} loss": f"{value['loss']:.2f} (reconstruction {value['reconstruction']:.2f}, "
            f"KL {value['kl']:.2f}, MSE {value['mse']:.5f})"
            for split, value in losses.items()
        },
        "made by": ", ".join(f"{name} {value}" for name, value in versions.items()),
    }
    rows: tuple[tuple[str, int, int, float | None], ...] = ()
    if model.directions is not None:
        lengths = np.linalg.norm(model.directions.deltas.astype(np.float64), axis=1)
        columns = (model.attribute_names, model.directions.positive, model.directions.negative, lengths)
        rows = tuple((name, int(a), int(b), float(length)) for name, a, b, length in zip(*columns, strict=True))
    return FileInfo(path, "VAE weights", facts | common, rows)
