"""`facevae attributes`: what faces can be moved along."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import facevae
from facevae.storage.latents import Latents
from helpers import lively_model, put_latents, put_other_weights, put_weights, refusal, run, succeed
from support import ATTRIBUTE_NAMES, Recorder


@pytest.fixture
def latents(workspace: Path) -> Path:
    put_weights(workspace)
    return put_latents(workspace)


def test_the_shipped_weights_are_listed(workspace: Path) -> None:
    outcome = succeed("attributes")
    assert outcome.stderr == "There is no vae.safetensors here: using the weights shipped with facevae (faces-32).\n"
    lines = [" ".join(line.split()) for line in outcome.lines]
    assert lines[0] == "Attributes of faces-32, in 32,611 faces"
    assert lines[2] == "attribute with share |delta| goes along with (correlation)"
    row = next(line for line in lines if line.startswith("Attractive"))
    assert row == "Attractive 16,752 51.4% 1.45 Wearing_Lipstick +0.49, Heavy_Makeup +0.48, Male -0.40"
    assert [line.split()[0] for line in lines[4:] if line] == list(facevae.FaceModel.load(shipped()).attribute_names)
    assert b"\x1b" not in outcome.stdout


def shipped() -> Path:
    from facevae.storage.shipped import shipped_weights

    return shipped_weights()


def test_json_has_all_companions(latents: Path) -> None:
    outcome = succeed("attributes", "--latents", latents, "--json")
    assert outcome.stderr == ""
    assert outcome.json["path"] == str(latents)
    with Latents(latents) as opened:
        assert opened.attributes is not None
        mean, has = opened.mean().astype(np.float64), opened.attributes > 0
    found = {row["name"]: row for row in outcome.json["attributes"]}
    assert tuple(found) == ATTRIBUTE_NAMES
    deltas = {
        name: mean[column].mean(axis=0) - mean[~column].mean(axis=0)
        for name, column in zip(ATTRIBUTE_NAMES, has.T, strict=True)
        if column.any()
    }
    for index, name in enumerate(ATTRIBUTE_NAMES):
        assert (found[name]["with"], found[name]["without"]) == (has[:, index].sum(), (~has[:, index]).sum())
        companions = {one["name"]: one for one in found[name]["companions"]}
        assert set(companions) == (set(deltas) - {name} if name in deltas else set())
        for other, one in companions.items():
            column = ATTRIBUTE_NAMES.index(other)
            assert one["correlation"] == pytest.approx(np.corrcoef(has[:, index], has[:, column])[0, 1], abs=1e-6)
            cosine = deltas[name] @ deltas[other] / np.linalg.norm(deltas[name]) / np.linalg.norm(deltas[other])
            assert one["cosine"] == pytest.approx(cosine, abs=1e-4)
        strengths = [abs(one["correlation"]) for one in found[name]["companions"]]
        assert strengths == sorted(strengths, reverse=True)
        length = np.linalg.norm(deltas[name]) if name in deltas else 0.0
        assert found[name]["delta_length"] == pytest.approx(length, rel=1e-4)
    assert found["Bald"]["companions"] == []


def test_the_table_names_three(latents: Path) -> None:
    lines = [" ".join(line.split()) for line in succeed("attributes", "--latents", latents).lines]
    rows = [line for line in lines if line.split() and line.split()[0] in ATTRIBUTE_NAMES]
    assert [row.count("+0.") + row.count("-0.") for row in rows] == [3, 0, 3, 3, 3]


def test_weights_of_an_older_facevae_tell_cosines(latents: Path) -> None:
    """They do not say which attributes go together."""
    outcome = succeed("attributes")
    assert outcome.stderr == (
        "vae.safetensors does not say which attributes go together, as an older facevae trained it: told are cosines.\n"
    )
    assert "goes along with (cosine)" in outcome.stdout.decode()
    assert succeed("attributes", "-q").stderr == ""
    directions = lively_model().directions
    assert directions is not None
    row = succeed("attributes", "--json").json["attributes"][0]
    unit = directions.deltas / np.maximum(np.linalg.norm(directions.deltas, axis=1), 1e-9)[:, None]
    strongest = max((abs(unit[0] @ unit[column]), name) for column, name in enumerate(ATTRIBUTE_NAMES) if column)[1]
    assert row["companions"][0]["name"] == strongest
    assert {one["correlation"] for one in row["companions"]} == {None}


def test_the_library_gives_the_same(latents: Path) -> None:
    report = Recorder()
    found = facevae.attributes("vae.safetensors", report=report)
    assert found.where == "vae.safetensors"
    assert [facts.name for facts in found.attributes] == list(ATTRIBUTE_NAMES)
    assert len(report.notices) == 1
    assert facevae.attributes(latents=str(latents)).attributes[2].companions[0].correlation is not None


def test_what_cannot_be_listed(latents: Path) -> None:
    assert refusal("attributes", "--latents", latents, "-w", "vae.safetensors", code=2) == (
        "--weights and --latents both say where attributes come from: leave one of the two out."
    )
    put_other_weights(Path("plain.safetensors"), attributes=False)
    reason = (
        "holds no attributes: it was made from single images, or from faces without an attribute table. "
        "Prepare faces with one (list_attr_celeba.txt) and begin from there."
    )
    assert refusal("attributes", "-w", "plain.safetensors") == f"plain.safetensors {reason}"
    put_latents(Path(), attributes=False)
    assert refusal("attributes", "--latents", "latents.h5") == f"latents.h5 {reason}"
    assert refusal("attributes", "--latents", "no.h5") == (
        "There is no no.h5. Make one with: facevae encode > latents.h5"
    )
    replace(lively_model(), directions=None).save("early.safetensors")
    assert refusal("attributes", "-w", "early.safetensors") == (
        "early.safetensors holds no attribute directions yet, as its training was broken off: finish it with facevae train "
        "--resume, or take them from latents with --latents."
    )
    assert run("attributes", "x").code == 2
