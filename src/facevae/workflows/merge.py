"""`merge`: the shards of `encode --shard` to the latents of all faces, as one `encode` would have written them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from facevae.config import LATENTS_FILE
from facevae.errors import DataError, MismatchError, UsageError
from facevae.progress import Progress, Report, silent
from facevae.storage.kinds import LATENTS
from facevae.storage.latents import Latents, LatentsWriter, Shard
from facevae.storage.output import Output, StrPath, as_output, check_output, output_path

_COPIED_ROWS = 4096

_SHARED = {
    "weights_hash": "were made by different weights",
    "faces_fingerprint": "are of different faces",
    "precision": "were encoded with different --precision",
    "facevae_version": "were made by different versions of facevae",
    "latent_dim": "differ in the number of latent dimensions",
    "attribute_names": "differ in their attributes",
    "has_split": "differ in their splits",
}
"""What all shards must have in common, and what is wrong where two do not."""


@dataclass(frozen=True)
class MergeResult:
    """What `merge` wrote: how many latents, of what width, out of how many shards."""

    output: Output
    count: int
    latent_dim: int
    shards: int


def merge(
    shards: Sequence[StrPath] | StrPath, output: StrPath | BinaryIO = LATENTS_FILE, *, report: Report = silent
) -> MergeResult:
    """Join the shards of a set of latents, given in any order, to one file or stream.

    Its datasets and root attributes are those that `encode` writes for all faces at once.

    Args:
        shards: the files of `encode(..., shard="I/N")`, all N of them.
        output: a path, or a binary stream.
        report: is called with progress.

    Raises:
        DataError: a file is missing or damaged, is no shard, or a shard is missing.
        MismatchError: the shards are not of one set.
        UsageError: no shard is given, or one twice.
    """
    output = as_output(output)
    paths = [Path(shards)] if isinstance(shards, str | Path) else [Path(shard) for shard in shards]
    if not paths:
        raise UsageError("There is no shard to join: name the files that facevae encode --shard wrote.")
    check_output(output, inputs=paths, kind=LATENTS)
    found = _find(paths)
    first = next(iter(found.values()))
    shard = _shard_of(first)
    with output_path(output) as temporary, _writer(temporary, first) as writer:
        for number in range(1, shard.shards + 1):
            _copy(found[number].path, writer, report)
        writer.finish()
    return MergeResult(output, shard.total, first.latent_dim, shard.shards)


def _find(paths: Sequence[Path]) -> dict[int, Latents]:
    """Return all the shards of a set by number, closed again."""
    found: dict[int, Latents] = {}
    for path in paths:
        with Latents(path) as latents:
            _add(latents, found)
    _check_complete(found)
    return found


def _add(latents: Latents, found: dict[int, Latents]) -> None:
    """Put a shard among those found, unless it is none of theirs."""
    shard = _shard_of(latents)
    for other in found.values():
        theirs = _shard_of(other)
        if (shard.shards, shard.total) != (theirs.shards, theirs.total):
            raise MismatchError(
                f"{other.path} and {latents.path} do not belong together: they are {theirs} ({theirs.total} faces) and {shard} "
                f"({shard.total} faces)."
            )
        for name, reason in _SHARED.items():
            if getattr(other, name) != getattr(latents, name):
                raise MismatchError(f"{other.path} and {latents.path} do not belong together: they {reason}.")
        break  # the others are like the first
    if shard.shard in found:
        raise UsageError(f"{found[shard.shard].path} and {latents.path} are both {shard}: name each shard once.")
    found[shard.shard] = latents


def _shard_of(latents: Latents) -> Shard:
    if latents.shard is None:
        raise DataError(f"{latents.path} is no shard: name the files that facevae encode --shard wrote.")
    return latents.shard


def _check_complete(found: dict[int, Latents]) -> None:
    shard = _shard_of(next(iter(found.values())))
    count = shard.shards - len(found)
    if count:
        # Of however many a file says that there are, only those that are told are gone through.
        missing = list(islice((number for number in range(1, shard.shards + 1) if number not in found), 10))
        which = ", ".join(str(number) for number in missing) + (", ..." if count > 10 else "")
        what = f"Shard {which} of {shard.shards} is" if count == 1 else f"Shards {which} of {shard.shards} are"
        raise DataError(
            f"{what} missing: name all of them, or make the missing with facevae encode --shard {missing[0]}/{shard.shards}."
        )


def _writer(path: Path, like: Latents) -> LatentsWriter:
    return LatentsWriter(
        path,
        latent_dim=like.latent_dim,
        attribute_names=like.attribute_names,
        with_split=like.has_split,
        weights_hash=like.weights_hash,
        faces_fingerprint=like.faces_fingerprint,
        facevae_version=like.facevae_version,
        precision=like.precision,
    )


def _copy(path: Path, writer: LatentsWriter, report: Report) -> None:
    with Latents(path) as latents:
        shard = _shard_of(latents)
        for start in range(0, latents.count, _COPIED_ROWS):
            stop = min(start + _COPIED_ROWS, latents.count)
            mean, log_variance = latents.mean(start, stop), latents.log_variance(start, stop)
            writer.append(mean, log_variance, *latents.columns(start, stop))
            report(Progress("merge", shard.rows.start + stop, shard.total, "latents"))
