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


def scatter_plot(
    coordinates: NDArray[np.float32], labels: NDArray[np.bool_] | None, attribute: str, *, subtitle: str
) -> Figure:
    """Return the map of latents (N, 2): a dot an image, coloured by `labels` (N), with a disk at each class mean.

    Without labels the dots are of one colour.
    """
    # The two axes have one scale, so the page takes the shape of the map.
    width, height = np.maximum(np.ptp(coordinates, axis=0), 1e-6)
    figure = Figure(figsize=(9, float(np.clip(9 * height / width, 5.0, 10.0)) + 1.2), layout="constrained")
    axes = figure.subplots()
    count = len(coordinates)
    size = float(np.clip(12_000 / max(count, 1), 1.2, 28))
    opacity = float(np.clip(6_000 / max(count, 1), 0.35, 0.85))
    # Drawn in random order: one class after the other would hide the first.
    order = np.random.default_rng(0).permutation(count)
    colours = np.full(count, BLUE) if labels is None else np.where(labels, VERMILION, BLUE)
    axes.scatter(
        coordinates[order, 0],
        coordinates[order, 1],
        s=size,
        c=colours[order],
        alpha=opacity,
        linewidths=0,
        rasterized=count > 2000,
    )
    handles: list[Line2D] = []
    if labels is not None:
        for value, name, colour in ((True, attribute, VERMILION), (False, f"not {attribute}", BLUE)):
            members = coordinates[labels == value]
            handles.append(_dot(colour, f"{name} ({len(members):,})", 7))
            if len(members):
                axes.plot(*members.mean(axis=0), "o", color=colour, markersize=17, mec="white", mew=2.2, zorder=3)
        handles.append(_dot(GREY, "disk: mean of the class's dots", 12))
    else:
        handles.append(_dot(BLUE, f"faces ({count:,})", 7))
    axes.set_title(f"UMAP of the latent means\n{subtitle}" if subtitle else "UMAP of the latent means", fontsize=11)
    axes.set(xlabel="UMAP 1", ylabel="UMAP 2", xticks=[], yticks=[])
    axes.set_aspect("equal", adjustable="datalim")
    axes.spines[["top", "right"]].set_visible(False)
    # Long names do not fit beside each other.
    columns = len(handles) if len(attribute) <= _LONG_NAME else 1
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)
    return figure


def _dot(colour: str, label: str, size: float) -> Line2D:
    return Line2D([], [], linestyle="", marker="o", color=colour, markersize=size, mec="white", label=label)
