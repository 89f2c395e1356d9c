"""`upscaler.safetensors`: what is written is read again, and nothing else is taken for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file

from facevae.config import UpscalerConfig
from facevae.errors import DataError, FacevaeError, UsageError
from facevae.model.vdsr import VDSR
from facevae.storage.kinds import DATA_KINDS, UPSCALER, kind_of
from facevae.storage.upscaler_file import REMEDY, Upscaler, check_factor
from helpers import put_weights, tiny_upscaler
from support import same_state

FACE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
words = st.text(max_size=8)
records = st.dictionaries(
    words, st.recursive(st.none() | st.booleans() | st.integers() | words, lambda inner: st.lists(inner, max_size=3))
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "upscaler.safetensors"
    tiny_upscaler().save(path)
    return path


def sentence(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        Upscaler.load(path)
    return str(caught.value)


# --------------------------------------------------------------------------------------------------- round trips


@settings(max_examples=10)
@given(depth=st.integers(2, 4), channels=st.integers(1, 5), seed=st.integers(0, 99), training=records)
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, depth: int, channels: int, seed: int, training: dict[str, Any]
) -> None:
    network = VDSR(UpscalerConfig(depth=depth, channels=channels))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    path = tmp_path_factory.mktemp("round-trip") / "u.safetensors"
    Upscaler(network, training).save(path)
    found = Upscaler.load(path)
    assert same_state(found.network, network)
    assert found.network.config == network.config
    assert (found.training, found.name) == (training, str(path))
    assert not found.network.training
    assert kind_of(path) == UPSCALER


def test_half_precision_takes_half_the_room_and_is_read_as_single(path: Path) -> None:
    exact = Upscaler.load(path)
    half = path.with_name("half.safetensors")
    exact.save(half, half=True)
    found = Upscaler.load(half)
    for name, tensor in exact.network.state_dict().items():
        assert torch.equal(found.network.state_dict()[name], tensor.half().float())
    assert {parameter.dtype for parameter in found.network.parameters()} == {torch.float32}
    (exactly,), (roughly,) = (upscaler.upscale([FACE], precision="fp32") for upscaler in (exact, found))
    assert np.abs(exactly.astype(int) - roughly).max() <= 1
    big = path.with_name("big.safetensors")
    Upscaler(VDSR(), {}).save(big, half=True)
    assert 2 * 665_921 < big.stat().st_size < 2 * 665_921 + 10_000


def test_the_file_holds_what_its_module_says(path: Path) -> None:
    with safe_open(str(path), framework="pt") as file:
        names = set(file.keys())
        metadata = file.metadata()
    layers = [f"vdsr.layers.{number}.{part}" for number in range(3) for part in ("weight", "bias")]
    assert names == set(layers)
    assert (metadata["format"], metadata["format_version"]) == ("facevae upscaler", "1")
    assert json.loads(metadata["network"]) == {"depth": 3, "channels": 4}
    assert json.loads(metadata["training"]) == {"inputs": "photographs"}


def test_a_name_of_its_own_and_what_it_learned(path: Path) -> None:
    assert Upscaler.load(path, name="mine").name == "mine"
    assert Upscaler.load(path).inputs == "photographs"
    assert Upscaler(VDSR(UpscalerConfig(2, 1))).inputs == "unknown"


# --------------------------------------------------------------------------------------------------- writing


def test_it_replaces_its_own_kind_only(path: Path) -> None:
    assert UPSCALER in DATA_KINDS
    tiny_upscaler(seed=1).save(path)
    assert same_state(Upscaler.load(path).network, tiny_upscaler(seed=1).network)
    put_weights(path.parent)
    with pytest.raises(UsageError) as caught:
        tiny_upscaler().save(path.parent / "vae.safetensors")
    assert str(caught.value) == (
        f"{path.parent / 'vae.safetensors'} holds VAE weights and would be overwritten by upscaler weights: "
        "name another output with -o."
    )
    with pytest.raises(UsageError) as caught:
        put_weights(path.parent).save(path)
    assert str(caught.value) == (
        f"{path} holds upscaler weights and would be overwritten by VAE weights: name another output with -o."
    )


# --------------------------------------------------------------------------------------------------- damaged and foreign files


def test_a_file_that_is_missing_or_no_safetensors(tmp_path: Path) -> None:
    missing, folder, text = tmp_path / "no.safetensors", tmp_path / "folder", tmp_path / "text.safetensors"
    folder.mkdir()
    text.write_text("text")
    assert sentence(missing) == f"There is no {missing}. {REMEDY}"
    assert sentence(folder) == f"{folder} is a folder, not a file of upscaler weights. {REMEDY}"
    assert sentence(text) == f"{text} is not a file of upscaler weights (not safetensors, or damaged). {REMEDY}"


def test_weights_of_another_kind(tmp_path: Path) -> None:
    put_weights(tmp_path)
    path = tmp_path / "vae.safetensors"
    assert sentence(path) == f"{path} does not hold upscaler weights of facevae. {REMEDY}"


@pytest.mark.parametrize("value", [1e6, float("nan")])
def test_weights_that_half_precision_cannot_hold_are_not_written(tmp_path: Path, value: float) -> None:
    upscaler = tiny_upscaler()
    with torch.no_grad():
        next(upscaler.network.parameters())[0] = value
    path = tmp_path / "u.safetensors"
    with pytest.raises(DataError) as caught:
        upscaler.save(path, half=True)
    assert str(caught.value) == (
        f"{path} cannot be written: the network has weights that are not finite, or too large for half precision."
    )
    assert not path.exists()


@pytest.mark.parametrize("length", [0, 4, 100, 1000, -1])
def test_files_that_were_cut_short(path: Path, length: int) -> None:
    path.write_bytes(path.read_bytes()[:length])
    assert sentence(path) == f"{path} is not a file of upscaler weights (not safetensors, or damaged). {REMEDY}"


def spoil(path: Path, change: Callable[[dict[str, torch.Tensor], dict[str, str]], object]) -> None:
    """Write the file again with other tensors or metadata."""
    with safe_open(str(path), framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        metadata = file.metadata()
    change(tensors, metadata)
    save_file(tensors, str(path), metadata)


SHAPES_DIFFER = "its tensors are not those of the network it describes"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t, m: t["vdsr.layers.1.bias"].fill_(float("nan")), "it holds values that are not finite"),
        (lambda t, m: t["vdsr.layers.0.weight"][0].fill_(float("inf")), "it holds values that are not finite"),
        (lambda t, m: t.pop("vdsr.layers.1.bias"), SHAPES_DIFFER),
        (lambda t, m: t.update({"vdsr.layers.3.bias": torch.zeros(1)}), SHAPES_DIFFER),
        (lambda t, m: t.update({"vdsr.layers.0.bias": torch.zeros(5)}), SHAPES_DIFFER),
        (lambda t, m: m.update(network='{"depth": 4, "channels": 4}'), SHAPES_DIFFER),
        (lambda t, m: m.update(network='{"depth": 100, "channels": 1024}'), SHAPES_DIFFER),
        (
            lambda t, m: m.update(network='{"depth": 1, "channels": 4}'),
            "A depth of 1 convolutions is out of range: use a whole number from 2 to 100 (paper: 20).",
        ),
        (lambda t, m: m.pop("network"), "'network'"),
        (
            lambda t, m: m.update(network="3"),
            "facevae.config.UpscalerConfig() argument after ** must be a mapping, not int",
        ),
    ],
)
def test_files_that_contradict_themselves(path: Path, change: Any, reason: str) -> None:
    spoil(path, change)
    assert sentence(path) == f"{path} is damaged ({reason}). {REMEDY}"


def test_metadata_that_is_no_json(path: Path) -> None:
    spoil(path, lambda tensors, metadata: metadata.update(training="{"))
    assert sentence(path).startswith(f"{path} is damaged (")
    assert sentence(path).endswith(f"). {REMEDY}")


def test_a_later_format(path: Path) -> None:
    spoil(path, lambda tensors, metadata: metadata.update(format_version="2"))
    assert sentence(path) == f"{path} is of format version 2, newer than this facevae reads: update facevae."


@settings(max_examples=60)
@given(place=st.integers(0, 10_000), value=st.integers(0, 255))
def test_any_changed_byte_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, place: int, value: int) -> None:
    path = tmp_path_factory.mktemp("bytes") / "u.safetensors"
    tiny_upscaler().save(path)
    content = bytearray(path.read_bytes())
    content[place % len(content)] = value
    path.write_bytes(content)
    with suppress(FacevaeError):
        Upscaler.load(path)


# --------------------------------------------------------------------------------------------------- upscaling


def test_a_list_and_an_array_give_the_same() -> None:
    upscaler = tiny_upscaler()
    faces = np.stack([FACE, FACE[::-1]])
    for one, other in zip(upscaler.upscale(faces), upscaler.upscale(list(faces)), strict=True):
        assert one.shape == (96, 96, 3)
        assert np.array_equal(one, other)
    assert upscaler.upscale(faces, 2)[1].shape == (64, 64, 3)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((4, 4), np.uint8), "(4, 4) uint8"),
        (np.zeros((4, 4, 4), np.uint8), "(4, 4, 4) uint8"),
        (np.zeros((4, 4, 3), np.float32), "(4, 4, 3) float32"),
        (np.zeros((0, 4, 3), np.uint8), "(0, 4, 3) uint8"),
    ],
)
def test_arrays_that_are_no_pictures(image: NDArray[Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        tiny_upscaler().upscale([FACE, image])
    assert str(caught.value) == f"the upscaler takes images of shape (H, W, 3) and type uint8, not {said}."


@pytest.mark.parametrize("factor", [-3, 0, 1, 5, 2.5])
def test_factors_that_there_are_not(factor: Any) -> None:
    message = f"Pictures cannot be upscaled {factor} times: use one of 2, 3, 4."
    for attempt in (lambda: check_factor(factor), lambda: tiny_upscaler().upscale([FACE], factor)):
        with pytest.raises(UsageError) as caught:
            attempt()
        assert str(caught.value) == message


def test_a_precision_that_there_is_not() -> None:
    with pytest.raises(UsageError) as caught:
        tiny_upscaler().upscale([FACE], precision="fp8")
    assert str(caught.value) == "There is no precision fp8: use one of auto, fp32, bf16."
