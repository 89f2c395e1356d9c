"""What the convolutions give out, a tile a channel."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from facevae.figures.canvas import (
    BACKGROUND,
    FAINT_INK,
    GAP,
    INK,
    LABEL_SIZE,
    MARGIN,
    Grid,
    Picture,
    draw_grid,
    enlarge,
    font,
)

Floats = NDArray[np.float32]

_COLUMNS = 16
_TILE = 64
_OVERVIEW_CHANNELS = 14
_OVERVIEW_TILE = 56
_COLOUR_MAP = "viridis"
_DARKEST, _BRIGHTEST = 2, 98
"""Percentiles: transposed convolutions pile up a few huge values near a corner, which would leave the face no colours."""
_HOW_SCALED = f"each channel on its own scale, dark to bright from its {_DARKEST}nd to its {_BRIGHTEST}th percentile"


def channel_tile(channel: Floats) -> NDArray[np.uint8]:
    """Return one channel (H, W) as colours (H, W, 3), from its 2nd percentile to its 98th; a flat one is all dark."""
    low, high = np.percentile(channel, [_DARKEST, _BRIGHTEST])
    scaled = np.clip((channel - low) / (high - low), 0, 1) if high > low else np.zeros_like(channel)
    colours = mpl.colormaps[_COLOUR_MAP](scaled)[..., :3]
    tile: NDArray[np.uint8] = np.rint(colours * 255).astype(np.uint8)
    return tile


def layer_picture(title: str, maps: Floats) -> Image.Image:
    """Return every channel of a layer's output (C, H, W) as a grid of tiles, 16 a row, numbered at the left."""
    tiles = [channel_tile(channel) for channel in maps]
    rows = [tiles[start : start + _COLUMNS] for start in range(0, len(tiles), _COLUMNS)]
    count, height, width = maps.shape
    is_rgb = count == 3
    return draw_grid(
        Grid(
            rows,
            _TILE if not is_rgb else 3 * _TILE,
            title=f"{title}: {count} channels of {height} × {width}",
            subtitle=_HOW_SCALED,
            column_labels=("red", "green", "blue") if is_rgb else (),
            row_labels=() if is_rgb else [f"{start}" for start in range(0, count, _COLUMNS)],
            smooth=False,
            gap=3 if not is_rgb else GAP,
        )
    )


def input_picture(original: Image.Image, scaled: NDArray[np.uint8]) -> Image.Image:
    """Return the face as it came, beside what the network sees of it."""
    size = scaled.shape[0]
    side = 3 * _TILE
    shown = original.copy()
    shown.thumbnail((side, side), Image.Resampling.LANCZOS)
    framed = Image.new("RGB", (side, side), BACKGROUND)
    framed.paste(shown, ((side - shown.width) // 2, (side - shown.height) // 2))
    labels = [f"input {original.width} × {original.height}", f"scaled to {size} × {size}"]
    return draw_grid(Grid([[framed, enlarge(scaled, side, smooth=False)]], side, column_labels=labels))


def _strongest(maps: Floats, count: int) -> list[int]:
    """Return the channels that vary most over the picture, in channel order."""
    low, high = np.percentile(maps, [10, 90], axis=(1, 2))
    spread = high - low
    return sorted(np.argsort(-spread, kind="stable")[:count].tolist())


def overview_picture(
    original: Image.Image,
    scaled: NDArray[np.uint8],
    reconstruction: NDArray[np.uint8],
    layers: Sequence[tuple[str, Floats]],
) -> Image.Image:
    """Return the way of one face through the network: input, the liveliest channels of each layer, reconstruction.

    `layers` holds a short title and the maps (C, H, W) of each convolution, in order.
    """
    tile = _OVERVIEW_TILE
    rows: list[list[Picture | None]] = []
    labels: list[str] = []
    for title, maps in layers:
        chosen = _strongest(maps, _OVERVIEW_CHANNELS)
        rows.append([channel_tile(maps[index]) for index in chosen])
        labels.append(f"{title}, {maps.shape[0]} × {maps.shape[1]} × {maps.shape[2]}")
    body = draw_grid(Grid(rows, tile, row_labels=labels, smooth=False, gap=3))
    head = _overview_head(original, scaled, reconstruction)
    canvas = Image.new("RGB", (max(head.width, body.width), head.height + body.height), BACKGROUND)
    canvas.paste(head, (0, 0))
    canvas.paste(body, (0, head.height))
    return canvas


def _overview_head(original: Image.Image, scaled: NDArray[np.uint8], reconstruction: NDArray[np.uint8]) -> Image.Image:
    side = 2 * _TILE
    fitted = original.copy()
    fitted.thumbnail((side, side), Image.Resampling.LANCZOS)
    size = scaled.shape[0]
    pictures = [
        (fitted, f"input {original.width} × {original.height}"),
        (enlarge(scaled, side, smooth=False), f"seen by the encoder, {size} × {size}"),
        (enlarge(reconstruction, side, smooth=False), "given out by the decoder"),
    ]
    note = f"Below: the {_OVERVIEW_CHANNELS} channels of each layer that vary most; {_HOW_SCALED}."
    widths = [int(font(LABEL_SIZE).getlength(text)) + 1 for text in (*(label for _, label in pictures), note)]
    column = max(side, *widths[:-1]) + MARGIN
    width = 2 * MARGIN + max(len(pictures) * column, widths[-1])
    canvas = Image.new("RGB", (width, side + 80), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    for index, (picture, label) in enumerate(pictures):
        x = MARGIN + index * column
        canvas.paste(picture, (x, MARGIN + 22))
        draw.text((x, MARGIN), label, font=font(LABEL_SIZE), fill=INK)
    draw.text((MARGIN, side + 46), note, font=font(LABEL_SIZE), fill=FAINT_INK)
    return canvas
