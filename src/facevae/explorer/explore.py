"""`explore`: a page in the browser with the map of all faces, the sliders and the decoder together."""

from __future__ import annotations

import os
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from facevae.config import EXPLORE_FACES, EXPLORE_HOST, FACES_FILE, LATENTS_FILE, MAP_FILE
from facevae.errors import MissingExtraError, UsageError
from facevae.explorer.face_map import FaceMap
from facevae.explorer.face_set import faces_of_latents, judged, random_faces
from facevae.explorer.guard import Guard
from facevae.explorer.map_file import find_map
from facevae.explorer.map_fit import MapFit
from facevae.explorer.session import Notices, Session
from facevae.model.workers import one_thread
from facevae.progress import Notice, Report, silent
from facevae.storage.output import StrPath
from facevae.storage.weights import FaceModel
from facevae.workflows.common import load_model

_FEWEST, _MOST = 10, 100_000
"""Random faces on the map."""
_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")


def explore(
    latents: StrPath | None = None,
    *,
    weights: StrPath | None = None,
    faces: StrPath = FACES_FILE,
    map_file: StrPath | None = None,
    random: int | None = None,
    host: str = EXPLORE_HOST,
    port: int | None = None,
    browser: bool = True,
    device: str = "auto",
    ready: Callable[[str], None] | None = None,
    report: Report = silent,
) -> None:
    """Serve a page on which to look at the latent space, until Ctrl-C or SIGTERM.

    The map begins with the two principal components of the latents, unless there is a fitted one; a process of its own fits a
    UMAP meanwhile, and keeps it.

    Args:
        latents: whose faces are on the map; by default the workspace's `latents.h5`, or random faces where there is none.
        weights: the weights file; by default the workspace's, or the shipped ones if it has none.
        faces: the prepared faces that the latents were made from, for the originals.
        map_file: the fitted map of these latents, or where to keep it; by default `map.h5`.
        random: put so many random faces on the map instead, from 10 to 100,000.
        host: the address to listen at. Other machines reach those that are not of the loopback: then the page has a token.
        port: where to listen, 0 for any free one; by default 8724, or the next that is free.
        browser: open the page.
        device: auto, cpu, cuda or mps.
        ready: is called with the page's address once it answers.
        report: is called with notices.

    Raises:
        DataError: a file is missing or damaged, or the port is taken.
        MismatchError: the latents were made by other weights.
        MissingExtraError: the extra `explore` is not installed.
        UsageError: a value is out of range, or two exclude each other.
    """
    _check_values(latents, map_file, random, host, port)
    if find_spec("tornado") is None:
        raise MissingExtraError('The explorer needs the extra explore: pip install "facevae[explore]".')
    from facevae.explorer.server import Server, address, bind

    said = Notices(report)
    guard = Guard.of(host)
    with bind(host, port, said) as listening:
        model = load_model(weights, device, said)
        with open_session(model, latents, faces, map_file, random, device, said) as (session, fit):
            server = Server(session, listening, guard, str(weights) if weights is not None else None, said)
            url = address(host, listening, guard.token)

            def begin() -> None:
                if ready is not None:
                    ready(url)
                if browser:
                    threading.Thread(target=_open_browser, args=(url, said), daemon=True).start()
                if fit is not None:
                    fit.start()

            server.run(begin)


def _check_values(
    latents: StrPath | None, map_file: StrPath | None, random: int | None, host: str, port: int | None
) -> None:
    if random is not None and not _FEWEST <= random <= _MOST:
        raise UsageError(f"{random} random faces are out of range: use a whole number from {_FEWEST} to {_MOST:,}.")
    if random is not None and latents is not None:
        raise UsageError("--random and --latents both say which faces are on the map: leave one of the two out.")
    if random is not None and map_file is not None:
        raise UsageError("--map is the map of latents: leave it out with --random.")
    if not host:
        raise UsageError(
            "--host is empty: name an address, such as 127.0.0.1, or 0.0.0.0 for every one of this machine."
        )
    if port is not None and not 0 <= port <= 65_535:
        raise UsageError(
            f"A port of {port} is out of range: use a whole number from 1 to 65535, or 0 for any that is free."
        )


@contextmanager
def open_session(
    model: FaceModel,
    latents: StrPath | None,
    faces: StrPath,
    map_file: StrPath | None,
    random: int | None,
    device: str,
    said: Notices,
) -> Iterator[tuple[Session, MapFit | None]]:
    """Yield a session and, where there is no map yet, the fit that makes one when it is started; see `explore`."""
    path = _latents_path(latents, random, said)
    if path is None:
        if map_file is not None:
            raise UsageError(
                f"--map is the map of latents, and there is no {LATENTS_FILE}: leave it out, or name --latents."
            )
        found, points, save = random_faces(model, random or EXPLORE_FACES), None, None
    else:
        found = faces_of_latents(path, model, Path(faces))
        kept = Path(map_file) if map_file is not None else MAP_FILE
        points, save, notice = find_map(
            kept, found.mean, found.names, found.weights_hash, path, asked=map_file is not None
        )
        if notice is not None:
            said(Notice(notice))
    face_map = FaceMap(found.mean, points)
    session = Session(model, found, face_map, device=device, notices=said)
    fit = MapFit(found.mean, face_map, said, save=save, latents=path) if points is None else None
    judging = _Judging(session, said) if found.kind == "random" else None
    try:
        yield session, fit
    finally:
        if fit is not None:
            fit.stop()
        if judging is not None:
            judging.stop()
        session.close()


def _latents_path(latents: StrPath | None, random: int | None, report: Report) -> Path | None:
    """Return the file whose faces are on the map, None for random ones."""
    if latents is not None:
        return Path(latents)
    if random is not None:
        return None
    if LATENTS_FILE.exists() or LATENTS_FILE.is_symlink():
        return LATENTS_FILE
    report(
        Notice(
            f"There is no {LATENTS_FILE} here: the map shows {EXPLORE_FACES:,} random faces. For your own, encode them first: "
            f"facevae encode > {LATENTS_FILE}"
        )
    )
    return None


class _Judging:
    """A thread in which the judge looks at random faces, so that the page need not wait for their attributes."""

    def __init__(self, session: Session, report: Report) -> None:
        self._session, self._report = session, report
        self._stopped = threading.Event()
        session.attributes_pending = True
        self._thread = threading.Thread(target=self._judge, name="facevae-judge")
        self._thread.start()

    def _judge(self) -> None:
        session = self._session
        try:
            with one_thread():
                session.faces = judged(session.model, session.faces, self._stopped.is_set)
        except Exception as error:
            self._report(Notice(f"The faces' attributes are not known ({type(error).__name__}: {error})."))
        finally:
            session.attributes_pending = False

    def stop(self) -> None:
        """Break it off."""
        self._stopped.set()
        self._thread.join()


def _open_browser(url: str, report: Report) -> None:
    """Open the page, or say why not."""
    remedy = f"open {url} yourself"
    if sys.platform not in ("win32", "darwin") and not any(os.environ.get(name) for name in _DISPLAYS):
        report(Notice(f"There is no display to open a browser on: {remedy}."))  # one in the terminal would take it over
        return
    opened = False
    with suppress(Exception):
        opened = webbrowser.open(url)
    if not opened:
        report(Notice(f"No browser could be opened: {remedy}."))
