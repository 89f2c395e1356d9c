"""How long a training may take: times as people write them, and the decision to stop early."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facevae.errors import UsageError, in_one_line
from facevae.storage.history import HistoryPoint
from facevae.workflows.duration import describe_duration, parse_duration
from facevae.workflows.patience import best_valid, epochs_without_progress, is_stalled


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("30m", 1800),
        ("1.5h", 5400),
        ("1h30m", 5400),
        ("1h 30m 15s", 5415),
        ("2h5s", 7205),
        (" 10 M ", 600),
        (".5m", 30),
        ("1.s", 1),
        (12.5, 12.5),
        (3, 3),
    ],
)
def test_durations(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", " ", "h", "soon", "1d", "-5s", "5 minutes", "30m1h", "1:30", "1e3", "٣s", "nan", "inf", "5ss"]
)
def test_texts_that_are_no_duration(text: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_duration(text)
    assert str(error.value) == f"A time of {text} is not understood: use 90s, 30m, 1.5h or 1h30m, or seconds."


@pytest.mark.parametrize("value", ["0", "0h0m0s", 0, -1.5, float("inf"), float("nan"), "9" * 400])
def test_durations_out_of_range(value: str | float) -> None:
    with pytest.raises(UsageError) as error:
        parse_duration(value)
    assert str(error.value) == f"A time of {value} is out of range: use more than 0 seconds."


@given(st.text(alphabet="0123456789.hms -e", max_size=12) | st.text(max_size=6))
def test_any_text_is_a_positive_time_or_refused_in_a_sentence(text: str) -> None:
    try:
        assert 0 < parse_duration(text) < float("inf")
    except UsageError as error:
        assert str(error).startswith(f"A time of {in_one_line(text)} is ")  # noqa: PT017 - most texts are refused


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59))
def test_whole_parts_add_up_and_are_described(hours: int, minutes: int, seconds: int) -> None:
    total = 3600 * hours + 60 * minutes + seconds
    if total:
        assert parse_duration(f"{hours}h{minutes}m{seconds}s") == total
        assert parse_duration(describe_duration(total)) == total
        parts = (f"{hours}h" * bool(hours), f"{minutes}m" * bool(minutes), f"{seconds}s" * bool(seconds))
        assert describe_duration(total) == "".join(parts)


@given(st.floats(0.001, 1e6))
def test_a_described_duration_is_about_the_same(seconds: float) -> None:
    assert parse_duration(describe_duration(seconds)) == pytest.approx(seconds, rel=0.01)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(59.9999, "1m"), (119.9999, "2m"), (3599.9999, "1h"), (0.125, "0.125s"), (59.94, "59.9s"), (61.4, "1m1s")],
)
def test_a_duration_is_rounded_before_it_is_split(seconds: float, text: str) -> None:
    assert describe_duration(seconds) == text


def history(*losses: float) -> list[HistoryPoint]:
    """An epoch for each loss on valid, with a training point of a misleadingly low loss in each."""
    points = []
    for number, loss in enumerate(losses, start=1):
        points.append(HistoryPoint(number, "train", -1.0, 0.0, 0.0, 0.0, 1.0))
        points.append(HistoryPoint(number, "valid", loss, loss, 0.0, 0.0, 0.0))
    return points


@pytest.mark.parametrize(
    ("losses", "best", "waited"),
    [
        ((), None, 0),
        ((5.0,), 1, 0),
        ((5.0, 4.0), 2, 0),
        ((5.0, 4.0, 4.5), 2, 1),
        ((5.0, 4.0, 4.0, 4.0), 2, 2),
        ((1.0, 4.0, 3.0, 2.0), 1, 3),
        ((5.0, 6.0, 4.0), 3, 0),
    ],
)
def test_the_best_epoch(losses: tuple[float, ...], best: int | None, waited: int) -> None:
    found = best_valid(history(*losses))
    assert (found.epoch if found else None) == best
    assert epochs_without_progress(history(*losses)) == waited
    assert not is_stalled(history(*losses), 0)
    for patience in range(1, 6):
        assert is_stalled(history(*losses), patience) == (waited >= patience)


@given(st.lists(st.floats(-1e9, 1e9), max_size=20), st.integers(1, 5))
def test_it_stalls_as_a_loop_that_counts_would(losses: list[float], patience: int) -> None:
    lowest, waited, stopped = float("inf"), 0, None
    for epoch, loss in enumerate(losses, start=1):
        lowest, waited = (loss, 0) if loss < lowest else (lowest, waited + 1)
        if waited >= patience and stopped is None:
            stopped = epoch
    first = next((n for n in range(len(losses) + 1) if is_stalled(history(*losses[:n]), patience)), None)
    assert first == stopped
