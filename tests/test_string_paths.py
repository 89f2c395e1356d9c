"""Every public function takes the names of files as strings, and does the same with them as with paths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import facevae
from facevae.drawing import write_drawn_faces
from facevae.storage.dataset import FacesDataset
from facevae.workflows import umap as umap_workflow
from helpers import put_latents, put_pictures, put_upscaler, put_weights


@pytest.fixture(autouse=True)
def in_workspace(workspace: Path) -> None:
    """All names are relative to an empty folder, under `in/` and `out/`."""
    Path("in").mkdir()
    Path("out").mkdir()
    put_weights(Path("in"))


def picture() -> str:
    return str(put_pictures(Path("in"), 1)[0])


def same_files(first: str, second: str) -> bool:
    return Path(first).read_bytes() == Path(second).read_bytes()


def test_prepare() -> None:
    write_drawn_faces(Path("in/celeba"), 10)
    by_string = facevae.prepare("in/celeba", "out/a.h5")
    by_path = facevae.prepare(Path("in/celeba"), Path("out/b.h5"))
    assert by_string.path == Path("out/a.h5")
    assert (by_string.count, by_string.fingerprint) == (10, by_path.fingerprint)


def test_train(faces_file: Path) -> None:
    options = {"epochs": 1, "channels": 2, "latent_dim": 2, "batch_size": 20}
    by_string = facevae.train("faces.h5", "out/a.safetensors", device="cpu", **options)  # type: ignore[arg-type]
    by_path = facevae.train(Path("faces.h5"), Path("out/b.safetensors"), device="cpu", **options)  # type: ignore[arg-type]
    assert by_string.files.weights == Path("out/a.safetensors")
    assert by_string.train_loss is not None
    assert by_path.train_loss is not None
    assert by_string.train_loss.loss == by_path.train_loss.loss


def test_encode(faces_file: Path) -> None:
    by_string = facevae.encode(output="out/a.h5", faces="faces.h5", weights="in/vae.safetensors")
    facevae.encode(output=Path("out/b.h5"), faces=Path("faces.h5"), weights=Path("in/vae.safetensors"))
    assert by_string.output == Path("out/a.h5")
    single = facevae.encode([picture()], "out/c.h5", weights="in/vae.safetensors")
    assert (single.output, single.count) == (Path("out/c.h5"), 1)
    with facevae.Latents("out/a.h5") as a, facevae.Latents(Path("out/b.h5")) as b, facevae.Latents("out/c.h5") as c:
        assert np.array_equal(a.mean(), b.mean())
        assert c.names == ["in/face1.png"]


def test_sample() -> None:
    by_string = facevae.sample(2, "out/a.png", seed=1, weights="in/vae.safetensors")
    facevae.sample(2, Path("out/b.png"), seed=1, weights=Path("in/vae.safetensors"))
    assert by_string.paths == (Path("out/a.png"),)
    assert same_files("out/a.png", "out/b.png")
    single = facevae.sample(1, "out/folder", seed=1, separate=True, weights="in/vae.safetensors")
    assert single.paths == (Path("out/folder/sample-01.png"),)


def test_reconstruct(faces_file: Path) -> None:
    by_string = facevae.reconstruct([picture()], "out/a.png", weights="in/vae.safetensors")
    facevae.reconstruct([Path("in/face1.png")], Path("out/b.png"), weights=Path("in/vae.safetensors"))
    assert (by_string.path, by_string.names) == (Path("out/a.png"), ("face1",))
    assert same_files("out/a.png", "out/b.png")
    prepared = facevae.reconstruct(output="out/c.png", count=2, faces="faces.h5", weights="in/vae.safetensors")
    assert prepared.inputs.shape == (2, 32, 32, 3)


def test_morph() -> None:
    put_latents(Path("in"))
    face = picture()
    options = {"steps": [0.0, 1.0]}
    by_string = facevae.morph([face], "Male", "out/a.png", weights="in/vae.safetensors", **options)  # type: ignore[arg-type]
    facevae.morph([Path(face)], "Male", Path("out/b.png"), weights=Path("in/vae.safetensors"), **options)  # type: ignore[arg-type]
    assert by_string.path == Path("out/a.png")
    assert same_files("out/a.png", "out/b.png")
    mixed = facevae.morph(
        [face, Path(face), Path(face).read_bytes()],
        output="out/c.gif",
        latents="in/latents.h5",
        weights="in/vae.safetensors",
    )
    assert mixed.path == Path("out/c.gif")
    assert np.array_equal(mixed.morphs[0], mixed.morphs[2])


def test_interpolate() -> None:
    face = picture()
    options = {"steps": 2, "weights": "in/vae.safetensors"}
    by_string = facevae.interpolate([face, face], "out/a.png", **options)  # type: ignore[arg-type]
    facevae.interpolate([Path(face), Path(face).read_bytes()], Path("out/b.gif"), weights=Path("in/vae.safetensors"))
    facevae.interpolate([Path(face), Path(face)], Path("out/b.png"), **options)  # type: ignore[arg-type]
    assert by_string.path == Path("out/a.png")
    assert same_files("out/a.png", "out/b.png")


def test_average() -> None:
    put_latents(Path("in"))
    face = picture()
    by_string = facevae.average(face, "out/a.png", weights="in/vae.safetensors")
    facevae.average([Path(face)], Path("out/b.png"), weights=Path("in/vae.safetensors"))
    assert by_string.path == Path("out/a.png")
    assert same_files("out/a.png", "out/b.png")
    whole = facevae.average(output="out/c.png", latents="in/latents.h5", weights="in/vae.safetensors")
    assert whole.counts == (60,)


def test_neighbours() -> None:
    put_latents(Path("in"))
    face = picture()
    options = {"latents": "in/latents.h5", "weights": "in/vae.safetensors"}
    by_string = facevae.neighbours(face, "out/a.png", **options)  # type: ignore[arg-type]
    by_path = facevae.neighbours(
        [Path(face)], Path("out/b.png"), latents=Path("in/latents.h5"), weights=Path("in/vae.safetensors")
    )
    assert (by_string.path, by_string.queries) == (Path("out/a.png"), by_path.queries)
    assert same_files("out/a.png", "out/b.png")
    named = facevae.neighbours(name="000003.jpg", **options)  # type: ignore[arg-type]
    assert (named.path, len(named.queries[0].neighbours)) == (None, 8)


def test_upscale() -> None:
    put_upscaler(Path("in/mine.safetensors"))
    by_string = facevae.upscale(picture(), "out", upscaler="in/mine.safetensors")
    by_path = facevae.upscale([Path("in/face1.png")], Path("out/b.png"), upscaler=Path("in/mine.safetensors"))
    assert (by_string.paths, by_path.paths) == ((Path("out/face1-x3.png"),), (Path("out/b.png"),))
    assert same_files("out/face1-x3.png", "out/b.png")
    assert facevae.Upscaler.load("in/mine.safetensors").name == "in/mine.safetensors"


def test_align() -> None:
    face = picture()  # of CelebA's size: nothing need be found in it
    by_string = facevae.align(face, "out/a")
    by_path = facevae.align([Path(face)], Path("out/b.png"))
    assert (by_string.paths, by_path.paths) == ((Path("out/a/face1.png"),), (Path("out/b.png"),))
    assert same_files("out/a/face1.png", "out/b.png")
    assert facevae.align("in", "out/c").faces[0].name == "in/face1.png"


def test_umap(monkeypatch: pytest.MonkeyPatch) -> None:
    put_latents(Path("in"))
    monkeypatch.setattr(
        umap_workflow, "fit", lambda latents, seed, report: latents[:, :2].copy()
    )  # no import of seconds
    by_string = facevae.umap("in/latents.h5", "out/a.png", coordinates="out/a.h5", max_points=20)
    assert by_string.path == Path("out/a.png")
    assert facevae.info("out/a.h5").facts["points"] == "20"


def test_activations() -> None:
    by_string = facevae.activations(picture(), "out/a", weights="in/vae.safetensors")
    facevae.activations(Path("in/face1.png"), Path("out/b"), weights=Path("in/vae.safetensors"))
    assert by_string.paths[0] == Path("out/a/overview.png")
    assert same_files("out/a/overview.png", "out/b/overview.png")


def test_info() -> None:
    assert facevae.info("in/vae.safetensors") == facevae.info(Path("in/vae.safetensors"))
    assert facevae.info("in/vae.safetensors").path == Path("in/vae.safetensors")


def test_demo() -> None:
    """As far as the folder, for the whole demo takes a minute."""
    Path("out/faces.h5").write_bytes(b"")
    with pytest.raises(facevae.FacevaeError) as error:
        facevae.demo("out")
    assert str(error.value) == "out holds a faces.h5 that is not the demo's: name another folder with --out."


def test_faces_and_latents_and_models(faces_file: Path) -> None:
    put_latents(Path("in"))
    with facevae.Faces("faces.h5") as faces, facevae.Latents("in/latents.h5") as latents:
        assert (faces.path, faces.count) == (Path("faces.h5"), 60)
        assert (latents.path, latents.count) == (Path("in/latents.h5"), 60)
    model = facevae.FaceModel.load("in/vae.safetensors")
    assert model.name == "in/vae.safetensors"
    assert FacesDataset("faces.h5").names == FacesDataset(Path("faces.h5")).names
    with pytest.raises(facevae.FacevaeError) as error:
        facevae.Faces("missing.h5")
    assert str(error.value) == "There is no missing.h5. Make one with: facevae prepare --celeba-dir DIR"
