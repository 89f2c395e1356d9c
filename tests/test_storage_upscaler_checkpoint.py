"""The upscaler's checkpoint: what is written comes back, and what is broken is called so."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from facevae.config import UpscalerConfig, UpscalerTrainConfig
from facevae.errors import DataError, FacevaeError
from facevae.model.upscaler_training import PhotographPairs, UpscalerTrainer, new_upscaler
from facevae.model.vdsr import VDSR, tensor_shapes
from facevae.storage.history import UpscalerPoint, write_history
from facevae.storage.kinds import UPSCALER_CHECKPOINT, kind_of
from facevae.storage.upscaler_checkpoint import REMEDY, load_upscaler_checkpoint, save_upscaler_checkpoint
from helpers import put_upscaler
from support import random_images, same_state

CONFIG = UpscalerTrainConfig(epochs=4, batch_size=5, patch_size=12, factors=(2, 4), precision="fp32", seed=7)
HISTORY = [UpscalerPoint(0.5, "train", 0.001, 30.0, 0.25, 99.5), UpscalerPoint(1.0, "valid", 0.002, 27.0, -0.5)]


def make_trainer(steps: int = 3) -> UpscalerTrainer:
    """A trainer of three small layers on 12 images, which make three steps an epoch."""
    pairs = PhotographPairs(torch.from_numpy(random_images(12, 16)))
    trainer = UpscalerTrainer(new_upscaler(UpscalerConfig(3, 4), 1), pairs, CONFIG)
    for _ in range(steps):
        trainer.advance()
    return trainer


def save(path: Path, trainer: UpscalerTrainer, **values: Any) -> Path:
    given = {"seconds": 12.5, "faces_fingerprint": "prints", "vae": None, "history": HISTORY, **values}
    save_upscaler_checkpoint(path, trainer, **given)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return save(tmp_path / "upscaler.checkpoint.safetensors", make_trainer(4))


def restore(path: Path) -> UpscalerTrainer:
    """Do what a resumed training does with a checkpoint."""
    checkpoint = load_upscaler_checkpoint(path)
    network = VDSR(checkpoint.network)
    checkpoint.restore_network(network)
    pairs = PhotographPairs(torch.from_numpy(random_images(12, 16)))
    trainer = UpscalerTrainer(network, pairs, checkpoint.train, epoch=checkpoint.epoch, step=checkpoint.step)
    checkpoint.restore_optimizer(trainer)
    return trainer


def sentence(path: Path) -> str:
    with pytest.raises(DataError) as error:
        restore(path)
    return str(error.value)


def edited(
    path: Path,
    metadata: dict[str, str | None] | None = None,
    tensors: Callable[[dict[str, Tensor]], Any] = lambda _: None,
) -> Path:
    """Write the file again with some metadata replaced (None: removed) and its tensors changed in place."""
    with safe_open(path, framework="pt") as file:
        header = dict(file.metadata()) | (metadata or {})
        content = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    tensors(content)
    save_file(content, path, {name: text for name, text in header.items() if text is not None})
    return path


def rename(old: str, new: str) -> Callable[[dict[str, Tensor]], Any]:
    return lambda tensors: tensors.update({new: tensors.pop(old)})


# --------------------------------------------------------------------------------------------------- round trips


@settings(max_examples=10)
@given(
    steps=st.integers(0, 5),
    seconds=st.floats(0, 1e9),
    fingerprint=st.text(max_size=8),
    vae=st.none() | st.text(max_size=8),
    history=st.lists(
        st.builds(
            UpscalerPoint,
            st.floats(0, 1e6),
            st.sampled_from(["train", "valid"]),
            *[st.floats(-1e30, 1e30)] * 3,
            st.floats(0, 1e6),
        ),
        max_size=3,
    ),
)
def test_whatever_is_saved_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    steps: int,
    seconds: float,
    fingerprint: str,
    vae: str | None,
    history: list[UpscalerPoint],
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.checkpoint.safetensors"
    trainer = make_trainer(steps)
    save(path, trainer, seconds=seconds, faces_fingerprint=fingerprint, vae=vae, history=history)
    found = load_upscaler_checkpoint(path)
    assert (found.path, found.network, found.train) == (path, UpscalerConfig(3, 4), CONFIG)
    assert (found.epoch, found.step, found.seconds) == (*divmod(steps, 3), seconds)
    assert (found.faces_fingerprint, found.vae, found.history) == (fingerprint, vae, history)
    restored = restore(path)
    assert same_state(restored.network, trainer.network)
    for one, other in zip(restored.optimizer.state(), trainer.optimizer.state(), strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_training_does_not_go_on_in_the_checkpoints_own_tensors(path: Path) -> None:
    checkpoint = load_upscaler_checkpoint(path)
    before = {name: value.clone() for name, value in checkpoint.tensors.items()}
    network = VDSR(checkpoint.network)
    checkpoint.restore_network(network)
    trainer = UpscalerTrainer(network, PhotographPairs(torch.from_numpy(random_images(12, 16))), checkpoint.train)
    checkpoint.restore_optimizer(trainer)
    trainer.advance()
    assert all(torch.equal(value, before[name]) for name, value in checkpoint.tensors.items())


def test_the_file_holds_what_its_module_says(path: Path) -> None:
    assert kind_of(path) == UPSCALER_CHECKPOINT
    with safe_open(path, framework="pt") as file:
        names, metadata = set(file.keys()), file.metadata()
    assert {name for name in names if name.startswith("vdsr.")} == {
        f"vdsr.layers.{layer}.{part}" for layer in range(3) for part in ("weight", "bias")
    }
    assert {name.split(".")[0] for name in names} == {"vdsr", "optimizer"}
    assert metadata["format"] == "facevae upscaler checkpoint"
    assert json.loads(metadata["progress"]) == {"epoch": 1, "step": 1, "seconds": 12.5}
    assert json.loads(metadata["network"]) == {"depth": 3, "channels": 4}
    assert json.loads(metadata["train"])["factors"] == [2, 4]
    assert len(json.loads(metadata["history"])) == 2


@given(depth=st.integers(2, 9), channels=st.integers(1, 9))
def test_shapes_are_those_of_the_network(depth: int, channels: int) -> None:
    config = UpscalerConfig(depth, channels)
    assert tensor_shapes(config) == {name: value.shape for name, value in VDSR(config).state_dict().items()}


def test_the_history_as_a_table(tmp_path: Path) -> None:
    write_history(tmp_path / "history.csv", HISTORY)
    assert (tmp_path / "history.csv").read_text().splitlines() == [
        "epoch,split,mse,psnr,gain,patches_per_second",
        "0.5,train,0.001,30,0.25,99.5",
        "1,valid,0.002,27,-0.5,0",
    ]


# --------------------------------------------------------------------------------------------------- damage


def test_files_that_are_no_checkpoint(tmp_path: Path) -> None:
    missing = tmp_path / "upscaler.checkpoint.safetensors"
    assert sentence(missing) == f"There is no {missing}. {REMEDY}"
    put_upscaler(tmp_path / "u.safetensors")
    assert sentence(tmp_path / "u.safetensors") == (
        f"{tmp_path / 'u.safetensors'} does not hold an upscaler's checkpoint of facevae. {REMEDY}"
    )


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"progress": None}, "'progress'"),
        ({"vae": None}, "'vae'"),
        ({"progress": '{"epoch": Infinity, "step": 0, "seconds": 0}'}, "cannot convert float infinity to integer"),
        (
            {"network": '{"depth": 1}'},
            "A depth of 1 convolutions is out of range: use a whole number from 2 to 100 (paper: 20).",
        ),
        ({"network": '{"depth": 4, "channels": 4}'}, "its tensors are not those of the network it describes"),
        ({"network": '{"depth": 100, "channels": 1024}'}, "its tensors are not those of the network it describes"),
        ({"train": '{"epochs": 3}'}, "'factors'"),
        ({"train": '{"factors": []}'}, "The factors () are out of range: use some of 2, 3, 4."),
        ({"train": '{"factors": [3, 9]}'}, "The factors (3, 9) are out of range: use some of 2, 3, 4."),
        (
            {"train": '{"factors": [2], "patch_size": 3}'},
            "A patch size of 3 is out of range: use a whole number from 12 to 512, such as 48.",
        ),
        (
            {"history": '[{"split": "train", "epoch": 1, "mse": 0, "psnr": 3, "gain": null}]'},
            "float() argument must be a string or a real number, not 'NoneType'",
        ),
        ({"faces_fingerprint": None}, "'faces_fingerprint'"),
    ],
)
def test_metadata_that_does_not_fit(path: Path, metadata: dict[str, str | None], reason: str) -> None:
    assert sentence(edited(path, metadata)) == f"{path} is damaged ({reason}). {REMEDY}"


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        (lambda tensors: tensors.pop("vdsr.layers.2.bias"), "its tensors are not those of the network it describes"),
        (
            lambda tensors: tensors.update({"vdsr.layers.2.bias": torch.zeros(2)}),
            "its tensors are not those of the network it describes",
        ),
        (lambda tensors: tensors.pop("optimizer.0.exp_avg"), "the optimiser's state does not fit the network"),
        (
            lambda tensors: [tensors.pop(name) for name in list(tensors) if name.startswith("optimizer.")],
            "the optimiser's state does not fit the network",
        ),
        (
            lambda tensors: tensors.update({"optimizer.0.exp_avg": torch.zeros(1)}),
            "the optimiser's state does not fit the network",
        ),
        (rename("optimizer.0.exp_avg", "optimizer.x.exp_avg"), "invalid literal for int() with base 10: 'x'"),
    ],
)
def test_tensors_that_do_not_fit(path: Path, tensors: Callable[[dict[str, Tensor]], Any], reason: str) -> None:
    assert sentence(edited(path, tensors=tensors)) == f"{path} is damaged ({reason}). {REMEDY}"


@settings(max_examples=60)
@given(place=st.integers(0, 20_000), value=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_checkpoint_is_never_more_than_an_error_of_facevae(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int, cut: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.checkpoint.safetensors"
    data = bytearray(_whole(tmp_path_factory))
    place %= len(data)
    if cut:
        del data[place:]
    else:
        data[place] = value
    path.write_bytes(data)
    with suppress(FacevaeError):
        restore(path)


def _whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.getbasetemp() / "whole.checkpoint.safetensors"
    if not path.exists():
        save(path, make_trainer(1))
    return path.read_bytes()
