"""What is proposed for the name of a file that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from facevae.storage.near_files import near_file
from helpers import put_weights, refusal

BESIDE = ("vae.safetensors", "latents.h5", "map.h5", "vae.loss.png", ".vae2.safetensors", "smiles.safetensors")


@pytest.fixture(autouse=True)
def beside(workspace: Path) -> None:
    for folder in (workspace, workspace / "runs"):
        folder.mkdir(exist_ok=True)
        for name in BESIDE:
            (folder / name).touch()


@pytest.mark.parametrize(
    ("name", "proposed"),
    [
        ("vea.safetensors", "vae.safetensors"),
        ("vae", "vae.safetensors"),
        ("vae.safe", "vae.safetensors"),
        ("VAE.safetensors", "vae.safetensors"),
        ("smile.safetensors", "smiles.safetensors"),
        ("runs/vea.safetensors", "vae.safetensors"),
        ("faces32", "faces-32"),
        ("face-32.safetensors", "faces-32"),
        ("latent.h5", "latents.h5"),
        ("maps.h5", "map.h5"),
    ],
)
def test_the_nearest_is_proposed(name: str, proposed: str) -> None:
    assert near_file(Path(name), (".safetensors", ".h5"), ["faces-32"]) == f" Did you mean {proposed}?"


@pytest.mark.parametrize(
    "name",
    [
        "quux.safetensors",
        "safetensors",
        "latents.safetensors",
        "runs/faces-32",
        "no/vae.safetensors",
        "x\0y",
        "vae.loss.png",
    ],
)
def test_nothing_is_near(name: str) -> None:
    """Neither for its suffix alone, nor a hidden file, nor one of another kind, nor the missing one itself."""
    assert near_file(Path(name), (".safetensors",), ["faces-32"]) == ""


def test_of_two_suffixes_the_one_that_was_given() -> None:
    Path("faces.h5").touch()
    Path("faces.safetensors").touch()
    for suffix in (".h5", ".safetensors"):
        assert near_file(Path(f"fases{suffix}"), (".safetensors", ".h5")) == f" Did you mean faces{suffix}?"


def test_a_broken_link_does_not_propose_itself() -> None:
    Path("gone.safetensors").symlink_to("nowhere")
    assert near_file(Path("gone.safetensors"), (".safetensors",)) == ""


def test_the_commands_propose_it(workspace: Path) -> None:
    put_weights(workspace / "runs")
    assert refusal("sample", "-w", "vae2") == "There is no vae2. Did you mean vae.safetensors?"
    assert refusal("sample", "-w", "runs/vae_.safetensors") == (
        "There is no runs/vae_.safetensors. Did you mean vae.safetensors?"
    )
    assert refusal("sample", "-w", "face-32") == "There is no face-32. Did you mean faces-32?"
    assert refusal("sample", "-w", "quux.safetensors") == (
        "There is no quux.safetensors. Check its name and folder, use --weights faces-32 for those shipped, "
        "or train some with: facevae train"
    )
    assert refusal("sample", "--upscale", "2", "--upscaler", "photograph", "-w", "runs/vae.safetensors") == (
        "There is no photograph. Did you mean photographs?"
    )
    assert refusal("info", "latent.h5") == "There is no latent.h5. Did you mean latents.h5?"
    assert refusal("info", "zzz") == (
        "There is no zzz. Name a file that facevae wrote, such as vae.safetensors or faces.h5."
    )
