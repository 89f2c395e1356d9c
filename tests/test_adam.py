"""Our way to PyTorch's Adam kernel gives what `torch.optim.Adam` gives."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from facevae.model.adam import Adam

RATES = (1e-3, 5e-4, 2e-2, 1e-3)


def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 4, 2))
    return layers.to(memory_format=torch.channels_last)


def train(layers: nn.Sequential, optimizer: Adam | torch.optim.Adam, rates: tuple[float, ...], seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for rate in rates:
        layers.zero_grad()
        layers(torch.randn(5, 3, 4, 4, generator=generator)).square().sum().backward()
        if isinstance(optimizer, Adam):
            optimizer.set_rate(rate)
        else:
            optimizer.param_groups[0]["lr"] = rate
        optimizer.step()


def test_it_is_pytorchs_adam_bit_for_bit() -> None:
    ours, theirs = network(), network()
    train(ours, Adam(ours.parameters(), 1e-3), RATES)
    train(theirs, torch.optim.Adam(theirs.parameters(), lr=1e-3, fused=True), RATES)
    assert all(torch.equal(*pair) for pair in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_the_public_operations_do_the_same_up_to_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = network(), network()
    monkeypatch.delattr(torch, "_fused_adam_")
    train(ours, Adam(ours.parameters(), 1e-3), RATES)
    monkeypatch.undo()
    train(theirs, torch.optim.Adam(theirs.parameters(), lr=1e-3), RATES)
    for got, wanted in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)


def test_it_goes_on_from_its_state_in_any_memory_layout() -> None:
    unbroken, halted = network(), network()
    first = Adam(unbroken.parameters(), 1e-3)
    train(unbroken, first, RATES)
    before = Adam(halted.parameters(), 1e-3)
    train(halted, before, RATES)
    state = [{key: value.contiguous() for key, value in one.items()} for one in copy.deepcopy(before.state())]
    after = Adam(halted.parameters(), 1e-3)
    after.load_state(state)
    train(unbroken, first, RATES, seed=1)
    train(halted, after, RATES, seed=1)
    assert all(torch.equal(*pair) for pair in zip(unbroken.parameters(), halted.parameters(), strict=True))


def test_the_state_of_another_network_is_refused() -> None:
    optimizer = Adam(network().parameters(), 1e-3)
    state = optimizer.state()
    with pytest.raises(ValueError, match=r"^the optimiser's state does not fit the network$"):
        optimizer.load_state(state[:-1])
    state[0]["exp_avg"] = torch.zeros(1)
    with pytest.raises(ValueError, match=r"^the optimiser's state does not fit the network$"):
        optimizer.load_state(state)
