"""The process that fits the map, apart from the server so that pictures keep coming: `python -m facevae.explorer.fit_child`.

On standard input comes a line of JSON, see `FitJob`, and the latents as float32. On standard output go lines of JSON:
`{"progress": [stage, done, total]}`, `{"notice": text}`, `{"error": text}`, and `{"points": bytes}` with the points as float32
after it.

It ends with the server, however that ends: standard input ends then, and under Linux the system kills it as well, since Numba's
compiled loops keep other threads from noticing.
"""

from __future__ import annotations

import ctypes
import json
import os
import shlex
import signal
import sys
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from facevae.errors import FacevaeError
from facevae.explorer.map_file import write_map
from facevae.progress import Event, Progress
from facevae.provenance import set_command
from facevae.workflows.umap_fit import fit

_PR_SET_PDEATHSIG = 1
_NICENESS = 19

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class FitJob:
    """What is to be fitted.

    Attributes:
        count: N, the number of latents.
        latent_dim: D.
        parent: the server's process.
        latents: the file that the latents are of, where the map is to be kept; else empty.
        save: the file to keep the map in, which must not exist; else empty.
        command: the command line that the file shall say made it.
    """

    count: int
    latent_dim: int
    parent: int
    latents: str = ""
    save: str = ""
    command: str = ""

    def line(self) -> bytes:
        """Return the job as a line of JSON."""
        return json.dumps(asdict(self)).encode() + b"\n"


def main() -> None:
    """Fit a map."""
    incoming, outgoing = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no message
    job = FitJob(**json.loads(incoming.readline()))
    _end_with(job.parent)
    mean = np.frombuffer(_exactly(incoming, job.count * job.latent_dim * 4), dtype="<f4")
    threading.Thread(target=_watch, args=(incoming,), daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    try:
        _fit(job, mean.reshape(job.count, job.latent_dim).astype(np.float32, copy=False), outgoing)
    except FacevaeError as error:
        _tell(outgoing, error=str(error))
    except MemoryError:
        _tell(outgoing, error="There is not enough memory to fit the map.")
    except Exception as error:
        _tell(
            outgoing,
            error=f"The map could not be fitted ({type(error).__name__}: {' '.join(str(error).split())[:200]}).",
        )
    outgoing.flush()
    os._exit(0)  # the watching thread waits for input, and Python would wait for its lock


def _fit(job: FitJob, mean: Floats, outgoing: BinaryIO) -> None:
    def report(event: Event) -> None:
        if isinstance(event, Progress):
            _tell(outgoing, progress=[event.stage, event.done, event.total])

    points = np.ascontiguousarray(fit(mean, None, report), dtype="<f4").tobytes()
    _tell(outgoing, points=len(points))
    outgoing.write(points)
    outgoing.flush()
    if job.save:
        with suppress(ValueError):  # a command line that was cut off
            set_command(shlex.split(job.command)[1:])
        try:
            write_map(Path(job.save), Path(job.latents), np.frombuffer(points, "<f4").reshape(-1, 2), mean)
        except FacevaeError as error:
            _tell(outgoing, notice=f"The map is not kept: {error}")
        else:
            _tell(outgoing, notice=f"The map is kept in {job.save}, for the next time.")


def _tell(outgoing: BinaryIO, **message: object) -> None:
    outgoing.write(json.dumps(message).encode() + b"\n")
    outgoing.flush()


def _exactly(incoming: BinaryIO, length: int) -> bytes:
    data = incoming.read(length)
    if len(data) < length:
        os._exit(1)  # the server has gone
    return data


def _watch(incoming: BinaryIO) -> None:
    """End this process when the server does: nothing else comes."""
    incoming.read(1)
    os._exit(1)


def _end_with(parent: int) -> None:
    """Have the system end this process with its parent, where it can."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)  # it ended before


if __name__ == "__main__":
    main()
