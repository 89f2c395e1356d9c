"""A training step on a GPU, recorded once as a CUDA graph and replayed.

A step launches some two hundred small kernels, and on a fast GPU the launches should take longer than the kernels. A replay is
one launch. Recording should take a fraction of a second, unlike compiling, and so pay after some hundred steps. (None of it has
been measured yet: this was written without a GPU.)

What a recorded step reads and writes must stay where it was: the images, the weights and Adam's state do, the rows and the noise
are copied into place before each replay. (PyTorch's documentation, "CUDA semantics", section "CUDA Graphs".)
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Step = Callable[[Tensor, Tensor, float, float], None]

_WARM_UP_STEPS = 11
"""Steps taken as they are before one is recorded: libraries choose their kernels and Adam makes its state in the first."""

_WORTHWHILE_STEPS = 300


class CudaGraph:
    """Calls `step(rows, noise, images, part)`, or replays it for batches of the largest size met.

    If it cannot be recorded, every call is the step itself, and `refusal` says why.
    """

    def __init__(self, step: Step, expected_steps: int) -> None:
        self._step = step
        self._calls = self._largest = 0
        self._usable = expected_steps > _WORTHWHILE_STEPS
        self._graph: torch.cuda.CUDAGraph | None = None
        self.refusal = ""
        self._rows = self._noise = torch.empty(0)

    def __call__(self, rows: Tensor, noise: Tensor, images: float, part: float) -> None:
        """Take the step."""
        self._calls += 1
        self._largest = max(self._largest, len(rows))
        if self._graph is not None and rows.shape == self._rows.shape:
            self._rows.copy_(rows)
            self._noise.copy_(noise)
            self._graph.replay()
        elif not self._usable or self._graph is not None:
            self._step(rows, noise, images, part)
        elif self._calls <= _WARM_UP_STEPS or len(rows) < self._largest:
            self._warm_up(rows, noise, images, part)
        else:
            self._record(rows, noise, images, part)
            self(rows, noise, images, part)

    def _warm_up(self, rows: Tensor, noise: Tensor, images: float, part: float) -> None:
        """Take the step on a stream of its own, as the recording will."""
        with torch.cuda.device(rows.device):
            stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                self._step(rows, noise, images, part)
            torch.cuda.current_stream().wait_stream(stream)

    def _record(self, rows: Tensor, noise: Tensor, images: float, part: float) -> None:
        """Record the step without taking it."""
        self._usable = False
        self._rows, self._noise = rows.clone(), noise.clone()
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.device(rows.device), torch.cuda.graph(graph):
                self._step(self._rows, self._noise, images, part)
        except RuntimeError as error:
            # Some driver, kernel or version does not record: slower, and just as right.
            self.refusal = " ".join(str(error).split())[:200] or type(error).__name__
            return
        self._graph = graph
