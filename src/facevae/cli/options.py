"""The options that several commands share, in one wording."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facevae.cli import completion
from facevae.config import DEVICES, EVERY_FACE, PICTURE_FORMATS, PRECISIONS, UPSCALE_FACTORS

Weights = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        "-w",
        metavar="FILE",
        autocompletion=completion.weights_file,
        help="Trained weights; faces-32: those shipped. Default: vae.safetensors in this folder, else faces-32.",
    ),
]
FacesFile = Annotated[
    Path,
    typer.Option(
        "--faces",
        metavar="FILE",
        autocompletion=completion.file_of(".h5"),
        help="Prepared faces, as facevae prepare wrote them.",
    ),
]
Device = Annotated[
    str,
    typer.Option("--device", metavar="NAME", autocompletion=completion.one_of(DEVICES), help="auto, cpu, cuda or mps."),
]
Precision = Annotated[
    str | None,
    typer.Option(
        "--precision",
        metavar="NAME",
        autocompletion=completion.one_of(PRECISIONS),
        help=f"Of the convolutions: {', '.join(PRECISIONS)}. Default: auto, bf16 where the device computes it natively.",
    ),
]
MaxTime = Annotated[
    str | None,
    typer.Option(
        "--max-time",
        metavar="TIME",
        help="Stop after 90s, 30m, 1.5h, ... and keep what was trained; --resume goes on.",
    ),
]
Align = Annotated[
    bool,
    typer.Option(
        "--align/--no-align", help="Find faces and bring them to CelebA's frame, or take whole pictures as they are."
    ),
]
WhichFace = Annotated[
    str | None,
    typer.Option(
        "--face",
        metavar="N|all",
        autocompletion=completion.one_of([EVERY_FACE]),
        help="Of several faces: 1 the largest, 2 the next, ..., or all. Default: the largest.",
    ),
]
Scale = Annotated[
    int | None,
    typer.Option("--scale", metavar="N", help="Show faces enlarged N times. Default: to about 96 pixels."),
]
Upscale = Annotated[
    int | None,
    typer.Option(
        "--upscale",
        metavar="N",
        autocompletion=completion.one_of(UPSCALE_FACTORS),
        help="Instead of --scale: show faces enlarged 2, 3 or 4 times by VDSR.",
    ),
]
Upscaler = Annotated[
    Path | None,
    typer.Option(
        "--upscaler",
        metavar="FILE",
        autocompletion=completion.upscaler_file,
        help="A trained upscaler; photographs, reconstructions: those shipped. Default: upscaler.safetensors in this "
        "folder, else photographs.",
    ),
]
DecodedUpscaler = Annotated[
    Path | None,
    typer.Option(
        "--upscaler",
        metavar="FILE",
        autocompletion=completion.upscaler_file,
        help="With --upscale: what enlarges decoded faces; photographs, reconstructions: those shipped. Default: "
        "upscaler-reconstructions.safetensors in this folder, else reconstructions.",
    ),
]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first unreadable image instead of leaving it out.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no notices; errors only.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
PictureFormat = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="NAME",
        autocompletion=completion.one_of(PICTURE_FORMATS),
        help="png for a strip; gif, webp, apng or mp4 for an animation. Default: what the name of the output says.",
    ),
]
PictureOutput = Annotated[
    str | None,
    typer.Option("--output", "-o", metavar="FILE", help="The picture to write; - for standard output."),
]
