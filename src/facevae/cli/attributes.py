"""`facevae attributes`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facevae.cli import completion
from facevae.cli.console import Reporter, emit_json
from facevae.cli.options import Json, Quiet, Weights
from facevae.cli.tables import new_table, print_tables

if TYPE_CHECKING:
    from rich.table import Table

    from facevae.workflows.attributes import AttributeFacts, AttributeList

EXAMPLE = "facevae attributes --weights faces-32"

_COMPANIONS = 3


def attributes(
    weights: Weights = None,
    latents: Annotated[
        Path | None,
        typer.Option(
            "--latents",
            metavar="FILE",
            autocompletion=completion.file_of(".h5"),
            help="List those of these latents, not those of the weights.",
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """List the attributes that faces can be moved along, and what goes along with each.

    How many images have it, the length of its direction, and the three attributes that go along with it most, or least.
    """
    from facevae.workflows.attributes import attributes as run

    with Reporter(quiet=quiet) as report:
        found = run(weights, latents=latents, report=report)
    if as_json:
        emit_json({"path": found.where, "attributes": [_json(facts) for facts in found.attributes]})
    else:
        print_tables(_table(found))


def _table(found: AttributeList) -> Table:
    from rich.markup import escape

    told = (
        "cosine"
        if any(one.correlation is None for facts in found.attributes for one in facts.companions)
        else "correlation"
    )
    columns = [
        ("attribute", "left"),
        ("with", "right"),
        ("share", "right"),
        ("|delta|", "right"),
        (f"goes along with ({told})", "left"),
    ]
    images = max((facts.positive + facts.negative for facts in found.attributes), default=0)
    table = new_table(escape(f"Attributes of {found.where}, in {images:,} faces"), columns)
    for facts in found.attributes:
        share = facts.positive / max(facts.positive + facts.negative, 1)
        companions = ", ".join(
            f"{one.name} {one.cosine if one.correlation is None else one.correlation:+.2f}"
            for one in facts.companions[:_COMPANIONS]
        )
        table.add_row(
            escape(facts.name),
            f"{facts.positive:,}",
            f"{share:.1%}",
            f"{facts.delta_length:.2f}",
            escape(companions),
        )
    return table


def _json(facts: AttributeFacts) -> dict[str, object]:
    return {
        "name": facts.name,
        "with": facts.positive,
        "without": facts.negative,
        "delta_length": facts.delta_length,
        "companions": [one._asdict() for one in facts.companions],
    }
