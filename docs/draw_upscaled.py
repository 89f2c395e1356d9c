"""Draws docs/images/upscaled.png, samples enlarged bicubically and by VDSR:  python docs/draw_upscaled.py"""

from __future__ import annotations

from pathlib import Path

from facevae.figures.canvas import Grid, draw_grid
from facevae.progress import silent
from facevae.workflows.common import load_model
from facevae.workflows.upscalers import FaceUpscaling

HERE = Path(__file__).parent
_COUNT, _SEED, _FACTOR, _SIZE = 5, 3, 3, 192


def main() -> None:
    """Draw the same samples three times; none of them is a person."""
    faces = load_model("faces-32", "cpu", silent).sample(_COUNT, seed=_SEED)
    shown = [list(faces)]
    for inputs in ("photographs", "reconstructions"):
        shown.append(list(FaceUpscaling.load(_FACTOR, inputs, "reconstructions", "cpu", silent).all(faces)))
    labels = ["bicubic", "VDSR of photographs", "VDSR of reconstructions"]
    draw_grid(Grid(shown, _SIZE, row_labels=labels)).save(HERE / "images" / "upscaled.png", optimize=True)


if __name__ == "__main__":
    main()
