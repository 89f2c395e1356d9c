"""`info`: what a facevae file is and how it was made; without a file, the network layer by layer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from facevae.config import WEIGHTS_FILE, ModelConfig
from facevae.errors import DataError
from facevae.storage import shipped
from facevae.storage.near_files import near_file
from facevae.storage.output import StrPath, describe_os_error
from facevae.workflows.info_facts import FileInfo, Made, foreign

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


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
        return info(shipped.shipped_weights()).shipped_as(str(path), str(WEIGHTS_FILE))
    upscaler = shipped.named_upscaler(path)
    if upscaler is not None:
        return info(shipped.shipped_upscaler(upscaler)).shipped_as(str(path), shipped.UPSCALERS[upscaler])
    path = Path(path)
    if not path.exists():
        hint = near_file(path, (".safetensors", ".h5"), [shipped.SHIPPED_NAME, *shipped.UPSCALERS])
        remedy = hint or " Name a file that facevae wrote, such as vae.safetensors or faces.h5."
        raise DataError(f"There is no {path}.{remedy}")
    if path.is_dir():
        raise DataError(f"{path} is a folder. Name a file that facevae wrote, such as vae.safetensors or faces.h5.")
    try:
        with path.open("rb") as file:
            head = file.read(9)
        size, digest = path.stat().st_size, _sha256(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {describe_os_error(error)}.") from error
    found, command = _described(path, head)
    return found.with_file_facts(command, size, digest)


def _described(path: Path, head: bytes) -> Made:
    """Describe a file that begins with `head`."""
    if head.startswith(_HDF5_SIGNATURE):
        from facevae.workflows.info_hdf5 import hdf5_info

        return hdf5_info(path)
    if head[8:9] == b"{":
        from facevae.workflows.info_safetensors import safetensors_info

        return safetensors_info(path)
    raise foreign(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
