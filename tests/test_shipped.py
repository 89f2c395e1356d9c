"""The weights that come with facevae: used where there are no others, and never when they are not the right ones."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import facevae
from facevae.config import UpscalerInputs
from facevae.errors import DataError
from facevae.storage import shipped
from facevae.storage.latents import Latents
from facevae.storage.weights import FaceModel
from facevae.workflows.common import find_weights, load_model
from helpers import files, pixels, put_pictures, put_upscaler, put_weights, refusal, run, ship_upscalers, succeed
from support import Recorder, make_model

NOTICE = "There is no vae.safetensors here: using the weights shipped with facevae (faces-32)."
LARGEST = 6_000_000


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the package's, with a small model as the shipped weights."""
    folder = tmp_path / "package"
    folder.mkdir()
    ship(make_model(), folder, monkeypatch)
    ship_upscalers(folder, monkeypatch)
    return folder


def ship(model: FaceModel, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model.save(folder / shipped.WEIGHTS, half=True)
    monkeypatch.setattr(shipped, "FOLDER", folder)
    monkeypatch.setattr(shipped, "SHA256", {shipped.WEIGHTS: digest(folder / shipped.WEIGHTS), shipped.JUDGE: "0" * 64})


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# ------------------------------------------------------------------------------------------ the file of the package


def test_the_package_holds_the_file_that_the_constant_belongs_to() -> None:
    path = shipped.shipped_weights()
    assert path.name == "faces-32.safetensors"
    assert digest(path) == shipped.SHA256[shipped.WEIGHTS]
    assert path.stat().st_size <= LARGEST


def test_the_shipped_model_is_the_reference_network_with_all_directions_and_a_prior() -> None:
    model = FaceModel.load(shipped.shipped_weights())
    assert model.vae.config == facevae.ModelConfig()
    assert model.directions is not None
    assert model.prior is not None
    assert len(model.attribute_names) == 40
    assert all(model.direction(name).any() for name in model.attribute_names)
    assert model.training["split"] == "train"
    assert model.hash().startswith("b70308224ce2")  # as docs/weights.md says


def test_the_shipped_model_says_which_attributes_go_together() -> None:
    model = FaceModel.load(shipped.shipped_weights())
    assert model.directions is not None
    assert model.directions.together is not None
    np.testing.assert_array_equal(model.directions.together.diagonal(), model.directions.positive)
    correlations = model.named_directions().correlations()
    assert correlations is not None
    row = correlations[model.attribute_names.index("Heavy_Makeup")]
    assert row[model.attribute_names.index("Wearing_Lipstick")] > 0.7
    assert row[model.attribute_names.index("Male")] < -0.6


def test_the_folder_says_what_the_weights_may_be_used_for() -> None:
    text = (shipped.FOLDER / "README.md").read_text(encoding="utf-8")
    assert "non-commercial research and teaching only" in " ".join(text.split())
    assert not list(shipped.FOLDER.glob("*.py"))


# ------------------------------------------------------------------------------------------ the fallback


def test_every_command_that_needs_weights_falls_back_to_the_shipped_ones(
    faces_file: Path, workspace: Path, folder: Path
) -> None:
    face = put_pictures(Path("faces"), 1)[0]
    for arguments in (
        ["sample", "-n", "2"],
        ["reconstruct"],
        ["reconstruct", face],
        ["morph", face, "--attr", "Smiling"],
        ["activations", face],
        ["encode", "-o", "latents.h5"],
    ):
        assert succeed(*arguments).stderr.splitlines()[0] == NOTICE, arguments
        assert succeed(*arguments, "-q").stderr == ""
    with Latents("latents.h5") as latents:
        assert latents.weights_hash == FaceModel.load(folder / shipped.WEIGHTS).hash()
    assert not Path("vae.safetensors").exists()


def test_an_empty_folder_and_a_face_are_enough(workspace: Path) -> None:
    """With the weights that are really shipped."""
    face = put_pictures(workspace, 1)[0]
    assert succeed("sample", "-n", 4, "--seed", 1).lines == ["samples.png"]
    assert succeed("morph", face, "--attr", "Eyeglasses", "--steps", "-3,3").lines == ["morph.png"]
    assert succeed("reconstruct", face).lines == ["reconstructions.png"]
    assert pixels(Path("samples.png")).std() > 10
    assert FaceModel.load(shipped.shipped_weights()).sample(4, seed=1).std(axis=0).max() > 10


def test_the_weights_of_the_workspace_come_first(workspace: Path, folder: Path) -> None:
    mine = put_weights(workspace)
    report = Recorder()
    assert load_model(None, "cpu", report).hash() == mine.hash()
    assert report.notices == []


def test_the_fallback_is_reported_once_and_named(workspace: Path, folder: Path) -> None:
    report = Recorder()
    model = load_model(None, "cpu", report)
    assert (model.name, report.notices) == ("faces-32", [NOTICE])
    assert model.hash() == FaceModel.load(folder / shipped.WEIGHTS).hash()
    np.testing.assert_array_equal(facevae.sample(2, seed=1).faces, model.sample(2, seed=1))


def test_the_shipped_weights_may_be_asked_for_by_name(workspace: Path, folder: Path) -> None:
    mine = put_weights(workspace)
    report = Recorder()
    model = load_model("faces-32", "cpu", report)
    assert model.hash() != mine.hash()
    assert (model.name, report.notices) == ("faces-32", [])
    assert succeed("sample", "--weights", "faces-32").stderr == ""
    shutil.copy("vae.safetensors", "faces-32")
    assert load_model("faces-32", "cpu", report).hash() == mine.hash()
    assert load_model(Path("faces-32"), "cpu", report).hash() == mine.hash()


def test_weights_that_are_named_and_missing_stay_an_error(workspace: Path, folder: Path) -> None:
    remedy = "Check its name and folder, use --weights faces-32 for those shipped, or train some with: facevae train"
    assert refusal("sample", "-w", "no.safetensors") == f"There is no no.safetensors. {remedy}"
    assert refusal("sample", "-w", "vae.safetensors") == f"There is no vae.safetensors. {remedy}"
    assert files() == ["package"]


def test_a_broken_link_is_no_reason_to_take_other_weights(workspace: Path, folder: Path) -> None:
    Path("vae.safetensors").symlink_to("gone")
    assert refusal("sample") == (
        "There is no vae.safetensors. Check its name and folder, use --weights faces-32 for those shipped, "
        "or train some with: facevae train"
    )


def test_messages_call_the_shipped_weights_by_their_name(workspace: Path, folder: Path) -> None:
    face = put_pictures(workspace, 1)[0]
    outcome = run("morph", face, "--attr", "Smilling")
    assert outcome.code == 2
    assert outcome.stderr.splitlines() == [
        NOTICE,
        "Error: There is no attribute Smilling in faces-32. Did you mean Smiling?",
    ]


def test_encode_does_not_write_over_the_shipped_weights(faces_file: Path, workspace: Path, folder: Path) -> None:
    path = folder / shipped.WEIGHTS
    before = path.read_bytes()
    outcome = run("encode", "-o", path)
    assert outcome.code == 2
    assert outcome.stderr.splitlines()[1].startswith("Error: ")
    assert path.read_bytes() == before


# ------------------------------------------------------------------------------------------ a damaged package


def told(monkeypatch: pytest.MonkeyPatch) -> str:
    with pytest.raises(DataError) as error:
        find_weights(None, Recorder())
    return str(error.value)


@pytest.mark.parametrize("place", [0, 40, 5_000, -1])
def test_one_wrong_byte_is_noticed(workspace: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, place: int) -> None:
    path = folder / shipped.WEIGHTS
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    sentence = (
        f"{path}, which comes with facevae, is damaged (its SHA-256 is not that of this version): reinstall facevae."
    )
    assert told(monkeypatch) == sentence
    assert refusal("sample") == sentence
    assert refusal("sample", "-w", "faces-32") == sentence
    assert refusal("info", "faces-32") == sentence
    assert succeed("info", "--json").json["shipped_weights"]["problem"] == sentence


def test_a_missing_file_is_told(workspace: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / shipped.WEIGHTS
    path.unlink()
    assert told(monkeypatch) == f"{path}, which comes with facevae, is missing: reinstall facevae."
    with pytest.raises(DataError) as error:
        shipped.shipped_judge()
    missing = folder / "judge.safetensors"
    assert str(error.value) == f"{missing}, which comes with facevae, is missing: reinstall facevae."
    path.mkdir()
    assert told(monkeypatch) == (
        f"{path}, which comes with facevae, cannot be read (is a directory): reinstall facevae."
    )
    put_weights(workspace)
    assert succeed("sample", "-n", 1).stderr == ""


def test_weights_of_a_later_format_are_refused(workspace: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / shipped.WEIGHTS
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"format_version":"1"', b'"format_version":"9"'))
    assert path.read_bytes() != content
    monkeypatch.setitem(shipped.SHA256, shipped.WEIGHTS, digest(path))
    assert run("sample").stderr.splitlines()[1] == (
        f"Error: {path} is of format version 9, newer than this facevae reads: update facevae."
    )


# ------------------------------------------------------------------------------------------ info


def test_info_describes_them(workspace: Path, folder: Path) -> None:
    path = folder / shipped.WEIGHTS
    found = succeed("info", "faces-32", "--json").json
    assert (found["path"], found["kind"]) == (str(path), "VAE weights")
    assert (found["shipped_as"], found["sha256"]) == ("faces-32", digest(path))
    assert found["weights_hash"] == FaceModel.load(path).hash()
    assert len(found["attributes"]) == 5
    assert succeed("info", path, "--json").json["shipped_as"] is None
    assert re.search(
        r"shipped as +faces-32, used where there is no vae.safetensors", succeed("info", "faces-32").stdout.decode()
    )
    assert facevae.info("faces-32").path == path


def test_info_describes_a_file_of_that_name_instead(workspace: Path, folder: Path) -> None:
    mine = put_weights(workspace)
    Path("vae.safetensors").rename("faces-32")
    found = succeed("info", "faces-32", "--json").json
    assert found["weights_hash"] == mine.hash()
    assert found["shipped_as"] is None


@pytest.mark.parametrize("name", ["photographs", "reconstructions"])
def test_info_describes_the_shipped_upscalers(workspace: Path, folder: Path, name: UpscalerInputs) -> None:
    path = folder / shipped.UPSCALERS[name]
    found = succeed("info", name, "--json").json
    assert (found["path"], found["kind"]) == (str(path), "upscaler weights")
    assert (found["shipped_as"], found["sha256"], found["enlarges"]) == (name, digest(path), name)
    assert facevae.info(name).facts["shipped as"] == f"{name}, used where there is no {path.name}"
    path.write_bytes(path.read_bytes() + b"x")
    sentence = (
        f"{path}, which comes with facevae, is damaged (its SHA-256 is not that of this version): reinstall facevae."
    )
    assert refusal("info", name) == sentence
    assert [entry["problem"] for entry in succeed("info", "--json").json["shipped_upscalers"]].count(sentence) == 1
    put_upscaler(Path(name))
    assert succeed("info", name, "--json").json["shipped_as"] is None


def test_info_without_a_file_names_them(workspace: Path, folder: Path) -> None:
    text = succeed("info").stdout.decode()
    assert "Weights shipped with facevae" in text
    lines = [" ".join(line.split()) for line in text.splitlines()][-4:-1]
    assert lines == [
        "faces-32 used where there is no vae.safetensors; described by: facevae info faces-32",
        "photographs upscaler of photographs; described by: facevae info photographs",
        "reconstructions upscaler of reconstructions; described by: facevae info reconstructions",
    ]
    found = succeed("info", "--json").json
    entries = [
        {"name": name, "path": str(folder / file), "sha256": digest(folder / file), "problem": None}
        for name, file in (("faces-32", shipped.WEIGHTS), *shipped.UPSCALERS.items())
    ]
    assert [found["shipped_weights"], *found["shipped_upscalers"]] == entries
