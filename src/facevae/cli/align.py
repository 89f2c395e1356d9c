"""`facevae align`."""

from __future__ import annotations

from typing import Annotated

import typer

from facevae.cli.console import Reporter, counted, emit, picture_output, read_face, say
from facevae.cli.options import Json, Quiet, Strict, WhichFace
from facevae.config import ALIGNED_DIRECTORY

EXAMPLE = "facevae align photos/ -o aligned/"


def align(
    photos: Annotated[
        list[str],
        typer.Argument(metavar="PHOTO", help="Images, or folders with all images below; - reads one image from stdin."),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="A folder, or for one image the picture to write, - for standard output. Default: aligned.",
        ),
    ] = None,
    which: WhichFace = None,
    strict: Strict = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Find the faces of photographs and bring them to CelebA's frame: 178 x 218 pixels, upright, the eyes in their places.

    Writes aligned/anna.png for anna.jpg; then facevae prepare --celeba-dir aligned/ takes them. Needs the extra align.
    """
    target = picture_output(output, as_json=as_json)
    sources = [read_face(photo, "align") for photo in photos]
    from facevae.workflows.align import align as run

    with Reporter(quiet=quiet) as report:
        result = run(sources, target or ALIGNED_DIRECTORY, which=which, strict=strict, report=report)
    if not quiet:
        say(f"{counted(len(result.faces), 'face')}.")
    skipped = [{"name": name, "reason": reason} for name, reason in result.skipped]
    emit(list(result.paths), {"faces": [face.to_dict() for face in result.faces], "skipped": skipped}, as_json=as_json)
