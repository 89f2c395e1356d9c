"""`facevae info`: each of facevae's files described, and the network layer by layer."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

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
from helpers import put_latents, put_other_weights, put_weights, refusal, run, succeed, tiny_upscaler


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def size(path: Path) -> str:
    return f"{path.stat().st_size:,} bytes"


def both(name: str) -> tuple[str, dict[str, Any]]:
    """What `info` says of a file to people and to programs; the two must tell the same facts."""
    outcome = succeed("info", name)
    text = outcome.stdout.decode()
    found: dict[str, Any] = succeed("info", name, "--json").json
    assert outcome.stderr == ""
    assert "\x1b" not in text
    folded = "".join(text.split())
    for fact, value in found.items():
        if fact not in ("path", "kind", "attributes"):
            assert "".join(f"{fact}{value}".split()) in folded, fact
    assert f"{name}: {found['kind']}" in text
    assert (found["path"], found["size"]) == (name, size(Path(name)))
    assert found["file SHA-256"] == sha256(Path(name))
    return text, found


def test_weights(workspace: Path) -> None:
    model = put_weights(workspace)
    text, found = both("vae.safetensors")
    assert found["kind"] == "VAE weights"
    assert found["weights hash"] == model.hash()
    assert found["parameters"] == f"{sum(parameter.numel() for parameter in model.vae.parameters()):,}"
    assert found["network"] == ("image size 32, channels 4, latent dim 6, negative slope 0.3, norm epsilon 0.001")
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
    assert found["seed"] == "4"
    assert found["epochs done"] == "1"
    assert found["reconstruction weight"] == "3000"
    assert found["last valid loss"].startswith("1") or float(found["last valid loss"].split()[0]) > 0
    with Faces(faces_file) as faces:
        assert found["faces fingerprint"] == faces.fingerprint
    assert found["made by"].startswith("facevae ")
    assert [row["name"] for row in found["attributes"]] == list(support.ATTRIBUTE_NAMES)
    assert "last train loss" in text
    _, checkpoint = both("vae.checkpoint.safetensors")
    assert checkpoint["kind"] == "training checkpoint"
    assert checkpoint["epochs finished"] == "1"


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
    assert (found["epochs finished"], found["steps into the next"], found["trained for"]) == ("1", "1", "12 s")
    assert found["faces"] == "abc"


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
    del found["size"], found["file SHA-256"]
    assert found == {
        "path": "u.safetensors",
        "kind": "upscaler weights",
        "network": "VDSR, depth 3, channels 4",
        "parameters": str(9 * 4 + 4 + 9 * 16 + 4 + 9 * 4 + 1),
        "enlarges": "reconstructions",
        "gain": "+1.46 dB of luma over bicubic, to 30.12 dB, on 1,234 held-out faces",
        "epochs": "20",
        "learning rate": "0.001",
        "factors": "2, 3, 4",
        "made by": "facevae 0.1, torch 2.9",
        "attributes": [],
    }


@pytest.mark.parametrize("valid", [None, 3, {}, {"gain": "much", "psnr": 1.0, "faces": 2}])
def test_an_upscaler_whose_record_says_little(workspace: Path, valid: Any) -> None:
    Upscaler(tiny_upscaler().network, {"valid": valid, "versions": valid}).save("u.safetensors")
    _, found = both("u.safetensors")
    assert found["enlarges"] == "unknown"
    assert "gain" not in found


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
    assert found["network"] == "depth 3, channels 4"
    assert (found["epochs finished"], found["steps into the next"], found["trained for"]) == ("1", "1", "12 s")
    assert (found["faces"], found["factors"]) == ("abc", "2, 3, 4")


def test_faces(faces_file: Path, workspace: Path) -> None:
    _, found = both("faces.h5")
    with Faces(faces_file) as faces:
        assert found["kind"] == "prepared faces"
        assert found["fingerprint"] == faces.fingerprint
        assert found["faces"] == "60"
        assert found["images"] == "uint8 (60, 32, 32, 3)"
        assert found["splits"] == "train 40, valid 10, test 10"
        assert found["source"] == "drawn by the tests"
        assert faces.attributes is not None
        has = (faces.attributes > 0).sum(axis=0).tolist()
        assert [(row["name"], row["with"], row["without"]) for row in found["attributes"]] == [
            (name, count, 60 - count) for name, count in zip(faces.attribute_names, has, strict=True)
        ]
        assert all(row["delta_length"] is None for row in found["attributes"])
    assert "smallest side" not in found


def test_faces_without_small_images(faces_file: Path, workspace: Path) -> None:
    with h5py.File(faces_file, "r+") as file:
        file.attrs["min_side"] = 89
    assert both("faces.h5")[1]["smallest side"] == "89 pixels, smaller left out"


def test_latents(workspace: Path) -> None:
    put_weights(workspace)
    path = put_latents(workspace)
    _, found = both("latents.h5")
    with Latents(path) as latents:
        assert found["kind"] == "latents"
        assert found["made by weights"] == latents.weights_hash
        assert found["from faces"] == latents.faces_fingerprint
        assert found["mean, log_variance"] == "float32 (60, 6)"
        assert found["splits"] == "train 40, valid 10, test 10"
        assert len(found["attributes"]) == 5


def test_coordinates(workspace: Path) -> None:
    path = put_latents(workspace)
    with Latents(path) as latents:
        points = np.zeros((3, 2), dtype=np.float32)
        settings = {"n_neighbors": 15, "min_dist": 0.1, "seed": -1}
        write_coordinates(Path("map.h5"), points, np.arange(3), latents, settings)
        _, found = both("map.h5")
        assert found["kind"] == "UMAP coordinates"
        assert (found["points"], found["n neighbors"], found["seed"]) == ("3", "15", "-1")
        assert found["weights hash"] == latents.weights_hash


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
