"""Where the explorer's dots are: principal components, a saved map, and the process that fits one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

import facevae
import support
from exploring import FAKE_FIT, edit, fake_fit, prior_model, put_explored, session_here, wait_for
from facevae import provenance
from facevae.errors import DataError, MismatchError, UsageError
from facevae.explorer.explore import open_session
from facevae.explorer.face_map import FaceMap
from facevae.explorer.face_refs import RandomFace, RowFace
from facevae.explorer.fit_child import FitJob
from facevae.explorer.map_file import find_map, write_map
from facevae.explorer.map_fit import MapFit
from facevae.explorer.plane import EXTENT, Plane
from facevae.explorer.session import Notices, Session
from facevae.progress import Progress, silent
from facevae.provenance import command, set_command
from facevae.storage.latents import Latents
from facevae.workflows import umap as umap_workflow
from facevae.workflows.umap_place import place
from helpers import files, put_other_weights, put_weights
from support import Recorder

STAYS = "The map stays at the two principal components."

Floats = NDArray[np.float32]


@pytest.fixture
def here(workspace: Path) -> None:
    put_explored(workspace)


def latents(count: int = 40, width: int = 5, seed: int = 0) -> Floats:
    random = np.random.default_rng(seed)
    return (random.normal(size=(count, width)) * [5, 3, 1, 0.5, 0.1][:width] + 2.0).astype(np.float32)


def fitted(mean: Floats, said: Recorder, seconds: float = 30.0, **options: Path) -> FaceMap:
    """The map after a fit has ended."""
    face_map = FaceMap(mean)
    fit = MapFit(mean, face_map, said, **options)
    fit.start()
    end = time.monotonic() + seconds
    while fit.is_running and time.monotonic() < end:
        time.sleep(0.01)
    fit.stop()
    return face_map


def means() -> tuple[Floats, list[str], str]:
    with Latents("latents.h5") as opened:
        return opened.mean(), opened.names, opened.weights_hash


def put_map(path: str, *, max_points: int | None = None, fit_on: str | None = None) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(umap_workflow, "fit", lambda latents, seed, report: latents[:, :2].copy())
        facevae.umap("latents.h5", "map.png", coordinates=path, max_points=max_points, fit_on=fit_on)


def test_the_plane_is_that_of_the_largest_variance() -> None:
    mean = latents(400)
    points = Plane.of(mean).project(mean)
    assert np.abs(points).max() == pytest.approx(EXTENT, rel=1e-5)
    assert np.abs(points.mean(axis=0)).max() < 1e-4
    _, values, axes = np.linalg.svd(mean - mean.mean(axis=0), full_matrices=False)
    exact = (mean - mean.mean(axis=0)) @ axes[:2].T
    for found, wanted in zip(points.T, exact.T, strict=True):
        assert abs(np.corrcoef(found, wanted)[0, 1]) == pytest.approx(1.0, abs=1e-4)
    assert points[:, 0].std() / points[:, 1].std() == pytest.approx(values[0] / values[1], rel=1e-3)
    assert np.array_equal(Plane.of(mean).axes, Plane.of(mean).axes)


@pytest.mark.parametrize(("count", "width"), [(1, 5), (2, 5), (40, 1), (40, 2)])
def test_planes_of_few(count: int, width: int) -> None:
    points = Plane.of(latents(count, width)).project(latents(count, width))
    assert points.shape == (count, 2)
    assert np.isfinite(points).all()
    assert np.isfinite(Plane.of(np.ones((count, width), np.float32)).axes).all()


def test_a_map_is_moved_and_counts_it() -> None:
    mean = latents()
    face_map = FaceMap(mean)
    assert face_map.state.facts() == {
        "status": "ready",
        "method": "PCA",
        "revision": 1,
        "progress": None,
        "message": None,
    }
    assert np.allclose(face_map.place(mean[7]), face_map.state.points[7], atol=1e-5)
    face_map.fitting(Progress("umap: layout", 3, 10, "epochs"))
    assert face_map.state.facts() == {
        **{"status": "fitting", "method": "PCA", "revision": 1, "message": None},
        "progress": {"stage": "umap: layout", "done": 3, "total": 10},
    }
    dots = latents(40, 2, seed=1)
    face_map.fitted(dots)
    assert face_map.state.facts() == {
        "status": "ready",
        "method": "UMAP",
        "revision": 2,
        "progress": None,
        "message": None,
    }
    new = mean[3] + 0.1
    assert np.array_equal(face_map.place(new), place(new[None], mean, dots, 15)[0])
    assert np.array_equal(face_map.place(mean[3]), dots[3])


@pytest.mark.usefixtures("here")
def test_edits_are_placed() -> None:
    with session_here() as session:
        assert np.array_equal(session.place(edit(RowFace(3))), session.map.state.points[3])
        moved = session.place(edit(RowFace(3), Smiling=1.0))
        plane = session.map.state.plane
        assert plane is not None
        assert np.allclose(moved, plane.project(session.moved(edit(RowFace(3), Smiling=1.0))[None])[0])
        assert session.place(edit(RandomFace(1, 1.0))).shape == (2,)


@pytest.mark.usefixtures("here")
def test_a_map_of_these_latents_is_shown() -> None:
    put_map("map.h5")
    said = Notices(silent)
    with open_session(prior_model(), None, "faces.h5", None, None, "cpu", said) as (session, fit):
        assert fit is None
        assert session.map.state.method == "UMAP"
        assert np.array_equal(session.map.state.points, session.faces.mean[:, :2])
    assert said.texts == []


@pytest.mark.usefixtures("here")
def test_a_map_is_shown_where_nothing_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    put_map("map.h5")
    monkeypatch.setattr("os.access", lambda path, mode: mode != os.W_OK)
    mean, names, weights_hash = means()
    for asked in (False, True):
        found = find_map(Path("map.h5"), mean, names, weights_hash, Path("latents.h5"), asked=asked)
        assert found.points is not None
    Path("map.h5").unlink()
    refused = find_map(Path("map.h5"), mean, names, weights_hash, Path("latents.h5"), asked=False)
    assert refused == (
        None,
        None,
        "The map is not kept: The folder . cannot be written to: name another output with --map.",
    )


@pytest.mark.usefixtures("here")
def test_faces_placed_on_another_map_are_shown() -> None:
    put_map("other.h5")
    put_map("map.h5", fit_on="other.h5")
    mean, names, weights_hash = means()
    found = find_map(Path("map.h5"), mean, names, weights_hash, Path("latents.h5"), asked=False)
    assert (found.points is not None, found.save, found.notice) == (True, None, None)
    names[3] = "else.jpg"
    assert find_map(Path("map.h5"), mean, names, weights_hash, Path("latents.h5"), asked=False).points is None


@pytest.mark.usefixtures("here")
def test_maps_of_other_faces_are_not_shown_and_not_written_over() -> None:
    mean, names, weights_hash = means()
    other = "map.h5 is not the map of all faces in latents.h5: another is fitted, and not kept. Name a file for it with --map."

    def found() -> tuple[bool, Path | None, str | None]:
        map_found = find_map(Path("map.h5"), mean, names, weights_hash, Path("latents.h5"), asked=False)
        return map_found.points is not None, map_found.save, map_found.notice

    assert found() == (False, Path("map.h5"), None)
    put_map("map.h5", max_points=20)
    assert found() == (False, None, other)
    put_map("map.h5")
    assert found() == (True, None, None)
    mean[30] += 0.1
    assert found() == (False, None, other)
    mean, names, weights_hash = means()
    weights_hash = "another"
    assert found() == (False, None, other)
    shutil.copy("latents.h5", "map.h5")
    assert found() == (
        False,
        None,
        "The map is not kept: map.h5 holds latents and would be overwritten by UMAP coordinates: name another output with --map.",
    )


@pytest.mark.usefixtures("here")
def test_a_map_that_was_asked_for_must_do() -> None:
    mean, names, weights_hash = means()
    for path, kind in (("latents.h5", UsageError), ("missing/map.h5", DataError), ("faces.h5", UsageError)):
        with pytest.raises(kind):
            find_map(Path(path), mean, names, weights_hash, Path("latents.h5"), asked=True)
        found = find_map(Path(path), mean, names, weights_hash, Path("latents.h5"), asked=False)
        assert (found.points, found.save) == (None, None)
        assert (found.notice or "").startswith("The map is not kept: ")
    put_map("map.h5")
    with h5py.File("map.h5", "r+") as file:
        file["coordinates"][3] = np.nan
    with pytest.raises(DataError, match=r"^map\.h5 is damaged \(coordinates holds values that are not finite\)"):
        find_map(Path("map.h5"), mean, names, weights_hash, Path("latents.h5"), asked=True)


@pytest.mark.usefixtures("here")
def test_a_map_is_kept_for_umap() -> None:
    mean, names, weights_hash = means()
    write_map(Path("map.h5"), Path("latents.h5"), mean[:, :2].copy(), mean)
    found = find_map(Path("map.h5"), mean, names, weights_hash, Path("latents.h5"), asked=True)
    assert np.array_equal(found.points, mean[:, :2]) if found.points is not None else False
    placed = facevae.umap("latents.h5", "placed.png", fit_on="map.h5")
    assert np.allclose(placed.coordinates, mean[:, :2], atol=1e-5)
    with pytest.raises(DataError, match=r"^there is a map\.h5 meanwhile\.$"):
        write_map(Path("map.h5"), Path("latents.h5"), mean[:, :2].copy(), mean)
    with pytest.raises(MismatchError, match=r"^latents\.h5 has other latents meanwhile\.$"):
        write_map(Path("new.h5"), Path("latents.h5"), mean[:, :2].copy(), mean + 1)


@pytest.mark.usefixtures("here")
def test_a_fit_moves_the_dots_and_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_fit(monkeypatch)
    said, mean = Recorder(), means()[0]
    before = command()
    set_command(["explore", "--port", "1 2"])
    try:
        face_map = fitted(mean, said, save=Path("map.h5"), latents=Path("latents.h5"))
    finally:
        provenance._command = before  # by monkeypatch it would come back afterwards
    assert np.array_equal(face_map.state.points, mean[:, :2] * 2)
    assert (face_map.state.method, face_map.state.revision, face_map.state.status) == ("UMAP", 2, "ready")
    assert said.notices == ["The map is kept in map.h5, for the next time."]
    with h5py.File("map.h5") as file:
        assert file.attrs["command"] == "facevae explore --port '1 2'"
        assert (file.attrs["n_neighbors"], file.attrs["min_dist"], file.attrs["seed"]) == (15, 0.1, -1)
    with session_here() as session:
        assert np.array_equal(session.map.state.points, mean[:, :2] * 2)
    assert not [name for name in files() if name.endswith(".part")]


@pytest.mark.usefixtures("here")
def test_a_fit_whose_file_was_taken_meanwhile_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_fit(monkeypatch)
    Path("map.h5").write_bytes(b"mine")
    said = Recorder()
    face_map = fitted(means()[0], said, save=Path("map.h5"), latents=Path("latents.h5"))
    assert face_map.state.method == "UMAP"
    assert said.notices == ["The map is not kept: there is a map.h5 meanwhile."]
    assert Path("map.h5").read_bytes() == b"mine"


def test_a_fit_of_random_faces_leaves_no_file(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_fit(monkeypatch)
    said = Recorder()
    assert fitted(latents(), said).state.method == "UMAP"
    assert (files(), said.notices) == ([], [])


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            FAKE_FIT.replace("latents[:, :2] * 2.0", "1 / 0"),
            f"The map could not be fitted (ZeroDivisionError: division by zero). {STAYS}",
        ),
        ("import os; os._exit(3)", f"The process that fitted the map ended without a word (exit code 3). {STAYS}"),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            f"The process that fitted the map was ended by SIGKILL, perhaps for want of memory. {STAYS}",
        ),
        (
            "from facevae.explorer import fit_child\nfrom facevae.errors import DataError\n"
            "def fit(latents, seed, report): raise DataError('UMAP found none.')\n"
            "fit_child.fit = fit\nfit_child.main()",
            f"UMAP found none. {STAYS}",
        ),
        (
            "import sys; sys.stdin.buffer.read(800); print('{\"points\": 320}'); print('few')",
            f"The process that fitted the map ended without a word (exit code 0). {STAYS}",
        ),
        *(
            (
                f"import sys, time; sys.stdin.buffer.read(800); print({text!r}, flush=True); time.sleep(60)",
                f"The process that fitted the map said what cannot be read. {STAYS}",
            )
            for text in ("hello", "[1]")
        ),
    ],
)
def test_a_fit_that_fails_leaves_the_plane(monkeypatch: pytest.MonkeyPatch, code: str, message: str) -> None:
    fake_fit(monkeypatch, code)
    said = Recorder()
    state = fitted(latents(), said).state
    assert (state.status, state.method, state.revision, state.message) == ("failed", "PCA", 1, message)
    assert said.notices == [message]


def test_no_process_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    state = fitted(latents(), Recorder()).state
    assert state.status == "failed"
    assert (state.message or "").startswith("The map could not be fitted: no process could be started (")


def test_too_few_for_a_umap() -> None:
    said = Recorder()
    state = fitted(latents(9), said).state
    message = "9 faces are too few for a UMAP, which takes 10: these are the two principal components."
    assert (state.status, state.method, state.message) == ("ready", "PCA", message)
    assert said.notices == []


def test_too_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facevae.explorer.map_fit.memory", lambda: (2_000_000_000, 100_000_000))
    said = Recorder()
    state = fitted(latents(), said).state
    message = (
        "A UMAP of 40 faces takes about 0.5 GB of memory, of which 0.1 GB are free: the map stays at the two principal "
        "components."
    )
    assert (state.status, state.message, said.notices) == ("failed", message, [message])


def test_what_takes_long_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_fit(monkeypatch)
    monkeypatch.setattr("facevae.explorer.map_fit.seconds_needed", lambda *given, seeded: 200.0)
    said = Recorder()
    fitted(latents(), said)
    assert said.notices == [
        "The map of 40 faces takes roughly 3 minutes in the background; until then it shows the two principal components."
    ]


def test_progress_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "from facevae.explorer import fit_child\nfrom facevae.progress import Progress, Notice\nimport time\n"
        "def fit(latents, seed, report):\n"
        "    print('noise')\n    report(Notice('no'))\n    report(Progress('umap: layout', 4, 9, 'epochs'))\n    time.sleep(60)\n"
        "fit_child.fit = fit\nfit_child.main()"
    )
    fake_fit(monkeypatch, code)
    face_map, said = FaceMap(latents()), Recorder()
    fit = MapFit(latents(), face_map, said)
    fit.start()
    try:
        end = time.monotonic() + 20
        while face_map.state.progress != Progress("umap: layout", 4, 9, "epochs") and time.monotonic() < end:
            time.sleep(0.01)
        assert face_map.state.progress == Progress("umap: layout", 4, 9, "epochs")
    finally:
        fit.stop()
    assert (face_map.state.status, said.notices) == ("fitting", [])  # nobody asks any more


@pytest.mark.skipif(sys.platform != "linux", reason="what is tested is Linux'")
@pytest.mark.parametrize("busy", [False, True])
def test_the_process_ends_with_the_server_even_by_a_kill(tmp_path: Path, busy: bool) -> None:
    """Even while a compiled loop keeps other threads of it from running."""
    work = "ctypes.PyDLL(None).sleep(60)" if busy else "time.sleep(60)"
    child = tmp_path / "child.py"
    child.write_text(
        "import ctypes, os, time\nfrom pathlib import Path\nfrom facevae.explorer import fit_child\n"
        f"def fit(latents, seed, report):\n    Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\n    {work}\n"
        "fit_child.fit = fit\nfit_child.main()"
    )
    server = (
        "import numpy as np, time\nfrom facevae.explorer import map_fit\nfrom facevae.explorer.face_map import FaceMap\n"
        "from facevae.progress import silent\n"
        f"map_fit.CHILD = ({str(child)!r},)\nmean = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)\n"
        "map_fit.MapFit(mean, FaceMap(mean), silent).start()\ntime.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", server]) as process:
        try:
            wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "")
            child_id = int((tmp_path / "pid").read_text())
            assert os.path.exists(f"/proc/{child_id}")  # noqa: PTH110
            assert os.getpriority(os.PRIO_PROCESS, child_id) == 19
        finally:
            process.send_signal(signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{child_id}").exists() or state_of(child_id) == "Z")


def state_of(process: int) -> str:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]


def test_the_process_ends_where_the_server_has_gone_before() -> None:
    job = FitJob(40, 5, os.getpid() + 1).line()
    done = subprocess.run(
        [sys.executable, "-m", "facevae.explorer.fit_child"], input=job, capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")


@pytest.mark.slow
def test_a_real_fit() -> None:
    said = Recorder()
    state = fitted(latents(60), said, seconds=300).state
    assert (state.method, state.points.shape) == ("UMAP", (60, 2))
    assert np.isfinite(state.points).all()
    assert said.notices == []


def test_a_session_ends_its_fit(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_weights(workspace)
    fake_fit(monkeypatch, "import time; time.sleep(60)")
    with open_session(prior_model(), None, "faces.h5", None, 12, "cpu", Notices(silent)) as (session, fit):
        assert isinstance(session, Session)
        assert fit is not None
        fit.start()
        assert fit.is_running
    assert not fit.is_running
    assert not session.attributes_pending


def test_small_faces_are_not_judged(workspace: Path) -> None:
    model = put_other_weights(workspace / "small.safetensors", size=16)
    said = Notices(silent)
    with open_session(model, None, "faces.h5", None, 12, "cpu", said) as (session, _):
        wait_for(lambda: not session.attributes_pending)
        assert "takes images of 32 x 32 pixels" in (session.faces.why_no_attributes or "")
    assert said.texts == []


def test_a_map_is_of_latents(workspace: Path) -> None:
    with pytest.raises(UsageError) as error, session_here(map_file="map.h5"):
        pass
    assert str(error.value) == (
        "--map is the map of latents, and there is no latents.h5: leave it out, or name --latents."
    )


def test_no_latents_at_all(workspace: Path) -> None:
    said = Notices(silent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("facevae.explorer.explore.EXPLORE_FACES", 30)
        with session_here(said=said) as session:
            assert (session.faces.kind, session.faces.count) == ("random", 30)
    assert said.texts == [
        "There is no latents.h5 here: the map shows 30 random faces. For your own, encode them first: "
        "facevae encode > latents.h5"
    ]
    with (
        pytest.raises(DataError, match=r"^There is no mine\.h5\. Make one with: facevae encode > latents\.h5$"),
        session_here(latents="mine.h5"),
    ):
        pass
    support.write_faces(Path("mine.h5"))
    with (
        pytest.raises(DataError, match=r"^mine\.h5 holds prepared faces, not latents\."),
        session_here(latents="mine.h5"),
    ):
        pass
