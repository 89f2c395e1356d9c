"""`facevae activations`: every channel of every convolution, as the network gave it out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from facevae.config import ModelConfig
from facevae.figures.activations import channel_tile
from facevae.figures.canvas import MARGIN, enlarge
from facevae.model.hooks import face_activations
from facevae.model.inference import to_tensor
from facevae.storage.images import load_face
from facevae.storage.weights import FaceModel
from facevae.workflows.activations import activations
from helpers import border, files, pixels, put_pictures, put_weights, refusal, succeed, tile
from support import Recorder, make_model

LAYERS = [f"encoder-{number}" for number in range(1, 5)] + [f"decoder-{number}" for number in range(1, 6)]
FILES = ["overview.png", "00-input.png", *(f"{number:02}-{name}.png" for number, name in enumerate(LAYERS, start=1))]


@pytest.fixture(autouse=True)
def model(workspace: Path) -> FaceModel:
    return put_weights(workspace)


@pytest.fixture
def face() -> Path:
    return put_pictures(Path("faces"), 1, size=50)[0]


def test_eleven_pictures_in_a_folder(face: Path) -> None:
    outcome = succeed("activations", face)
    assert outcome.lines == [f"activations/{name}" for name in FILES]
    assert outcome.stderr == ""
    assert files("activations") == sorted(FILES)
    for name in FILES:
        picture = pixels(Path("activations") / name)
        assert (border(picture) == 255).all(), name
        assert picture.std() > 5, name


def test_the_maps_are_those_of_the_convolutions(model: FaceModel, face: Path) -> None:
    recorder = Recorder()
    result = activations(face, Path("out"), report=recorder)
    layers, _ = face_activations(model.vae, to_tensor(load_face(face, 32)[None], torch.device("cpu"))[0])
    assert list(result.layers) == [layer.name for layer in layers] == LAYERS
    for layer in layers:
        assert np.array_equal(result.layers[layer.name], layer.maps.numpy())
    assert [result.layers[name].shape for name in ("encoder-1", "encoder-4", "decoder-1", "decoder-5")] == [
        (4, 16, 16),
        (4, 2, 2),
        (4, 4, 4),
        (3, 32, 32),
    ]
    assert [event.done for event in recorder.progress] == list(range(1, 10))
    assert {event.total for event in recorder.progress} == {9}


def test_the_reference_network_shows_128_channels_in_8_rows_of_16(face: Path) -> None:
    wide = make_model(ModelConfig(latent_dim=4))
    wide.save(Path("wide.safetensors"))
    result = activations(face, Path("out"), weights=Path("wide.safetensors"))
    maps = result.layers["encoder-2"]
    assert maps.shape == (128, 8, 8)
    picture = pixels(Path("out/02-encoder-2.png"))
    pitch = 64 + 3
    left, top = picture.shape[1] - MARGIN - 16 * pitch + 3, picture.shape[0] - MARGIN - 8 * pitch + 3
    for channel in (0, 15, 16, 70, 127):
        row, column = divmod(channel, 16)
        found = tile(picture, left + column * pitch, top + row * pitch, 64)
        assert np.array_equal(found, np.array(enlarge(channel_tile(maps[channel]), 64, smooth=False)))


def test_the_input_is_shown_as_it_came_and_as_the_network_sees_it(face: Path) -> None:
    succeed("activations", face)
    picture = pixels(Path("activations/00-input.png"))
    seen = tile(picture, picture.shape[1] - MARGIN - 192, picture.shape[0] - MARGIN - 192, 192)
    assert np.array_equal(seen[::6, ::6], load_face(face, 32))


def test_json_and_standard_input(face: Path) -> None:
    outcome = succeed("activations", "-", "-o", "out", "--json", stdin=face.read_bytes())
    assert outcome.json["paths"] == [f"out/{name}" for name in FILES]
    assert outcome.json["layers"]["encoder-1"] == [4, 16, 16]
    assert list(outcome.json["layers"]) == LAYERS


def test_running_again_replaces_the_pictures(face: Path) -> None:
    succeed("activations", face)
    first = Path("activations/overview.png").read_bytes()
    succeed("activations", face)
    assert Path("activations/overview.png").read_bytes() == first
    assert len(files("activations")) == 11


def test_refusals(face: Path) -> None:
    Path("file").write_text("mine")
    assert refusal("activations", face, "-o", "file") == "file cannot be made a folder: file exists."
    assert refusal("activations", "faces/face2.png") == "There is no file faces/face2.png. Did you mean face1.png?"
    assert refusal("activations", "file") == (
        "file is not an image that can be read: give a JPEG, PNG, WebP, GIF, BMP, TIFF or PNM file."
    )
    assert refusal("activations", "-", code=2) == (
        "Standard input is empty: send an image to it, as in: facevae activations - < face.jpg"
    )
    assert refusal("activations", face, "--device", "tpu", code=2) == (
        "There is no device tpu: use one of auto, cpu, cuda, mps."
    )
    assert refusal("activations", face, "-w", "no.safetensors") == (
        "There is no no.safetensors. Check its name and folder, use --weights faces-32 for those shipped, "
        "or train some with: facevae train"
    )
    assert not Path("activations").exists()


def test_the_face_is_not_written_over(face: Path) -> None:
    Path("out").mkdir()
    inside = face.rename("out/00-input.png")
    before = inside.read_bytes()
    assert refusal("activations", inside, "-o", "out", code=2) == (
        "out/00-input.png is an input and would be overwritten: name another output with -o."
    )
    assert inside.read_bytes() == before
    assert files("out") == ["00-input.png"]
