"""Muon: momentum whose matrices are made orthogonal, beside Adam for everything that is no matrix.

Source: Jordan et al., *Muon: An optimizer for hidden layers in neural networks* (2024). A layer's gradient has a few large
singular values, and steps along it move the weights in those directions alone. Muon takes the nearest matrix whose singular
values are all one, so that every direction moves. On this autoencoder it needs a fraction of Adam's images (docs/weights.md).

The step is scaled as Liu et al. (*Muon is scalable for LLM training*, 2025, section 2.2) do, so that each entry moves by the
learning rate in root mean square: about as far as with Adam, whose learning rate and schedule are thus shared.

PyTorch (2.9 and later) has a `torch.optim.Muon`, for two-dimensional weights only, where most of these are filters; and
importing it costs what `adam.py` tells of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from facevae.model.adam import Adam
from facevae.model.workers import Workers

MOMENTUM = 0.95
"""Of Nesterov's form, as in the source."""

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic a x + b x^3 + c x^5, iterated: it takes every x in (0, 1] into about (0.7, 1.2) quickly."""
ITERATIONS = 5

_TINY = 1e-7


def orthogonalised(matrix: Tensor) -> Tensor:
    """Return about the orthogonal matrix nearest to a matrix (M, N): U V' where it is U S V', with singular values of 0.7 to 1.2.

    The polynomial is iterated on the Gram matrix of the shorter side, with which it commutes: p(X X') X instead of X (X' X) ...,
    a third of the arithmetic where one side is nine times the other.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonalised(matrix.T).T
    a, b, c = COEFFICIENTS
    unit = matrix / (matrix.norm() + _TINY)
    gram = unit @ unit.T
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    product: Tensor = identity
    for iteration in range(ITERATIONS):
        factor = a * identity + b * gram + c * (gram @ gram)
        product = factor @ product
        if iteration < ITERATIONS - 1:
            gram = factor @ gram @ factor
    found: Tensor = product @ unit
    return found


class Muon:
    """Muon for `matrices` (weights and filters, of two dimensions or more), Adam for `others`.

    A filter bank counts as a matrix of its first dimension by all the others. All parameters are of one device and have a
    gradient at every step. `workers` share the matrices out among threads.

    Attributes:
        momenta: the running mean of the gradient of each matrix.
        adam: the optimiser of the others.
    """

    def __init__(
        self,
        matrices: Sequence[nn.Parameter],
        others: Sequence[nn.Parameter],
        learning_rate: float,
        workers: Workers | None = None,
    ) -> None:
        self._matrices = list(matrices)
        self._workers = workers
        self.momenta = [torch.zeros_like(one) for one in self._matrices]
        self.adam = Adam(others, learning_rate)

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the steps to come."""
        self.adam.set_rate(rate)

    def forget_gradients(self) -> None:
        """Let go of the last step's gradients."""
        self.adam.forget_gradients()
        for matrix in self._matrices:
            matrix.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move the parameters."""
        self.adam.step()
        pairs = list(zip(self._matrices, self.momenta, strict=True))
        for _ in self._workers.each(self._move, pairs) if self._workers is not None else map(self._move, pairs):
            pass

    def _move(self, pair: tuple[nn.Parameter, Tensor]) -> None:
        parameter, momentum = pair
        gradient = parameter.grad
        assert gradient is not None
        momentum.lerp_(gradient, 1.0 - MOMENTUM)
        matrix = gradient.lerp(momentum, MOMENTUM).flatten(start_dim=1)
        step = orthogonalised(matrix) * (self.adam.rate * max(matrix.shape) ** 0.5)
        parameter.sub_(step.view(parameter.shape))

    def tensors(self) -> list[Tensor]:
        """Return all tensors of the state."""
        return [*self.adam.tensors(), *self.momenta]

    def state(self) -> list[dict[str, Tensor]]:
        """Return what a checkpoint keeps: Adam's state of each of the others, then the momentum of each matrix."""
        return [*self.adam.state(), *({"momentum_buffer": momentum} for momentum in self.momenta)]

    def load_state(self, state: Sequence[Mapping[str, Tensor]]) -> None:
        """Take over `state()`, whose tensors may be in another memory layout.

        Raises:
            ValueError: it is that of other parameters, or not whole.
        """
        count = len(state) - len(self.momenta)
        fits = count >= 0 and all(
            saved.keys() == {"momentum_buffer"} and saved["momentum_buffer"].shape == momentum.shape
            for saved, momentum in zip(state[count:], self.momenta, strict=True)
        )
        if not fits:
            raise ValueError("the optimiser's state does not fit the network")
        self.adam.load_state(state[:count])
        for momentum, saved in zip(self.momenta, state[count:], strict=True):
            momentum.copy_(saved["momentum_buffer"])
