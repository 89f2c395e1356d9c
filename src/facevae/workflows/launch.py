"""How the processes of one training come together: started by `torchrun`, or from here by the first of them.

For those who did not start `torchrun`, the first process becomes rank 0 and starts the others: each runs this module with the
options of `train` as JSON, meets rank 0 through a store on the loopback address, and ends with it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from facevae.errors import FacevaeError, LostRankError, UsageError
from facevae.model.ranks import Ranks, joined

_HOST = "127.0.0.1"
_STORE = "FACEVAE_STORE_PORT"
"""The environment variable that tells a rank started from here where the store is."""

_START_SECONDS = 300.0
_END_SECONDS = 30.0


def started_together() -> bool:
    """Return whether this process is one of several that `torchrun`, or something with its conventions, has started."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def leads() -> bool:
    """Return whether this process is the only one or, of several, the one that writes and reports."""
    return os.environ.get("RANK", "0") == "0" or not started_together()


def local_device(device: torch.device, count: int = 1) -> torch.device:
    """Return the device of this rank, where it is of several: with CUDA, the GPU of the rank's number on its machine."""
    if device.type == "cuda" and device.index is None and (started_together() or count > 1):
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return device


def process_count(asked: int | None, device: torch.device) -> int:
    """Return how many processes this one should be the first of: as asked for, or one for each visible GPU of `cuda`.

    Raises:
        UsageError: there are fewer GPUs, or the processes have been started already.
    """
    if started_together():
        if asked is not None:
            raise UsageError("torchrun has started the processes already: leave --processes out.")
        return 1
    if asked is not None and asked < 1:
        raise UsageError(f"{asked} processes are too few: use a whole number of at least 1.")
    gpus = torch.cuda.device_count() if device.type == "cuda" and device.index is None else None
    if asked is not None and asked > 1 and device.type == "cuda" and (gpus is None or asked > gpus):
        raise UsageError(
            f"There are not {asked} GPUs for {asked} processes: PyTorch sees {torch.cuda.device_count()}, and a process needs "
            "one of its own, so use --device cuda with fewer --processes."
        )
    return asked if asked is not None else gpus or 1


@contextmanager
def meet(device: torch.device, count: int, options: Mapping[str, Any]) -> Iterator[Ranks]:
    """Yield this process's place among those that train together, starting the others with the `options` of `train` if need be.

    Raises:
        LostRankError: the others don't come.
    """
    if _STORE in os.environ:
        store, rank, count = _connect(), int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        store.set(_ready(rank), "yes")
        with joined(device, store, rank, count) as ranks:
            yield ranks
    elif started_together():
        with joined(device) as ranks:
            yield ranks
    elif count > 1:
        if device.type == "cpu":
            torch.set_num_threads(max(1, torch.get_num_threads() // count))
        with _others(count, options) as store, joined(device, store, 0, count) as ranks:
            yield ranks
    else:
        yield Ranks()


def _connect() -> Any:  # noqa: ANN401
    return dist.TCPStore(_HOST, int(os.environ[_STORE]), is_master=False, timeout=timedelta(seconds=_START_SECONDS))  # type: ignore[attr-defined]


@contextmanager
def _others(count: int, options: Mapping[str, Any]) -> Iterator[Any]:
    """Start ranks 1 to `count` - 1, and yield the store at which all meet; they have ended when this ends."""
    store = dist.TCPStore(_HOST, 0, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
    processes = [_start(rank, count, store.port, options) for rank in range(1, count)]
    try:
        _await(store, processes)
        yield store
        deadline = time.monotonic() + _END_SECONDS
        for process in processes:
            process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        pass  # all is trained and written: a rank that will not end is ended below
    except LostRankError as error:
        raise LostRankError(f"{error}{_last_words(store, count)}") from error
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def _start(rank: int, count: int, port: int, options: Mapping[str, Any]) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        _STORE: str(port),
    }
    environment.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))
    command = [sys.executable, "-m", __name__, json.dumps(dict(options))]
    return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def _last_words(store: Any, count: int) -> str:  # noqa: ANN401
    """Return what the other ranks ended with, as sentences."""
    told = [(rank, _error(rank)) for rank in range(1, count) if store.check([_error(rank)])]
    return "".join(f" Rank {rank}: {store.get(key).decode()}" for rank, key in told)


def _await(store: Any, processes: list[subprocess.Popen[bytes]]) -> None:  # noqa: ANN401
    """Wait until all have said that they are ready; in a loop of our own, which Ctrl-C and a rank's end can break."""
    count = len(processes) + 1
    deadline = time.monotonic() + _START_SECONDS
    while not store.check([_ready(rank) for rank in range(1, count)]):
        for rank, process in enumerate(processes, start=1):
            if process.poll() is not None:
                raise LostRankError(
                    f"Rank {rank} of {count} ended before the training began: --processes 1 does without the others."
                )
        if time.monotonic() > deadline:
            raise LostRankError(
                f"Not all of the {count} processes were ready after {_START_SECONDS:.0f} seconds: "
                "--processes 1 does without the others."
            )
        time.sleep(0.02)


def _ready(rank: int) -> str:
    return f"facevae/ready/{rank}"


def _error(rank: int) -> str:
    return f"facevae/error/{rank}"


def _run(options: dict[str, Any]) -> int:
    """Be one of the other ranks, from its first step to its last, and return the exit code."""
    from facevae.workflows.train import train

    try:
        train(**options)
    except FacevaeError as error:
        # Told by rank 0, and only if it does not come to the same end by itself. It may be gone.
        with suppress(RuntimeError):
            _connect().set(_error(int(os.environ["RANK"])), str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(_run(json.loads(sys.argv[1])))
