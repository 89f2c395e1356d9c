"""`facevae umap`: the map, its files, and what it refuses. The fits are few and shared, for each takes seconds."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pytest
from PIL import Image

from facevae.storage.latents import Latents
from facevae.workflows import umap as workflow
from facevae.workflows.umap import UmapResult, umap
from helpers import Outcome, files, put_latents, refusal, run, succeed
from support import Recorder


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
        assert (file.attrs["n_neighbors"], file.attrs["min_dist"], file.attrs["seed"]) == (15, 0.1, 1)
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
        assert file.attrs["seed"] == 2


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
    assert events[0].stage == "umap: neighbours"
    layout = [event for event in events if event.stage == "umap: layout"]
    assert layout
    assert all(event.unit == "epochs" for event in events)
    done = [event.done for event in layout]
    assert done == sorted(done)
    assert len({event.total for event in layout}) == 1
    assert fits.recorder.notices == []


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
