"""What faces that are drawn at random take: a seed and a temperature."""

from __future__ import annotations

from facevae.errors import UsageError

MAX_TEMPERATURE = 100.0


def check_seed(seed: int) -> None:
    """Raise a `UsageError` unless a seed is a whole number from 0 on."""
    if seed < 0:
        raise UsageError(f"A seed of {seed} is out of range: use a whole number from 0 on.")


def check_temperature(temperature: float) -> None:
    """Raise a `UsageError` unless a temperature is a number from 0 to 100."""
    if not 0.0 <= temperature <= MAX_TEMPERATURE:
        raise UsageError(
            f"A temperature of {temperature:g} is out of range: use a number from 0 to {MAX_TEMPERATURE:g}, such as 0.8."
        )
