"""Parts of the faces for several processes or machines: which one is meant, what its file is called, and who joins them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import torch

from facevae.errors import DataError, LostRankError, UsageError
from facevae.model.ranks import joined
from facevae.progress import Report
from facevae.storage.faces import Faces
from facevae.storage.latents import Shard
from facevae.storage.output import Output
from facevae.workflows.launch import leads
from facevae.workflows.merge import merge

_PATIENCE = timedelta(days=1)
"""How long a rank that is done waits for the others, whose machines may be slower. `torchrun` ends it when one of them fails."""


class ShardNumber(NamedTuple):
    """Number `shard` (from 1) of so many `shards`."""

    shard: int
    shards: int

    def of(self, faces: Faces) -> Shard:
        """Return the part of `faces` that this is.

        Raises:
            UsageError: there are fewer faces than shards.
        """
        if faces.count < self.shards:
            raise UsageError(f"{faces.path} holds {faces.count} faces, too few for {self.shards} shards: use fewer.")
        return Shard(self.shard, self.shards, faces.count)


def parse_shard(text: str) -> ShardNumber:
    """Return the shard that "I/N" means.

    Raises:
        UsageError: it means none.
    """
    match = re.fullmatch(r"\s*([0-9]{1,9})\s*/\s*([0-9]{1,9})\s*", text)
    if match is None:
        raise UsageError(f"There is no shard {text}: use I/N for part I of N, such as 2/4.")
    number = ShardNumber(int(match[1]), int(match[2]))
    if not 1 <= number.shard <= number.shards:
        raise UsageError(f"There is no shard {text}: the first of N is 1/N and the last N/N, such as 1/4 and 4/4.")
    return number


def shard_path(output: Path, number: ShardNumber) -> Path:
    """Return where a shard of `output` goes: `latents.2-of-4.h5` beside `latents.h5`."""
    return output.with_name(f"{output.stem}.{number.shard}-of-{number.shards}{output.suffix}")


def shard_of_rank() -> ShardNumber:
    """Return the shard of this one of several processes that `torchrun` has started."""
    return ShardNumber(int(os.environ["RANK"]) + 1, int(os.environ["WORLD_SIZE"]))


def check_together(images: Sequence[Path] | None, output: Output, shard: str | None) -> Path:
    """Return the output of several processes that encode together.

    Raises:
        UsageError: it is a stream, or there is nothing to share.
    """
    if shard is not None:
        raise UsageError("torchrun has started the processes already, each for its own shard: leave --shard out.")
    if images is not None:
        raise UsageError("Several processes divide the faces of faces.h5, not images: encode images without torchrun.")
    if not isinstance(output, Path):
        raise UsageError(
            "Several processes cannot write to one stream: name a file with -o FILE, such as -o latents.h5."
        )
    return output


def join_together(output: Path, shards: int, report: Report) -> int | None:
    """Wait until all ranks have written their shards of `output`; the first then joins them and removes their files.

    Returns:
        how many latents there are in all, or None on the other ranks.

    Raises:
        DataError: the first does not see the files of the others.
        LostRankError: a rank is gone.
    """
    paths = [shard_path(output, ShardNumber(number, shards)) for number in range(1, shards + 1)]
    by_hand = f"join them with: facevae merge {paths[0]} ... -o {output}"
    try:
        with joined(torch.device("cpu"), patience=_PATIENCE):
            pass  # all have come
    except LostRankError as error:
        raise LostRankError(f"{error} Encode the shards that are missing with --shard, and {by_hand}") from error
    if not leads():
        return None
    missing = next((path for path in paths if not path.exists()), None)
    if missing is not None:
        raise DataError(
            f"{missing} is not here, as where machines have folders of their own. Bring the shards together, and {by_hand}"
        )
    result = merge(paths, output, report=report)
    for path in paths:
        path.unlink()
    return result.count
