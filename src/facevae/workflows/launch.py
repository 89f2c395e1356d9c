"""How the processes of one training come together: started by `torchrun`, or from here by the first of them.

For those who did not start `torchrun`, the first process becomes rank 0 and starts the others: each runs this module with the
options of `train` as JSON, meets rank 0 on the loopback address, where no other machine can reach them, and ends with it.
Ctrl-C is for rank 0 alone, with which the others agree after each step.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from facevae.errors import FacevaeError, LostRankError, UsageError
from facevae.model.ranks import Ranks, check_shared, joined

_HOST = "127.0.0.1"
_STORE = "FACEVAE_STORE_PORT"
"""The environment variable that tells a rank started from here where the store is."""

_GLOO_INTERFACE = "GLOO_SOCKET_IFNAME"

_START_SECONDS = 300.0
_END_SECONDS = 30.0
_LAST_WORDS_SECONDS = 5.0


def started_together() -> bool:
    """Return whether this process is one of several that `torchrun`, or something with its conventions, has started.

    Raises:
        UsageError: the environment variable that says so holds no number.
    """
    return _from_environment("WORLD_SIZE", 1) > 1


def _from_environment(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isascii() or not text.isdecimal():
        raise UsageError(
            f"The environment variable {name} is {text}, not a number as torchrun sets it: unset it, or use torchrun."
        )
    return int(text)


def leads() -> bool:
    """Return whether this process is the only one or, of several, the one that writes and reports."""
    return os.environ.get("RANK", "0") == "0" or not started_together()


def local_device(device: torch.device, count: int = 1) -> torch.device:
    """Return the device of this rank, where it is of several: with CUDA, the GPU of the rank's number on its machine.

    Raises:
        UsageError: there are more ranks than GPUs on this machine, or one GPU is named for all of them.
    """
    if device.type != "cuda" or not (started_together() or count > 1):
        return device
    if device.index is not None:
        raise UsageError(
            f"Several processes cannot share {device}: use --device cuda, which gives each a GPU of its own."
        )
    number, gpus = _from_environment("LOCAL_RANK", 0), torch.cuda.device_count()
    if number >= gpus:
        raise UsageError(
            f"This machine has {gpus} GPU(s) for more processes than that: start at most {gpus} on it, or use --device cpu."
        )
    return torch.device("cuda", number)


def process_count(asked: int | None, device: torch.device) -> int:
    """Return how many processes this one should be the first of: as asked for, or one for each visible GPU of `cuda`.

    Raises:
        UsageError: there are fewer GPUs, the device is for one process alone, or the processes have been started already.
    """
    if started_together() or "TORCHELASTIC_RUN_ID" in os.environ:
        if asked is not None:
            raise UsageError("torchrun has started the processes already: leave --processes out.")
        return 1
    if asked is not None and asked < 1:
        raise UsageError(f"{asked} processes are too few: use a whole number of at least 1.")
    gpus = torch.cuda.device_count() if device.type == "cuda" and device.index is None else None
    count = asked if asked is not None else gpus or 1
    if count > 1:
        _check_devices(count, device, gpus)
    return count


def _check_devices(count: int, device: torch.device, gpus: int | None) -> None:
    check_shared(device)
    if device.index is not None:
        raise UsageError(
            f"{count} processes cannot train on {device} alone: each needs a GPU of its own, so use --device cuda."
        )
    if gpus is not None and count > gpus:
        raise UsageError(
            f"There are not {count} GPUs for {count} processes: PyTorch sees {gpus}, and a process needs one of its own, so use "
            "fewer --processes."
        )


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
        with (
            _part_of_machine(device, count),
            _others(count, options) as store,
            joined(device, store, 0, count) as ranks,
        ):
            yield ranks
    else:
        yield Ranks()


def _connect() -> Any:  # noqa: ANN401
    return dist.TCPStore(_HOST, int(os.environ[_STORE]), is_master=False, timeout=timedelta(seconds=_START_SECONDS))  # type: ignore[attr-defined]


@contextmanager
def _part_of_machine(device: torch.device, count: int) -> Iterator[None]:
    """Leave the others their part of the processor's threads, and meet them on this machine alone, until this ends."""
    threads, interface = torch.get_num_threads(), os.environ.get(_GLOO_INTERFACE)
    if device.type == "cpu":
        torch.set_num_threads(max(1, threads // count))
    loopback = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)
    if interface is None and loopback is not None:
        os.environ[_GLOO_INTERFACE] = loopback
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if interface is None:
            os.environ.pop(_GLOO_INTERFACE, None)


def _open_store() -> Any:  # noqa: ANN401
    """Return the store at which all meet. It would listen on every interface, were it not given a socket."""
    listener = socket.create_server((_HOST, 0))
    port = listener.getsockname()[1]
    return dist.TCPStore(  # type: ignore[attr-defined]
        _HOST, port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach()
    )


@contextmanager
def _others(count: int, options: Mapping[str, Any]) -> Iterator[Any]:
    """Start ranks 1 to `count` - 1, and yield the store at which all meet; they have ended when this ends."""
    store = _open_store()
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for rank in range(1, count):  # one by one: if one fails to start, those before it must end
            processes.append(_start(rank, count, store.port, options))
        _await(store, processes)
        yield store
        _await_end(processes, _END_SECONDS)
    except LostRankError as error:
        _await_end(processes, _LAST_WORDS_SECONDS)
        raise LostRankError(f"{error}{_last_words(store, processes)}") from error
    finally:
        for process in processes:
            process.kill()  # it has nothing to write, and may be hanging
        for process in processes:
            process.communicate()


def _start(rank: int, count: int, port: int, options: Mapping[str, Any]) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
        _STORE: str(port),
    }
    command = [sys.executable, "-m", __name__, json.dumps(dict(options))]
    # In a session of its own, out of reach of the terminal's Ctrl-C; its standard input ends when this process does.
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
    )


def _await_end(processes: list[subprocess.Popen[bytes]], seconds: float) -> None:
    """Wait until all have ended, but not longer than that."""
    deadline = time.monotonic() + seconds
    with suppress(subprocess.TimeoutExpired):
        for process in processes:
            process.wait(max(0.0, deadline - time.monotonic()))


def _last_words(store: Any, processes: list[subprocess.Popen[bytes]]) -> str:  # noqa: ANN401
    """Return what the other ranks ended with, as sentences."""
    words = []
    for rank, process in enumerate(processes, start=1):
        if store.check([_error(rank)]):
            words.append(f" Rank {rank}: {store.get(_error(rank)).decode()}")
        elif process.returncode is not None and process.returncode < 0:
            words.append(f" Rank {rank} was ended by {signal.Signals(-process.returncode).name}.")
    return "".join(words)


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

    threading.Thread(target=_end_with_rank_0, daemon=True).start()
    try:
        train(**options)
    except LostRankError as error:
        return error.exit_code  # rank 0 knows
    except FacevaeError as error:
        # Told by rank 0, and only if it does not come to the same end by itself. It may be gone.
        with suppress(RuntimeError):
            _connect().set(_error(int(os.environ["RANK"])), str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def _end_with_rank_0() -> None:
    """End this process at once when rank 0 has ended, also while it waits for something that will not come any more."""
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(_run(json.loads(sys.argv[1])))
