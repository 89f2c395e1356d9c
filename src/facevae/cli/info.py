"""`facevae info`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facevae.cli import completion
from facevae.cli.console import Reporter, emit_json
from facevae.cli.options import Json, Quiet
from facevae.cli.tables import new_table, print_tables
from facevae.config import DEVICES, WEIGHTS_FILE, ModelConfig
from facevae.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from facevae.workflows.info import NetworkInfo, ShippedInfo
    from facevae.workflows.info_facts import FileInfo

EXAMPLE = "facevae info vae.safetensors"


def info(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            autocompletion=completion.any_file,
            help="Weights, an upscaler, a checkpoint, faces or latents, or the name of shipped weights (faces-32). Without: the "
            "network.",
        ),
    ] = None,
    size: Annotated[
        int, typer.Option("--size", metavar="N", help="Without a file: the network for images of N pixels a side.")
    ] = ModelConfig.image_size,
    system: Annotated[
        bool,
        typer.Option(
            "--system",
            help="Instead of a file: this machine, what facevae uses of it, and how fast it trains, measured for two "
            "seconds.",
        ),
    ] = False,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            metavar="NAME",
            autocompletion=completion.one_of(DEVICES),
            help="With --system: auto, cpu, cuda or mps. Default: auto.",
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Say what a file is and how it was made; without a file, list the network layer by layer."""
    from facevae.workflows.info import info as describe
    from facevae.workflows.info import network_info, shipped_info, shipped_upscalers_info

    if system:
        _system(file, size, "auto" if device is None else device, quiet=quiet, as_json=as_json)
        return
    if device is not None:
        raise UsageError("--device says where to measure the speed: use it with --system.")
    if file is None:
        network = network_info(ModelConfig(image_size=size))
        if as_json:
            emit_json(_network_json(network, shipped_info(), shipped_upscalers_info()))
        else:
            print_tables(_network_table(network), _shipped_table(shipped_info(), shipped_upscalers_info()))
        return
    found = describe(file)
    if as_json:
        keys = ("name", "with", "without", "delta_length")
        rows = [dict(zip(keys, row, strict=True)) for row in found.attributes]
        emit_json({"path": str(found.path), "kind": found.kind, **found.values, "attributes": rows})
    else:
        print_tables(_facts_table(found), *([_attribute_table(found)] if found.attributes else []))


def _system(file: Path | None, size: int, device: str, *, quiet: bool, as_json: bool) -> None:
    from facevae.cli.system_tables import system_tables
    from facevae.workflows.system import system

    if file is not None:
        raise UsageError(f"--system describes this machine, not {file}: leave one of the two out.")
    if size != ModelConfig.image_size:
        raise UsageError(
            f"--system measures the reference network, not that of --size {size}: leave one of the two out."
        )
    with Reporter(quiet=quiet) as report:
        found = system(device, report=report)
    if as_json:
        emit_json(asdict(found))
    else:
        print_tables(*system_tables(found))


def _facts_table(found: FileInfo) -> Table:
    from rich.markup import escape

    table = new_table(escape(f"{found.path}: {found.kind}"), [("", "left"), ("", "left")], header=False)
    for name, value in found.facts.items():
        table.add_row(escape(name), escape(str(value)))
    return table


def _attribute_table(found: FileInfo) -> Table:
    from rich.markup import escape

    with_lengths = any(length is not None for *_, length in found.attributes)
    columns = [("attribute", "left"), ("with", "right"), ("without", "right"), ("share", "right")]
    table = new_table("", [*columns, ("length of delta", "right")] if with_lengths else columns)
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
    table = new_table(title, columns)
    for name, kind, shape, parameters in network.layers:
        table.add_row(name, kind, " x ".join(str(side) for side in shape), f"{parameters:,}" if parameters else "")
    table.add_section()
    table.add_row("all", "", "", f"{network.parameters:,}")
    return table


def _shipped_table(weights: ShippedInfo, upscalers: Sequence[ShippedInfo]) -> Table:
    from rich.markup import escape

    table = new_table("Weights shipped with facevae", [("", "left"), ("", "left")], header=False)
    about = [(weights, f"used where there is no {WEIGHTS_FILE}")]
    about += [(upscaler, f"upscaler of {upscaler.name}") for upscaler in upscalers]
    for shipped, use in about:
        table.add_row(
            escape(shipped.name), escape(shipped.problem or f"{use}; described by: facevae info {shipped.name}")
        )
    return table


def _network_json(network: NetworkInfo, weights: ShippedInfo, upscalers: Sequence[ShippedInfo]) -> dict[str, object]:
    keys = ("layer", "kind", "shape", "parameters")
    rows = [dict(zip(keys, row, strict=True)) for row in network.layers]
    return {
        "config": network.config.to_dict(),
        "layers": rows,
        "parameters": network.parameters,
        "shipped_weights": _shipped_json(weights),
        "shipped_upscalers": [_shipped_json(upscaler) for upscaler in upscalers],
    }


def _shipped_json(shipped: ShippedInfo) -> dict[str, object]:
    return {**asdict(shipped), "path": str(shipped.path)}
