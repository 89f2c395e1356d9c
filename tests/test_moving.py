"""Attributes with weights: how they are written, and what they add up to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facevae.errors import FacevaeError, MismatchError, UsageError
from facevae.model.directions import along_normal, logistic_normal
from facevae.model.prior import fit_prior
from facevae.storage.latents import Latents
from facevae.storage.weights import FaceModel
from facevae.workflows.moving import (
    Attributes,
    Movement,
    WeightedAttribute,
    find_movement,
    names_in,
    open_directions,
    parse_attribute,
    report_stand_in,
    weighted_attributes,
)
from helpers import lively_model, put_latents, put_other_weights
from support import Recorder

NAMES = st.text(alphabet="abcXYZ0189_", min_size=1, max_size=20)


# ------------------------------------------------------------------------------------------ texts


@pytest.mark.parametrize(
    ("text", "name", "weight"),
    [
        ("Smiling", "Smiling", 1),
        ("Smiling=2", "Smiling", 2),
        ("Eyeglasses=-1", "Eyeglasses", -1),
        ("5_o_Clock_Shadow=0.5", "5_o_Clock_Shadow", 0.5),
        (" blond hair = +1.5e1 ", "blond hair", 15),
        ("a=b=2", "a=b", 2),
    ],
)
def test_a_name_and_its_weight(text: str, name: str, weight: float) -> None:
    assert parse_attribute(text) == (name, weight)


@given(NAMES, st.floats(allow_nan=False, allow_infinity=False).filter(bool))
@settings(deadline=None)
def test_every_name_and_weight_is_read_back(name: str, weight: float) -> None:
    assert parse_attribute(f"{name}={weight!r}") == (name, weight)
    assert parse_attribute(name) == (name, 1.0)


@given(st.text(alphabet="Aa1_=.,-+e naif", max_size=10))
@settings(deadline=None)
def test_any_text_is_an_attribute_or_a_usage_error(text: str) -> None:
    try:
        name, weight = parse_attribute(text)
    except UsageError:
        return
    assert name
    assert name == name.strip()
    assert np.isfinite(weight)
    assert weight != 0.0


@pytest.mark.parametrize(
    "text", ["", " ", "=", "=2", "Smiling=", "Smiling=x", "Smiling=nan", "Smiling=inf", "Smiling=1,2"]
)
def test_what_is_no_attribute(text: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_attribute(text)
    assert str(error.value) == (
        f"Cannot read the attribute {text!r}: write a name such as Smiling, or with a weight Smiling=2."
    )


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ("Smiling", [("Smiling", 1)]),
        ("Smiling=2", [("Smiling", 2)]),
        (["Smiling=2", "Male"], [("Smiling", 2), ("Male", 1)]),
        ({"Smiling": 2, "Male": -1}, [("Smiling", 2), ("Male", -1)]),
        ([("Smiling", 2), "Male=-1"], [("Smiling", 2), ("Male", -1)]),
    ],
)
def test_the_forms_of_several_attributes(attributes: Attributes, expected: list[tuple[str, float]]) -> None:
    assert weighted_attributes(attributes) == expected


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ([], "There is no attribute to move along: name at least one."),
        ({"Male": 0}, "A weight of 0 for Male is out of range: use a number other than 0, such as 2 or -1."),
        ("Male=0", "A weight of 0 for Male is out of range: use a number other than 0, such as 2 or -1."),
        (
            {"Male": float("nan")},
            "A weight of nan for Male is out of range: use a number other than 0, such as 2 or -1.",
        ),
    ],
)
def test_attributes_that_move_nothing(attributes: Attributes, message: str) -> None:
    with pytest.raises(UsageError) as error:
        weighted_attributes(attributes)
    assert str(error.value) == message


def test_names_with_commas_between_them() -> None:
    assert names_in("Male,Young") == names_in(["Male", "Young"]) == names_in(["Male, Young,"]) == ["Male", "Young"]
    assert names_in("") == names_in([]) == []


@pytest.mark.parametrize(
    ("attributes", "label"),
    [
        ([("Smiling", 1)], "Smiling"),
        ([("Smiling", -1)], "−Smiling"),
        ([("Smiling", 2), ("Eyeglasses", -1)], "2 Smiling − Eyeglasses"),
        ([("Smiling", -0.5), ("Male", 1), ("Young", -1.25)], "−0.5 Smiling + Male − 1.25 Young"),
    ],
)
def test_the_sum_in_words(attributes: list[tuple[str, float]], label: str) -> None:
    delta = np.array([3.0, 4.0], dtype=np.float32)
    movement = Movement(tuple(WeightedAttribute(*one) for one in attributes), "mean", (), delta, delta)
    assert (movement.label, movement.length) == (label, 5.0)


# ------------------------------------------------------------------------------------------ sums


def moved(model: FaceModel, attributes: Attributes, keep: str = "", kind: str = "mean") -> tuple[Movement, list[str]]:
    report = Recorder()
    return find_movement(model.named_directions(), attributes, keep, kind, report), report.notices


def refusal(model: FaceModel, attributes: Attributes, keep: str = "", kind: str = "mean") -> str:
    with pytest.raises(FacevaeError) as error:
        moved(model, attributes, keep, kind)
    return str(error.value)


def test_one_attribute_is_its_own_direction() -> None:
    model = lively_model()
    movement, notices = moved(model, "smiling")
    np.testing.assert_array_equal(movement.delta, model.direction("Smiling"))
    assert movement.delta is movement.delta_without_keep or (movement.delta == movement.delta_without_keep).all()
    assert (movement.attributes, movement.direction, movement.kept) == ((("Smiling", 1.0),), "mean", ())
    assert notices == []


def test_several_attributes_add_up() -> None:
    model = lively_model()
    movement, _ = moved(model, ["smiling=2", "wearing hat=-0.5"])
    expected = 2 * model.direction("Smiling") - 0.5 * model.direction("Wearing_Hat")
    np.testing.assert_allclose(movement.delta, expected, rtol=1e-6)
    assert movement.delta.dtype == np.float32
    assert movement.label == "2 Smiling − 0.5 Wearing_Hat"


def test_sums_that_cannot_be() -> None:
    model = lively_model()
    assert refusal(model, ["Male", "male=2"]) == "Male is given twice: give it once, with the sum of its weights."
    assert refusal(model, ["Smiling", "Mal"]) == "There is no attribute Mal in vae.safetensors. Did you mean Male?"
    assert refusal(model, "Male", "Smiling,MALE") == (
        "Male cannot be moved and kept at once: leave it out of --attr, or out of --keep."
    )
    assert refusal(model, "Male", "", "best") == "There is no direction best: use one of mean, logistic, regression."


def with_prior() -> FaceModel:
    from dataclasses import replace

    random = np.random.default_rng(1)
    latents = random.normal(size=(500, 6)).astype(np.float32)
    return replace(lively_model(), prior=fit_prior(latents, np.full_like(latents, -2.0)))


def test_each_of_several_holds_still_what_is_kept() -> None:
    model = with_prior()
    movement, notices = moved(model, {"Smiling": 2.0, "Male": -1.0}, "attractive,wearing_hat")
    parts = [model.direction(name, ["Attractive", "Wearing_Hat"]) for name in ("Smiling", "Male")]
    np.testing.assert_allclose(movement.delta, 2 * parts[0] - parts[1], rtol=1e-5, atol=1e-6)
    plain = 2 * model.direction("Smiling") - model.direction("Male")
    np.testing.assert_allclose(movement.delta_without_keep, plain, rtol=1e-5, atol=1e-6)
    assert movement.kept == ("Attractive", "Wearing_Hat")
    assert notices == []


def test_little_that_is_left_is_told() -> None:
    from dataclasses import replace

    model = with_prior()
    assert model.directions is not None
    deltas = model.directions.deltas.copy()
    deltas[3] = deltas[2] + 0.1 * deltas[4]
    close = replace(model, directions=model.directions._replace(deltas=deltas))
    share = close.named_directions().direction("Smiling", ["Male"]).share
    assert 0.01 < share < 0.7
    _, notices = moved(close, "Smiling", "Male")
    assert notices == [f"Little of Smiling is left beside Male: n = 1 moves its score {share:.0%} as far."]


def test_a_logistic_direction_without_latents_is_fishers_and_says_so() -> None:
    report = Recorder()
    for kind in ("mean", "regression", "logistic"):
        report_stand_in(with_prior().named_directions(), kind, report)
    assert report.notices == [
        "Without --latents there is nothing to fit a logistic regression to: Fisher's discriminant stands in."
    ]


# ------------------------------------------------------------------------------------------ latents


def test_directions_of_latents(workspace: Path) -> None:
    model = lively_model()
    path = put_latents(workspace)
    with Latents(path) as latents:
        assert latents.attributes is not None
        mean, log_variance, has = latents.mean(), latents.log_variance(), latents.attributes > 0
    delta = mean[has[:, 2]].mean(axis=0) - mean[~has[:, 2]].mean(axis=0)
    report = Recorder()
    with open_directions(model, path) as directions:
        found = {
            kind: find_movement(directions, "male", (), kind, report).delta
            for kind in ("mean", "logistic", "regression")
        }
        held = find_movement(directions, "male", "Smiling", "mean", report).delta
    np.testing.assert_allclose(found["mean"], delta, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["logistic"], along_normal(logistic_normal(mean, has[:, 2]), delta), rtol=1e-4)
    design = np.column_stack([np.ones(len(mean)), np.delete(has, 1, axis=1)])  # without Bald, which none is
    coefficients = np.linalg.lstsq(design, mean.astype(np.float64), rcond=None)[0]
    np.testing.assert_allclose(found["regression"], coefficients[2], atol=1e-4)
    smile = mean[has[:, 3]].mean(axis=0) - mean[~has[:, 3]].mean(axis=0)
    covariance = fit_prior(mean, log_variance).covariance()
    assert abs(held @ np.linalg.solve(covariance, smile)) < 1e-4
    assert report.notices == []


def test_latents_of_other_weights(workspace: Path) -> None:
    path, other = put_latents(workspace), put_other_weights(workspace / "other.safetensors")
    with pytest.raises(MismatchError), open_directions(other, path):
        pass
