"""Reading and writing safetensors files with JSON metadata, shared by the weights and the checkpoint."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from facevae.errors import DataError
from facevae.provenance import command
from facevae.storage.near_files import near_file
from facevae.storage.output import describe_os_error, write_bytes

FORMAT_VERSION = 1
_PLAIN = ("format", "format_version", "command")
"""Entries of the metadata that are not JSON."""


def write_tensors(path: Path, format_name: str, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Write `tensors` with each entry of `metadata` as JSON, atomically.

    Raises:
        DataError: the file cannot be written.
    """
    header = {"format": format_name, "format_version": str(FORMAT_VERSION)}
    if command():
        header["command"] = command()
    header |= {key: json.dumps(value) for key, value in metadata.items()}
    # safetensors stores plain row-major tensors, the network keeps channels-last ones.
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save(plain, metadata=header))


def read_tensors(
    path: Path, format_name: str, what: str, remedy: str, *, near: Sequence[str] | None = None, missing: str = ""
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of `path` and its metadata decoded from JSON.

    Args:
        path: the file.
        format_name: what its metadata must say.
        what: names the content in errors ("VAE weights").
        remedy: is the sentence that ends them.
        near: where a user named the file: what else may be named in its place ("faces-32"). A near name is then proposed.
        missing: ends the error for a file that is not there, instead of `remedy`.

    Raises:
        DataError: there is no such file, it is not safetensors, holds something else, or was written by a newer facevae.
    """
    if not path.exists():
        hint = near_file(path, (".safetensors",), near) if near is not None else ""
        raise DataError(f"There is no {path}.{hint or f' {missing or remedy}'}")
    if path.is_dir():
        raise DataError(f"{path} is a folder, not a file of {what}. {remedy}")
    try:
        with safe_open(str(path), framework="pt") as file:
            header: dict[str, str] = file.metadata() or {}
            if header.get("format") != format_name:
                raise DataError(f"{path} does not hold {what} of facevae. {remedy}")
            version = header.get("format_version", "")
            if not version.isdecimal() or int(version) > FORMAT_VERSION:
                raise DataError(
                    f"{path} is of format version {version[:20] or 'unknown'}, newer than this facevae reads: "
                    "update facevae."
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        if any(tensor.is_complex() for tensor in tensors.values()):  # a network takes the real part, with a warning
            raise ValueError("it holds complex numbers")
        metadata = {key: json.loads(value) for key, value in header.items() if key not in _PLAIN}
    except SafetensorError as error:
        raise DataError(f"{path} is not a file of {what} (not safetensors, or damaged). {remedy}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is damaged ({str(error)[:120]}). {remedy}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {describe_os_error(error)}. {remedy}") from error
    return tensors, metadata
