"""`facevae info`: each of facevae's files described, and the network layer by layer."""

from __future__ import annotations

import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import support
from facevae.config import ModelConfig, TrainConfig, UpscalerTrainConfig
from facevae.model.training import Trainer, new_vae
from facevae.model.upscaler_training import PhotographPairs, UpscalerTrainer
from facevae.storage.checkpoint import save_checkpoint
from facevae.storage.coordinates import write_coordinates
from facevae.storage.faces import Faces
from facevae.storage.latents import Latents
from facevae.storage.upscaler_checkpoint import save_upscaler_checkpoint
from facevae.storage.upscaler_file import Upscaler
from facevae.workflows.info import info
from facevae.workflows.info_facts import plain
from helpers import put_latents, put_other_weights, put_pictures, put_weights, refusal, run, succeed, tiny_upscaler

PAGE = Path(__file__).parents[1] / "docs" / "commands" / "info.md"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def both(name: str) -> tuple[str, dict[str, Any]]:
    """What `info` says of a file to people and to programs."""
    outcome = succeed("info", name)
    text = outcome.stdout.decode()
    found: dict[str, Any] = succeed("info", name, "--json").json
    assert outcome.stderr == ""
    assert "\x1b" not in text
    described = info(name)
    folded = "".join(text.split())
    for fact, value in described.facts.items():
        assert "".join(f"{fact}{value}".split()) in folded, fact
    assert f"{name}: {found['kind']}" in text
    rows = [dict(zip(("name", "with", "without", "delta_length"), row, strict=True)) for row in described.attributes]
    assert found == {"path": name, "kind": described.kind, **described.values, "attributes": rows}
    size, digest = Path(name).stat().st_size, sha256(Path(name))
    assert (found["bytes"], found["sha256"]) == (size, digest)
    assert described.facts["size"] == f"{size:,} bytes"
    assert described.facts["file SHA-256"] == digest
    assert found["shipped_as"] is None
    assert {key for key in found if not re.fullmatch(r"[a-z][a-z0-9_]*", key)} == set()
    if PAGE.is_file():
        rows_of_page = re.findall(r"^\| ([\w ]+) \| (`path`.*|`\w+`,? .*) \|$", PAGE.read_text(encoding="utf-8"), re.M)
        documented = {kind: re.findall(r"`(\w+)`", re.sub(r"\(.*?\)", "", keys)) for kind, keys in rows_of_page}
        assert sorted(found) == sorted([*documented["all"], *documented[found["kind"]]])
    return text, found


def test_weights(workspace: Path) -> None:
    model = put_weights(workspace)
    text, found = both("vae.safetensors")
    assert found["kind"] == "VAE weights"
    assert found["weights_hash"] == model.hash()
    parameters = sum(parameter.numel() for parameter in model.vae.parameters())
    assert (found["parameters"], found["command"], found["prior"]) == (parameters, None, None)
    assert found["network"] == {
        "image_size": 32,
        "channels": 4,
        "latent_dim": 6,
        "negative_slope": 0.3,
        "norm_epsilon": 0.001,
    }
    assert found["training"] == {"seed": 0, "epochs_done": 0.0}
    assert info("vae.safetensors").facts | {"size": "", "file SHA-256": ""} == {
        "network": "image size 32, channels 4, latent dim 6, negative slope 0.3, norm epsilon 0.001",
        "parameters": f"{parameters:,}",
        "weights hash": model.hash(),
        "prior": "none fitted: sample draws from N(0, I)",
        "seed": "0",
        "epochs done": "0",
        "made by": "",
        "size": "",
        "file SHA-256": "",
    }
    assert model.directions is not None
    for row, delta, positive in zip(
        found["attributes"], model.directions.deltas, model.directions.positive, strict=True
    ):
        assert row["delta_length"] == pytest.approx(float(np.linalg.norm(delta)), rel=1e-6)
        assert (row["with"], row["without"]) == (positive, 40 - positive)
        share, length = f"{positive / 40:.1%}", f"{np.linalg.norm(delta):.2f}"
        line = next(line for line in text.splitlines() if line.split()[:1] == [row["name"]])
        assert line.split() == [row["name"], str(positive), str(40 - positive), share, length]


def test_weights_without_attributes(workspace: Path) -> None:
    put_other_weights(Path("plain.safetensors"), attributes=False)
    text, found = both("plain.safetensors")
    assert found["attributes"] == []
    assert "attribute " not in text


def test_trained_weights_tell_how(faces_file: Path, workspace: Path) -> None:
    options: list[str | int] = ["--batch-size", 20, "--channels", 2, "--latent-dim", 3, "--reconstruction-weight", 3000]
    succeed("train", "-e", 1, *options, "-q", "--seed", 4)
    text, found = both("vae.safetensors")
    training = found["training"]
    assert (training["seed"], training["epochs_done"], training["reconstruction_weight"]) == (4, 1, 3000)
    assert found["losses"]["valid"]["loss"] > 0
    facts = info("vae.safetensors").facts
    assert facts["last valid loss"].startswith(f"{found['losses']['valid']['loss']:.2f} (reconstruction ")
    assert (facts["seed"], facts["epochs done"], facts["reconstruction weight"]) == ("4", "1", "3000")
    with Faces(faces_file) as faces:
        assert training["faces_fingerprint"] == facts["faces fingerprint"] == faces.fingerprint
    assert facts["made by"].startswith("facevae ")
    assert set(found["versions"]) >= {"facevae", "torch"}
    assert found["prior"] == {"components": 1}
    assert found["command"] == facts.get("command")
    assert [row["name"] for row in found["attributes"]] == list(support.ATTRIBUTE_NAMES)
    assert "last train loss" in text
    _, checkpoint = both("vae.checkpoint.safetensors")
    assert checkpoint["kind"] == "training checkpoint"
    assert (checkpoint["epochs_finished"], checkpoint["training"]["seed"]) == (1, 4)
    assert checkpoint["network"]["channels"] == 2


def test_a_checkpoint_in_the_middle(workspace: Path) -> None:
    import torch

    images = torch.from_numpy(support.random_images(8))
    config = TrainConfig(batch_size=2, epochs=3)
    trainer = Trainer(new_vae(ModelConfig(channels=2, latent_dim=3), 0), images, config)
    for _ in range(5):
        trainer.advance()
    save_checkpoint(Path("c.safetensors"), trainer, seconds=12.4, faces_fingerprint="abc", history=[])
    _, found = both("c.safetensors")
    assert found["kind"] == "training checkpoint"
    assert (found["epochs_finished"], found["steps_into_next"], found["seconds"]) == (1, 1, 12.4)
    assert found["faces_fingerprint"] == "abc"
    facts = info("c.safetensors").facts
    assert (facts["epochs finished"], facts["steps into the next"], facts["trained for"]) == ("1", "1", "12 s")
    assert facts["faces"] == "abc"


def test_an_upscaler(workspace: Path) -> None:
    network = tiny_upscaler().network
    training = {
        "inputs": "reconstructions",
        "epochs": 20,
        "learning_rate": 0.001,
        "factors": (2, 3, 4),
        "vae": None,
        "valid": {"faces": 1234, "psnr": 30.123, "gain": 1.456},
        "versions": {"facevae": "0.1", "torch": "2.9"},
    }
    Upscaler(network, training).save("u.safetensors")
    _, found = both("u.safetensors")
    del found["bytes"], found["sha256"]
    parameters = 9 * 4 + 4 + 9 * 16 + 4 + 9 * 4 + 1
    assert found == {
        "path": "u.safetensors",
        "kind": "upscaler weights",
        "shipped_as": None,
        "command": None,
        "network": {"depth": 3, "channels": 4},
        "parameters": parameters,
        "enlarges": "reconstructions",
        "valid": {"gain": 1.456, "psnr": 30.123, "faces": 1234},
        "training": {"epochs": 20, "learning_rate": 0.001, "factors": [2, 3, 4], "vae": None},
        "versions": {"facevae": "0.1", "torch": "2.9"},
        "attributes": [],
    }
    facts = info("u.safetensors").facts
    del facts["size"], facts["file SHA-256"]
    assert facts == {
        "network": "VDSR, depth 3, channels 4",
        "parameters": str(parameters),
        "enlarges": "reconstructions",
        "gain": "+1.46 dB of luma over bicubic, to 30.12 dB, on 1,234 held-out faces",
        "epochs": "20",
        "learning rate": "0.001",
        "factors": "2, 3, 4",
        "made by": "facevae 0.1, torch 2.9",
    }


@pytest.mark.parametrize("valid", [None, 3, {}, {"gain": "much", "psnr": 1.0, "faces": 2}])
def test_an_upscaler_whose_record_says_little(workspace: Path, valid: Any) -> None:
    Upscaler(tiny_upscaler().network, {"valid": valid, "versions": valid}).save("u.safetensors")
    _, found = both("u.safetensors")
    assert (found["enlarges"], found["valid"]) == ("unknown", None)
    assert "gain" not in info("u.safetensors").facts


def test_a_damaged_upscaler(workspace: Path) -> None:
    tiny_upscaler().save("u.safetensors")
    path = Path("u.safetensors")
    path.write_bytes(path.read_bytes()[:-4])
    assert refusal("info", "u.safetensors").startswith("u.safetensors ")


def test_an_upscaler_s_checkpoint(workspace: Path) -> None:
    import torch

    images = torch.from_numpy(support.random_images(6, 24))
    config = UpscalerTrainConfig(batch_size=2, patch_size=12, epochs=3)
    trainer = UpscalerTrainer(tiny_upscaler().network, PhotographPairs(images), config)
    for _ in range(4):
        trainer.advance()
    save_upscaler_checkpoint(
        Path("c.safetensors"), trainer, seconds=12.4, faces_fingerprint="abc", vae=None, history=[]
    )
    _, found = both("c.safetensors")
    assert found["kind"] == "upscaler checkpoint"
    assert found["network"] == {"depth": 3, "channels": 4}
    assert (found["epochs_finished"], found["steps_into_next"], found["seconds"]) == (1, 1, 12.4)
    assert (found["faces_fingerprint"], found["training"]["factors"], found["vae"]) == ("abc", [2, 3, 4], None)
    facts = info("c.safetensors").facts
    assert (facts["network"], facts["factors"]) == ("depth 3, channels 4", "2, 3, 4")
    assert (facts["epochs finished"], facts["steps into the next"], facts["trained for"]) == ("1", "1", "12 s")
    assert facts["faces"] == "abc"


def test_faces(faces_file: Path, workspace: Path) -> None:
    _, found = both("faces.h5")
    with Faces(faces_file) as faces:
        assert found["kind"] == "prepared faces"
        assert found["fingerprint"] == faces.fingerprint
        assert (found["faces"], found["image_size"], found["min_side"]) == (60, 32, None)
        assert found["splits"] == {"train": 40, "valid": 10, "test": 10}
        facts = info("faces.h5").facts
        assert (facts["faces"], facts["images"]) == ("60", "uint8 (60, 32, 32, 3)")
        assert facts["splits"] == "train 40, valid 10, test 10"
        assert (found["split_rule"], found["facevae_version"]) == ("by row", "0")
        assert found["source"] == "drawn by the tests"
        assert faces.attributes is not None
        has = (faces.attributes > 0).sum(axis=0).tolist()
        assert [(row["name"], row["with"], row["without"]) for row in found["attributes"]] == [
            (name, count, 60 - count) for name, count in zip(faces.attribute_names, has, strict=True)
        ]
        assert all(row["delta_length"] is None for row in found["attributes"])
    assert "smallest side" not in facts


def test_faces_without_small_images(faces_file: Path, workspace: Path) -> None:
    with h5py.File(faces_file, "r+") as file:
        file.attrs["min_side"] = 89
    assert both("faces.h5")[1]["min_side"] == 89
    assert info("faces.h5").facts["smallest side"] == "89 pixels, smaller left out"


def test_latents(workspace: Path) -> None:
    put_weights(workspace)
    path = put_latents(workspace)
    _, found = both("latents.h5")
    with Latents(path) as latents:
        assert found["kind"] == "latents"
        facts = info("latents.h5").facts
        assert found["weights_hash"] == facts["made by weights"] == latents.weights_hash
        assert found["faces_fingerprint"] == facts["from faces"] == latents.faces_fingerprint
        assert facts["mean, log_variance"] == "float32 (60, 6)"
        assert (found["latents"], found["latent_dim"], found["precision"]) == (60, 6, "fp32")
        assert (found["shard"], found["splits"]) == (None, {"train": 40, "valid": 10, "test": 10})
        assert facts["splits"] == "train 40, valid 10, test 10"
        assert len(found["attributes"]) == 5


def test_latents_of_single_images_and_a_shard(faces_file: Path, workspace: Path) -> None:
    put_weights(workspace)
    succeed("encode", *put_pictures(Path("in"), 2), "-o", "two.h5")
    _, found = both("two.h5")
    assert (found["latents"], found["faces_fingerprint"], found["splits"]) == (2, None, None)
    assert info("two.h5").facts["splits"] == "none"
    succeed("encode", "--shard", "2/3", "-o", "part.h5")
    assert both("part.h5")[1]["shard"] == {"shard": 2, "shards": 3, "total": 60}
    assert info("part.h5").facts["part"] == "shard 2 of 3: faces 21 to 40 of 60"


def test_coordinates(workspace: Path) -> None:
    path = put_latents(workspace)
    with Latents(path) as latents:
        points = np.zeros((3, 2), dtype=np.float32)
        settings = {"n_neighbors": 15, "min_dist": 0.1, "seed": -1}
        write_coordinates(Path("map.h5"), points, np.arange(3), latents, settings)
        _, found = both("map.h5")
        assert found["kind"] == "UMAP coordinates"
        assert (found["points"], found["n_neighbors"], found["min_dist"], found["seed"]) == (3, 15, 0.1, -1)
        assert found["takes_new_faces"] is False
        facts = info("map.h5").facts
        assert (facts["points"], facts["n neighbors"], facts["min dist"], facts["seed"]) == ("3", "15", "0.1", "-1")
        assert found["weights_hash"] == facts["weights hash"] == latents.weights_hash


def test_what_comes_with_facevae(workspace: Path) -> None:
    for name, file in (("faces-32", "vae.safetensors"), ("photographs", "upscaler.safetensors")):
        found = succeed("info", name, "--json").json
        assert found["shipped_as"] == name
        assert next(iter(info(name).facts.items())) == ("shipped as", f"{name}, used where there is no {file}")
        assert found["bytes"] == Path(found["path"]).stat().st_size
        assert {type(found[key]) for key in ("bytes", "parameters")} == {int}


def test_the_command_is_told(faces_file: Path, workspace: Path) -> None:
    with h5py.File(faces_file, "r+") as file:
        file.attrs["command"] = "facevae  prepare\n--size 32"
    assert both("faces.h5")[1]["command"] == info("faces.h5").facts["command"] == "facevae prepare --size 32"


# Of JSON, whatever a file says of itself.

leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=3)


@given(
    value=st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
    )
)
def test_what_a_file_holds_becomes_strict_json(value: Any) -> None:
    again = json.loads(json.dumps(plain(value), allow_nan=False))
    if isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        assert again == value
        assert type(again) is type(value)


def test_numbers_of_numpy_and_what_has_no_end() -> None:
    assert plain({"a": np.float32(0.5), "b": np.int64(3), "c": np.bool_(True), "d": np.inf, "e": (1, np.nan)}) == {
        "a": 0.5,
        "b": 3,
        "c": True,
        "d": None,
        "e": [1, None],
    }
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    json.dumps(plain(deep))


def test_the_network_without_a_file(workspace: Path) -> None:
    outcome = succeed("info")
    text = outcome.stdout.decode()
    assert "The reference VAE: 32 x 32 RGB, 128 channels, 200 latent dimensions" in text
    found = succeed("info", "--json").json
    assert found["config"]["latent_dim"] == 200
    shapes = [row["shape"] for row in found["layers"] if row["kind"] in ("Conv2d", "ConvTranspose2d", "Linear")]
    assert shapes == [
        *([128, side, side] for side in (16, 8, 4, 2)),
        [200],
        [200],
        [512],
        *([128, side, side] for side in (4, 8, 16, 32)),
        [3, 32, 32],
    ]
    assert found["parameters"] == sum(row["parameters"] for row in found["layers"])
    assert f"{found['parameters']:,}" in text
    weights_of_a_convolution = 3 * 3 * 128 * 128 + 128
    assert [row["parameters"] for row in found["layers"] if row["kind"] == "ConvTranspose2d"] == [
        *[weights_of_a_convolution] * 4,
        3 * 3 * 128 * 3 + 3,
    ]


def test_the_network_for_larger_images(workspace: Path) -> None:
    assert succeed("info", "--size", 64, "--json").json["layers"][0]["shape"] == [128, 32, 32]
    assert refusal("info", "--size", 48, code=2) == (
        "An image size of 48 does not fit the network: use a power of two from 16 to 512, such as 32 or 64."
    )


# ------------------------------------------------------------------------------------------ other files

REMEDY = "Name weights (.safetensors), faces or latents (.h5) that facevae wrote."


def test_files_that_are_not_there(workspace: Path) -> None:
    remedy = "Name a file that facevae wrote, such as vae.safetensors or faces.h5."
    Path("folder").mkdir()
    assert refusal("info", "no.h5") == f"There is no no.h5. {remedy}"
    assert refusal("info", "folder") == f"folder is a folder. {remedy}"


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n", b"12345678"])
def test_files_of_others(workspace: Path, content: bytes) -> None:
    Path("file").write_bytes(content)
    assert refusal("info", "file") == f"file is none of facevae's files. {REMEDY}"


def test_hdf5_of_others(workspace: Path) -> None:
    with h5py.File("other.h5", "w") as file:
        file["data"] = np.arange(3)
    assert refusal("info", "other.h5") == f"other.h5 is none of facevae's files. {REMEDY}"


def test_safetensors_of_others(workspace: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(3)}, "other.safetensors")
    assert refusal("info", "other.safetensors") == (
        "other.safetensors does not hold VAE weights of facevae. "
        "Train some with: facevae train (or name another file with --weights)"
    )


def test_damaged_files(faces_file: Path, workspace: Path) -> None:
    whole = faces_file.read_bytes()
    faces_file.write_bytes(whole[: len(whole) // 3])
    assert refusal("info", "faces.h5").startswith("faces.h5 cannot be read as HDF5: ")
    with h5py.File("map.h5", "w") as file:
        file.attrs["format"] = "facevae umap"
    assert refusal("info", "map.h5") == (
        "map.h5 is not complete: the run that wrote it was cut off. Make one with: facevae umap --coordinates FILE"
    )
    with h5py.File("map.h5", "a") as file:
        file.attrs["complete"] = True
    assert refusal("info", "map.h5").startswith("map.h5 is damaged (")


def test_names_with_brackets_are_not_taken_as_markup(faces_file: Path, workspace: Path) -> None:
    faces_file.rename("[red]faces.h5")
    assert "[red]faces.h5: prepared faces" in run("info", "[red]faces.h5").stdout.decode()


def test_the_library_returns_the_same(faces_file: Path) -> None:
    found = info(faces_file)
    assert (found.kind, found.path) == ("prepared faces", faces_file)
    assert len(found.attributes) == 5


@pytest.mark.parametrize(
    ("training", "reason"),
    [
        ({"losses": 3}, "'int' object has no attribute 'items'"),
        ({"losses": {"train": {}}}, "'loss'"),
        ({"versions": ["torch"]}, "'list' object has no attribute 'items'"),
    ],
)
def test_weights_with_an_odd_record(workspace: Path, training: dict[str, Any], reason: str) -> None:
    from dataclasses import replace

    replace(support.make_model(), training=training).save("odd.safetensors")
    assert refusal("info", "odd.safetensors") == (
        f"odd.safetensors is damaged ({reason}). Train some with: facevae train (or name another file with --weights)"
    )
