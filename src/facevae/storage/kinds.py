"""What kind of data a file holds, told by its content rather than its name."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from zipfile import ZipFile

from facevae.errors import DataError

FACES = "prepared faces"
LATENTS = "latents"
COORDINATES = "UMAP coordinates"
WEIGHTS = "VAE weights"
CHECKPOINT = "a training checkpoint"
JUDGE = "an attribute judge"
UPSCALER = "upscaler weights"
UPSCALER_CHECKPOINT = "an upscaler's checkpoint"
EXPORTED = "exported latents"
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
EXPORT_FORMAT = "facevae exported latents"
"""What the metadata of exported latents says, as `format`, in an `.npz` and in Parquet. In CSV the header tells it."""
DATA_KINDS = frozenset({*HDF5_KINDS.values(), *SAFETENSORS_KINDS.values(), EXPORTED, OTHER_HDF5, OTHER_SAFETENSORS})

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_LONGEST_HEADER = 100_000_000
_LONGEST_METADATA = 1_000_000
_CSV_HEADER_END = re.compile(rb",z0(?:,z\d++)*+(?:,logvar\d++)*+\r?\n")
_CSV_BEGINNING, _ZIP_SIGNATURE, _PARQUET_SIGNATURE = b"name,", b"PK\x03\x04", b"PAR1"


def kind_of(path: Path) -> str | None:
    """Return the kind of data in a file, one of `DATA_KINDS`, or None for anything else (a picture, a text, nothing).

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(9)
        if head.startswith(_HDF5_SIGNATURE):
            return HDF5_KINDS.get(_hdf5_format(path), OTHER_HDF5)
        if _is_export(path, head):
            return EXPORTED
        length = int.from_bytes(head[:8], "little")
        if head[8:9] != b"{" or not 0 < length <= _LONGEST_HEADER:
            return None
        return SAFETENSORS_KINDS.get(_safetensors_format(b"{" + file.read(length - 1)), OTHER_SAFETENSORS)


def _hdf5_format(path: Path) -> str:
    from facevae.storage.hdf5_checks import format_of

    try:
        return format_of(path)[0]
    except DataError:
        return ""


def _safetensors_format(header: bytes) -> str:
    try:
        return str(json.loads(header)["__metadata__"]["format"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""


def _is_export(path: Path, head: bytes) -> bool:
    """Tell exported latents, of which each format begins with bytes of its own."""
    if head.startswith(_CSV_BEGINNING):
        with path.open("rb") as file:
            header = file.readline(_LONGEST_HEADER)
        # From its last z0 on only: a search from each of them would take the square of the header's length.
        last = max(header.rfind(b",z0,"), header.rfind(b",z0\n"), header.rfind(b",z0\r"))
        return last >= 0 and _CSV_HEADER_END.fullmatch(header, last) is not None
    if head.startswith(_ZIP_SIGNATURE):
        return EXPORT_FORMAT.encode("utf-32-le") in _npz_metadata(path)  # as NumPy stores text
    return head.startswith(_PARQUET_SIGNATURE) and EXPORT_FORMAT.encode() in _parquet_footer(path)


def _npz_metadata(path: Path) -> bytes:
    try:
        with ZipFile(path) as archive, archive.open("metadata.npy") as member:
            return member.read(_LONGEST_METADATA)
    except Exception:  # a damaged archive: zipfile raises whatever its parts do
        return b""


def _parquet_footer(path: Path) -> bytes:
    """Return the schema of a Parquet file with its metadata: its length stands before the four bytes at the end."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 8, 0))
        tail = file.read(8)
        length = int.from_bytes(tail[:4], "little")
        if tail[4:] != _PARQUET_SIGNATURE or not 0 < length <= min(size - 8, _LONGEST_HEADER):
            return b""
        file.seek(size - 8 - length)
        return file.read(length)
