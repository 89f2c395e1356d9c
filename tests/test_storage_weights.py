"""`vae.safetensors` and the checkpoint: what is written comes back, and what is broken is called so."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from facevae.config import ModelConfig, TrainConfig
from facevae.errors import DataError, UsageError
from facevae.model.latent_space import AttributeDirections, attribute_directions
from facevae.model.training import Trainer, new_vae
from facevae.model.vae import VAE
from facevae.storage.attributes import find_attribute, normalised_name
from facevae.storage.checkpoint import load_checkpoint, save_checkpoint
from facevae.storage.directions import check_direction
from facevae.storage.history import HistoryPoint
from facevae.storage.weights import FaceModel
from support import ATTRIBUTE_NAMES, make_model, random_faces, random_images, same_state

REMEDY = "Train some with: facevae train (or name another file with --weights)"
CHECKPOINT_REMEDY = "Start a new training with: facevae train (without --resume)"
TINY = ModelConfig(image_size=16, channels=2, latent_dim=2)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as error:
        FaceModel.load(path)
    return str(error.value)


def edited(
    path: Path,
    metadata: dict[str, str | None] | None = None,
    tensors: Callable[[dict[str, Tensor]], Any] | None = None,
) -> Path:
    """Write the file again with some metadata replaced (None: removed) and its tensors changed in place."""
    with safe_open(path, framework="pt") as file:
        header = dict(file.metadata())
        content = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    header = {name: text for name, text in (header | (metadata or {})).items() if text is not None}
    if tensors is not None:
        tensors(content)
    save_file(content, path, metadata=header)
    return path


@settings(max_examples=15)
@given(data=st.data())
def test_whatever_is_saved_comes_back(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("weights") / "vae.safetensors"
    config = ModelConfig(
        image_size=data.draw(st.sampled_from([16, 32])),
        channels=data.draw(st.integers(1, 4)),
        latent_dim=data.draw(st.integers(1, 5)),
        negative_slope=data.draw(st.floats(0, 0.9)),
        norm_epsilon=data.draw(st.floats(1e-9, 1)),
    )
    names = tuple(data.draw(st.lists(st.text(max_size=8), max_size=3, unique=True)))
    model = make_model(config, seed=data.draw(st.integers(0, 99)), attribute_names=names)
    training = data.draw(st.dictionaries(st.text(max_size=6), JSON, max_size=4))
    replace(model, training=training).save(path)
    loaded = FaceModel.load(path)
    assert loaded.vae.config == config
    assert same_state(loaded.vae, model.vae)
    assert loaded.hash() == model.hash()
    assert loaded.training == training
    assert loaded.attribute_names == names
    assert loaded.name == str(path)
    if names:
        assert loaded.directions is not None
        assert model.directions is not None
        for one, other in zip(loaded.directions, model.directions, strict=True):
            np.testing.assert_array_equal(one, other)
    else:
        assert loaded.directions is None


def test_loaded_weights_do_what_the_saved_ones_did(weights_file: Path, small_model: FaceModel) -> None:
    loaded = FaceModel.load(str(weights_file))
    images = random_images(5)
    for one, other in zip(loaded.encode(images), small_model.encode(images), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not loaded.vae.training
    kernels = [parameter for parameter in loaded.vae.parameters() if parameter.dim() == 4]
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)


def test_saving_while_training_does_not_end_the_training_mode(tmp_path: Path) -> None:
    vae = new_vae(TINY, 0).train()
    FaceModel(vae).save(tmp_path / "vae.safetensors")
    assert vae.training


def test_file_is_as_documented(weights_file: Path, small_model: FaceModel) -> None:
    with safe_open(weights_file, framework="pt") as file:
        header, names = file.metadata(), set(file.keys())
        deltas = file.get_tensor("attribute_directions")
    assert names == {f"vae.{name}" for name in small_model.vae.state_dict()} | {"attribute_directions"}
    assert (deltas.dtype, tuple(deltas.shape)) == (torch.float32, (5, 6))
    assert (header["format"], header["format_version"]) == ("facevae weights", "1")
    assert json.loads(header["model"]) == small_model.vae.config.to_dict()
    assert json.loads(header["attribute_names"]) == list(ATTRIBUTE_NAMES)
    assert small_model.directions is not None
    counts = zip(small_model.directions.positive, small_model.directions.negative, strict=True)
    assert json.loads(header["attribute_counts"]) == [[int(one), int(other)] for one, other in counts]


def counted_model() -> FaceModel:
    """A model that says which attributes go together."""
    _, attributes = random_faces(50)
    latents = np.random.default_rng(0).standard_normal((50, 2)).astype(np.float32)
    return replace(make_model(TINY), directions=attribute_directions(latents, attributes))


def test_pairs_of_attributes_come_back(tmp_path: Path) -> None:
    model, path = counted_model(), tmp_path / "vae.safetensors"
    model.save(path)
    loaded = FaceModel.load(path)
    assert loaded.directions is not None
    assert model.directions is not None
    assert loaded.directions.together is not None
    assert loaded.directions.together.dtype == np.int64
    np.testing.assert_array_equal(loaded.directions.together, model.directions.together)
    with safe_open(path, framework="pt") as file:
        # In the metadata, where a facevae of before does not look: it refuses tensors that it does not know.
        assert set(file.keys()) == {f"vae.{name}" for name in model.vae.state_dict()} | {"attribute_directions"}
        pairs = json.loads(file.metadata()["attribute_pairs"])
    assert pairs[0][0] == int(model.directions.positive[0])
    assert pairs[0][2] == pairs[2][0] > 0
    edited(path, {"attribute_pairs": None})
    assert FaceModel.load(path).directions is not None
    assert FaceModel.load(path).named_directions().correlations() is None


@pytest.mark.parametrize(
    "change",
    [
        {(0, 2): -1, (2, 0): -1},
        {(0, 2): 3},
        {(0, 0): 0},
        {(0, 2): 49, (2, 0): 49},
    ],
)
def test_pairs_that_cannot_be(tmp_path: Path, change: dict[tuple[int, int], int]) -> None:
    """Negative, not symmetric, other than the counts, more than there are of either."""
    path = tmp_path / "vae.safetensors"
    counted_model().save(path)
    with safe_open(path, framework="pt") as file:
        pairs = json.loads(file.metadata()["attribute_pairs"])
    for (row, column), value in change.items():
        pairs[row][column] = value
    edited(path, {"attribute_pairs": json.dumps(pairs)})
    assert refusal(path) == f"{path} is damaged (the pairs of attributes do not fit their counts). {REMEDY}"


@pytest.mark.parametrize("pairs", ["[[1]]", "[]", "5", '"x"', "[[1, 2], [3]]", "{}"])
def test_pairs_of_another_shape(tmp_path: Path, pairs: str) -> None:
    path = tmp_path / "vae.safetensors"
    counted_model().save(path)
    edited(path, {"attribute_pairs": pairs})
    assert refusal(path).startswith(f"{path} is damaged (")


def test_hash_is_of_the_network_alone() -> None:
    model = make_model(TINY)
    assert len(model.hash()) == 64
    assert replace(model, training={"seed": 5}, directions=None, attribute_names=()).hash() == model.hash()
    assert make_model(TINY, seed=1).hash() != model.hash()
    contiguous = new_vae(TINY, 0).to(memory_format=torch.contiguous_format)
    assert FaceModel(contiguous).hash() == model.hash()


@pytest.mark.parametrize("name", ["encoder.mean.bias", "decoder.blocks.2.norm.running_var"])
def test_hash_notices_a_single_bit(name: str) -> None:
    model = make_model(TINY)
    before = model.hash()
    tensor = model.vae.state_dict()[name]
    tensor[0] = float(np.nextafter(np.float32(tensor[0]), np.float32(9)))
    assert model.hash() != before


def test_samples_are_decoded_from_seeded_noise(small_model: FaceModel) -> None:
    images = small_model.sample(4, seed=3, temperature=0.5)
    assert images.shape == (4, 32, 32, 3)
    assert images.dtype == np.uint8
    latents = np.random.default_rng(3).standard_normal((4, 6)) * 0.5
    np.testing.assert_array_equal(images, small_model.decode(latents.astype(np.float32)))
    assert not np.array_equal(images, small_model.sample(4, seed=4, temperature=0.5))
    assert not np.array_equal(small_model.sample(2), small_model.sample(2))


def test_sizes_are_those_of_the_configuration(small_model: FaceModel) -> None:
    assert (small_model.image_size, small_model.latent_dim) == (32, 6)


@pytest.mark.parametrize("name", ["Wearing_Hat", "wearing hat", "WEARING-HAT", "  Wearing_hat "])
def test_attributes_are_found_by_any_spelling(small_model: FaceModel, name: str) -> None:
    assert small_model.directions is not None
    np.testing.assert_array_equal(small_model.direction(name), small_model.directions.deltas[4])


@given(st.text(max_size=12))
def test_normalising_a_name_twice_changes_nothing(name: str) -> None:
    # Of a few characters the case-folded form folds further, and so may its spaces be stripped: as a key that is no harm.
    once = normalised_name(name)
    assert normalised_name(once.upper()) == normalised_name(normalised_name(once.upper()))
    assert " " not in once.strip()
    assert "-" not in once


def test_unknown_attributes(small_model: FaceModel) -> None:
    with pytest.raises(UsageError) as error:
        small_model.direction("Atractive")
    assert str(error.value) == "There is no attribute Atractive in vae.safetensors. Did you mean Attractive?"
    with pytest.raises(UsageError) as error:
        small_model.direction("Zebra_9")
    assert str(error.value) == (
        "There is no attribute Zebra_9 in vae.safetensors. It has Attractive, Bald, Male, Smiling and others: "
        "facevae info vae.safetensors lists them."
    )


def test_an_attribute_without_direction(small_model: FaceModel) -> None:
    with pytest.raises(DataError) as error:
        small_model.direction("bald")
    assert str(error.value) == (
        "vae.safetensors knows no direction for Bald: its faces all have the same value of it. "
        "Choose another attribute, or train on faces of both kinds."
    )
    check_direction(np.array([0.0, 1e-20], dtype=np.float32), "Bald", "vae.safetensors")


def test_a_model_without_attributes() -> None:
    with pytest.raises(DataError) as error:
        make_model(TINY, attribute_names=()).direction("Male")
    assert str(error.value) == (
        "vae.safetensors holds no attributes: it was made from single images, or from faces without an attribute table. "
        "Prepare faces with one (list_attr_celeba.txt) and begin from there."
    )
    assert find_attribute("male", ("Bald", "Male"), "x") == 1


def test_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "vae.safetensors"
    assert refusal(path) == (
        f"There is no {path}. Check its name and folder, use --weights faces-32 for those shipped, "
        "or train some with: facevae train"
    )


def test_a_folder(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path} is a folder, not a file of VAE weights. {REMEDY}"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"weights",
        b"\x89HDF\r\n\x1a\n" + bytes(600),
        bytes(4096),
        (2**63).to_bytes(8, "little") + b"{}",
        (50).to_bytes(8, "little") + b'{"__metadata__":',
        b"\x80\x02}q\x00.",
    ],
)
def test_a_file_that_is_not_safetensors(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "vae.safetensors"
    path.write_bytes(content)
    assert refusal(path) == f"{path} is not a file of VAE weights (not safetensors, or damaged). {REMEDY}"


def test_faces_are_not_weights(faces_file: Path) -> None:
    assert refusal(faces_file) == f"{faces_file} is not a file of VAE weights (not safetensors, or damaged). {REMEDY}"


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"format": "facevae checkpoint", "format_version": "1"}])
def test_somebody_elses_safetensors(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "vae.safetensors"
    save_file({"weight": torch.zeros(2)}, path, metadata=metadata)
    assert refusal(path) == f"{path} does not hold VAE weights of facevae. {REMEDY}"


@pytest.mark.parametrize(("version", "shown"), [("2", "2"), ("10", "10"), ("1.5", "1.5"), ("", "unknown")])
def test_a_file_of_the_future(weights_file: Path, version: str, shown: str) -> None:
    edited(weights_file, {"format_version": version})
    assert refusal(weights_file) == (
        f"{weights_file} is of format version {shown}, newer than this facevae reads: update facevae."
    )


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9999])
def test_a_file_without_its_end(weights_file: Path, share: float) -> None:
    content = weights_file.read_bytes()
    weights_file.write_bytes(content[: int(share * len(content))])
    assert refusal(weights_file) == (
        f"{weights_file} is not a file of VAE weights (not safetensors, or damaged). {REMEDY}"
    )


def config_with(**values: object) -> str:
    return json.dumps({**make_model().vae.config.to_dict(), **values})


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"model": None}, "'model'"),
        ({"model": "{"}, "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ({"model": "5"}, "'int' object is not iterable"),
        ({"model": config_with(depth=5)}, "The model configuration has unknown entries: depth."),
        (
            {"model": config_with(image_size=33)},
            "An image size of 33 does not fit the network: use a power of two from 16 to 512, such as 32 or 64.",
        ),
        ({"training": "5"}, "'int' object is not iterable"),
        ({"attribute_names": '["Male"]'}, "the attribute directions do not fit their names"),
        ({"attribute_names": None}, "'attribute_names'"),
        ({"attribute_counts": "[[1, 2]]"}, "the attribute directions do not fit their names"),
        ({"attribute_counts": f"[[{10**30}, 2]]"}, "Python int too large to convert to C long"),
        ({"training": "[" * 100_000}, "maximum recursion depth exceeded"),
    ],
)
def test_metadata_that_does_not_fit(weights_file: Path, metadata: dict[str, str | None], reason: str) -> None:
    edited(weights_file, metadata)
    message = refusal(weights_file)
    assert message.startswith(f"{weights_file} is damaged ({reason}")
    assert message.endswith(f"). {REMEDY}")


def test_tensors_that_do_not_fit(weights_file: Path) -> None:
    """One too few, of another shape, or one too many."""
    expected = f"{weights_file} is damaged (its tensors are not those of the network it describes). {REMEDY}"
    edited(weights_file, tensors=lambda tensors: tensors.pop("vae.encoder.mean.bias"))
    assert refusal(weights_file) == expected
    edited(weights_file, tensors=lambda tensors: tensors.update({"vae.encoder.mean.bias": torch.zeros(7)}))
    assert refusal(weights_file) == expected
    edited(weights_file, tensors=lambda tensors: tensors.update({"vae.encoder.mean.bias": torch.zeros(6, 1)}))
    assert refusal(weights_file) == expected
    edited(weights_file, tensors=lambda tensors: tensors.update({"vae.encoder.mean.bias": torch.zeros(6)}))
    FaceModel.load(weights_file)
    edited(weights_file, tensors=lambda tensors: tensors.update({"vae.encoder.median.bias": torch.zeros(6)}))
    assert refusal(weights_file) == expected


LOADING = """
import resource, sys, time
import torch
from facevae.errors import DataError
from facevae.storage.weights import FaceModel
before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
try:
    FaceModel.load(sys.argv[1])
except DataError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, time.monotonic() - started)
"""


def test_a_small_file_that_declares_a_huge_network_costs_neither_memory_nor_time(weights_file: Path) -> None:
    """The network that these metadata ask for would take 1.5 terabytes. In a process of its own, to measure it."""
    pytest.importorskip("resource", reason="the system does not say how much memory was used")
    huge: dict[str, str | None] = {"model": config_with(latent_dim=65536, channels=4096, image_size=512)}
    edited(weights_file, huge, tensors=lambda tensors: tensors.pop("attribute_directions"))
    command = [sys.executable, "-c", LOADING, str(weights_file)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert finished.returncode == 0, finished.stderr
    message, numbers = finished.stdout.splitlines()
    assert message == f"{weights_file} is damaged (its tensors are not those of the network it describes). {REMEDY}"
    grown, seconds = map(float, numbers.split())
    kilobytes = grown / 1024 if sys.platform == "darwin" else grown
    assert kilobytes < 200_000
    assert seconds < 20


@pytest.mark.parametrize("values", [{"channels": 4096}, {"latent_dim": 65536}, {"image_size": 512}])
def test_each_dimension_of_the_network_is_compared_with_the_tensors(weights_file: Path, values: dict[str, int]) -> None:
    edited(weights_file, {"model": config_with(**values)}, tensors=lambda tensors: tensors.pop("attribute_directions"))
    assert refusal(weights_file) == (
        f"{weights_file} is damaged (its tensors are not those of the network it describes). {REMEDY}"
    )


@pytest.mark.parametrize(
    "name", ["vae.encoder.mean.weight", "vae.decoder.input.norm.running_mean", "attribute_directions"]
)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite(weights_file: Path, name: str, value: float) -> None:
    edited(weights_file, tensors=lambda tensors: tensors[name].view(-1)[0].fill_(value))
    assert refusal(weights_file) == f"{weights_file} is damaged (it holds values that are not finite). {REMEDY}"


def damage(content: bytes, seed: int) -> bytes:
    """Cut the file, or change a few bytes: of the header (where they matter) or of any place."""
    random = np.random.default_rng(seed)
    damaged = bytearray(content)
    if seed % 4 == 0:
        del damaged[int(random.integers(len(damaged))) :]
        return bytes(damaged)
    header = 8 + int.from_bytes(content[:8], "little")
    for place in random.integers(0, len(content) if seed % 4 == 1 else header, int(random.integers(1, 4))):
        damaged[place] ^= int(random.integers(1, 256)) if seed % 4 < 3 else 1
    return bytes(damaged)


@settings(max_examples=120)
@given(st.integers(0, 10**6))
def test_damaged_weights_are_never_more_than_a_data_error(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    path.unlink(missing_ok=True)
    make_model(TINY).save(path)
    path.write_bytes(damage(path.read_bytes(), seed))
    try:
        FaceModel.load(path)
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017 - loading may also succeed


CONFIG = TrainConfig(batch_size=3, precision="fp32")


def make_trainer(count: int = 6, steps: int = 2) -> Trainer:
    trainer = Trainer(new_vae(TINY, 0), torch.from_numpy(random_images(count, 16)), CONFIG)
    for _ in range(steps):
        trainer.advance()
    return trainer


@pytest.fixture
def checkpoint_file(tmp_path: Path) -> Path:
    path = tmp_path / "vae.checkpoint.safetensors"
    point = HistoryPoint(0.5, "train", 1.0, 0.75, 0.25, 0.1, 12.0)
    save_checkpoint(path, make_trainer(), seconds=2.5, faces_fingerprint="prints", history=[point])
    return path


def restore(path: Path, vae: VAE | None = None) -> None:
    """Do what a resumed training does with a checkpoint."""
    checkpoint = load_checkpoint(path)
    vae = vae or VAE(checkpoint.model)
    checkpoint.restore_network(vae)
    trainer = Trainer(vae, torch.from_numpy(random_images(6, 16)), checkpoint.train)
    checkpoint.restore_optimizer(trainer)


def checkpoint_refusal(path: Path, vae: VAE | None = None) -> str:
    with pytest.raises(DataError) as error:
        restore(path, vae)
    return str(error.value)


def test_checkpoint_may_be_restored_twice(checkpoint_file: Path) -> None:
    """A training must not go on in the checkpoint's own tensors."""
    checkpoint = load_checkpoint(checkpoint_file)
    results = []
    for _ in range(2):
        vae = VAE(checkpoint.model)
        checkpoint.restore_network(vae)
        trainer = Trainer(vae, torch.from_numpy(random_images(6, 16)), checkpoint.train)
        checkpoint.restore_optimizer(trainer)
        trainer.advance()
        results.append(vae)
    assert same_state(*results)


def test_restored_moments_lie_as_their_weights_do(checkpoint_file: Path) -> None:
    checkpoint = load_checkpoint(checkpoint_file)
    vae = VAE(checkpoint.model)
    trainer = Trainer(vae, torch.from_numpy(random_images(6, 16)), checkpoint.train)
    checkpoint.restore_optimizer(trainer)
    for parameter, state in zip(vae.parameters(), trainer.optimizer.state(), strict=True):
        assert float(state["step"]) == 2
        assert state["exp_avg"].stride() == state["exp_avg_sq"].stride() == parameter.stride()


def test_checkpoint_of_an_untrained_network(tmp_path: Path) -> None:
    path = tmp_path / "vae.checkpoint.safetensors"
    save_checkpoint(path, make_trainer(steps=0), seconds=0.0, faces_fingerprint="", history=[])
    assert load_checkpoint(path).history == []
    restore(path)


@settings(max_examples=15)
@given(
    epoch=st.floats(0, 1e6),
    split=st.sampled_from(["train", "valid"]),
    loss=st.floats(-1e30, 1e30),
    count=st.integers(0, 3),
)
def test_history_survives_the_checkpoint(
    tmp_path_factory: pytest.TempPathFactory, epoch: float, split: str, loss: float, count: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "history.safetensors"
    history = [HistoryPoint(epoch, split, loss, loss / 3, 0.1, 1e-300, 0.0)] * count
    save_checkpoint(path, make_trainer(steps=0), seconds=0.1, faces_fingerprint="é", history=history)
    loaded = load_checkpoint(path)
    assert loaded.history == history
    assert (loaded.path, loaded.faces_fingerprint, loaded.train) == (path, "é", CONFIG)


def test_weights_are_not_a_checkpoint(weights_file: Path) -> None:
    assert checkpoint_refusal(weights_file) == (
        f"{weights_file} does not hold a training checkpoint of facevae. {CHECKPOINT_REMEDY}"
    )


def test_a_missing_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "vae.checkpoint.safetensors"
    assert checkpoint_refusal(path) == f"There is no {path}. {CHECKPOINT_REMEDY}"


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"progress": None}, "'progress'"),
        ({"progress": "[1, 2]"}, "list indices must be integers or slices, not str"),
        ({"progress": '{"epoch": Infinity, "step": 0, "seconds": 0}'}, "cannot convert float infinity to integer"),
        ({"train": '{"epochs": 0}'}, "0 epochs are too few: use a whole number of at least 1."),
        ({"train": '{"depth": 0}'}, "TrainConfig.__init__() got an unexpected keyword argument 'depth'"),
        ({"history": "[5]"}, "facevae.storage.history.HistoryPoint() argument after ** must be a mapping, not int"),
        ({"faces_fingerprint": None}, "'faces_fingerprint'"),
    ],
)
def test_checkpoint_metadata_that_does_not_fit(
    checkpoint_file: Path, metadata: dict[str, str | None], reason: str
) -> None:
    edited(checkpoint_file, metadata)
    assert checkpoint_refusal(checkpoint_file) == f"{checkpoint_file} is damaged ({reason}). {CHECKPOINT_REMEDY}"


def rename(old: str, new: str) -> Callable[[dict[str, Tensor]], Any]:
    return lambda tensors: tensors.update({new: tensors.pop(old)})


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        (
            lambda tensors: tensors.pop("vae.encoder.mean.bias"),
            'Error(s) in loading state_dict for VAE: Missing key(s) in state_dict: "encoder.mean.bias".',
        ),
        (
            lambda tensors: [tensors.pop(f"optimizer.3.{key}") for key in ("step", "exp_avg", "exp_avg_sq")],
            "the optimiser's state does not fit the network",
        ),
        (
            lambda tensors: tensors.update({"optimizer.0.exp_avg": torch.zeros(1)}),
            "the optimiser's state does not fit the network",
        ),
        (
            rename("optimizer.0.exp_avg", "optimizer.999.exp_avg"),
            "the optimiser's state does not fit the network",
        ),
        (rename("optimizer.0.exp_avg", "optimizer.x.exp_avg"), "invalid literal for int() with base 10: 'x'"),
        (rename("optimizer.0.exp_avg", "optimizer.0"), "not enough values to unpack (expected 3, got 2)"),
    ],
)
def test_checkpoint_tensors_that_do_not_fit(
    checkpoint_file: Path, tensors: Callable[[dict[str, Tensor]], Any], reason: str
) -> None:
    edited(checkpoint_file, tensors=tensors)
    assert checkpoint_refusal(checkpoint_file) == f"{checkpoint_file} is damaged ({reason}). {CHECKPOINT_REMEDY}"


def test_checkpoint_that_lacks_one_moment(checkpoint_file: Path) -> None:
    edited(checkpoint_file, tensors=lambda tensors: tensors.pop("optimizer.0.exp_avg"))
    assert checkpoint_refusal(checkpoint_file) == (
        f"{checkpoint_file} is damaged (the optimiser's state does not fit the network). {CHECKPOINT_REMEDY}"
    )


@settings(max_examples=60)
@given(st.integers(0, 10**6))
def test_a_damaged_checkpoint_is_never_more_than_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.checkpoint.safetensors"
    save_checkpoint(path, make_trainer(steps=1), seconds=1.0, faces_fingerprint="prints", history=[])
    path.write_bytes(damage(path.read_bytes(), seed))
    try:
        restore(path)
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017 - loading may also succeed


def test_directions_of_double_precision_are_read_as_single(tmp_path: Path) -> None:
    model = make_model(TINY)
    assert model.directions is not None
    double = AttributeDirections(model.directions.deltas.astype(np.float64), *model.directions[1:])
    path = tmp_path / "vae.safetensors"
    replace(model, directions=double).save(path)
    loaded = FaceModel.load(path)
    assert loaded.directions is not None
    assert loaded.directions.deltas.dtype == np.float32
    np.testing.assert_array_equal(loaded.directions.deltas, model.directions.deltas)


def test_saving_under_a_name_given_as_text(tmp_path: Path) -> None:
    make_model(TINY).save(str(tmp_path / "vae.safetensors"))
    assert FaceModel.load(str(tmp_path / "vae.safetensors")).vae.config == TINY


def test_weights_are_not_saved_over_other_data(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    with pytest.raises(UsageError) as error:
        make_model(TINY).save(path)
    assert str(error.value) == (
        f"{path} holds something other than VAE weights and would be overwritten: name another output with -o."
    )
    assert path.read_text() == "mine"


def test_arrays_of_the_wrong_shape() -> None:
    model = make_model(TINY)
    with pytest.raises(UsageError) as error:
        model.encode(np.zeros((2, 64, 64, 3), dtype=np.uint8))
    assert (
        str(error.value)
        == f"{model.name} takes images of shape (N, 16, 16, 3) and type uint8, not (2, 64, 64, 3) uint8."
    )
    with pytest.raises(UsageError) as error:
        model.decode(np.zeros((2, 3), dtype=np.float32))
    assert str(error.value) == f"{model.name} takes latents of shape (N, {TINY.latent_dim}), not (2, 3)."


def test_many_faces_go_through_in_batches() -> None:
    """More than one batch gives what each face gives alone, and no face gives nothing."""
    model = make_model(TINY)
    latents = np.random.default_rng(0).standard_normal((1030, TINY.latent_dim)).astype(np.float32)
    faces = model.decode(latents)
    assert np.abs(faces[[0, 511, 512, 1029]].astype(int) - model.decode(latents[[0, 511, 512, 1029]])).max() <= 1
    mean, log_variance = model.encode(faces)
    assert mean.shape == log_variance.shape == latents.shape
    assert np.allclose(mean[[0, 512, 1029]], model.encode(faces[[0, 512, 1029]])[0], atol=1e-5)
    assert model.decode(latents[:0]).shape == (0, 16, 16, 3)


@pytest.mark.parametrize(("value", "reason"), [("x", "could not convert string to float: 'x'"), (None, "float() arg")])
def test_a_history_that_is_no_numbers(checkpoint_file: Path, value: str | None, reason: str) -> None:
    point = {**asdict(HistoryPoint(0.5, "train", 1.0, 0.75, 0.25, 0.1, 12.0)), "loss": value}
    edited(checkpoint_file, {"history": json.dumps([point])})
    message = checkpoint_refusal(checkpoint_file)
    assert message.startswith(f"{checkpoint_file} is damaged ({reason}")
    assert message.endswith(f"). {CHECKPOINT_REMEDY}")


def test_complex_numbers(weights_file: Path) -> None:
    name = "vae.encoder.mean.weight"
    edited(weights_file, tensors=lambda tensors: tensors.update({name: tensors[name].to(torch.complex64)}))
    assert refusal(weights_file) == f"{weights_file} is damaged (it holds complex numbers). {REMEDY}"
