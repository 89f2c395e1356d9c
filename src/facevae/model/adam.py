"""Adam (Kingma & Ba 2015, algorithm 1), calling the kernel of `torch.optim.Adam(fused=True)` directly.

The class around that kernel makes PyTorch load its compiler, which costs a second and 150 MB before the first step. Tests hold
the two together, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class Adam:
    """Adam for parameters of one device, all of which have a gradient at every step.

    Attributes:
        moments: the running means of gradient and squared gradient, of each parameter, in its memory layout.
        steps: how many were taken, as a tensor of one float32 on the device, where a captured CUDA graph counts on.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], learning_rate: float) -> None:
        self._parameters = list(parameters)
        self.moments = [(torch.zeros_like(one), torch.zeros_like(one)) for one in self._parameters]
        device = self._parameters[0].device
        self.steps = torch.zeros((), device=device)
        self._rate: float | Tensor = (
            torch.tensor(learning_rate, device=device) if device.type == "cuda" else learning_rate
        )

    @property
    def rate(self) -> float | Tensor:
        """The learning rate, on a GPU as a tensor that a captured graph reads."""
        return self._rate

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the steps to come."""
        if isinstance(self._rate, Tensor):
            self._rate.fill_(rate)
        else:
            self._rate = rate

    def forget_gradients(self) -> None:
        """Let go of the last step's gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move the parameters along their gradients."""
        gradients = [parameter.grad for parameter in self._parameters]
        self.steps += 1
        means, squares = zip(*self.moments, strict=True)
        kernel = getattr(torch, "_fused_adam_", None)
        if kernel is None or self.steps.device.type not in ("cpu", "cuda"):
            self._step_in_parts()
            return
        kernel(
            self._parameters,
            gradients,
            list(means),
            list(squares),
            [],
            [self.steps] * len(gradients),
            lr=self._rate,
            beta1=BETAS[0],
            beta2=BETAS[1],
            weight_decay=0.0,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
        )

    def _step_in_parts(self) -> None:
        """Do the same in PyTorch's public operations: for Apple's GPUs, and should the kernel, which is not public, go."""
        correction, square_correction = (1.0 - beta ** self.steps.item() for beta in BETAS)
        for parameter, (mean, square) in zip(self._parameters, self.moments, strict=True):
            assert parameter.grad is not None
            mean.lerp_(parameter.grad, 1.0 - BETAS[0])
            square.mul_(BETAS[1]).addcmul_(parameter.grad, parameter.grad, value=1.0 - BETAS[1])
            spread = (square / square_correction).sqrt_().add_(EPSILON)
            parameter.addcdiv_(mean, spread, value=-float(self._rate) / correction)

    def tensors(self) -> list[Tensor]:
        """Return all tensors of the state but the number of steps."""
        return [one for pair in self.moments for one in pair]

    def state(self) -> list[dict[str, Tensor]]:
        """Return what a checkpoint keeps of each parameter, by the names of `torch.optim.Adam`."""
        return [{"step": self.steps.clone(), "exp_avg": mean, "exp_avg_sq": square} for mean, square in self.moments]

    def load_state(self, state: Sequence[Mapping[str, Tensor]]) -> None:
        """Take over `state()`, whose moments may be in another memory layout.

        Raises:
            ValueError: it is that of other parameters, or not whole.
        """
        names = {"step", "exp_avg", "exp_avg_sq"}
        fits = len(state) == len(self._parameters) and all(
            saved.keys() == names and saved["exp_avg"].shape == saved["exp_avg_sq"].shape == parameter.shape
            for saved, parameter in zip(state, self._parameters, strict=True)
        )
        if not fits:
            raise ValueError("the optimiser's state does not fit the network")
        for own, saved in zip(self.moments, state, strict=True):
            own[0].copy_(saved["exp_avg"])
            own[1].copy_(saved["exp_avg_sq"])
        self.steps.copy_(state[0]["step"])
