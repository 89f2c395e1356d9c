"""Muon against PyTorch's own, the singular value decomposition, and its state."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from facevae.config import ModelConfig, TrainConfig
from facevae.model.muon import ITERATIONS, Muon, orthogonalised
from facevae.model.training import new_optimizer, new_vae
from facevae.model.workers import Workers

RATES = (1e-2, 3e-2, 0.0, 1e-3, 2e-2)
SHAPES = ((6, 40), (40, 6), (16, 16))


def with_singular_values(rows: int, columns: int, smallest: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return U S V' with singular values from 1 down to `smallest`, and U and V'."""
    generator = torch.Generator().manual_seed(rows)
    count = min(rows, columns)
    left, _ = torch.linalg.qr(torch.randn(rows, count, generator=generator, dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(columns, count, generator=generator, dtype=torch.float64))
    values = torch.logspace(0.0, float(torch.tensor(smallest).log10()), count, dtype=torch.float64)
    return (left * values) @ right.T, left, right.T


@pytest.mark.parametrize("shape", SHAPES)
def test_singular_values_become_about_one_and_singular_vectors_stay(shape: tuple[int, int]) -> None:
    matrix, left, right = with_singular_values(*shape, smallest=0.03)
    inner = left.T @ orthogonalised(matrix) @ right.T
    values = inner.diagonal()
    assert values.min() > 0.65
    assert values.max() < 1.25
    assert (inner - values.diag()).abs().max() < 1e-9


def test_the_gram_form_is_the_iteration_of_the_source() -> None:
    matrix, _, _ = with_singular_values(6, 40, smallest=1e-3)
    expected = matrix / (matrix.norm() + 1e-7)
    for _ in range(ITERATIONS):
        gram = expected @ expected.T
        expected = 3.4445 * expected + (-4.7750 * gram + 2.0315 * gram @ gram) @ expected
    assert (orthogonalised(matrix) - expected).abs().max() < 1e-9


def test_nothing_comes_of_nothing() -> None:
    assert torch.equal(orthogonalised(torch.zeros(3, 5)), torch.zeros(3, 5))


def parameters(seed: int = 0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(*shape, generator=generator)) for shape in SHAPES]


def take_steps(matrices: list[nn.Parameter], optimizer: Muon | torch.optim.Optimizer, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for rate in RATES:
        for matrix in matrices:
            matrix.grad = torch.randn(matrix.shape, generator=generator)
        if isinstance(optimizer, Muon):
            optimizer.set_rate(rate)
        else:
            optimizer.param_groups[0]["lr"] = rate / 0.2  # its scale is 0.2 sqrt(max(M, N))
        optimizer.step()


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this PyTorch has no Muon of its own")
def test_it_steps_as_pytorchs_own_does() -> None:
    ours, theirs = parameters(), parameters()
    take_steps(ours, own(ours))
    take_steps(
        theirs,
        torch.optim.Muon(
            theirs, lr=1e-3, weight_decay=0.0, momentum=0.95, nesterov=True, adjust_lr_fn="match_rms_adamw"
        ),
    )
    for mine, other, start in zip(ours, theirs, parameters(), strict=True):
        # Theirs rounds to bfloat16 on the way.
        moved = (other - start).norm()
        assert (mine - other).norm() < 0.03 * moved
        assert moved > 0.1


def own(matrices: list[nn.Parameter], workers: Workers | None = None) -> Muon:
    other = nn.Parameter(torch.zeros(1))
    other.grad = torch.ones(1)
    return Muon(matrices, [other], 1e-3, workers)


def test_each_entry_moves_by_the_rate_in_root_mean_square() -> None:
    matrices, before = parameters(), parameters()
    optimizer = own(matrices)
    for matrix in matrices:
        matrix.grad = torch.randn(matrix.shape, generator=torch.Generator().manual_seed(1))
    optimizer.set_rate(0.01)
    optimizer.step()
    for matrix, old in zip(matrices, before, strict=True):
        moved = (matrix - old).detach().square().mean().sqrt()
        # all of a wide or tall matrix, the shorter side's part of a square one
        assert 0.006 < float(moved) < 0.0125


def test_a_filter_bank_is_the_matrix_of_its_first_dimension_in_any_memory_layout() -> None:
    bank = torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(2))
    gradient = torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(3))
    flat, last = nn.Parameter(bank.flatten(1).clone()), nn.Parameter(bank.to(memory_format=torch.channels_last))
    flat.grad, last.grad = gradient.flatten(1).clone(), gradient.to(memory_format=torch.channels_last)
    for one in (flat, last):
        optimizer = own([one])
        optimizer.set_rate(0.1)
        optimizer.step()
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(last.flatten(1), flat)


def test_threads_change_nothing() -> None:
    alone, shared = parameters(), parameters()
    take_steps(alone, own(alone))
    take_steps(shared, own(shared, Workers()))
    assert all(torch.equal(one, other) for one, other in zip(alone, shared, strict=True))


def test_it_goes_on_where_its_state_was_saved() -> None:
    unbroken, halted = parameters(), parameters()
    first, before = own(unbroken), own(halted)
    take_steps(unbroken, first)
    take_steps(halted, before)
    after = own(halted)
    after.load_state([{name: value.clone() for name, value in one.items()} for one in before.state()])
    take_steps(unbroken, first, seed=1)
    take_steps(halted, after, seed=1)
    assert all(torch.equal(one, other) for one, other in zip(unbroken, halted, strict=True))
    assert len(after.tensors()) == len(SHAPES) + 2


def test_the_state_of_others_is_refused() -> None:
    optimizer = own(parameters())
    state = optimizer.state()
    for wrong in (state[:-1], state[1:], [], [*state[:-1], {"momentum_buffer": torch.zeros(1)}], list(reversed(state))):
        with pytest.raises(ValueError, match="the optimiser's state does not fit the network"):
            optimizer.load_state(wrong)


def test_weights_and_filters_are_its_own_and_the_rest_is_adams() -> None:
    vae = new_vae(ModelConfig(image_size=16, channels=4, latent_dim=4), 0)
    optimizer = new_optimizer(vae, TrainConfig(optimizer="muon"))
    assert isinstance(optimizer, Muon)
    names = {id(parameter): name for name, parameter in vae.named_parameters()}
    own_names = {names[id(one)] for one in optimizer._matrices}
    adams = {names[id(one)] for one in optimizer.adam._parameters}
    assert own_names | adams == set(names.values())
    assert not own_names & adams
    assert "encoder.log_variance.weight" in adams
    assert {"encoder.mean.weight", "encoder.blocks.0.convolution.weight", "decoder.output.weight"} <= own_names
    assert all(name.endswith(("bias", "norm.weight")) for name in adams - {"encoder.log_variance.weight"})
