"""Fitting the map in a process of its own, and what becomes of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import facevae
from facevae.explorer.face_map import FaceMap
from facevae.explorer.fit_child import FitJob
from facevae.progress import Notice, Progress, Report
from facevae.provenance import command
from facevae.workflows.machine import cores, memory
from facevae.workflows.umap_fit import memory_needed, seconds_needed

Floats = NDArray[np.float32]

CHILD = ("-m", "facevae.explorer.fit_child")
FEWEST = 10
"""Latents that UMAP makes a map of."""
_SAID_FROM = 60.0
"""Seconds of a fit that are worth a notice."""
_ENDS_WITHIN = 5.0


class MapFit:
    """A fit of `mean` (N, latent_dim), which moves the dots of `face_map` when it is done.

    With `save` the map is kept in that file, which must not exist, as that of the latents in the file `latents`.
    """

    def __init__(
        self, mean: Floats, face_map: FaceMap, report: Report, *, save: Path | None = None, latents: Path | None = None
    ) -> None:
        self._mean, self._map, self._report = mean, face_map, report
        self._save, self._latents = save, latents
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._stopped = False

    def start(self) -> None:
        """Start the process, from a thread that lives as long as it may take; where there are too few latents, don't."""
        count, latent_dim = self._mean.shape
        if count < FEWEST:
            text = (
                f"{count} faces are too few for a UMAP, which takes {FEWEST}: these are the two principal components."
            )
            self._map.stay(text, failed=False)
            return
        if not self._affordable(count, latent_dim):
            return
        self._map.fitting(Progress("umap: start", 0, None, "epochs"))
        try:
            self._process = _popen(max(1, cores() - 1))
        except OSError as error:
            self._map.stay(f"The map could not be fitted: no process could be started ({error}).", failed=True)
            return
        self._thread = threading.Thread(target=self._attend, args=(self._process,), name="facevae-map")
        self._thread.start()

    def stop(self) -> None:
        """End the process, if it has not ended."""
        self._stopped = True
        if self._process is not None:
            with suppress(OSError):
                self._process.kill()
        if self._thread is not None:
            self._thread.join(_ENDS_WITHIN)

    @property
    def is_running(self) -> bool:
        """Whether it goes on."""
        return self._thread is not None and self._thread.is_alive()

    def _affordable(self, count: int, latent_dim: int) -> bool:
        """Say how long it takes; return whether there is memory enough."""
        needed, available = memory_needed(count, latent_dim), memory()[1]
        if available is not None and needed > available:
            text = (
                f"A UMAP of {count:,} faces takes about {needed / 1e9:.1f} GB of memory, of which {available / 1e9:.1f} GB are "
                "free: the map stays at the two principal components."
            )
            self._map.stay(text, failed=True)
            self._report(Notice(text))
            return False
        seconds = seconds_needed(count, latent_dim, max(1, cores() - 1), seeded=False)
        if seconds >= _SAID_FROM:
            minutes = max(1, round(seconds / 60))
            self._report(
                Notice(
                    f"The map of {count:,} faces takes roughly {minutes} minute{'s' if minutes > 1 else ''} in the background; "
                    "until then it shows the two principal components."
                )
            )
        return True

    def _attend(self, process: subprocess.Popen[bytes]) -> None:
        """Send the process its work, and take what it says, until it ends."""
        done, said = False, None
        try:
            with process, _ended_at_errors(process):
                self._send(process)
                for message in _messages(process):
                    points = message.get("points")
                    if isinstance(points, np.ndarray):
                        self._map.fitted(points)
                        done = True
                    said = message.get("error", said)
                    self._hear(message)
        except OSError:  # it ended while it was written to
            process.wait()
        except ValueError:
            said = "The process that fitted the map said what cannot be read."
        if not done and not self._stopped:
            text = f"{said or _ended(process.returncode)} The map stays at the two principal components."
            self._map.stay(text, failed=True)
            self._report(Notice(text))

    def _send(self, process: subprocess.Popen[bytes]) -> None:
        count, latent_dim = self._mean.shape
        save = (
            (str(self._latents), str(self._save)) if self._save is not None and self._latents is not None else ("", "")
        )
        assert process.stdin is not None
        process.stdin.write(FitJob(count, latent_dim, os.getpid(), *save, command()).line())
        process.stdin.write(np.ascontiguousarray(self._mean, dtype="<f4").data)
        process.stdin.flush()

    def _hear(self, message: dict[str, Any]) -> None:
        if "progress" in message:
            stage, made, total = message["progress"]
            self._map.fitting(Progress(stage, made, total, "epochs"))
        if "notice" in message:
            self._report(Notice(message["notice"]))


@contextmanager
def _ended_at_errors(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End a process that nobody listens to any more: it would wait for that, and be waited for."""
    try:
        yield
    except ValueError:
        process.kill()
        raise


def _messages(process: subprocess.Popen[bytes]) -> Iterator[dict[str, Any]]:
    """Yield what the process says, with the points in place of their length."""
    assert process.stdout is not None
    for line in process.stdout:
        message: dict[str, Any] = json.loads(line)
        if not isinstance(message, dict):
            raise ValueError(message)
        if "points" in message:
            data = process.stdout.read(message["points"])
            if len(data) < message["points"]:
                return  # it ended in the middle
            message["points"] = np.frombuffer(data, dtype="<f4").reshape(-1, 2).astype(np.float32)
        yield message


def _popen(threads: int) -> subprocess.Popen[bytes]:
    """Start the process, on so many threads, deaf to the Ctrl-C that is meant for the server."""
    names = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    above = str(Path(facevae.__file__).parents[1])
    paths = [above, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | dict.fromkeys(names, str(threads)) | {"PYTHONPATH": os.pathsep.join(paths)}
    apart: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        apart = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.BELOW_NORMAL_PRIORITY_CLASS}
    # -P: what lies in the current folder is not to be taken for a module.
    return subprocess.Popen(
        [sys.executable, "-P", *CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        **apart,
    )


def _ended(code: int) -> str:
    """Return a sentence on a process that ended without a word."""
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        memory_too = ", perhaps for want of memory" if name == "SIGKILL" else ""
        return f"The process that fitted the map was ended by {name}{memory_too}."
    return f"The process that fitted the map ended without a word (exit code {code})."
