"""What the tests of the explorer share: a workspace, a session in it, and a server that answers with it."""

from __future__ import annotations

import dataclasses
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import support
from facevae.explorer.edits import Edit
from facevae.explorer.explore import open_session
from facevae.explorer.face_refs import FaceRef
from facevae.explorer.guard import Guard
from facevae.explorer.server import Server, bind
from facevae.explorer.session import Notices, Session
from facevae.model.prior import LatentPrior
from facevae.progress import Report, silent
from helpers import LATENT_DIM, lively_model

if TYPE_CHECKING:
    import pytest

    from facevae.storage.weights import FaceModel

FAKE_FIT = (
    "from facevae.explorer import fit_child\n"
    "fit_child.fit = lambda latents, seed, report: latents[:, :2] * 2.0\n"
    "fit_child.main()"
)
"""In place of UMAP, which takes half a minute to come and compile."""


@cache
def prior_model() -> FaceModel:
    """`lively_model` with a prior, from which `keep` knows how latents vary."""
    trils = np.linalg.cholesky(np.eye(LATENT_DIM) + 0.3)[None].astype(np.float32)
    prior = LatentPrior(np.ones(1), np.full((1, LATENT_DIM), 0.2, np.float32), trils)
    return dataclasses.replace(lively_model(), prior=prior)


def put_explored(folder: Path) -> None:
    """Write `vae.safetensors`, `faces.h5` and the `latents.h5` of its 60 faces."""
    prior_model().save(folder / "vae.safetensors")
    support.write_faces(folder / "faces.h5")
    support.write_latents(folder / "latents.h5", prior_model(), folder / "faces.h5")


def fake_fit(monkeypatch: pytest.MonkeyPatch, code: str = FAKE_FIT) -> None:
    """Let the process that fits the map run this code."""
    monkeypatch.setattr("facevae.explorer.map_fit.CHILD", ("-c", code))


@contextmanager
def session_here(random: int | None = None, **options: Any) -> Iterator[Session]:
    """Open a session in the current folder, without a fit."""
    given = {"latents": None, "faces": "faces.h5", "map_file": None, "device": "cpu", "said": Notices(silent)}
    with open_session(prior_model(), random=random, **(given | options)) as (session, _):
        yield session


def edit(face: FaceRef, keep: tuple[str, ...] = (), **moves: float) -> Edit:
    """An edit."""
    return Edit(face, tuple(moves.items()), keep)


class Answer:
    """What a server answered."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.body, self.headers = response.status, response.read(), response.headers

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The sentence of a refusal."""
        assert set(self.json) == {"error"}
        return str(self.json["error"])


class Client:
    """Asks a server."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str | None] | None = None
    ) -> Answer:
        """Send a request; a header of None is left out."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            wanted = {"Host": f"127.0.0.1:{self.port}", **(headers or {})}
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            if body is not None:
                wanted["Content-Length"] = str(len(body))
            for name, value in wanted.items():
                if value is not None:
                    connection.putheader(name, value)
            connection.endheaders(body)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def get(self, path: str, **headers: str | None) -> Answer:
        """Send a GET."""
        return self.ask("GET", path, headers=headers)

    def post(self, path: str, value: Any = None, **headers: str | None) -> Answer:
        """Send a POST, of bytes as they are and of anything else as JSON."""
        return self.ask("POST", path, value if isinstance(value, bytes) else json.dumps(value).encode(), headers)


@contextmanager
def serving(session: Session, *, guard: Guard | None = None, report: Report = silent) -> Iterator[Client]:
    """Answer with a session, in another thread."""
    listening = bind("127.0.0.1", 0, silent)
    server = Server(session, listening, guard or Guard("127.0.0.1"), None, report)
    ready = threading.Event()
    thread = threading.Thread(target=server.run, args=(ready.set,))
    thread.start()
    try:
        assert ready.wait(30)
        yield Client(listening.getsockname()[1])
    finally:
        server.stop()
        thread.join(30)
        listening.close()


def wait_for(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
