"""`facevae explore`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from facevae.cli import completion
from facevae.cli.console import Reporter, emit_json, write_line
from facevae.cli.options import Device, FacesFile, Json, Quiet, Weights
from facevae.config import EXPLORE_FACES, EXPLORE_HOST, EXPLORE_PORT, FACES_FILE, LATENTS_FILE, MAP_FILE

EXAMPLE = "facevae explore"


def explore(
    latents: Annotated[
        Path | None,
        typer.Option(
            "--latents",
            metavar="FILE",
            autocompletion=completion.file_of(".h5"),
            help=f"Whose faces are on the map. Default: {LATENTS_FILE} in this folder, else random faces.",
        ),
    ] = None,
    weights: Weights = None,
    faces: FacesFile = FACES_FILE,
    map_file: Annotated[
        Path | None,
        typer.Option(
            "--map",
            metavar="FILE",
            autocompletion=completion.file_of(".h5"),
            help=f"The fitted map of the latents, or where to keep it. Default: {MAP_FILE}.",
        ),
    ] = None,
    random: Annotated[
        int | None,
        typer.Option(
            "--random", metavar="N", help=f"Put N random faces on the map. Default: {EXPLORE_FACES}, without latents."
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option("--host", metavar="ADDRESS", help="Where to listen; what other machines reach gets a token."),
    ] = EXPLORE_HOST,
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            metavar="N",
            help=f"Where to listen, 0 for any free port. Default: {EXPLORE_PORT}, or the next free one.",
        ),
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")] = True,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Look at the latent space in the browser: the map of all faces, the sliders and the decoder together.

    Prints the page's address and serves it until Ctrl-C. Nothing leaves this machine.
    """
    from facevae.explorer.explore import explore as run

    def ready(url: str) -> None:
        if as_json:
            emit_json({"url": url, "pid": os.getpid()})
        else:
            write_line(sys.stdout, url)

    with Reporter(quiet=quiet) as report:
        run(
            latents,
            weights=weights,
            faces=faces,
            map_file=map_file,
            random=random,
            host=host,
            port=port,
            browser=browser,
            device=device,
            ready=ready,
            report=report,
        )
