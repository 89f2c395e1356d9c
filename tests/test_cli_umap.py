"""`facevae umap`: the map, its files, and what it refuses. The fits are few and shared, for each takes seconds."""

from __future__ import annotations

import hashlib
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from facevae.figures.map_page import packed
from facevae.storage.faces import Faces
from facevae.storage.latents import Latents
from facevae.workflows import umap as workflow
from facevae.workflows import umap_page
from facevae.workflows.info import info
from facevae.workflows.umap import UmapResult, umap
from facevae.workflows.umap_place import place
from helpers import (
    Outcome,
    files,
    lively_model,
    pixels,
    put_latents,
    put_other_weights,
    put_pictures,
    refusal,
    run,
    succeed,
    tile,
)
from support import Recorder, write_faces, write_latents
from test_map_page import Reader


class Fits(NamedTuple):
    """Two seeded fits of all 60 latents and one of 12, made in one folder."""

    folder: Path
    recorder: Recorder
    first: UmapResult
    second: UmapResult
    few: UmapResult


@pytest.fixture(scope="module")
def fits(tmp_path_factory: pytest.TempPathFactory) -> Fits:
    folder = tmp_path_factory.mktemp("umap")
    latents, recorder = put_latents(folder), Recorder()
    first = umap(
        latents, folder / "map.png", attribute="smiling", coordinates=folder / "map.h5", seed=1, report=recorder
    )
    second = umap(latents, folder / "map.svg", seed=1)
    few = umap(latents, folder / "few.png", max_points=12, attribute="Male", coordinates=folder / "few.h5", seed=2)
    return Fits(folder, recorder, first, second, few)


@pytest.fixture
def _instant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for the fit: the first two latent units."""
    monkeypatch.setattr(workflow, "fit", lambda latents, seed, report: latents[:, :2].copy())


def test_the_picture_is_a_png(fits: Fits) -> None:
    assert fits.first.path == fits.folder / "map.png"
    with Image.open(fits.folder / "map.png") as picture:
        assert picture.format == "PNG"
        assert picture.width == 1350


def test_the_picture_may_be_an_svg(fits: Fits) -> None:
    text = (fits.folder / "map.svg").read_text()
    assert text.startswith("<?xml")
    assert "<svg" in text


def test_a_seed_makes_the_fit_repeatable(fits: Fits) -> None:
    assert np.array_equal(fits.first.coordinates, fits.second.coordinates)
    assert fits.first.coordinates.shape == (60, 2)
    assert fits.first.coordinates.dtype == np.float32
    assert fits.first.coordinates.std(axis=0).min() > 0.1


def test_the_map_keeps_neighbours(fits: Fits) -> None:
    """The nearest neighbour of a latent is nearer in the map than faces are on average."""
    with Latents(fits.folder / "latents.h5") as latents:
        mean = latents.mean()
    distances = np.linalg.norm(mean[:, None] - mean[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    on_map = np.linalg.norm(fits.first.coordinates[:, None] - fits.first.coordinates[None], axis=2)
    nearest = on_map[np.arange(60), distances.argmin(axis=1)]
    assert nearest.mean() < 0.5 * on_map.mean()


def test_the_coordinates_are_written(fits: Fits) -> None:
    with h5py.File(fits.folder / "map.h5") as file, Latents(fits.folder / "latents.h5") as latents:
        assert np.array_equal(file["coordinates"], fits.first.coordinates)
        assert np.array_equal(file["rows"], np.arange(60))
        assert [name.decode() for name in file["names"]] == latents.names
        assert np.array_equal(file["attributes"], latents.attributes)  # type: ignore[arg-type]
        assert list(file.attrs["attribute_names"]) == list(latents.attribute_names)
        assert file.attrs["weights_hash"] == latents.weights_hash
        assert np.array_equal(file["mean"], latents.mean())
        assert (file.attrs["n_neighbors"], file.attrs["min_dist"], file.attrs["seed"]) == (15, 0.1, 1)
        assert file.attrs["placed_on"] == ""
        assert bool(file.attrs["complete"])


def test_fewer_points_are_a_choice_of_rows(fits: Fits) -> None:
    rows = fits.few.rows
    assert len(rows) == 12
    assert (np.diff(rows) > 0).all()
    assert rows.max() < 60
    assert fits.few.coordinates.shape == (12, 2)
    with h5py.File(fits.folder / "few.h5") as file, Latents(fits.folder / "latents.h5") as latents:
        assert np.array_equal(file["rows"], rows)
        assert [name.decode() for name in file["names"]] == [latents.names[row] for row in rows]
        assert latents.attributes is not None
        assert np.array_equal(file["attributes"], latents.attributes[rows])
        assert np.array_equal(file["mean"], latents.mean()[rows])
        assert (file.attrs["n_neighbors"], file.attrs["seed"]) == (11, 2)


@pytest.mark.usefixtures("_instant")
def test_coordinates_of_a_fit_without_a_seed_say_so(workspace: Path) -> None:
    umap(put_latents(workspace), coordinates=Path("map.h5"))
    with h5py.File("map.h5") as file:
        assert file.attrs["seed"] == -1


def test_the_classes_are_counted(fits: Fits) -> None:
    with Latents(fits.folder / "latents.h5") as latents:
        assert latents.attributes is not None
        for result, name in ((fits.first, "Smiling"), (fits.second, "Attractive"), (fits.few, "Male")):
            labels = latents.attributes[result.rows, latents.attribute_names.index(name)] > 0
            assert result.attribute == name
            assert result.counts == (labels.sum(), (~labels).sum())


def test_the_epochs_of_the_layout_are_reported(fits: Fits) -> None:
    events = fits.recorder.progress
    assert list(dict.fromkeys(event.stage for event in events)) == ["umap: start", "umap: neighbours", "umap: layout"]
    layout = [event for event in events if event.stage == "umap: layout"]
    assert layout
    assert all(event.unit == "epochs" for event in events)
    done = [event.done for event in layout]
    assert done == sorted(done)
    assert {event.total for event in layout} == {None, 500}
    assert fits.recorder.notices == []


# ------------------------------------------------------------------------------------------ placing on a saved map


def put_new_latents(path: Path, *, count: int = 25, attributes: bool = True) -> Path:
    """Other faces than those of `put_latents`, encoded by the same weights."""
    faces = write_faces(path.with_name("new-faces.h5"), count=count, seed=5, attributes=attributes)
    write_latents(path, lively_model(), faces)
    faces.unlink()
    return path


@pytest.fixture
def saved(fits: Fits, workspace: Path) -> Path:
    """`map.h5`, fitted on `latents.h5`, beside the latents of other faces in `new.h5`."""
    shutil.copy(fits.folder / "latents.h5", "latents.h5")
    put_new_latents(Path("new.h5"))
    return Path(shutil.copy(fits.folder / "map.h5", "map.h5"))


def test_new_faces_are_placed_on_a_saved_map(fits: Fits, saved: Path) -> None:
    before = saved.read_bytes()
    outcome = succeed("umap", "new.h5", "--fit-on", "map.h5", "-a", "smiling", "--coordinates", "placed.h5", "--json")
    assert outcome.stderr == ""
    assert (outcome.json["paths"], outcome.json["points"]) == (["umap.png", "placed.h5"], 25)
    assert saved.read_bytes() == before
    with h5py.File("placed.h5") as file, Latents("new.h5") as latents:
        placed = file["coordinates"][:]
        assert [name.decode() for name in file["names"]] == latents.names
        assert np.array_equal(file["attributes"], latents.attributes)  # type: ignore[arg-type]
        assert file.attrs["weights_hash"] == latents.weights_hash
        assert (file.attrs["n_neighbors"], file.attrs["min_dist"], file.attrs["seed"]) == (15, 0.1, 1)
        dots = np.ascontiguousarray(fits.first.coordinates)
        assert file.attrs["placed_on"] == hashlib.sha256(dots.tobytes()).hexdigest()
        assert "mean" not in file
    # All inside the map, and not in one heap.
    assert (placed > dots.min(axis=0) - 1).all()
    assert (placed < dots.max(axis=0) + 1).all()
    assert (placed.std(axis=0) > 0.3 * dots.std(axis=0)).all()
    assert pixels(Path("umap.png")).std() > 1


def test_the_fitted_faces_are_placed_on_their_own_dots(fits: Fits, saved: Path) -> None:
    result = umap(fit_on="map.h5")
    assert np.array_equal(result.coordinates, fits.first.coordinates)
    few = umap(fit_on="map.h5", max_points=12, seed=4)
    assert np.array_equal(few.coordinates, fits.first.coordinates[few.rows])


def test_placing_agrees_with_umap_learn(workspace: Path) -> None:
    """Four clusters, of which half the faces are fitted: the others land where UMAP's own `transform` puts them."""
    from umap import UMAP

    random = np.random.default_rng(0)
    which = np.arange(240) % 4
    values = (random.normal(scale=2.0, size=(4, 10))[which] + random.normal(size=(240, 10))).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = UMAP(n_neighbors=15, min_dist=0.1, random_state=0, n_jobs=1).fit(values[:120])
        theirs = model.transform(values[120:])
    ours = place(values[120:], values[:120], model.embedding_, 15)
    centres = np.stack([model.embedding_[which[:120] == number].mean(axis=0) for number in range(4)])

    def cluster(dots: NDArray[np.float32]) -> NDArray[np.int64]:
        nearest: NDArray[np.int64] = np.linalg.norm(dots[:, None] - centres[None], axis=2).argmin(axis=1)
        return nearest

    assert (cluster(ours) == cluster(theirs)).mean() > 0.95
    assert (cluster(ours) == which[120:]).mean() >= (cluster(theirs) == which[120:]).mean() - 0.02
    for axis in range(2):
        assert np.corrcoef(ours[:, axis], theirs[:, axis])[0, 1] > 0.95


def test_one_new_face_without_attributes(saved: Path) -> None:
    put_new_latents(Path("one.h5"), count=1, attributes=False)
    outcome = succeed("umap", "one.h5", "--fit-on", "map.h5", "--json")
    assert outcome.stderr == "one.h5 holds no attributes: the dots are all of one colour.\n"
    assert outcome.json == {"paths": ["umap.png"], "points": 1, "attribute": None, "counts": None}
    assert (
        succeed("umap", "-", "--fit-on", "map.h5", "-o", "-", stdin=Path("one.h5").read_bytes()).stdout[1:4] == b"PNG"
    )


def test_maps_that_take_no_new_faces(saved: Path) -> None:
    remedy = "Make one with: facevae umap --coordinates FILE"
    assert refusal("umap", "new.h5", "--fit-on", "no.h5") == f"There is no no.h5. {remedy}"
    assert refusal("umap", "new.h5", "--fit-on", "latents.h5") == (
        f"latents.h5 holds latents, not UMAP coordinates. {remedy}"
    )
    assert refusal("umap", "new.h5", "--fit-on", "map.h5", "--coordinates", "map.h5", code=2) == (
        "map.h5 is an input and would be overwritten: name another output with --coordinates."
    )
    succeed("umap", "new.h5", "--fit-on", "map.h5", "--coordinates", "placed.h5")
    assert refusal("umap", "new.h5", "--fit-on", "placed.h5") == (
        "placed.h5 holds faces that were placed on another map: give --fit-on the map that was fitted."
    )
    with h5py.File("map.h5", "a") as file:
        del file["mean"]
    assert refusal("umap", "new.h5", "--fit-on", "map.h5") == f"map.h5 holds no latents to place others among. {remedy}"
    assert info("map.h5").facts["takes new faces"] == "no"


def test_a_damaged_map(saved: Path) -> None:
    remedy = "Make one with: facevae umap --coordinates FILE"
    with h5py.File("map.h5", "a") as file:
        file["mean"][3, 2] = np.nan
    assert refusal("umap", "new.h5", "--fit-on", "map.h5") == (
        f"map.h5 is damaged (mean holds values that are not finite). {remedy}"
    )
    with h5py.File("map.h5", "a") as file:
        dots = file["coordinates"][:-1]
        del file["coordinates"]
        file["coordinates"] = dots
    assert (
        refusal("umap", "new.h5", "--fit-on", "map.h5")
        == f"map.h5 is damaged (its datasets differ in length). {remedy}"
    )


def test_latents_of_other_weights_are_not_placed(saved: Path) -> None:
    put_other_weights(Path("other.safetensors"))
    succeed("encode", *put_pictures(Path("faces"), 3), "-w", "other.safetensors", "-o", "other.h5")
    assert refusal("umap", "other.h5", "--fit-on", "map.h5", "-q") == (
        "other.h5 and map.h5 were made by different weights: encode the faces with the weights of the map, "
        "or fit a map of their own without --fit-on."
    )
    assert not Path("umap.png").exists()


def test_info_says_which_maps_take_new_faces(saved: Path) -> None:
    assert info("map.h5").facts["takes new faces"] == "yes, with umap --fit-on"


# ------------------------------------------------------------------------------------------ the command


@pytest.mark.usefixtures("_instant")
def test_the_command(workspace: Path) -> None:
    put_latents(workspace)
    assert succeed("umap") == Outcome(0, b"umap.png\n", "")
    outcome = succeed(
        *("umap", "latents.h5", "-a", "wearing hat", "-o", "map.svg", "--coordinates", "map.h5"),
        *("--max-points", 20, "--seed", 3, "--json"),
    )
    found = outcome.json
    assert found["paths"] == ["map.svg", "map.h5"]
    assert (found["points"], found["attribute"]) == (20, "Wearing_Hat")
    assert sum(found["counts"].values()) == 20
    assert files() == ["latents.h5", "map.h5", "map.svg", "umap.png"]


@pytest.mark.usefixtures("_instant")
def test_standard_streams(workspace: Path) -> None:
    path = put_latents(workspace)
    outcome = succeed("umap", "-", "-o", "-", stdin=path.read_bytes())
    assert outcome.stdout.startswith(b"\x89PNG")
    assert outcome.stderr == ""


@pytest.mark.usefixtures("_instant")
def test_a_choice_depends_on_the_seed_alone(workspace: Path) -> None:
    path = put_latents(workspace)
    rows = [umap(path, max_points=10, seed=seed).rows.tolist() for seed in (1, 1, 2, None, None)]
    assert rows[0] == rows[1] != rows[2]
    assert rows[3] == rows[4]
    assert len(umap(path, max_points=1000).rows) == 60


@pytest.mark.usefixtures("_instant")
def test_without_attributes_the_dots_are_of_one_colour(workspace: Path) -> None:
    path = put_latents(workspace, attributes=False)
    outcome = succeed("umap", "--json")
    assert outcome.stderr == "latents.h5 holds no attributes: the dots are all of one colour.\n"
    assert outcome.json == {"paths": ["umap.png"], "points": 60, "attribute": None, "counts": None}
    assert succeed("umap", "-", stdin=path.read_bytes()).stderr == (
        "stdin holds no attributes: the dots are all of one colour.\n"
    )
    assert succeed("umap", "-q").stderr == ""
    reason = (
        "holds no attributes: it was made from single images, or from faces without an attribute table. "
        "Prepare faces with one (list_attr_celeba.txt) and begin from there."
    )
    assert refusal("umap", "-a", "Smiling") == f"latents.h5 {reason}"
    assert refusal("umap", "-", "-a", "Smiling", stdin=path.read_bytes()) == f"stdin {reason}"


# ------------------------------------------------------------------------------------------ the page


def page_of(path: str = "map.html") -> Reader:
    return Reader(Path(path).read_text(encoding="utf-8"))


def embedded(reader: Reader, count: int) -> NDArray[np.uint8]:
    """The first faces in the first sheet (count, 32, 32, 3)."""
    sheet = pixels(reader.block("sheet-0"))
    return np.stack([tile(sheet, row % 32 * 32, row // 32 * 32, 32) for row in range(count)])


def differ(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    return float(np.sqrt(np.mean((first.astype(float) - second) ** 2)))


EMBEDDED = (
    "map.html will hold the faces themselves (60): those of CelebA may not be passed on. "
    "Leave them out with --no-thumbnails.\n"
)


@pytest.fixture
def _with_faces(_instant: None, workspace: Path) -> None:
    """`latents.h5` with the `faces.h5` that it was made from."""
    put_latents(workspace)
    write_faces(workspace / "faces.h5")


@pytest.mark.usefixtures("_with_faces")
def test_the_page() -> None:
    outcome = succeed("umap", "--html", "map.html", "-a", "smiling", "-o", "map.png", "--coordinates", "map.h5")
    assert outcome == Outcome(0, b"map.png\nmap.h5\nmap.html\n", EMBEDDED)
    reader = page_of()
    with Latents("latents.h5") as latents, Faces("faces.h5") as faces, h5py.File("map.h5") as saved:
        assert reader.json("names") == latents.names
        page = reader.json("page")
        assert page["attributes"] == list(latents.attribute_names)
        assert page["attributes"][page["opening"]] == "Smiling"
        assert latents.attributes is not None
        assert reader.data("traits") == packed(latents.attributes > 0).tobytes()
        numbers = np.frombuffer(reader.data("points"), dtype="<u2").reshape(-1, 2)
        frame = page["frame"]
        at = numbers * [frame["stepX"], frame["stepY"]] + [frame["x"], frame["y"]]
        assert np.abs(at - saved["coordinates"][:]).max() < 1e-3
        assert differ(embedded(reader, 60), faces.read(0, 60)) < 8
        assert differ(embedded(reader, 59), faces.read(1, 60)) > 20
    assert page["thumbnails"] == {"size": 32, "columns": 32, "rows": 32}
    assert reader.text("title") == "UMAP of the latent means: 60 faces"
    first = Path("map.html").read_bytes()
    # Said before it is written, in the result of the library too, and the same the next time.
    recorder = Recorder()
    assert umap(html="map.html", attribute="Smiling", report=recorder).page == Path("map.html")
    assert recorder.notices == [EMBEDDED.strip()]
    assert [(event.done, event.total) for event in recorder.progress if event.stage == "thumbnails"] == [(60, 60)]
    assert Path("map.html").read_bytes() == first


@pytest.mark.usefixtures("_with_faces")
def test_a_page_without_faces() -> None:
    Path("faces.h5").rename("mine.h5")
    assert succeed("umap", "--html", "map.html", "--json").stderr == (
        "There is no faces.h5 with the faces of latents.h5: map.html shows names and attributes, but no faces.\n"
    )
    assert page_of().json("page")["thumbnails"] is None
    outcome = succeed("umap", "--html", "map.html", "--faces", "mine.h5", "--json")
    assert (outcome.stderr, outcome.json["paths"]) == (EMBEDDED, ["umap.png", "map.html"])
    outcome = succeed("umap", "--html", "map.html", "--faces", "mine.h5", "--no-thumbnails")
    assert outcome == Outcome(0, b"umap.png\nmap.html\n", "")
    assert not any("sheet" in str(attributes.get("id")) for _, attributes, _ in page_of().elements)
    assert succeed("umap", "--html", "map.html", "--faces", "mine.h5", "-q").stderr == ""
    # Faces that the latents were not made from would be the wrong ones.
    write_faces(Path("faces.h5"), seed=3)
    assert succeed("umap", "--html", "map.html").stderr.startswith(
        "There is no faces.h5 with the faces of latents.h5: "
    )


@pytest.mark.usefixtures("_instant")
def test_a_page_of_single_images(workspace: Path) -> None:
    from helpers import put_weights

    put_weights(workspace)
    succeed("encode", *put_pictures(Path("faces"), 12), "-o", "latents.h5")
    outcome = succeed("umap", "--html", "page.htm")
    assert outcome.stderr == (
        "latents.h5 holds no attributes: the dots are all of one colour.\n"
        "latents.h5 was made from single images, not from prepared faces: page.htm shows names and attributes, but no faces.\n"
    )
    page = page_of("page.htm").json("page")
    assert (page["attributes"], page["opening"], page["thumbnails"]) == ([], None, None)
    outcome = succeed("umap", "-", "--html", "page.htm", stdin=Path("latents.h5").read_bytes())
    assert outcome.stderr.splitlines()[1].startswith("stdin was made from single images, not from prepared faces: ")


@pytest.mark.usefixtures("_with_faces")
def test_a_page_of_some_of_the_faces() -> None:
    result = umap(html="map.html", max_points=20, seed=5)
    reader = page_of()
    with Faces("faces.h5") as faces:
        assert reader.json("names") == [faces.names[row] for row in result.rows]
        assert differ(embedded(reader, 20), faces.read(0, 60)[result.rows]) < 8
    assert reader.text("title") == "UMAP of the latent means: 20 of 60 faces"


@pytest.mark.usefixtures("_with_faces")
def test_only_the_faces_of_a_page_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read, ranges = Faces.read, []

    def noted(faces: Faces, start: int, stop: int) -> NDArray[np.uint8]:
        ranges.append(range(start, stop))
        return read(faces, start, stop)

    monkeypatch.setattr(Faces, "read", noted)
    rows = umap(html="map.html", max_points=20, seed=5).rows
    assert {row for each in ranges for row in each} == set(rows.tolist())
    assert max(map(len, ranges)) < 10
    ranges.clear()
    umap(html="map.html")
    assert set(ranges) == {range(32), range(32, 60)}


@pytest.mark.usefixtures("_instant")
def test_a_page_of_a_shard(workspace: Path) -> None:
    from helpers import put_weights

    put_weights(workspace)
    write_faces(workspace / "faces.h5")
    succeed("encode", "--shard", "2/3", "-o", "part.h5", "-q")
    succeed("umap", "part.h5", "--html", "map.html", "-q")
    with Faces("faces.h5") as faces:
        assert page_of().json("names") == faces.names[20:40]
        assert differ(embedded(page_of(), 20), faces.read(20, 40)) < 8


def test_a_page_of_new_faces_on_a_saved_map(fits: Fits, saved: Path) -> None:
    result = umap("new.h5", fit_on="map.h5", html="map.html")
    reader = page_of()
    assert (reader.json("page")["count"], reader.json("page")["beneath"]) == (25, 60)
    frame, numbers = reader.json("page")["frame"], np.frombuffer(reader.data("points"), dtype="<u2").reshape(-1, 2)
    at = numbers * [frame["stepX"], frame["stepY"]] + [frame["x"], frame["y"]]
    assert np.abs(at - np.concatenate([result.coordinates, fits.first.coordinates])).max() < 1e-3
    assert reader.text("title") == "UMAP of the latent means: 25 faces, placed on a map of 60"
    put_new_latents(Path("one.h5"), count=1)
    umap("one.h5", fit_on="map.h5", html="one.html")
    assert page_of("one.html").text("title") == "UMAP of the latent means: 1 face, placed on a map of 60"


@pytest.mark.usefixtures("_with_faces")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--html", "map.png"], "Cannot write a page to map.png: its name must end in .html."),
        (["--html", "-"], "Cannot write a page to -: its name must end in .html."),
        (
            ["--html", "a.html", "--coordinates", "a.html"],
            "a.html cannot hold both the page and another result: name two files.",
        ),
        (
            ["--html", "data.html"],
            "data.html holds latents and would be overwritten by a page: name another output with --html.",
        ),
        (
            ["--html", "faces.html", "--faces", "faces.html"],
            "faces.html is an input and would be overwritten: name another output with --html.",
        ),
    ],
)
def test_wrong_names_of_pages(options: list[str], message: str) -> None:
    shutil.copy("latents.h5", "data.html")
    Path("faces.h5").rename("faces.html")
    before = files()
    assert refusal("umap", *options, code=2) == message
    assert files() == before


@pytest.mark.usefixtures("_with_faces")
def test_faces_that_cannot_be_read_stop_it_before_the_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "fit", lambda *_: pytest.fail("the fit began"))
    Path("faces.h5").write_bytes(b"not HDF5")
    assert refusal("umap", "--html", "map.html") == (
        "faces.h5 is not a file of prepared faces (not HDF5). Make one with: facevae prepare --celeba-dir DIR"
    )
    assert refusal("umap", "--html", "no/map.html") == "There is no folder no to write map.html into: create it first."
    assert files() == ["faces.h5", "latents.h5"]


@pytest.mark.usefixtures("_with_faces")
def test_a_page_that_fails_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("map.html").write_text("earlier")

    def full(faces: object) -> Iterator[str]:
        yield "<!doctype html>"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(umap_page, "map_page", full)
    outcome = run("umap", "--html", "map.html", "-q")
    assert (outcome.code, outcome.stderr) == (1, "Error: map.html cannot be written: no space left on device.\n")
    assert Path("map.html").read_text() == "earlier"
    assert files() == ["faces.h5", "latents.h5", "map.html"]


# ------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-a", "Smilling"], "There is no attribute Smilling in latents.h5. Did you mean Smiling?"),
        (["--max-points", "9"], "A map of 9 points is too small: ask for at least 10."),
        (["--seed", "-1"], "A seed of -1 is out of range: use a whole number from 0 to 4294967295."),
        (["--seed", "4294967296"], "A seed of 4294967296 is out of range: use a whole number from 0 to 4294967295."),
        (["-o", "map.jpg"], "Cannot write a picture to map.jpg: its name must end in one of .png, .svg, .pdf."),
        (["-o", "-", "--json"], "The result and JSON cannot both go to standard output: name a file with -o FILE."),
        (
            ["--coordinates", "latents.h5"],
            "latents.h5 is an input and would be overwritten: name another output with --coordinates.",
        ),
        (
            ["-o", "map.png", "--coordinates", "map.png"],
            "map.png cannot hold both the picture and the coordinates: name two files.",
        ),
    ],
)
def test_wrong_options(workspace: Path, options: list[str], message: str) -> None:
    put_latents(workspace)
    assert refusal("umap", *options, code=2) == message
    assert files() == ["latents.h5"]


def test_wrong_files(faces_file: Path, weights_file: Path, workspace: Path) -> None:
    remedy = "Make one with: facevae encode > latents.h5"
    assert refusal("umap") == f"There is no latents.h5. {remedy}"
    assert refusal("umap", "faces.h5") == f"faces.h5 holds prepared faces, not latents. {remedy}"
    assert refusal("umap", "vae.safetensors") == f"vae.safetensors is not a file of latents (not HDF5). {remedy}"
    assert refusal("umap", "-", stdin=faces_file.read_bytes()) == f"stdin holds prepared faces, not latents. {remedy}"
    assert refusal("umap", "-", stdin=b"text") == f"stdin is not a file of latents (not HDF5). {remedy}"
    assert not Path("umap.png").exists()


def test_standard_input_without_latents(workspace: Path) -> None:
    example = "send latents to it, as in: facevae encode | facevae umap -"
    assert refusal("umap", "-", code=2) == f"Standard input is empty: {example}"
    assert refusal("umap", "-", code=2, terminal="stdin") == f"Standard input is a terminal: {example}"


def test_too_few_latents(workspace: Path) -> None:
    from helpers import put_pictures, put_weights

    put_weights(workspace)
    succeed("encode", *put_pictures(Path("faces"), 9), "-o", "latents.h5")
    outcome = run("umap", "-q")
    assert (outcome.code, outcome.stdout) == (1, b"")
    assert outcome.stderr == "Error: latents.h5 holds 9 latents: a map needs at least 10.\n"


def test_a_layout_that_is_not_finite(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("umap")
    import umap as library

    monkeypatch.setattr(library.UMAP, "fit_transform", lambda self, latents: np.full((len(latents), 2), np.nan))
    put_latents(workspace)
    assert refusal("umap", "--coordinates", "map.h5") == (
        "UMAP found no finite layout for these latents: try other latents, or more of them."
    )
    assert files() == ["latents.h5"]


@pytest.mark.parametrize("count", [10, 15])
def test_the_fewest_latents(fits: Fits, workspace: Path, count: int) -> None:
    shutil.copy(fits.folder / "latents.h5", "latents.h5")
    result = umap(max_points=count, seed=0)
    assert result.coordinates.shape == (count, 2)
