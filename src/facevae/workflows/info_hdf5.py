"""Prepared faces, latents and UMAP coordinates described, for `info`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from facevae.storage import coordinates, hdf5
from facevae.storage.faces import Faces
from facevae.storage.hdf5_checks import format_of
from facevae.storage.latents import Latents
from facevae.workflows.info_facts import (
    FileInfo,
    Made,
    attribute_counts,
    foreign,
    plain,
    split_counts,
    splits_in_words,
)

_UMAP_SETTINGS = ("n_neighbors", "min_dist", "seed", "weights_hash")


def hdf5_info(path: Path) -> Made:
    """Describe an HDF5 file.

    Raises:
        DataError: it is damaged, or none of facevae's.
    """
    found, command = format_of(path)
    readers = {"facevae faces": _faces_info, "facevae latents": _latents_info, "facevae umap": _umap_info}
    if found not in readers:
        raise foreign(path)
    return Made(readers[found](path), command)


def _faces_info(path: Path) -> FileInfo:
    with Faces(path) as faces:
        size, record, splits = faces.image_size, faces.record, split_counts(faces.split)
        facts = {
            "faces": f"{faces.count:,}",
            "images": f"uint8 ({faces.count}, {size}, {size}, 3)",
            "splits": splits_in_words(splits),
            "split rule": record["split_rule"],
            "resize rule": record["resize_rule"],
            **({"smallest side": f"{faces.min_side} pixels, smaller left out"} if faces.min_side is not None else {}),
            "source": record["source"],
            "made by": f"facevae {record['facevae_version']}",
            "fingerprint": faces.fingerprint,
        }
        values = {
            "faces": int(faces.count),
            "image_size": size,
            "splits": splits,
            **{name: record[name] for name in ("split_rule", "resize_rule", "source", "facevae_version")},
            "min_side": faces.min_side,
            "fingerprint": faces.fingerprint,
        }
        rows = attribute_counts(faces.attributes, faces.attribute_names)
        return FileInfo(path, "prepared faces", facts, rows, values)


def _latents_info(path: Path) -> FileInfo:
    with Latents(path) as latents:
        splits = split_counts(latents.split)
        facts = {
            "latents": f"{latents.count:,}",
            **_shard_in_words(latents),
            "mean, log_variance": f"float32 ({latents.count}, {latents.latent_dim})",
            "splits": splits_in_words(splits),
            "made by weights": latents.weights_hash,
            "from faces": latents.faces_fingerprint or "single images",
            "precision": latents.precision,
            "made by": f"facevae {latents.facevae_version}",
        }
        values = {
            "latents": int(latents.count),
            "latent_dim": int(latents.latent_dim),
            "shard": asdict(latents.shard) if latents.shard is not None else None,
            "splits": splits,
            "weights_hash": latents.weights_hash,
            "faces_fingerprint": latents.faces_fingerprint or None,
            "precision": latents.precision,
            "facevae_version": latents.facevae_version,
        }
        rows = attribute_counts(latents.attributes, latents.attribute_names)
        return FileInfo(path, "latents", facts, rows, values)


def _shard_in_words(latents: Latents) -> dict[str, str]:
    shard = latents.shard
    if shard is None:
        return {}
    return {"part": f"{shard}: faces {shard.rows.start + 1:,} to {shard.rows.stop:,} of {shard.total:,}"}


def _umap_info(path: Path) -> FileInfo:
    remedy = coordinates.REMEDY
    with hdf5.open_hdf5(path, coordinates.FORMAT, remedy) as file, hdf5.damaged_as_data_error(path, remedy):
        points, takes_new = len(file["coordinates"]), "mean" in file
        settings = {name: file.attrs.get(name) for name in _UMAP_SETTINGS}
        version = file.attrs.get("facevae_version")
    facts = {"points": f"{points:,}"}
    facts |= {name.replace("_", " "): _known(value) for name, value in settings.items()}
    facts["made by"] = f"facevae {_known(version)}"
    facts["takes new faces"] = "yes, with umap --fit-on" if takes_new else "no"
    values = {
        "points": points,
        **{name: plain(value) for name, value in settings.items()},
        "facevae_version": plain(version),
        "takes_new_faces": takes_new,
    }
    return FileInfo(path, "UMAP coordinates", facts, (), values)


def _known(value: Any) -> str:  # noqa: ANN401 - from a file
    return "unknown" if value is None else str(value)
