"""The tables of `facevae evaluate`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from facevae.cli.tables import new_table

if TYPE_CHECKING:
    from rich.table import Table

    from facevae.metrics.edits import EditFigures, EditScore
    from facevae.metrics.estimate import Estimate
    from facevae.workflows.evaluate import Evaluation

Row = tuple[str, str, str]
"""What, how much with its standard error, and what to hold it against."""


_HUGE = 1e7


def evaluation_tables(found: Evaluation) -> list[Table]:
    """Return the figures, one a line, and those of every attribute where there are any."""
    tables = [_figures_table(found)]
    if found.probe is not None or found.edits is not None:
        tables.append(_attributes_table(found))
    return tables


def _figures_table(found: Evaluation) -> Table:
    from rich.markup import escape

    title = escape(f"{found.weights} on the {found.images:,} faces of {found.split} in {found.faces}")
    table = new_table(title, [("", "left"), ("± standard error", "left"), ("", "left")])
    for rows in (_reconstruction(found), _latents(found), _probe(found), _samples(found), _edits(found)):
        for row in rows:
            table.add_row(*row)
        table.add_section()
    return table


def _reconstruction(found: Evaluation) -> Iterator[Row]:
    figures = found.reconstruction
    yield "mean squared error", _number(figures.mse, 5), "a value, in [0, 1]"
    yield "PSNR", _number(figures.psnr, 2, " dB"), ""
    yield "SSIM", _number(figures.ssim, 3), ""
    if found.pca is not None:
        errors, active = dict(found.pca.errors), found.latents.active_units
        if found.pca.at_active_units is not None:
            errors[active] = found.pca.at_active_units
        for count, error in sorted(errors.items()):
            yield f"PCA, {count} components", _number(error, 5), "as many as active units" if count == active else ""


def _latents(found: Evaluation) -> Iterator[Row]:
    figures = found.latents
    bits = figures.bits_per_dimension
    yield "KL divergence", _number(figures.kl, 1, " nats"), ""
    yield "active units", f"{figures.active_units} of {figures.latent_dim}", "of more than 0.1 nats"
    yield (
        "negative ELBO",
        _number(figures.negative_elbo, 1, " nats"),
        f"with sigma {figures.noise_scale:.4f}" + (f"; {bits.value:.3f} bits a value" if bits is not None else ""),
    )


def _probe(found: Evaluation) -> Iterator[Row]:
    if found.probe is None:
        return
    pca, ours = found.pca_probe, found.probe
    beside = f"PCA-200 {pca.mean_accuracy.value:.1%}, " if pca is not None else ""
    yield "linear probe, accuracy", _share(ours.mean_accuracy), f"{beside}majority {ours.mean_majority:.1%}"
    if ours.mean_balanced_accuracy is not None:
        pca_balanced = pca.mean_balanced_accuracy if pca is not None else None
        beside = f"PCA-200 {pca_balanced.value:.1%}, " if pca_balanced is not None else ""
        yield "linear probe, balanced", _share(ours.mean_balanced_accuracy), f"{beside}majority 50.0%"


def _samples(found: Evaluation) -> Iterator[Row]:
    figures = found.samples
    if figures is None:
        return
    rows = [
        ("samples from N(0, I)", figures.normal),
        ("samples, fitted prior", figures.fitted),
        ("reconstructions", figures.reconstructions),
        ("other real faces", figures.floor),
    ]
    shown = [(name, estimate) for name, estimate in rows if estimate is not None]
    remarks = ["Fréchet distance, not to be", "compared with Inception FIDs"]
    for number, (name, estimate) in enumerate(shown):
        yield name, _number(estimate, 3), remarks[number] if number < len(remarks) else ""


def _edits(found: Evaluation) -> Iterator[Row]:
    figures = found.edits
    if figures is None:
        return
    rows = [
        ("n = +2 gives attribute", "given", "as the judge sees it"),
        ("n = -2 takes attribute", "taken", ""),
        ("others judged the same", "others_kept", ""),
    ]
    for name, figure, remark in rows:
        mean = figures.mean(figure)
        if mean is not None:
            yield name, _share(mean), remark
    similarity = figures.mean("similarity")
    if similarity is not None:
        yield "SSIM to the unedited", _number(similarity, 3), ""


def _attributes_table(found: Evaluation) -> Table:
    columns = [("attribute", "left")]
    if found.probe is not None:
        columns += [("probe", "right"), ("bal.", "right"), ("maj.", "right")]
    if found.edits is not None:
        columns += [("+2", "right"), ("-2", "right"), ("kept", "right"), ("+1 also moves", "left")]
    parts = ["probe: accuracy, balanced, majority"] if found.probe is not None else []
    if found.edits is not None:
        parts += ["+2, -2: flipped, others kept", "+1: in deviations"]
    table = new_table(f"In percent. {'; '.join(parts)}", columns)
    if found.edits is not None:
        table.columns[-1].no_wrap, table.columns[-1].overflow = True, "ellipsis"
    for cells in _attribute_rows(found):
        table.add_row(*cells)
    return table


def _attribute_rows(found: Evaluation) -> Iterator[list[str]]:
    from rich.markup import escape

    probes = {score.name: score for score in found.probe.attributes} if found.probe is not None else {}
    edits = {score.name: row for row, score in enumerate(found.edits.attributes)} if found.edits is not None else {}
    for name in dict.fromkeys([*probes, *edits]):
        cells = [escape(name)]
        if found.probe is not None:
            score = probes.get(name)
            balanced = score.balanced_accuracy if score is not None else None
            cells += (
                [_percent(score.accuracy), _percent(balanced), f"{100 * score.majority:.1f}"] if score else [""] * 3
            )
        if found.edits is not None:
            cells += _edit_cells(found.edits, edits[name]) if name in edits else [""] * 4
        yield cells


def _edit_cells(figures: EditFigures, row: int) -> list[str]:
    from rich.markup import escape

    score: EditScore = figures.attributes[row]
    moved = [f"{effect.name} {effect.change.value:+.1f}" for effect in figures.companions(row)[:2]]
    shares = [_percent(value, 0) for value in (score.given, score.taken, score.others_kept)]
    return [*shares, escape(", ".join(moved))]


def _number(estimate: Estimate, digits: int, unit: str = "") -> str:
    # Ruined weights may have a KL divergence of thirty digits.
    style = f".{digits}f" if abs(estimate.value) < _HUGE else ".3e"
    error = f" ± {estimate.standard_error:{style}}" if estimate.standard_error is not None else ""
    return f"{estimate.value:{style}}{error}{unit}"


def _share(estimate: Estimate) -> str:
    error = f" ± {100 * estimate.standard_error:.1f}" if estimate.standard_error is not None else ""
    return f"{100 * estimate.value:.1f}{error}%"


def _percent(estimate: Estimate | None, digits: int = 1) -> str:
    return f"{100 * estimate.value:.{digits}f}" if estimate is not None else "-"
