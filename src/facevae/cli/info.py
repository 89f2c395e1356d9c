"""`facevae info`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facevae.cli.console import emit_json
from facevae.cli.options import Json
from facevae.config import ModelConfig

if TYPE_CHECKING:
    from rich.table import Table

    from facevae.workflows.info import FileInfo, NetworkInfo

EXAMPLE = "facevae info vae.safetensors"
_PLAIN_WIDTH = 120


def info(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="Weights, checkpoint, faces or latents. Without: the network."),
    ] = None,
    size: Annotated[
        int, typer.Option("--size", metavar="N", help="Without a file: the network for images of N pixels a side.")
    ] = ModelConfig.image_size,
    as_json: Json = False,
) -> None:
    """Say what a file is and how it was made; without a file, list the network layer by layer."""
    from facevae.workflows.info import info as describe
    from facevae.workflows.info import network_info

    if file is None:
        network = network_info(ModelConfig(image_size=size))
        if as_json:
            emit_json(_network_json(network))
        else:
            _print(_network_table(network))
        return
    found = describe(file)
    if as_json:
        keys = ("name", "with", "without", "delta_length")
        rows = [dict(zip(keys, row, strict=True)) for row in found.attributes]
        emit_json({"path": str(found.path), "kind": found.kind, **found.facts, "attributes": rows})
    else:
        _print(_facts_table(found), *([_attribute_table(found)] if found.attributes else []))


def _print(*tables: Table) -> None:
    import io
    import sys

    from rich.console import Console

    # A file name may hold what the terminal cannot show; Rich would fail over it.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    # A pipe has no width of its own: hashes must not be folded there.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
    for table in tables:
        console.print(table)


def _table(title: str, columns: list[tuple[str, str]], *, header: bool = True) -> Table:
    """Return an empty table with (name, "left" or "right") columns."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_header=header, pad_edge=False)
    for name, side in columns:
        table.add_column(name, justify="right" if side == "right" else "left", overflow="fold")
    return table


def _facts_table(found: FileInfo) -> Table:
    from rich.markup import escape

    table = _table(escape(f"{found.path}: {found.kind}"), [("", "left"), ("", "left")], header=False)
    for name, value in found.facts.items():
        table.add_row(escape(name), escape(str(value)))
    return table


def _attribute_table(found: FileInfo) -> Table:
    from rich.markup import escape

    with_lengths = any(length is not None for *_, length in found.attributes)
    columns = [("attribute", "left"), ("with", "right"), ("without", "right"), ("share", "right")]
    table = _table("", [*columns, ("length of delta", "right")] if with_lengths else columns)
    for name, positive, negative, length in found.attributes:
        share = f"{positive / max(positive + negative, 1):.1%}"
        cells = [escape(name), f"{positive:,}", f"{negative:,}", share]
        table.add_row(*cells, *([f"{length:.2f}"] if length is not None else []))
    return table


def _network_table(network: NetworkInfo) -> Table:
    config = network.config
    title = (
        f"The reference VAE: {config.image_size} x {config.image_size} RGB, {config.channels} channels, "
        f"{config.latent_dim} latent dimensions"
    )
    columns = [("layer", "left"), ("kind", "left"), ("output shape", "left"), ("parameters", "right")]
    table = _table(title, columns)
    for name, kind, shape, parameters in network.layers:
        table.add_row(name, kind, " x ".join(str(side) for side in shape), f"{parameters:,}" if parameters else "")
    table.add_section()
    table.add_row("all", "", "", f"{network.parameters:,}")
    return table


def _network_json(network: NetworkInfo) -> dict[str, object]:
    keys = ("layer", "kind", "shape", "parameters")
    rows = [dict(zip(keys, row, strict=True)) for row in network.layers]
    return {"config": network.config.to_dict(), "layers": rows, "parameters": network.parameters}
