"""The pictures of faces between faces: a strip, and the frames of an animation."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facevae.figures.animation import there_and_back
from facevae.figures.canvas import Grid, draw_grid

Images = NDArray[np.uint8]


def interpolation_grid(
    originals: Images,
    between: NDArray[np.uint8],
    places: Sequence[float],
    names: Sequence[str],
    way: str,
    tile_size: int,
) -> Image.Image:
    """Return one row for each pair of faces that follow each other: the one, the decoded latents between them, the other.

    `originals` is (N, S, S, 3), `between` (N - 1, K, S, S, 3) for K places t; `way` says in the subtitle what was decoded.
    """
    pairs = [f"{first} → {second}" for first, second in pairwise(names)]
    rows = [[originals[pair], *row, originals[pair + 1]] for pair, row in enumerate(between)]
    alone = len(rows) == 1
    ends = names if alone else ("from", "to")
    return draw_grid(
        Grid(
            rows,
            tile_size,
            subtitle=way,
            column_labels=[ends[0], *(f"t = {place:.3g}" for place in places), ends[1]],
            row_labels=() if alone else pairs,
        )
    )


def interpolation_frames(
    originals: Images, between: NDArray[np.uint8], places: Sequence[float], names: Sequence[str], tile_size: int
) -> list[Image.Image]:
    """Return the frames of an animation from the first face to the last and back, between the two faces it is between.

    For the shapes see `interpolation_grid`. A face that a pair shares with the next is shown once.
    """
    forth = []
    for pair, row in enumerate(between):
        for index, place in enumerate(places):
            if pair and not index:
                continue  # where the pair before has ended
            tiles = [originals[pair], row[index], originals[pair + 1]]
            labels = [names[pair], f"t = {place:.2f}", names[pair + 1]]
            forth.append(draw_grid(Grid([tiles], tile_size, column_labels=labels)))
    return there_and_back(forth)
