"""`facevae morph` along several attributes, along two of them in a grid, and with others held still."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facevae.errors import UsageError
from facevae.figures.canvas import GAP, MARGIN
from facevae.model.prior import fit_prior
from facevae.storage.images import load_face
from facevae.storage.shipped import shipped_judge, shipped_weights
from facevae.storage.weights import FaceModel
from facevae.workflows.evaluate import load_judge
from facevae.workflows.morph import morph
from facevae.workflows.moving import find_movement
from facevae.workflows.side_effects import SideEffect, side_effects, side_effects_in_words
from helpers import lively_model, pixels, put_latents, put_pictures, refusal, succeed, tile
from support import Recorder


@pytest.fixture(autouse=True)
def model(workspace: Path) -> FaceModel:
    """The workspace's weights: with a prior, as those of every training have."""
    latents = np.random.default_rng(1).normal(size=(500, 6)).astype(np.float32)
    model = replace(lively_model(), prior=fit_prior(latents, np.full_like(latents, -2.0)))
    model.save("vae.safetensors")
    return model


@pytest.fixture
def face() -> Path:
    return put_pictures(Path("faces"), 1, size=44)[0]


def latent(model: FaceModel, face: Path) -> np.ndarray:
    return model.encode(load_face(face, 32)[None])[0]


# ------------------------------------------------------------------------------------------ several attributes


def test_attributes_add_up_with_their_weights(model: FaceModel, face: Path) -> None:
    outcome = succeed("morph", face, "-a", "smiling=2", "--attr", "wearing hat=-0.5", "-s", "0,1", "--json")
    delta = 2 * model.direction("Smiling") - 0.5 * model.direction("Wearing_Hat")
    assert outcome.json["attribute"] == "2 Smiling − 0.5 Wearing_Hat"
    assert outcome.json["attributes"] == [{"name": "Smiling", "weight": 2.0}, {"name": "Wearing_Hat", "weight": -0.5}]
    assert outcome.json["delta_length"] == pytest.approx(float(np.linalg.norm(delta)), rel=1e-5)
    result = morph(face, {"Smiling": 2, "Wearing_Hat": -0.5}, io.BytesIO(), steps=[0.0, 1.0])
    expected = model.decode(np.concatenate([latent(model, face), latent(model, face) + delta]))
    assert np.abs(result.morphs[0].astype(int) - expected).max() <= 1
    assert np.abs(expected[0].astype(int) - expected[1]).max() > 5


def test_a_weight_of_one_changes_nothing(face: Path) -> None:
    for name, options in {
        "a": ["-a", "Male"],
        "b": ["-a", "Male=1"],
        "c": ["-a", "Male", "--direction", "mean"],
    }.items():
        succeed("morph", face, *options, "-o", f"{name}.png")
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes() == Path("c.png").read_bytes()


def test_weights_and_steps_multiply(face: Path) -> None:
    twice = morph(face, "Male=2", io.BytesIO(), steps=[-1.5, 1.0]).morphs
    assert np.array_equal(twice, morph(face, "Male", io.BytesIO(), steps=[-3.0, 2.0]).morphs)


@pytest.mark.parametrize("kind", ["logistic", "regression"])
def test_other_kinds_of_direction(model: FaceModel, face: Path, kind: str) -> None:
    path = put_latents(Path())
    options = ["-a", "Male", "--direction", kind, "--latents", str(path), "-s", "0,1", "--json"]
    outcome = succeed("morph", face, *options)
    assert outcome.json["direction"] == kind
    assert outcome.stderr == ""
    plain = succeed("morph", face, "-a", "Male", "--latents", path, "-s", "0,1", "--json")
    assert outcome.json["delta_length"] != pytest.approx(plain.json["delta_length"], rel=0.01)


def test_fishers_discriminant_stands_in_for_a_logistic_regression(model: FaceModel, face: Path) -> None:
    outcome = succeed("morph", face, "-a", "Male", "--attr2", "Smiling", "--direction", "logistic", "--json")
    assert outcome.stderr == (
        "Without --latents there is nothing to fit a logistic regression to: Fisher's discriminant stands in.\n"
    )
    length = float(np.linalg.norm(model.direction("Male", kind="logistic")))
    assert outcome.json["delta_length"] == pytest.approx(length, rel=1e-5)


# ------------------------------------------------------------------------------------------ two directions


def test_a_grid_of_two_directions(model: FaceModel, face: Path) -> None:
    options = ["-a", "Smiling", "-s", "-1,1", "--attr2", "male", "--steps2", "2,-0.5"]
    outcome = succeed("morph", face, *options, "--json")
    assert outcome.json["second"] == {
        "attribute": "Male",
        "attributes": [{"name": "Male", "weight": 1.0}],
        "direction": "mean",
        "kept": [],
        "steps": [2.0, 1.0, 0.0, -0.5],
        "delta_length": pytest.approx(float(np.linalg.norm(model.direction("Male"))), rel=1e-6),
        "side_effects": None,
    }
    result = morph(face, "Smiling", io.BytesIO(), steps="-1,1", attribute2="Male", steps2="2,-0.5")
    assert result.morphs.shape == (4, 3, 32, 32, 3)
    assert result.movement2 is not None
    assert (result.attribute, result.movement2.label, result.steps2) == ("Smiling", "Male", (2.0, 1.0, 0.0, -0.5))
    z, smile, male = latent(model, face), model.direction("Smiling"), model.direction("Male")
    for row, down in enumerate((2.0, 1.0, 0.0, -0.5)):
        for column, across in enumerate((-1.0, 0.0, 1.0)):
            expected = model.decode(z + np.float32(across) * smile + np.float32(down) * male)[0]
            assert np.abs(result.morphs[row, column].astype(int) - expected).max() <= 1
    picture = pixels(Path("morph.png"))
    left, top = picture.shape[1] - MARGIN - 3 * 96 - 2 * GAP, picture.shape[0] - MARGIN - 4 * 96 - 3 * GAP
    for row in range(4):
        for column in range(3):
            enlarged = Image.fromarray(result.morphs[row, column]).resize((96, 96), Image.Resampling.BICUBIC)
            assert np.array_equal(tile(picture, left + column * 102, top + row * 102, 96), np.array(enlarged))


def test_both_directions_may_be_sums(face: Path) -> None:
    options = [
        "-a",
        "Smiling",
        "-a",
        "Male=-1",
        "--attr2",
        "Attractive=2",
        "--attr2",
        "Wearing_Hat",
        "-s",
        "1",
        "--steps2",
        "0",
    ]
    found = succeed("morph", face, *options, "--json").json
    assert (found["attribute"], found["second"]["attribute"]) == ("Smiling − Male", "2 Attractive + Wearing_Hat")


def test_steps_down_are_as_many_by_default(face: Path) -> None:
    result = morph(face, "Smiling", io.BytesIO(), steps=[0.0], attribute2="Male")
    assert result.steps2 == (-3, -2, -1, 0, 1, 2, 3)


def test_a_grid_reports_its_rows(face: Path) -> None:
    report = Recorder()
    morph(face, "Smiling", io.BytesIO(), steps=[0.0, 1.0], attribute2="Male", steps2=[0.0, 1.0, 2.0], report=report)
    assert [(event.done, event.total, event.unit) for event in report.progress][-1] == (3, 3, "rows")


# ------------------------------------------------------------------------------------------ holding still


def test_what_is_kept_is_told_and_drawn(model: FaceModel, face: Path) -> None:
    outcome = succeed("morph", face, "-a", "Attractive", "--keep", "male, Smiling", "-s", "0,1", "--json")
    found = outcome.json
    assert found["kept"] == ["Male", "Smiling"]
    delta = model.direction("Attractive", ["Male", "Smiling"])
    assert found["delta_length"] == pytest.approx(float(np.linalg.norm(delta)), rel=1e-5)
    kept = Path("morph.png").read_bytes()
    again = succeed(
        "morph", face, "-a", "Attractive", "-k", "Male", "-k", "Smiling", "-s", "0,1", "-q", "-o", "again.png"
    )
    assert again.stderr == ""
    assert Path("again.png").read_bytes() == kept
    result = morph(face, "Attractive", io.BytesIO(), keep=["Male", "Smiling"], steps=[1.0])
    expected = model.decode(latent(model, face) + delta)[0]
    assert np.abs(result.morphs[0, 0].astype(int) - expected).max() <= 1


def test_the_side_effects_are_the_judges(model: FaceModel, face: Path) -> None:
    """Attractive, Male and Smiling are among the 40 that the shipped judge knows."""
    outcome = succeed("morph", face, "-a", "Attractive", "--keep", "Male", "-s", "0,1", "--json")
    judge = load_judge()
    z, kept, free = latent(model, face), model.direction("Attractive", ["Male"]), model.direction("Attractive")
    before, held, unheld = (
        judge.look(model.decode(z + shift)).logits[0].astype(float) for shift in (0 * free, kept, free)
    )
    found = {row["attribute"]: row for row in outcome.json["side_effects"]}
    assert len(found) == 40
    assert list(found)[:2] == ["Attractive", "Male"]
    for column, name in enumerate(judge.attribute_names):
        assert found[name]["logit"] == pytest.approx(held[column] - before[column], abs=1e-4)
        assert found[name]["logit_without_keep"] == pytest.approx(unheld[column] - before[column], abs=1e-4)
        chance = 1 / (1 + np.exp(-np.array([before[column], held[column], unheld[column]])))
        assert found[name]["probability"] == pytest.approx(chance[1] - chance[0], abs=1e-4)
        assert found[name]["probability_without_keep"] == pytest.approx(chance[2] - chance[0], abs=1e-4)
    strengths = [max(abs(row["logit"]), abs(row["logit_without_keep"])) for row in list(found.values())[2:]]
    assert strengths == sorted(strengths, reverse=True)
    lines = outcome.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("What n = 1 changes, as logits of the judge, without --keep -> with it: Attractive ")
    assert lines[0].count(" -> ") == 1 + 4  # the attribute, what is kept, and two others


def test_both_directions_of_a_grid_hold_still(model: FaceModel, face: Path) -> None:
    result = morph(
        face,
        "Attractive",
        io.BytesIO(),
        steps=[1.0],
        attribute2="Smiling",
        steps2=[1.0],
        keep="Male",
        report=Recorder(),
    )
    assert result.movement2 is not None
    np.testing.assert_array_equal(result.movement2.delta, model.direction("Smiling", ["Male"]))
    assert result.side_effects is not None
    assert result.side_effects2 is not None
    assert [effects[0].attribute for effects in (result.side_effects, result.side_effects2)] == [
        "Attractive",
        "Smiling",
    ]


def test_attractive_moves_and_male_does_not() -> None:
    """With the shipped weights and judge, on faces from the fitted prior; docs/editing.md has the figures on real ones."""
    model = FaceModel.load(shipped_weights())
    assert model.prior is not None
    latents = model.prior.sample(200, np.random.default_rng(0))
    movement = find_movement(model.named_directions(), "Attractive", "Male", "mean", Recorder())
    effects = side_effects(model, latents, movement)
    assert effects is not None
    own, kept = effects[:2]
    assert (own.attribute, kept.attribute) == ("Attractive", "Male")
    assert own.logit > 0.5 * own.logit_without_keep > 0.3
    assert own.probability > 0.5 * own.probability_without_keep > 0.03
    assert abs(kept.logit) < 0.2 * abs(kept.logit_without_keep)
    assert abs(kept.probability) < 0.2 * abs(kept.probability_without_keep)
    assert kept.logit_without_keep < -0.5


def test_the_words_for_side_effects(model: FaceModel) -> None:
    movement = find_movement(model.named_directions(), "Smiling=2", "Male", "mean", Recorder())
    effects = [
        SideEffect("Smiling", 1.0, 0.9, 0.2, 0.2),
        SideEffect("Male", -0.5, -0.001, -0.1, 0.0),
        SideEffect("Young", 0.1, 0.456, 0, 0),
        SideEffect("Bald", 0.0, 0.0, 0, 0),
        SideEffect("Chubby", 0.0, 0.0, 0, 0),
    ]
    assert side_effects_in_words(effects, movement) == (
        "What n = 1 changes, as logits of the judge, without --keep -> with it: Smiling +1.00 -> +0.90, Male -0.50 -> +0.00, "
        "Young +0.10 -> +0.46, Bald +0.00 -> +0.00."
    )


def test_no_side_effects_where_the_judge_knows_nothing(model: FaceModel) -> None:
    """Attributes of other names, and faces that are too small."""
    from facevae.config import ModelConfig
    from support import make_model

    latents = np.zeros((1, 6), dtype=np.float32)
    renamed = replace(model, attribute_names=("a", "b", "c", "d", "e"))
    movement = find_movement(renamed.named_directions(), "d", "c", "mean", Recorder())
    assert side_effects(renamed, latents, movement) is None
    small = replace(make_model(ModelConfig(16, 2, 6)), directions=model.directions, prior=model.prior)
    assert (
        side_effects(small, latents, find_movement(small.named_directions(), "Male", "Smiling", "mean", Recorder()))
        is None
    )
    assert shipped_judge().exists()


# ------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["-a", "Smiling=x"],
            "Cannot read the attribute 'Smiling=x': write a name such as Smiling, or with a weight Smiling=2.",
        ),
        (["-a", "Smiling=0"], "A weight of 0 for Smiling is out of range: use a number other than 0, such as 2 or -1."),
        (["-a", "Smilling=2"], "There is no attribute Smilling in vae.safetensors. Did you mean Smiling?"),
        (["-a", "Male", "-a", "MALE=2"], "Male is given twice: give it once, with the sum of its weights."),
        (
            ["-a", "Male", "-k", "male"],
            "Male cannot be moved and kept at once: leave it out of --attr, or out of --keep.",
        ),
        (
            ["--keep", "Yung,Mal"],
            "There is no attribute Yung in vae.safetensors. It has Attractive, Bald, Male, Smiling and others: facevae info "
            "vae.safetensors lists them.",
        ),
        (["--direction", "median"], "There is no direction median: use one of mean, logistic, regression."),
        (["--steps2", "0,1"], "--steps2 goes with a second attribute: name one with --attr2."),
        (
            ["--attr2", "Male", "--steps2", "x"],
            "Cannot read the steps 'x': write a range such as -3,3 or a list such as -3,-1,0,1,3.",
        ),
        (
            ["--attr2", "Male=no"],
            "Cannot read the attribute 'Male=no': write a name such as Smiling, or with a weight Smiling=2.",
        ),
        (
            ["--attr2", "Male", "--format", "gif"],
            "A grid of two directions is a still picture: leave --attr2 out for a gif.",
        ),
        (
            ["--attr2", "Male", "-s", "0,99", "--steps2", "0,99"],
            "100 by 100 steps do not fit into one picture: take fewer.",
        ),
    ],
)
def test_wrong_options(face: Path, options: list[str], message: str) -> None:
    assert refusal("morph", face, *options, code=2) == message
    assert not Path("morph.png").exists()


def test_a_grid_is_of_one_face() -> None:
    faces = put_pictures(Path("faces"), 3)
    assert refusal("morph", *faces, "--attr2", "Male", code=2) == (
        "A grid of two directions is of one face, not of 3: name one, or leave --attr2 out."
    )


def test_what_these_weights_do_not_know(face: Path) -> None:
    assert refusal("morph", face, "-a", "Male", "--direction", "regression") == (
        "vae.safetensors does not say which attributes go together, as an older facevae trained it: let facevae train --resume "
        "add that, or take the direction from latents with --latents."
    )
    lively_model().save("plain.safetensors")
    assert refusal("morph", face, "-w", "plain.safetensors", "-a", "Male", "-k", "Smiling") == (
        "plain.safetensors holds no fitted prior, from which --keep knows how latents vary: take the direction from latents with "
        "--latents."
    )


def test_the_library_refuses_no_attribute(face: Path) -> None:
    with pytest.raises(UsageError) as error:
        morph(face, [])
    assert str(error.value) == "There is no attribute to move along: name at least one."


def test_names_with_commas_are_told_to_be_repeated(face: Path) -> None:
    assert refusal("morph", face, "--attr", "Smiling,Male", code=2) == (
        "There is no attribute Smiling,Male in vae.safetensors: for several, repeat the option, a name each."
    )
