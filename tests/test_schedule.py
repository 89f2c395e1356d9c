"""The learning rate over a training, against the closed form, PyTorch's own schedulers, and what it must never do."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from facevae.config import SCHEDULE_NAMES, TrainConfig
from facevae.model.schedule import WARMUP_START, learning_rate_at


@st.composite
def configs(draw: st.DrawFn) -> TrainConfig:
    epochs = draw(st.integers(1, 300))
    return TrainConfig(
        epochs=epochs,
        learning_rate=draw(st.floats(1e-8, 1.0)),
        schedule=draw(st.sampled_from(SCHEDULE_NAMES)),
        warmup=draw(st.none() | st.floats(0, epochs, exclude_max=True)),
    )


def test_the_reference_rate_never_changes() -> None:
    config = TrainConfig()
    assert {learning_rate_at(config, epoch / 7) for epoch in range(100)} == {5e-4}


def test_default_warm_ups() -> None:
    assert TrainConfig(epochs=30).warmup_epochs == 0.0
    assert TrainConfig(epochs=30, schedule="cosine").warmup_epochs == 1.5
    assert TrainConfig(epochs=30, schedule="cosine", warmup=0.0).warmup_epochs == 0.0
    assert TrainConfig(epochs=30, warmup=2.5).warmup_epochs == 2.5


@pytest.mark.parametrize(
    ("epochs_done", "part"),
    [
        (0, 0.1),
        (1, 0.55),
        (2, 1.0),
        (4, 0.5 + 0.25 * math.sqrt(2)),
        (6, 0.5),
        (8, 0.5 - 0.25 * math.sqrt(2)),
        (10, 0.0),
        (11, 0.0),
    ],
)
def test_the_cosine_by_hand(epochs_done: float, part: float) -> None:
    config = TrainConfig(epochs=10, learning_rate=0.02, schedule="cosine", warmup=2.0)
    assert learning_rate_at(config, epochs_done) == pytest.approx(0.02 * part, abs=1e-15)


@pytest.mark.parametrize("warmup", [0, 3])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_against_the_schedulers_of_pytorch(schedule: Any, warmup: int) -> None:
    """Four steps an epoch, twelve epochs."""
    steps, total = 4, 48
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    rise = warmup * steps
    parts: list[Any] = []
    if rise:
        parts.append(torch.optim.lr_scheduler.LinearLR(optimizer, WARMUP_START, 1.0, total_iters=rise))
    if schedule == "cosine":
        parts.append(torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=total - rise))
    else:
        parts.append(torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SequentialLR calls its parts as PyTorch tells others not to
        scheduler: Any = torch.optim.lr_scheduler.SequentialLR(optimizer, parts, [rise]) if rise else parts[0]
        expected = []
        for _ in range(total):
            expected.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
    config = TrainConfig(epochs=12, learning_rate=0.3, schedule=schedule, warmup=warmup)
    found = [learning_rate_at(config, step / steps) for step in range(total)]
    assert found == pytest.approx(expected, rel=1e-6)
    assert min(found) > 0


@given(configs(), st.floats(0, 1), st.floats(0, 1))
def test_it_stays_within_bounds_and_has_no_jumps(config: TrainConfig, first: float, second: float) -> None:
    one, other = (learning_rate_at(config, part * config.epochs) for part in (first, second))
    assert 0.0 <= one <= config.learning_rate
    warmup = config.warmup_epochs
    # The steepest slope per epoch of the line and of the cosine.
    slopes = [0.9 / warmup if warmup else 0.0]
    if config.schedule == "cosine":
        slopes.append(math.pi / 2 / (config.epochs - warmup))
    distance = abs(first - second) * config.epochs
    assert abs(one - other) <= config.learning_rate * (max(slopes) * distance + 1e-9) * (1 + 1e-6)


@given(configs(), st.floats(0, 1), st.floats(0, 1))
def test_it_rises_and_then_never_rises_again(config: TrainConfig, first: float, second: float) -> None:
    early, late = sorted((first * config.epochs, second * config.epochs))
    before, after = learning_rate_at(config, early), learning_rate_at(config, late)
    if late <= config.warmup_epochs:
        assert before <= after * (1 + 1e-12)
    elif early >= config.warmup_epochs:
        assert before >= after


@given(configs())
def test_where_it_begins_and_ends(config: TrainConfig) -> None:
    start, end = learning_rate_at(config, 0.0), learning_rate_at(config, config.epochs)
    assert start == pytest.approx(config.learning_rate * (WARMUP_START if config.warmup_epochs else 1.0))
    assert learning_rate_at(config, config.warmup_epochs) == pytest.approx(config.learning_rate)
    assert end == (config.learning_rate if config.schedule == "constant" else pytest.approx(0.0, abs=1e-12))
    assert learning_rate_at(config, config.epochs + 1.0) == pytest.approx(end, abs=1e-12)
