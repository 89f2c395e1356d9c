"""What files say of the command that made them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import facevae
from facevae import provenance
from helpers import put_latents, put_weights, succeed

FACEVAE = [sys.executable, "-m", "facevae"]


@pytest.fixture(autouse=True)
def _no_command() -> Iterator[None]:
    yield
    provenance.set_command([])
    provenance._command = ""


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["encode", "-o", "z.h5"], "facevae encode -o z.h5"),
        (["morph", "my face.jpg", "--attr", "Big_Nose"], "facevae morph 'my face.jpg' --attr Big_Nose"),
        (["encode", "a'b.jpg"], "facevae encode 'a'\"'\"'b.jpg'"),
        (["encode", "caf\udce9.jpg"], r"facevae encode 'caf\udce9.jpg'"),
        ([], "facevae"),
    ],
)
def test_the_command_line_may_be_typed_again(arguments: list[str], text: str) -> None:
    provenance.set_command(arguments)
    assert provenance.command() == text


def test_a_star_of_a_hundred_thousand_names_is_cut_short() -> None:
    provenance.set_command(["encode", *(f"{number:06}.jpg" for number in range(100_000))])
    assert len(provenance.command()) == 2_000
    assert provenance.command().endswith(" ...")


def told(path: str) -> str | None:
    command = succeed("info", path, "--json").json.get("command")
    assert command is None or isinstance(command, str)
    return command


def test_every_kind_of_file_says_it(faces_file: Path, workspace: Path) -> None:
    lines = [
        "train --channels 2 --latent-dim 4 --epochs 1 --batch-size 20 -o new.safetensors --device cpu",
        "encode --weights new.safetensors -o z.h5",
        "encode --weights new.safetensors -o half.h5 --shard 1/1",
        "merge half.h5 -o joined.h5",
    ]
    for line in lines[:-1]:
        provenance.set_command([*line.split(), "-q"])
        succeed(*line.split(), "-q")
    subprocess.run([*FACEVAE, *lines[-1].split(), "-q"], check=True, capture_output=True, timeout=60)
    train, encode, _, merge = (f"facevae {line} -q" for line in lines)
    for path, line in {"new.safetensors": train, "new.checkpoint.safetensors": train, "z.h5": encode}.items():
        assert told(path) == line
    assert told("joined.h5") == merge


def test_the_library_says_nothing(faces_file: Path, workspace: Path) -> None:
    put_weights(workspace)
    facevae.encode(output="z.h5")
    assert told("z.h5") is None
    assert told("vae.safetensors") is None


def test_the_same_command_makes_the_same_file(faces_file: Path, workspace: Path) -> None:
    put_weights(workspace)
    made = []
    for _ in range(2):
        provenance.set_command(["encode", "-o", "z.h5"])
        facevae.encode(output="z.h5")
        made.append(Path("z.h5").read_bytes())
    assert made[0] == made[1]


def test_a_command_that_is_no_text_does_no_harm(workspace: Path) -> None:
    import h5py

    put_weights(workspace)
    path = put_latents(workspace)
    with h5py.File(path, "r+") as file:
        file.attrs["command"] = [1, 2, 3]
    assert told(str(path)) == "[1 2 3]"
