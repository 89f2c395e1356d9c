"""The defaults, and what a configuration refuses."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facevae.config import (
    RECIPES,
    SPLIT_CODES,
    SPLIT_NAMES,
    UPSCALE_FACTORS,
    UPSCALER_INPUTS,
    ModelConfig,
    TrainConfig,
    UpscalerConfig,
    UpscalerTrainConfig,
    check_face_size,
    fits_network,
)
from facevae.errors import DataError, FacevaeError, MismatchError, TrainingError, UsageError, did_you_mean

POWERS = [16, 32, 64, 128, 256, 512]


def test_defaults_are_the_reference() -> None:
    assert ModelConfig().to_dict() == {
        "image_size": 32,
        "channels": 128,
        "latent_dim": 200,
        "negative_slope": 0.3,
        "norm_epsilon": 0.001,
    }
    assert TrainConfig().to_dict() == {
        "epochs": 10,
        "batch_size": 500,
        "learning_rate": 0.0005,
        "reconstruction_weight": 2000.0,
        "kl_weight": 1.0,
        "seed": 0,
        "split": "train",
        "schedule": "constant",
        "warmup": None,
        "patience": 0,
        "precision": "auto",
        "flip": False,
        "optimizer": "adam",
        "focus": 0.0,
    }
    assert RECIPES["note"] == TrainConfig()


def test_splits_have_the_numbers_of_celeba() -> None:
    assert SPLIT_CODES == {"train": 0, "valid": 1, "test": 2}
    assert SPLIT_NAMES == ("train", "valid", "test", "all")


@given(st.integers(-10, 1100))
def test_faces_may_have_any_size_from_16_to_512_and_the_network_takes_powers_of_two(size: int) -> None:
    assert fits_network(size) == (size in POWERS)
    if 16 <= size <= 512:
        check_face_size(size)
        return
    with pytest.raises(UsageError) as error:
        check_face_size(size)
    assert str(error.value) == (
        f"A size of {size} pixels is out of range: use a whole number from 16 to 512, such as 32 or 64."
    )


def test_a_size_is_a_whole_number() -> None:
    with pytest.raises(UsageError) as error:
        check_face_size(96.0)  # type: ignore[arg-type]
    assert str(error.value) == (
        "A size of 96.0 pixels is out of range: use a whole number from 16 to 512, such as 32 or 64."
    )


@given(
    image_size=st.sampled_from(POWERS),
    channels=st.integers(1, 4096),
    latent_dim=st.integers(1, 65536),
    negative_slope=st.floats(0, 1, exclude_max=True),
    norm_epsilon=st.floats(0, exclude_min=True, allow_infinity=False),
)
def test_model_config_survives_its_dictionary(**values: Any) -> None:
    config = ModelConfig(**values)
    assert config.to_dict() == values
    assert ModelConfig.from_dict(config.to_dict()) == config


@given(st.integers(-10, 1100).filter(lambda size: size not in POWERS))
def test_image_sizes_other_than_powers_of_two_are_refused(size: int) -> None:
    with pytest.raises(UsageError) as error:
        ModelConfig(image_size=size)
    assert str(error.value) == (
        f"An image size of {size} does not fit the network: use a power of two from 16 to 512, such as 32 or 64."
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"channels": 0},
            "A width of 0 channels is out of range: use a whole number from 1 to 4096 (reference: 128).",
        ),
        (
            {"channels": 1.5},
            "A width of 1.5 channels is out of range: use a whole number from 1 to 4096 (reference: 128).",
        ),
        (
            {"latent_dim": 65537},
            "A latent dimension of 65537 is out of range: use a whole number from 1 to 65536 (reference: 200).",
        ),
        (
            {"negative_slope": 1.0},
            "A leaky ReLU slope of 1.0 is out of range: use a number from 0 up to 1 (reference: 0.3).",
        ),
        (
            {"negative_slope": float("nan")},
            "A leaky ReLU slope of nan is out of range: use a number from 0 up to 1 (reference: 0.3).",
        ),
        ({"norm_epsilon": 0.0}, "A batch norm epsilon of 0.0 is not positive."),
        ({"depth": 5, "breadth": 1}, "The model configuration has unknown entries: breadth, depth."),
    ],
)
def test_model_config_refuses(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as error:
        ModelConfig.from_dict(values)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "0 epochs are too few: use a whole number of at least 1."),
        ({"batch_size": 1}, "A batch size of 1 is too small: batch normalisation needs at least 2 images."),
        ({"learning_rate": 0.0}, "A learning rate of 0.0 is out of range: use a number above 0."),
        ({"learning_rate": float("inf")}, "A learning rate of inf is out of range: use a number above 0."),
        ({"learning_rate": float("nan")}, "A learning rate of nan is out of range: use a number above 0."),
        ({"reconstruction_weight": -1.0}, "A reconstruction weight of -1.0 is out of range: use a number above 0."),
        ({"kl_weight": -0.5}, "A KL weight of -0.5 is out of range: use a number from 0 on."),
        ({"kl_weight": float("nan")}, "A KL weight of nan is out of range: use a number from 0 on."),
        ({"seed": -1}, "A seed of -1 is out of range: use a whole number from 0 to 2^63 - 1."),
        ({"seed": 2**63}, f"A seed of {2**63} is out of range: use a whole number from 0 to 2^63 - 1."),
        ({"schedule": "linear"}, "There is no schedule linear: use one of constant, cosine."),
        ({"focus": -1.0}, "A focus of -1.0 is out of range: use a number from 0 to 1000, such as 6."),
        ({"focus": float("nan")}, "A focus of nan is out of range: use a number from 0 to 1000, such as 6."),
        ({"optimizer": "sgd"}, "There is no optimizer sgd: use one of adam, muon."),
        (
            {"warmup": -1.0},
            "A warm-up of -1.0 epochs is out of range: use a number from 0 up to the 10 of the training.",
        ),
        (
            {"warmup": 4, "epochs": 4},
            "A warm-up of 4 epochs is out of range: use a number from 0 up to the 4 of the training.",
        ),
        (
            {"warmup": float("nan")},
            "A warm-up of nan epochs is out of range: use a number from 0 up to the 10 of the training.",
        ),
        ({"patience": -1}, "A patience of -1 epochs is out of range: use a whole number from 1, or 0 for none."),
        ({"patience": 1.5}, "The patience 1.5 is not a whole number."),
        ({"split": "dev"}, "There is no split dev: use one of train, valid, test, all."),
    ],
)
def test_train_config_refuses(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as error:
        TrainConfig(**values)
    assert str(error.value) == message


def test_limits_themselves_are_allowed() -> None:
    TrainConfig(epochs=1, batch_size=2, learning_rate=1e-300, kl_weight=0.0, seed=2**63 - 1, split="all")
    ModelConfig(image_size=16, channels=1, latent_dim=1, negative_slope=0.0)


def test_the_upscaler_is_that_of_the_paper() -> None:
    assert UpscalerConfig().to_dict() == {"depth": 20, "channels": 64}
    assert UPSCALE_FACTORS == (2, 3, 4)
    assert UPSCALER_INPUTS == ("photographs", "reconstructions")


@given(
    inputs=st.sampled_from(UPSCALER_INPUTS),
    epochs=st.integers(1, 10_000),
    batch_size=st.integers(1, 10**6),
    patch_size=st.integers(12, 512),
    learning_rate=st.floats(0, exclude_min=True, allow_infinity=False),
    factors=st.lists(st.sampled_from(UPSCALE_FACTORS), min_size=1, unique=True).map(tuple),
    seed=st.integers(0, 2**63 - 1),
    precision=st.sampled_from(["auto", "fp32", "bf16"]),
)
def test_upscaler_train_config_survives_its_dictionary(**values: Any) -> None:
    config = UpscalerTrainConfig(**values)
    assert config.to_dict() == values
    assert UpscalerTrainConfig(**config.to_dict()) == config
    assert config.schedule == "cosine"
    assert config.warmup_epochs == pytest.approx(config.epochs / 20)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"depth": 1}, "A depth of 1 convolutions is out of range: use a whole number from 2 to 100 (paper: 20)."),
        (
            {"depth": 20.0},
            "A depth of 20.0 convolutions is out of range: use a whole number from 2 to 100 (paper: 20).",
        ),
        ({"channels": 0}, "A width of 0 channels is out of range: use a whole number from 1 to 1024 (paper: 64)."),
        (
            {"channels": 1025},
            "A width of 1025 channels is out of range: use a whole number from 1 to 1024 (paper: 64).",
        ),
    ],
)
def test_upscaler_config_refuses(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as error:
        UpscalerConfig(**values)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"inputs": "paintings"}, "There are no inputs paintings: use one of photographs, reconstructions."),
        ({"epochs": 0}, "0 epochs are too few: use a whole number of at least 1."),
        ({"epochs": 1.5}, "The epochs 1.5 is not a whole number."),
        ({"batch_size": 0}, "A batch size of 0 is out of range: use a whole number from 1 to 1000000."),
        ({"batch_size": 10**6 + 1}, "A batch size of 1000001 is out of range: use a whole number from 1 to 1000000."),
        ({"patch_size": 11}, "A patch size of 11 is out of range: use a whole number from 12 to 512, such as 48."),
        ({"patch_size": 513}, "A patch size of 513 is out of range: use a whole number from 12 to 512, such as 48."),
        ({"patch_size": "48"}, "The patch size 48 is not a whole number."),
        ({"learning_rate": 0.0}, "A learning rate of 0.0 is out of range: use a number above 0."),
        ({"learning_rate": float("nan")}, "A learning rate of nan is out of range: use a number above 0."),
        ({"learning_rate": float("inf")}, "A learning rate of inf is out of range: use a number above 0."),
        ({"factors": ()}, "The factors () are out of range: use some of 2, 3, 4."),
        ({"factors": (3, 5)}, "The factors (3, 5) are out of range: use some of 2, 3, 4."),
        ({"seed": -1}, "A seed of -1 is out of range: use a whole number from 0 to 2^63 - 1."),
        ({"seed": 2**63}, f"A seed of {2**63} is out of range: use a whole number from 0 to 2^63 - 1."),
        ({"precision": "fp16"}, "There is no precision fp16: use one of auto, fp32, bf16."),
    ],
)
def test_upscaler_train_config_refuses(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as error:
        UpscalerTrainConfig(**values)
    assert str(error.value) == message


def test_errors_know_their_exit_code() -> None:
    assert [kind.exit_code for kind in (FacevaeError, UsageError, DataError, MismatchError, TrainingError)] == [
        1,
        2,
        1,
        1,
        1,
    ]
    assert all(issubclass(kind, FacevaeError) for kind in (UsageError, DataError, MismatchError, TrainingError))


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("Atractive", " Did you mean Attractive?"),
        ("MALE", " Did you mean Male?"),
        ("smilling", " Did you mean Smiling?"),
        ("zzz", ""),
        ("", ""),
    ],
)
def test_did_you_mean(name: str, suggestion: str) -> None:
    assert did_you_mean(name, ("Attractive", "Male", "Smiling")) == suggestion


def test_did_you_mean_without_candidates() -> None:
    assert did_you_mean("Male", ()) == ""


@pytest.mark.parametrize("name", ["image_size", "channels", "latent_dim"])
def test_a_truth_value_is_no_size(name: str) -> None:
    """As damaged weights may have it in their JSON."""
    with pytest.raises(UsageError):
        ModelConfig(**{name: True})
