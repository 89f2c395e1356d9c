"""The plots: the loss while training, and the map of the latents. Figures are made without pyplot's global state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

BLUE = "#0072B2"
VERMILION = "#D55E00"
GREY = "#999999"
PALE_GREY = "#c4c4c4"
"""Of the palette of Okabe & Ito, told apart with every common colour blindness."""
_LONG_NAME = 24


class LossCurves(NamedTuple):
    """One split's history: `epochs` passed at each point, and the loss with its two parts there."""

    epochs: Sequence[float]
    loss: Sequence[float]
    reconstruction: Sequence[float]
    kl: Sequence[float]


def loss_plot(train: LossCurves, valid: LossCurves, reconstruction_weight: float, kl_weight: float) -> Figure:
    """Return the loss, its reconstruction part and its KL divergence over the epochs, for train and valid."""
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    panels = figure.subplots(1, 3)
    titles = (
        ("loss", "Loss"),
        ("reconstruction", f"Reconstruction ({reconstruction_weight:,g} × MSE)"),
        ("kl", "KL divergence, nats" + ("" if kl_weight == 1 else f" (weighted by {kl_weight:g} in the loss)")),
    )
    for axes, (name, title) in zip(panels, titles, strict=True):
        train_values, valid_values = getattr(train, name), getattr(valid, name)
        axes.plot(train.epochs, train_values, color=BLUE, linewidth=1.4, label="train")
        if valid.epochs:
            axes.plot(
                valid.epochs, valid_values, color=VERMILION, linewidth=1.4, marker="o", markersize=4.5, label="valid"
            )
        _scale(axes, [*train_values, *valid_values])
        axes.set_title(title, fontsize=11)
        axes.set_xlabel("epoch")
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        axes.grid(color="#e5e5e5", linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False)
    return figure


def _scale(axes: Axes, values: Sequence[float]) -> None:
    """Cut off the first steps' peak where it would squeeze the rest of the curve into a line at the bottom."""
    if not values:
        return
    low, high = min(values), max(values)
    settled = float(np.percentile(values, 90))
    if high > 2 * settled:
        high = settled + 0.3 * (settled - low)
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    axes.set_ylim(low - margin, high + margin)


def gain_plot(
    train_epochs: Sequence[float], train_gains: Sequence[float], epochs: Sequence[float], gains: Sequence[float]
) -> Figure:
    """Return how many dB an upscaler gains over bicubic on the patches it learns from, and on faces that were held out."""
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0.0, color=GREY, linewidth=1.2, linestyle="--", label="bicubic enlargement")
    axes.plot(train_epochs, train_gains, color=BLUE, linewidth=1.4, label="patches trained on, all factors")
    if epochs:
        axes.plot(epochs, gains, color=VERMILION, linewidth=1.4, marker="o", markersize=4.5, label="faces held out, ×3")
    axes.set_ylim(*_gain_limits([*train_gains, *gains]))
    axes.set_title("Gain over bicubic enlargement, dB of luma", fontsize=11)
    axes.set_xlabel("epoch")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.grid(color="#e5e5e5", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


def _gain_limits(values: Sequence[float]) -> tuple[float, float]:
    """Return what of the scale to show: all gains and the zero, but not how deep the first steps may fall below it."""
    settled = float(np.percentile(values, 10)) if values else 0.0
    high = max(0.1, *values, settled)
    low = min(0.0, *values, settled)
    if low < settled - (high - settled):
        low = min(0.0, settled - 0.3 * (high - settled))
    margin = 0.06 * (high - low)
    return low - margin, high + margin


def scatter_plot(
    coordinates: NDArray[np.float32],
    labels: NDArray[np.bool_] | None,
    attribute: str,
    *,
    subtitle: str,
    beneath: NDArray[np.float32] | None = None,
) -> Figure:
    """Return the map of latents (N, 2): a dot an image, coloured by `labels` (N), with a disk at the mean of each class's dots.

    Without labels the dots are of one colour. The dots (M, 2) of `beneath` are those of an older map that the others were
    placed on: they are grey and belong to no class.
    """
    everything = coordinates if beneath is None else np.concatenate([coordinates, beneath])
    # The two axes have one scale, so the page takes the shape of the map.
    width, height = np.maximum(np.ptp(everything, axis=0), 1e-6)
    figure = Figure(figsize=(9, float(np.clip(9 * height / width, 5.0, 10.0)) + 1.5), layout="constrained")
    axes = figure.subplots()
    handles: list[Line2D] = []
    if beneath is not None:
        _draw_dots(axes, beneath, np.full(len(beneath), PALE_GREY), total=len(beneath), zorder=1)
    count = len(coordinates)
    colours = np.full(count, BLUE) if labels is None else np.where(labels, VERMILION, BLUE)
    _draw_dots(axes, coordinates, colours, total=count, zorder=2)
    if labels is not None:
        # Column by column: the class's dot, and below it its mean.
        for value, words, colour in ((True, attribute, VERMILION), (False, f"not {attribute}", BLUE)):
            members = coordinates[labels == value]
            handles.append(_dot(colour, f"{words} ({len(members):,})", 7))
            if len(members):
                axes.plot(*members.mean(axis=0), "o", color=colour, markersize=17, mec="white", mew=2.2, zorder=3)
                handles.append(_dot(colour, "mean of these dots", 13))
    else:
        handles.append(_dot(BLUE, f"faces ({count:,})", 7))
    if beneath is not None:
        handles.append(_dot(PALE_GREY, f"faces of the map ({len(beneath):,})", 7))
    axes.set_title(f"UMAP of the latent means\n{subtitle}" if subtitle else "UMAP of the latent means", fontsize=11)
    axes.set(xlabel="UMAP 1", ylabel="UMAP 2", xticks=[], yticks=[])
    axes.set_aspect("equal", adjustable="datalim")
    axes.spines[["top", "right"]].set_visible(False)
    # Long names do not fit beside each other.
    columns = -(-len(handles) // 2) if len(attribute) <= _LONG_NAME else 1
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, frameon=False, columnspacing=3, labelspacing=0.8
    )
    return figure


def _draw_dots(
    axes: Axes, coordinates: NDArray[np.float32], colours: NDArray[np.str_], *, total: int, zorder: float
) -> None:
    """Draw dots (N, 2), the smaller and the more transparent the more there are, so that their density shows."""
    # Drawn in random order: one class after the other would hide the first.
    order = np.random.default_rng(0).permutation(len(coordinates))
    axes.scatter(
        coordinates[order, 0],
        coordinates[order, 1],
        s=float(np.clip(12_000 / max(total, 1), 0.5, 28)),
        c=colours[order],
        alpha=float(np.clip(6_000 / max(total, 1), 0.5, 0.85)),
        linewidths=0,
        rasterized=total > 2000,
        zorder=zorder,
    )


def _dot(colour: str, label: str, size: float) -> Line2D:
    return Line2D([], [], linestyle="", marker="o", color=colour, markersize=size, mec="white", label=label)
