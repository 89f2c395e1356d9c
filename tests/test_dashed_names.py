"""A file whose name begins with a dash is taken for options: the error that comes of it says what to write."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from facevae.cli.boundary import dashed_files
from helpers import put_pictures, put_weights, refusal, run, succeed

NO_FACE = (
    "There is no face to morph: name an image file, or a face of the latents with --name, or draw one with --sample."
)


def hint(name: str) -> str:
    return f" What begins with a dash is taken for options: write ./{name} for the file {name}."


def told(*arguments: str) -> str:
    """What the parser says, without the box around it."""
    outcome = run(*arguments)
    assert (outcome.code, outcome.stdout) == (2, b"")
    return " ".join(outcome.stderr.replace("│", " ").split())


@pytest.fixture(autouse=True)
def pictures(workspace: Path) -> None:
    put_weights(workspace)
    (face,) = put_pictures(workspace / "faces", 1)
    for name in ("-weird.png", "-2.png", "--face.png", "face.png"):
        shutil.copy(face, name)


def test_a_name_that_reads_as_an_option_with_its_value() -> None:
    """`-weird.png` is `-w eird.png`."""
    assert refusal("morph", "-weird.png", code=2) == NO_FACE + hint("-weird.png")
    assert refusal("morph", "face.png", "-weird.png") == (
        "There is no eird.png. Check its name and folder, use --weights faces-32 for those shipped, or train some with: "
        f"facevae train.{hint('-weird.png')}"
    )


@pytest.mark.parametrize("name", ["-2.png", "--face.png"])
def test_a_name_that_reads_as_no_option(name: str) -> None:
    assert f"No such option: {'-2' if name == '-2.png' else name}.{hint(name)}" in told("morph", name)
    assert hint(name).strip() in told("encode", "face.png", name, "-o", "z.h5")


def test_a_name_that_does_not_exist_gets_no_hint() -> None:
    assert "taken for options" not in told("morph", "-3.png")
    assert refusal("morph", "-whatever.png", code=2) == NO_FACE


def test_no_hint_is_left_from_the_command_before() -> None:
    refusal("morph", "-weird.png", code=2)
    assert refusal("morph", code=2) == NO_FACE


def test_what_the_hint_says_works() -> None:
    assert succeed("morph", "./-weird.png", "--json").json["faces"] == ["-weird"]
    assert succeed("morph", "--json", "--", "-weird.png").json["faces"] == ["-weird"]


def test_which_arguments_are_meant(workspace: Path) -> None:
    Path("-").touch()
    assert dashed_files(["face.png", "-", "-q", "-2.png", "--face.png", "--", "-weird.png"]) == ["-2.png", "--face.png"]
    assert dashed_files(["--", "-2.png"]) == []
    assert dashed_files(["-" * 5000]) == []
