"""The processes that train one network together: each takes its share of every batch, and sums are taken over all.

One process alone is the ordinary case, and then nothing here costs anything. Several meet through `torch.distributed`, over
NCCL between GPUs and gloo between processors. The gradient of the whole batch is the sum of the ranks' gradients of their shares
of the loss, and normalisations take their sums over all ranks, so that the training is that of one process up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from facevae.errors import LostRankError, UsageError

_PATIENCE = timedelta(minutes=10)
"""How long a rank waits for the others: more than the leading one ever needs for its files."""


@dataclass(frozen=True)
class Ranks:
    """The process is number `rank` of `count`."""

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the rank that writes files and reports."""
        return self.rank == 0

    def share(self, batch: int) -> tuple[slice, float]:
        """Return this rank's rows of a batch, and how many images of it they stand for.

        A batch of fewer than two images a rank is taken whole by every rank, and stands for an equal part.
        """
        if batch < 2 * self.count:
            return slice(0, batch), batch / self.count
        start, stop = (batch * rank // self.count for rank in (self.rank, self.rank + 1))
        return slice(start, stop), float(stop - start)

    def sum(self, tensor: Tensor) -> Tensor:
        """Add up `tensor` over all ranks, in place, and return it."""
        return self._reduce(tensor, "SUM")

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up the gradients of all ranks, in one message: they are small, and a message each would be mostly waiting."""
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = self.sum(torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient, total in zip(
            gradients, torch.split(flat, [gradient.numel() for gradient in gradients]), strict=True
        ):
            gradient.copy_(total.view_as(gradient))

    def highest(self, number: int) -> int:
        """Return the highest number that any rank has; all get the same answer, and none before all have asked."""
        return number if self.count == 1 else int(self._reduce(torch.tensor(number), "MAX"))

    @contextmanager
    def losses_told(self) -> Iterator[None]:
        """Turn the errors of what PyTorch itself sends between ranks, as its batch normalisation does, into `LostRankError`."""
        try:
            yield
        except RuntimeError as error:
            if self.count > 1 and isinstance(error, dist.DistError):
                raise self._lost() from error
            raise

    def _lost(self) -> LostRankError:
        return LostRankError(
            f"Rank {self.rank} of {self.count} lost another one: its process ended, or the network between them failed."
        )

    def _reduce(self, tensor: Tensor, operation: str) -> Tensor:
        if self.count == 1:
            return tensor
        try:
            dist.all_reduce(tensor, getattr(dist.ReduceOp, operation))  # by name: some builds of PyTorch have none
        except RuntimeError as error:  # of gloo and of NCCL alike
            raise self._lost() from error
        return tensor


def check_shared(device: torch.device) -> None:
    """Check that several processes can train on such a device together.

    Raises:
        UsageError: they cannot.
    """
    if not dist.is_available():
        raise UsageError("This PyTorch was built without torch.distributed: it trains in one process alone.")
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"Several processes cannot train on {device.type} together: use --device cpu or cuda.")


@contextmanager
def joined(
    device: torch.device,
    store: Any = None,  # noqa: ANN401
    rank: int = 0,
    count: int = 1,
    patience: timedelta = _PATIENCE,
) -> Iterator[Ranks]:
    """Meet the other ranks, and leave them at the end.

    With a `store` (a `torch.distributed.Store`) they meet there, as `rank` of `count`; without one, where `torchrun` says.
    `patience` is how long to wait for the others.

    Raises:
        LostRankError: the others don't come.
        UsageError: the device cannot be used by several processes.
    """
    check_shared(device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    place = {} if store is None else {"store": store, "rank": rank, "world_size": count}
    try:
        dist.init_process_group(backend, timeout=patience, **place)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise LostRankError(f"The processes could not meet ({reason}).") from error
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
    except LostRankError:
        if device.type == "cpu":  # NCCL would wait for the one that is gone
            dist.destroy_process_group()
        raise
    except BaseException:
        dist.destroy_process_group()
        raise
    dist.destroy_process_group()
