"""What kind of data a file holds, told by its content rather than its name."""

from __future__ import annotations

import json
from pathlib import Path

FACES = "prepared faces"
LATENTS = "latents"
COORDINATES = "UMAP coordinates"
WEIGHTS = "VAE weights"
CHECKPOINT = "a training checkpoint"
JUDGE = "an attribute judge"
UPSCALER = "upscaler weights"
UPSCALER_CHECKPOINT = "an upscaler's checkpoint"
OTHER_HDF5 = "HDF5 data"
OTHER_SAFETENSORS = "safetensors data"

HDF5_KINDS = {"facevae faces": FACES, "facevae latents": LATENTS, "facevae umap": COORDINATES}
"""The root attribute `format` of each of facevae's HDF5 files."""
SAFETENSORS_KINDS = {
    "facevae weights": WEIGHTS,
    "facevae checkpoint": CHECKPOINT,
    "facevae judge": JUDGE,
    "facevae upscaler": UPSCALER,
    "facevae upscaler checkpoint": UPSCALER_CHECKPOINT,
}
"""The metadata entry `format` of each of facevae's safetensors files."""
DATA_KINDS = frozenset({*HDF5_KINDS.values(), *SAFETENSORS_KINDS.values(), OTHER_HDF5, OTHER_SAFETENSORS})

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_LONGEST_HEADER = 100_000_000


def kind_of(path: Path) -> str | None:
    """Return the kind of data in a file, one of `DATA_KINDS`, or None for anything else (a picture, a text, nothing).

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(9)
        if head.startswith(_HDF5_SIGNATURE):
            return HDF5_KINDS.get(_hdf5_format(path), OTHER_HDF5)
        length = int.from_bytes(head[:8], "little")
        if head[8:9] != b"{" or not 0 < length <= _LONGEST_HEADER:
            return None
        return SAFETENSORS_KINDS.get(_safetensors_format(b"{" + file.read(length - 1)), OTHER_SAFETENSORS)


def _hdf5_format(path: Path) -> str:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return str(file.attrs.get("format", ""))
    except Exception:  # a damaged file: h5py raises whatever its library does
        return ""


def _safetensors_format(header: bytes) -> str:
    try:
        return str(json.loads(header)["__metadata__"]["format"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
