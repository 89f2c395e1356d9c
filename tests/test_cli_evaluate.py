"""`facevae evaluate`: its tables and its JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import support
from facevae.metrics.edits import EditFigures
from facevae.workflows.evaluate import Evaluation
from helpers import put_other_weights, refusal, succeed
from test_evaluate import calm_model, small_judge


@pytest.fixture
def judged(workspace: Path, faces_file: Path) -> Path:
    """A workspace with faces, weights and a judge."""
    calm_model().save("vae.safetensors")
    small_judge().save("judge.safetensors")
    return workspace


def lines_of(*arguments: str) -> list[str]:
    outcome = succeed("evaluate", "--judge", "judge.safetensors", *arguments)
    assert "\x1b" not in outcome.stdout.decode()
    return [line.rstrip() for line in outcome.lines]


def row(lines: list[str], name: str) -> str:
    """What a line of the table says after its name."""
    (line,) = (line for line in lines if line.strip().startswith(f"{name} "))
    return line.strip().removeprefix(name).strip()


def test_the_table_tells_the_figures_of_the_json(judged: Path) -> None:
    lines = lines_of()
    found: dict[str, Any] = succeed("evaluate", "--judge", "judge.safetensors", "--json").json
    assert lines[0].strip() == "vae.safetensors on the 10 faces of valid in faces.h5"

    def number(figure: dict[str, float], digits: int) -> str:
        return f"{figure['value']:.{digits}f} ± {figure['standard_error']:.{digits}f}"

    reconstruction, latents = found["reconstruction"], found["latents"]
    assert row(lines, "mean squared error").startswith(number(reconstruction["mse"], 5))
    assert row(lines, "PSNR") == f"{number(reconstruction['psnr'], 2)} dB"
    assert row(lines, "SSIM  ").startswith(number(reconstruction["ssim"], 3))
    assert row(lines, "PCA, 20 components") == number(found["pca"]["errors"][0][1], 5)
    active = f"PCA, {latents['active_units']} components"
    assert row(lines, active).startswith(number(found["pca"]["at_active_units"], 5))
    assert row(lines, "KL divergence") == f"{number(latents['kl'], 1)} nats"
    assert row(lines, "active units").startswith(f"{latents['active_units']} of 6")
    assert row(lines, "negative ELBO").startswith(f"{number(latents['negative_elbo'], 1)} nats")
    assert f"sigma {latents['noise_scale']:.4f}" in row(lines, "negative ELBO")
    accuracy = found["probe"]["mean_accuracy"]
    expected = f"{100 * accuracy['value']:.1f} ± {100 * accuracy['standard_error']:.1f}%"
    assert row(lines, "linear probe, accuracy").startswith(expected)
    assert row(lines, "samples from N(0, I)").startswith(number(found["samples"]["normal"], 3))
    assert row(lines, "other real faces").startswith(number(found["samples"]["floor"], 3))
    assert row(lines, "n = +2 gives attribute").endswith("as the judge sees it")


def test_every_attribute_has_a_row(judged: Path) -> None:
    lines = lines_of()
    found: dict[str, Any] = succeed("evaluate", "--judge", "judge.safetensors", "--json").json
    probes = {score["name"]: score for score in found["probe"]["attributes"]}
    for number, score in enumerate(found["edits"]["attributes"]):
        cells = row(lines, score["name"]).split()
        accuracy = probes[score["name"]]["accuracy"]["value"]
        assert cells[0] == f"{100 * accuracy:.1f}"
        shares = [f"{100 * score[key]['value']:.0f}" if score[key] else "-" for key in ("given", "taken")]
        assert cells[3:5] == shares
        effects = dict(zip(found["edits"]["judged"], found["edits"]["effects"][number], strict=True))
        effects.pop(score["name"])
        strongest = max(effects, key=lambda name: abs(effects[name]))
        assert cells[6:8] == [strongest, f"{effects[strongest]:+.1f},"]


def test_the_tables_fit_a_laptop(judged: Path) -> None:
    assert max(len(line) for line in lines_of()) <= 100


def test_the_parts_that_are_left_out_have_no_lines(workspace: Path) -> None:
    support.write_faces(Path("plain.h5"), attributes=False)
    put_other_weights(Path("other.safetensors"), attributes=False)
    small_judge().save("judge.safetensors")
    outcome = succeed(
        "evaluate", "--faces", "plain.h5", "-w", "other.safetensors", "--judge", "judge.safetensors", "--split", "test"
    )
    assert outcome.stderr == "plain.h5 holds no attributes: linear probes and edits are left out.\n"
    text = outcome.stdout.decode()
    assert "other.safetensors on the 10 faces of test in plain.h5" in text
    assert "linear probe" not in text
    assert "attribute" not in text
    assert "samples from N(0, I)" in text


def test_no_edits(judged: Path) -> None:
    lines = lines_of("--no-edits")
    assert not any("n = +2" in line or "also moves" in line for line in lines)
    header = next(line for line in lines if line.strip().startswith("attribute"))
    assert header.split() == ["attribute", "probe", "bal.", "maj."]


def test_a_row_for_each_attribute_that_only_one_part_knows(judged: Path) -> None:
    """An attribute that is probed but not edited, and the other way round, leaves its cells empty."""
    from dataclasses import replace

    import facevae
    from facevae.cli.evaluation_tables import _attribute_rows

    found: Evaluation = facevae.evaluate(judge="judge.safetensors")
    assert isinstance(found.edits, EditFigures)
    assert found.probe is not None
    edits = replace(found.edits, attributes=found.edits.attributes[:1])
    probe = replace(found.probe, attributes=found.probe.attributes[1:2])
    rows = list(_attribute_rows(replace(found, edits=edits, probe=probe)))
    assert [cells[0] for cells in rows] == ["Male", "Attractive"]
    assert rows[0][4:] == [""] * 4
    assert rows[1][1:4] == [""] * 3
    assert len({len(cells) for cells in rows}) == 1


def test_wrong_requests(judged: Path) -> None:
    assert refusal("evaluate", "--split", "train", code=2) == (
        "Weights are not evaluated on the split train: use valid or test, which they are not trained on."
    )
    assert refusal("evaluate", "--faces", "none.h5", "--judge", "judge.safetensors").startswith("There is no none.h5.")
