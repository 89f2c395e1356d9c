"""The judge: the network, what it is trained on, its file, and that training teaches it something."""

from __future__ import annotations

import dataclasses
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

import support
from facevae.errors import DataError, FacevaeError, MismatchError, TrainingError, UsageError
from facevae.model.judge import JUDGE_WIDTHS, Judge, judge_images
from facevae.model.judge_training import (
    JudgeRecipe,
    JudgeTrainer,
    accuracies,
    blur_matrices,
    new_judge,
    principal_components,
    spoiled,
    truncate,
)
from facevae.storage.faces import Faces
from facevae.storage.judge_file import REMEDY, AttributeJudge
from facevae.workflows.train_judge import train_judge

TINY = (4, 4, 6, 8)
NAMES = support.ATTRIBUTE_NAMES
UNSPOILED = JudgeRecipe(
    truncated=0.0, shift=0, blur=0.0, contrast=0.0, brightness=0.0, tint=0.0, noise=0.0, widths=TINY
)


def tiny_judge(seed: int = 0) -> AttributeJudge:
    """A judge whose norms and head are as if it had been trained."""
    network = new_judge(len(NAMES), JudgeRecipe(widths=TINY, seed=seed))
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if name.endswith(("norm.weight", "running_var")):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
        elif name.endswith(("bias", "running_mean")):
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.3)
    return AttributeJudge(network.eval(), NAMES, {"seed": seed, "valid": {"mean_accuracy": 0.9}})


@pytest.fixture
def judge_file(tmp_path: Path) -> Path:
    path = tmp_path / "judge.safetensors"
    tiny_judge().save(path)
    return path


# --------------------------------------------------------------------------------------------------- the network


def test_the_network_is_small_and_gives_features_and_logits() -> None:
    network = Judge(40).eval()
    assert sum(parameter.numel() for parameter in network.parameters()) == 651_112
    features, logits = network(torch.rand(3, 3, 32, 32))
    assert (features.shape, logits.shape) == ((3, JUDGE_WIDTHS[-1]), (3, 40))
    assert torch.equal(logits, network.head(features))
    assert features.min() >= 0


def test_the_default_judge_is_drawn_from_its_seed_and_spares_the_global_one() -> None:
    before = torch.get_rng_state()
    first, again, other = (new_judge(5, JudgeRecipe(seed=seed, widths=TINY)) for seed in (1, 1, 2))
    assert support.same_state(first, again)
    assert not support.same_state(first, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("side", [32, 64, 128])
@pytest.mark.parametrize("count", [0, 1, 70])
def test_look_gives_a_row_for_each_image(side: int, count: int) -> None:
    view = tiny_judge().look(support.random_images(count, 32).repeat(side // 32, axis=1).repeat(side // 32, axis=2))
    assert (view.features.shape, view.logits.shape) == ((count, TINY[-1]), (count, len(NAMES)))
    assert view.features.dtype == view.logits.dtype == np.float32


def test_larger_images_are_averaged_down() -> None:
    """The averages are whole numbers here, so that the small images hold them exactly."""
    random = np.random.default_rng(0)
    small = random.integers(20, 230, (5, 32, 32, 3)).astype(np.uint8)
    change = random.integers(0, 20, small.shape).astype(np.uint8)
    large = small.repeat(2, axis=1).repeat(2, axis=2)
    large[:, ::2, ::2] += change
    large[:, 1::2, 1::2] -= change
    judge = tiny_judge()
    for one, other in zip(judge.look(large), judge.look(small), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert np.abs(judge.look(large[:, ::2, ::2]).logits - judge.look(small).logits).max() > 1e-4


def test_what_is_seen_in_an_image_does_not_depend_on_its_neighbours() -> None:
    images = support.random_images(70)
    judge = tiny_judge()
    whole = judge.look(images)
    parts = [judge.look(images[rows]) for rows in (slice(0, 3), slice(3, 70))]
    np.testing.assert_allclose(np.concatenate([part.logits for part in parts]), whole.logits, atol=1e-5)
    np.testing.assert_allclose(np.concatenate([part.features for part in parts]), whole.features, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((2, 32, 32), "uint8"), ((2, 3, 32, 32), "uint8"), ((2, 32, 64, 3), "uint8"), ((2, 32, 32, 3), "float32")],
)
def test_images_of_another_shape_or_type(shape: tuple[int, ...], dtype: str) -> None:
    with pytest.raises(UsageError) as error:
        tiny_judge().look(np.zeros(shape, dtype=dtype))
    assert str(error.value) == (f"the judge takes images of shape (N, S, S, 3) and type uint8, not {shape} {dtype}.")


@pytest.mark.parametrize("side", [0, 16, 33, 48, 96])
def test_images_of_another_size(side: int) -> None:
    with pytest.raises(UsageError) as error:
        tiny_judge().look(np.zeros((1, side, side, 3), dtype=np.uint8))
    assert str(error.value) == (
        "the judge takes images of 32 x 32 pixels, or of a larger power of two to average down, "
        f"not {side} x {side}: prepare faces of such a size."
    )


# ------------------------------------------------------------------------------------------------------ the file


def test_a_judge_written_and_read_is_the_same_in_float16(judge_file: Path) -> None:
    judge, read = tiny_judge(), AttributeJudge.load(judge_file)
    assert (read.attribute_names, read.record, read.name) == (NAMES, judge.record, str(judge_file))
    assert read.network.widths == TINY
    assert not read.network.training
    written, states = judge.network.state_dict(), read.network.state_dict()
    for name, tensor in states.items():
        if name.endswith("num_batches_tracked"):
            continue
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, written[name].half().float()), name
    images = support.random_images(8)
    one, other = judge.look(images), read.look(images)
    np.testing.assert_allclose(one.logits, other.logits, atol=5e-3)
    assert not np.array_equal(one.logits, other.logits)


def test_a_judge_read_and_written_again_is_the_same_judge(judge_file: Path) -> None:
    judge = AttributeJudge.load(judge_file)
    judge.save(judge_file)
    again = AttributeJudge.load(judge_file)
    assert support.same_state(judge.network, again.network)
    assert (again.attribute_names, again.record) == (judge.attribute_names, judge.record)


def test_the_file_holds_float16_only(judge_file: Path) -> None:
    with safe_open(judge_file, framework="pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118
        assert file.metadata()["format"] == "facevae judge"
        assert json.loads(file.metadata()["network"]) == {"widths": list(TINY)}


def test_a_weight_that_float16_cannot_hold(tmp_path: Path) -> None:
    judge = tiny_judge()
    judge.network.head.bias.data[0] = 1e6
    path = tmp_path / "judge.safetensors"
    with pytest.raises(DataError) as error:
        judge.save(path)
    assert str(error.value) == (
        f"{path} cannot be written: the network has weights that float16 cannot hold. Train it anew."
    )
    assert not path.exists()


def test_a_judge_replaces_no_other_file(weights_file: Path) -> None:
    with pytest.raises(UsageError) as error:
        tiny_judge().save(weights_file)
    assert str(error.value) == (
        f"{weights_file} holds VAE weights and would be overwritten by an attribute judge: name another output with -o."
    )


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as error:
        AttributeJudge.load(path)
    return str(error.value)


def edited(
    path: Path,
    metadata: dict[str, str | None] | None = None,
    tensors: Callable[[dict[str, torch.Tensor]], Any] = lambda tensors: None,
) -> None:
    """Change entries of the header (None takes one out), and the tensors."""
    with safe_open(path, framework="pt") as file:
        header = {**file.metadata(), **(metadata or {})}
        content = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    tensors(content)
    save_file(content, path, metadata={name: value for name, value in header.items() if value is not None})


def test_no_file_a_folder_and_files_of_others(tmp_path: Path, weights_file: Path, faces_file: Path) -> None:
    assert refusal(tmp_path / "none") == f"There is no {tmp_path / 'none'}. {REMEDY}"
    assert refusal(tmp_path) == f"{tmp_path} is a folder, not a file of judge weights. {REMEDY}"
    assert refusal(weights_file) == f"{weights_file} does not hold judge weights of facevae. {REMEDY}"
    expected = f"{faces_file} is not a file of judge weights (not safetensors, or damaged). {REMEDY}"
    assert refusal(faces_file) == expected


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_file_without_its_end(judge_file: Path, share: float) -> None:
    content = judge_file.read_bytes()
    judge_file.write_bytes(content[: int(share * len(content))])
    assert refusal(judge_file) == f"{judge_file} is not a file of judge weights (not safetensors, or damaged). {REMEDY}"


def test_a_file_of_the_future(judge_file: Path) -> None:
    edited(judge_file, {"format_version": "2"})
    assert refusal(judge_file) == (
        f"{judge_file} is of format version 2, newer than this facevae reads: update facevae."
    )


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"network": None}, "'network'"),
        ({"network": "5"}, "'int' object is not subscriptable"),
        ({"network": '{"widths": [1, 2, 3]}'}, "not enough values to unpack (expected 4, got 3)"),
        ({"network": '{"widths": [4, 4, 0, 8]}'}, "it describes a network without attributes or channels"),
        ({"network": '{"widths": [4, 4, 6, 9]}'}, "its tensors are not those of the network it describes"),
        ({"network": '{"widths": [4, 4, 6, 100000]}'}, "its tensors are not those of the network it describes"),
        ({"attribute_names": None}, "'attribute_names'"),
        ({"attribute_names": "[]"}, "it describes a network without attributes or channels"),
        ({"attribute_names": '["Male"]'}, "its tensors are not those of the network it describes"),
        ({"record": "5"}, "'int' object is not iterable"),
        ({"record": "{"}, "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
    ],
)
def test_metadata_that_does_not_fit(judge_file: Path, metadata: dict[str, str | None], reason: str) -> None:
    edited(judge_file, metadata)
    assert refusal(judge_file) == f"{judge_file} is damaged ({reason}). {REMEDY}"


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.pop("head.bias"),
        lambda tensors: tensors.update({"head.bias": torch.zeros(7).half()}),
        lambda tensors: tensors.update({"head.bias": torch.zeros(len(NAMES))}),
        lambda tensors: tensors.update({"tail.bias": torch.zeros(5).half()}),
    ],
    ids=["one too few", "another shape", "another type", "one too many"],
)
def test_tensors_that_do_not_fit(judge_file: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    edited(judge_file, tensors=change)
    assert refusal(judge_file) == (
        f"{judge_file} is damaged (its tensors are not those of the network it describes). {REMEDY}"
    )


@pytest.mark.parametrize("name", ["head.weight", "stem_norm.running_mean"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite(judge_file: Path, name: str, value: float) -> None:
    edited(judge_file, tensors=lambda tensors: tensors[name].view(-1)[0].fill_(value))
    assert refusal(judge_file) == f"{judge_file} is damaged (it holds values that are not finite). {REMEDY}"


@settings(max_examples=40)
@given(st.integers(0, 10**6))
def test_a_damaged_judge_is_never_more_than_a_data_error(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """A few bytes changed, of the header in most cases."""
    path = tmp_path_factory.getbasetemp() / "damaged-judge.safetensors"
    path.unlink(missing_ok=True)
    tiny_judge().save(path)
    random = np.random.default_rng(seed)
    content = bytearray(path.read_bytes())
    end = len(content) if seed % 4 == 0 else 8 + int.from_bytes(content[:8], "little")
    for place in random.integers(0, end, int(random.integers(1, 4))):
        content[place] ^= int(random.integers(1, 256))
    path.write_bytes(content)
    with suppress(DataError):
        AttributeJudge.load(path).look(support.random_images(1))


# -------------------------------------------------------------------------------------------- what it is shown


def test_images_are_unspoiled_where_the_recipe_says_so() -> None:
    images = support.random_images(40)
    shown = spoiled(images, UNSPOILED, np.random.default_rng(0)).permute(0, 2, 3, 1).numpy()
    expected = images.astype(np.float32) / 255
    flipped = np.array(
        [np.allclose(one, other[:, ::-1], atol=1e-6) for one, other in zip(shown, expected, strict=True)]
    )
    straight = np.array([np.allclose(one, other, atol=1e-6) for one, other in zip(shown, expected, strict=True)])
    assert (flipped ^ straight).all()
    assert 8 < flipped.sum() < 32


def test_a_shift_moves_and_repeats_the_edge() -> None:
    images = support.random_images(200)
    recipe = dataclasses.replace(UNSPOILED, shift=2)
    shown = spoiled(images, recipe, np.random.default_rng(0)).permute(0, 2, 3, 1).mul(255).round().numpy()
    seen = set()
    for one, image in zip(shown, images, strict=True):
        places = [
            (down, right)
            for down in range(-2, 3)
            for right in range(-2, 3)
            for candidate in (image, image[:, ::-1])
            if np.array_equal(one, shifted(candidate, down, right))
        ]
        assert len(places) == 1
        seen |= set(places)
    assert len(seen) == 25


def shifted(image: NDArray[np.uint8], down: int, right: int) -> NDArray[np.uint8]:
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="edge")
    return padded[2 + down : 34 + down, 2 + right : 34 + right]


def test_truncated_images_are_left_with_their_first_components() -> None:
    images = support.random_images(40)
    components = principal_components(images)
    flat = images.reshape(40, -1).astype(np.float64)
    centred = flat - flat.mean(axis=0)
    left, scales, right = np.linalg.svd(centred, full_matrices=False)
    numbers = np.array([0, 1, 5, 39] * 10)
    expected = flat.mean(axis=0) + (left * scales * (np.arange(40) < numbers[:, None])) @ right
    found = truncate(images, components, numbers).reshape(40, -1)
    np.testing.assert_allclose(found, expected.clip(0, 255), atol=0.51)
    np.testing.assert_array_equal(found[numbers == 39], flat[numbers == 39])


def test_the_share_of_images_that_the_recipe_says_is_truncated() -> None:
    images = support.random_images(400)
    components, recipe = principal_components(images), dataclasses.replace(UNSPOILED, truncated=0.3)
    shown = spoiled(images, recipe, np.random.default_rng(0), components).permute(0, 2, 3, 1).mul(255).round().numpy()
    same = [
        np.array_equal(one, image) or np.array_equal(one, image[:, ::-1])
        for one, image in zip(shown, images, strict=True)
    ]
    assert 0.6 < np.mean(same) < 0.8


def test_the_blur_is_a_gaussian() -> None:
    scipy_ndimage = pytest.importorskip("scipy.ndimage")
    image = np.random.default_rng(0).random((32, 32))
    sharp, soft = blur_matrices(torch.tensor([0.0, 1.0])).double().numpy()
    np.testing.assert_array_equal(sharp, np.eye(32))
    np.testing.assert_allclose(soft.sum(axis=1), 1.0, atol=1e-6)
    expected = scipy_ndimage.gaussian_filter(image, 1.0, mode="constant", truncate=8)
    np.testing.assert_allclose((soft @ image @ soft.T)[6:-6, 6:-6], expected[6:-6, 6:-6], atol=1e-4)


def test_every_kind_of_spoiling_stays_within_the_range_and_differs_between_images() -> None:
    image = support.random_images(1).repeat(64, axis=0)
    for name in ("blur", "contrast", "brightness", "tint", "noise"):
        recipe = dataclasses.replace(UNSPOILED, **{name: getattr(JudgeRecipe(), name)})
        shown = spoiled(image, recipe, np.random.default_rng(0))
        assert shown.shape == (64, 3, 32, 32)
        assert shown.min() >= 0
        assert shown.max() <= 1
        assert len(torch.unique(shown.flatten(1), dim=0)) > 50, name  # the least blurs change nothing
        changed = shown.mean(dim=(2, 3)).std(dim=0).max()
        assert (changed > 0.005) == (name in ("contrast", "brightness", "tint")), name


# ------------------------------------------------------------------------------------------------- training it


def test_accuracies_by_hand() -> None:
    logits = np.array([[1, -1, 2], [1, 1, 2], [-1, -1, 2], [-1, 1, -2]], dtype=np.float32)
    attributes = np.array([[1, 1, 1], [1, 1, 1], [1, 1, 1], [-1, -1, 1]], dtype=np.int8)
    found = accuracies(logits, attributes)
    np.testing.assert_allclose(found.plain, [0.75, 0.25, 0.75])
    np.testing.assert_allclose(found.balanced, [(2 / 3 + 1) / 2, (1 / 3 + 0) / 2, np.nan])
    np.testing.assert_allclose(found.majority, [0.75, 0.75, 1.0])


def drawn_faces(path: Path) -> Path:
    """360 faces whose attributes show, every third of them valid."""
    split = np.resize(np.array([0, 0, 1], dtype=np.uint8), 360)
    return support.write_faces(path, count=360, split=split)


RECIPE = JudgeRecipe(
    epochs=8, batch_size=10, learning_rate=1e-2, truncated=0.2, blur=0.5, seed=3, widths=(8, 16, 16, 16)
)


def test_training_teaches_attributes_that_show(tmp_path: Path) -> None:
    faces, recorder = drawn_faces(tmp_path / "faces.h5"), support.Recorder()
    result = train_judge(faces, tmp_path / "judge.safetensors", recipe=RECIPE, precision="fp32", report=recorder)
    assert result.valid is not None
    right = dict(zip(NAMES, result.valid.plain, strict=True))
    assert right["Bald"] == 1.0
    assert all(right[name] > 0.85 for name in ("Male", "Smiling", "Wearing_Hat"))
    assert [(event.stage, event.done, event.total, event.unit) for event in recorder.progress] == [
        ("judge", epoch, 8, "epochs") for epoch in range(1, 9)
    ]
    losses = [event.values["loss"] for event in recorder.progress]
    assert losses[-1] < 0.5 * losses[0]
    judge = AttributeJudge.load(result.path)
    assert judge.attribute_names == NAMES
    with Faces(faces) as opened:
        rows = opened.rows_of("valid")
        assert opened.attributes is not None
        again = accuracies(judge.look(opened.images_of("valid")).logits, opened.attributes[rows])
        assert judge.record["faces_fingerprint"] == opened.fingerprint
    np.testing.assert_array_equal(again.plain, result.valid.plain)
    assert judge.record["images"] == 240
    assert judge.record["recipe"] == RECIPE.to_dict()
    assert judge.record["valid"]["accuracy"]["Male"] == pytest.approx(right["Male"], abs=1e-4)
    assert judge.record["valid"]["balanced_accuracy"]["Bald"] is None
    assert judge.record["valid"]["mean_accuracy"] == pytest.approx(result.valid.plain.mean(), abs=1e-4)
    assert set(judge.record["versions"]) == {"facevae", "torch", "python"}


def test_training_is_repeated_by_its_seed(tmp_path: Path) -> None:
    faces = drawn_faces(tmp_path / "faces.h5")
    short = dataclasses.replace(RECIPE, epochs=1, widths=TINY)
    results = [
        train_judge(faces, tmp_path / f"{number}.safetensors", recipe=dataclasses.replace(short, seed=seed)).judge
        for number, seed in enumerate((3, 3, 4))
    ]
    assert support.same_state(results[0].network, results[1].network)
    assert not support.same_state(results[0].network, results[2].network)


def test_the_split_valid_is_not_trained_on_and_may_be_empty(tmp_path: Path) -> None:
    short = dataclasses.replace(RECIPE, epochs=1, widths=TINY)
    table = np.resize(np.array([0, 1, 2], dtype=np.uint8), 60)
    both = support.write_faces(tmp_path / "both.h5", split=table)
    alone = support.write_faces(tmp_path / "alone.h5", split=np.where(table == 1, 2, table).astype(np.uint8))
    one, other = (train_judge(faces, faces.with_suffix(".safetensors"), recipe=short) for faces in (both, alone))
    assert support.same_state(one.judge.network, other.judge.network)
    assert other.valid is None
    assert AttributeJudge.load(other.path).record["valid"] is None


def test_a_batch_is_never_of_one_image() -> None:
    images, attributes = support.random_faces(41)
    recipe = dataclasses.replace(UNSPOILED, batch_size=20, epochs=1)
    trainer = JudgeTrainer(new_judge(5, recipe), images, attributes, recipe)
    assert trainer.steps_per_epoch == 2
    assert np.isfinite(trainer.run_epoch())


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path: Path) -> None:
    faces = drawn_faces(tmp_path / "faces.h5")
    recipe = dataclasses.replace(RECIPE, learning_rate=float("inf"), epochs=1, widths=TINY)
    with pytest.raises(TrainingError) as error:
        train_judge(faces, tmp_path / "judge.safetensors", recipe=recipe)
    assert str(error.value) == "The judge's loss is no longer finite: train it with a lower learning rate."
    assert not (tmp_path / "judge.safetensors").exists()


def training_refusal(kind: type[FacevaeError], faces: Path, output: Path) -> str:
    with pytest.raises(kind) as error:
        train_judge(faces, output)
    return str(error.value)


def test_faces_that_cannot_be_learned_from(tmp_path: Path, faces_without_attributes: Path) -> None:
    output = tmp_path / "judge.safetensors"
    assert training_refusal(DataError, faces_without_attributes, output) == (
        f"{faces_without_attributes} holds no attributes to learn: "
        "prepare faces with an attribute table (list_attr_celeba.txt)."
    )
    large = support.write_faces(tmp_path / "large.h5", count=4, size=64)
    assert training_refusal(MismatchError, large, output) == (
        f"{large} holds faces of 64 x 64 pixels, but the judge takes 32 x 32: prepare them with --size 32."
    )
    split = np.ones(4, dtype=np.uint8)
    untaught = support.write_faces(tmp_path / "untaught.h5", count=4, split=split)
    assert training_refusal(DataError, untaught, output) == (
        f"{untaught} has no images in the split train: name another split, or prepare again."
    )
    assert training_refusal(UsageError, large, large) == (
        f"{large} is an input and would be overwritten: name another output with -o."
    )
    assert not output.exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "0 epochs are too few: use a whole number of at least 1."),
        (
            {"batch_size": 1},
            "A batch size of 1 is too small: batch normalisation needs at least 2 images.",
        ),
    ],
)
def test_recipes_that_are_refused(values: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError) as error:
        JudgeRecipe(**values)  # type: ignore[arg-type]
    assert str(error.value) == message


def test_judging_leaves_the_network_in_evaluation_mode() -> None:
    network = new_judge(5, JudgeRecipe(widths=TINY)).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    judge_images(network, support.random_images(3))
    assert not network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
