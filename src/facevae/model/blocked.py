r"""The training pass on a processor: the network of `networks.py`, forward and backward, in blocks of images that fit its cache.

Batch normalisation and leaky ReLU do little arithmetic on much data: done layer by layer on a batch of 500, each reads and
writes hundreds of megabytes, in memory fresh from the operating system, and that takes longer than half of the convolutions.
But only the statistics need the whole batch. So a layer here is *normalise, activate, convolve*: one pass over the batch
collects mean and variance, a second does the three block by block, and of each layer only the convolution's output is kept,
in buffers that live as long as the training. The backward pass computes each block's activations again (cheap, in the cache)
and needs two passes as well, because the gradient of batch normalisation has two sums over the batch (Ioffe & Szegedy 2015,
section 3; x^ is the normalised input, g the gradient at the normalisation's output, sums over the batch and the positions):

    dL/dweight = sum g x^        dL/dbias = sum g        dL/dx = weight / sigma * (g - mean(g) - x^ mean(g x^))

This is the same mathematics as `vae_loss(VAE.forward(...))`, rearranged, and tests hold the two together. Since the sums are
explicit, ranks of a distributed training add theirs here (`Ranks.sum`), and normalise over the batch of them all.

A bias before a normalisation has a gradient of zero, because the mean is subtracted again. Here it is exactly zero; as a sum
of rounding errors, which Adam scales up to steps of full length, it would send the biases on a random walk.
"""

# ruff: noqa: ANN401
# Any: what autograd passes around, and submodules reached by name, have no type of use here.

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from facevae.model.inference import to_tensor
from facevae.model.losses import pixel_weights
from facevae.model.ranks import Ranks
from facevae.model.vae import VAE
from facevae.model.workers import Workers

Result = TypeVar("Result")

_BLOCK_BYTES = 2**21
"""Of a layer's larger side in a block: a core's share of the last cache of most processors."""

_BLOCK_IMAGES = 64
"""Images in a block at most, so that the blocks of small layers go round among the threads."""
_LEAST_BLOCKS = 4
"""Of a small batch, for the same reason; not the number of threads, on which no sum may depend."""
_LEAST_IMAGES = 8
"""Images in a block of a small batch at least: with fewer, handing them over takes longer than they do."""


_Target = tuple[Tensor, Tensor | None]
"""Images (B, S, S, 3) uint8, and what their pixels weigh."""


class PassOutput(NamedTuple):
    """`mse` is the mean squared error over images, colours and pixels (weighted, with a focus); `mean` and `log_variance` are
    (B, latent_dim).
    """

    mse: Tensor
    mean: Tensor
    log_variance: Tensor


class BlockedPass:
    """Runs `vae` on a batch with gradients, computing in `dtype` (float32, bfloat16, or float64 for tests).

    Weights, their gradients, the statistics and the latents stay in the parameters' own precision. No other pass may run between
    a pass and its `backward`, because all share the buffers.
    """

    def __init__(self, vae: VAE, dtype: torch.dtype, ranks: Ranks, workers: Workers, focus: float = 0.0) -> None:
        self.vae = vae
        self._weights = pixel_weights(vae.config.image_size, focus)
        self._scope = _Scope(dtype, vae.config.negative_slope, ranks, workers, {}, [])

    def __call__(self, images: Tensor, noise: Tensor) -> PassOutput:
        """Return the losses of `images` (B, S, S, 3) uint8 under standard normal `noise` (B, latent_dim)."""
        scope = self._scope
        encoder: Any = self.vae.encoder  # Any: submodules are reached by name
        decoder: Any = self.vae.decoder
        scope.statistics.clear()
        blocks = list(encoder.blocks)
        x = _image_convolution(images, blocks[0].convolution, scope)
        for before, block in pairwise(blocks):
            x = _layer(x, before.norm, block.convolution, scope)
        features = _normalised(x, blocks[-1].norm, scope).flatten(start_dim=1)
        mean, log_variance = encoder.mean(features), encoder.log_variance(features)
        latents = mean + torch.exp(0.5 * log_variance) * noise
        blocks = list(decoder.blocks)
        linear = decoder.input.linear
        features = nn.functional.linear(latents, linear.weight, _without_gradient(linear.bias))
        inner = _normalised(features, decoder.input.norm, scope)
        inner = inner.view(-1, *decoder.inner_shape)
        x = _small_convolution(inner, blocks[0].convolution, scope)
        for before, block in pairwise(blocks):
            x = _layer(x, before.norm, block.convolution, scope)
        mse = _squared_error(x, blocks[-1].norm, decoder.output, (images, self._weights), scope)
        return PassOutput(mse, mean, log_variance)

    def free_buffers(self) -> None:
        """Give the kept memory back; the next pass takes it anew."""
        self._scope.buffers.clear()

    @torch.no_grad()
    def update_statistics(self, copies: float = 1.0) -> None:
        """Move the running averages of the last pass's normalisations; apart from the pass, so that a failed step moves none.

        `copies` is how many ranks had each image.
        """
        for norm, statistics in self._scope.statistics:
            values = statistics.values / copies
            unbiased = statistics.variance * (values / max(values - 1.0, 1.0))
            norm.running_mean.lerp_(statistics.mean, norm.momentum)
            norm.running_var.lerp_(unbiased, norm.momentum)
            norm.num_batches_tracked.add_(1)


class _Statistics(NamedTuple):
    """Mean and (biased) variance per channel over so many `values`, those of all ranks."""

    mean: Tensor
    variance: Tensor
    values: int


@dataclass(frozen=True)
class _Scope:
    """What the layers of a pass share: precision, ranks, kept buffers by name, and the statistics met on the way."""

    dtype: torch.dtype
    negative_slope: float
    ranks: Ranks
    workers: Workers
    buffers: dict[str, Tensor]
    statistics: list[tuple[Any, _Statistics]]

    def do(self, function: Callable[[slice], None], count: int, image_elements: int) -> None:
        """Call `function` with each block's rows, see `each`."""
        for _ in self.each(function, count, image_elements):
            pass

    def each(self, function: Callable[[slice], Result], count: int, image_elements: int) -> Iterator[Result]:
        """Yield `function` of each block's rows: as many of `count` images as the cache holds, at so many values each."""
        most = min(_BLOCK_IMAGES, max(_LEAST_IMAGES, -(-count // _LEAST_BLOCKS)))
        size = max(1, min(most, _BLOCK_BYTES // (image_elements * self.dtype.itemsize)))
        blocks = (slice(start, min(start + size, count)) for start in range(0, count, size))
        return self.workers.each(function, blocks)

    def buffer(self, name: str, *shape: int) -> Tensor:
        """Return uninitialised memory of (B, C, H, W) in channels-last order, the same at every step while B does not grow.

        Fresh memory of this size would come from the operating system page by page, at a price above that of the arithmetic.
        """
        size = math.prod(shape)
        kept = self.buffers.get(name)
        if kept is None or kept.numel() < size:
            kept = self.buffers[name] = torch.empty(size, dtype=self.dtype)
        batch, channels, height, width = shape
        return kept[:size].view(batch, height, width, channels).permute(0, 3, 1, 2)


class _Norm:
    """A batch normalisation and the leaky ReLU after it: statistics over the whole batch, one block forward, one backward."""

    def __init__(self, x: Tensor, weight: Tensor, bias: Tensor, module: Any, scope: _Scope) -> None:
        self.weight, self.bias, self.epsilon, self.slope = weight, bias, module.eps, scope.negative_slope
        self.statistics = _measure(x, weight, scope)
        scope.statistics.append((module, self.statistics))
        # dL/dweight = sum g x^ and dL/dbias = sum g, of this rank
        self.gradients = torch.zeros(2, len(weight), dtype=weight.dtype)

    def activate(self, x: Tensor) -> Tensor:
        """Return the normalised and activated block."""
        mean, variance, _ = self.statistics
        normalised = torch.native_batch_norm(x, self.weight, self.bias, mean, variance, False, 0.0, self.epsilon)[0]
        return nn.functional.leaky_relu_(normalised, self.slope)

    def backward(self, gradient: Tensor, activated: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return weight / sigma * g, which is what of dL/dx needs no sum, and the block's part of `gradients`.

        `gradient` is the loss's at `activated`, whose sign is that of the activation's input, since the slope is not negative.
        """
        before = torch.ops.aten.leaky_relu_backward(gradient, activated, self.slope, True)
        mean, variance, _ = self.statistics
        scaled, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            before, x, self.weight, mean, variance, None, None, False, self.epsilon, [True, True, True]
        )
        return scaled, torch.stack([of_weight, of_bias])

    def complete(
        self, x: Tensor, scaled: Callable[[slice], Tensor], scope: _Scope, size: int, factor: float = 1.0
    ) -> None:
        """Overwrite `x` with dL/dx, where `scaled` gives what `backward` returned for a block, all of it times `factor`."""
        self.gradients *= factor
        mean, variance, values = self.statistics
        product_mean, gradient_mean = scope.ranks.sum(self.gradients.clone()) / values
        inverse = (variance + self.epsilon).rsqrt()
        # weight / sigma * (-mean(g) - x^ mean(g x^)), as an affine function of x, which an untrained normalisation computes.
        slope = -self.weight * inverse.square() * product_mean
        offset = -self.weight * inverse * gradient_mean - slope * mean
        zeros, ones = torch.zeros_like(slope), torch.ones_like(slope)

        def complete(rows: slice) -> None:
            rest = torch.native_batch_norm(x[rows], slope, offset, zeros, ones, False, 0.0, 0.0)[0]
            torch.add(rest, scaled(rows), alpha=factor, out=x[rows])

        scope.do(complete, len(x), size)


def _measure(x: Tensor, like: Tensor, scope: _Scope) -> _Statistics:
    """Return the statistics of x (B, C, ...) over all ranks, in the dtype of `like`, summed in double precision."""
    channels = x.shape[1]
    per_image = x.shape[1:].numel()
    sums = torch.zeros(2 * channels + 1, dtype=torch.float64)
    # Running averages that are thrown away, at a momentum of zero: with them the result has their precision, not that of x.
    zeros, ones = like.new_zeros(channels), like.new_ones(channels)

    def measure(rows: slice) -> Tensor:
        count = (rows.stop - rows.start) * (per_image // channels)
        mean, variance = (part.double() for part in torch.batch_norm_update_stats(x[rows], zeros, ones, 0.0))
        return torch.cat([count * mean, count * (variance + mean.square()), mean.new_full((1,), count)])

    for part in scope.each(measure, len(x), per_image):
        sums += part
    scope.ranks.sum(sums)
    total = sums[-1]
    mean = sums[:channels] / total
    variance = (sums[channels:-1] / total - mean.square()).clamp_min_(0.0)
    return _Statistics(mean.to(like.dtype), variance.to(like.dtype), int(total))


def _convolution(x: Tensor, weight: Tensor, bias: Tensor, layer: Any) -> Tensor:
    return torch.convolution(
        x, weight, bias, layer.stride, layer.padding, layer.dilation, layer.transposed, layer.output_padding, 1
    )


def _convolution_gradients(
    gradient: Tensor, x: Tensor, weight: Tensor, layer: Any, *, of_x: bool = True, of_weight: bool = True
) -> tuple[Tensor, Tensor]:
    """Return dL/dx and dL/dweight of a block; nothing useful for one that is not asked for."""
    of_x_block, of_weight_block, _ = torch.ops.aten.convolution_backward(
        gradient,
        x,
        weight,
        None,
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.transposed,
        layer.output_padding,
        1,
        [of_x, of_weight, False],
    )
    return of_x_block, of_weight_block


@dataclass(frozen=True)
class _Plan:
    """The modules of a layer, and what it shares with the others."""

    layer: Any
    scope: _Scope
    norm: Any = None


def _image_convolution(images: Tensor, layer: Any, scope: _Scope) -> Tensor:
    return cast("Tensor", _ImageConvolution.apply(layer.weight, layer.bias, images, _Plan(layer, scope)))


def _normalised(x: Tensor, norm: Any, scope: _Scope) -> Tensor:
    """Normalise and activate x, small enough to do whole, in the parameters' precision."""
    x = x.to(norm.weight.dtype)
    return cast("Tensor", _Normalisation.apply(x, norm.weight, norm.bias, _Plan(None, scope, norm)))


def _small_convolution(x: Tensor, layer: Any, scope: _Scope) -> Tensor:
    """Convolve x, small enough to do whole, in plain autograd."""
    x = x.to(scope.dtype, memory_format=torch.channels_last)
    return _convolution(x, layer.weight.to(scope.dtype), _without_gradient(layer.bias).to(scope.dtype), layer)


def _without_gradient(bias: Tensor) -> Tensor:
    """Return the bias with a gradient of zeros (not none, for which the optimiser would keep no state)."""
    return bias.detach() + 0.0 * bias


def _layer(x: Tensor, norm: Any, layer: Any, scope: _Scope) -> Tensor:
    plan = _Plan(layer, scope, norm)
    return cast("Tensor", _Layer.apply(x, norm.weight, norm.bias, layer.weight, layer.bias, plan))


def _squared_error(x: Tensor, norm: Any, layer: Any, target: _Target, scope: _Scope) -> Tensor:
    plan = _Plan(layer, scope, norm)
    return cast("Tensor", _SquaredError.apply(x, norm.weight, norm.bias, layer.weight, layer.bias, target, plan))


# The operations themselves. A `Function` gets the parameters one by one, because autograd tracks only plain arguments.


class _ImageConvolution(Function):
    """The first convolution, from uint8 images; there is no gradient for those."""

    @staticmethod
    def forward(ctx: Any, filters: Tensor, filter_bias: Tensor, images: Tensor, plan: _Plan) -> Tensor:
        scope, side = plan.scope, images.shape[1] // 2
        out = scope.buffer(f"output {id(plan.layer)}", len(images), len(filters), side, side)
        filters, filter_bias = filters.to(scope.dtype), filter_bias.to(scope.dtype)

        def convolve(rows: slice) -> None:
            out[rows] = _convolution(
                to_tensor(images[rows], images.device, scope.dtype), filters, filter_bias, plan.layer
            )

        scope.do(convolve, len(images), out[0].numel())
        ctx.save_for_backward(filters, images)
        ctx.plan = plan
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        filters, images = ctx.saved_tensors
        layer = ctx.plan.layer

        def backward(rows: slice) -> Tensor:
            floats = to_tensor(images[rows], images.device, filters.dtype)
            return _convolution_gradients(gradient[rows], floats, filters, layer, of_x=False)[1]

        of_filters = torch.zeros_like(layer.weight)
        for part in ctx.plan.scope.each(backward, len(images), gradient[0].numel()):
            of_filters += part
        return of_filters, torch.zeros_like(layer.bias), None, None


class _Normalisation(Function):
    """Normalise and activate x (B, C, ...) in one block."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, plan: _Plan) -> Tensor:
        norm = _Norm(x, weight, bias, plan.norm, plan.scope)
        activated = norm.activate(x)
        ctx.save_for_backward(x, activated)
        ctx.norm, ctx.scope = norm, plan.scope
        return activated

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, activated = ctx.saved_tensors
        norm: _Norm = ctx.norm
        scaled, norm.gradients = norm.backward(gradient, activated, x)
        of_x = x.clone()
        norm.complete(of_x, scaled.__getitem__, ctx.scope, x[0].numel())
        return of_x, *norm.gradients, None


class _Layer(Function):
    """Normalise, activate and convolve x (B, C, H, W), whose memory the backward pass uses for its gradient."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, filters: Tensor, filter_bias: Tensor, plan: _Plan
    ) -> Tensor:
        scope, layer = plan.scope, plan.layer
        norm = _Norm(x, weight, bias, plan.norm, scope)
        filters, filter_bias = filters.to(scope.dtype), filter_bias.to(scope.dtype)
        side = x.shape[2] * 2 if layer.transposed else x.shape[2] // 2
        out = scope.buffer(f"output {id(layer)}", len(x), layer.out_channels, side, side)
        size = max(x[0].numel(), out[0].numel())

        def convolve(rows: slice) -> None:
            out[rows] = _convolution(norm.activate(x[rows]), filters, filter_bias, layer)

        scope.do(convolve, len(x), size)
        ctx.save_for_backward(x, filters)
        ctx.norm, ctx.plan, ctx.size = norm, plan, size
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, filters = ctx.saved_tensors
        layer, scope = ctx.plan.layer, ctx.plan.scope
        of_filters = _backward_through(ctx.norm, x, gradient, filters, layer, scope, ctx.size)
        return x.detach(), *ctx.norm.gradients, of_filters, torch.zeros_like(layer.bias), None


class _SquaredError(Function):
    """Normalise, activate, convolve to colours, and return their mean squared difference from the images.

    But for a factor, a block's gradients need no more than the block: the forward pass computes them while all is in the cache.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        filters: Tensor,
        filter_bias: Tensor,
        target: _Target,
        plan: _Plan,
    ) -> Tensor:
        scope, layer, (images, weights) = plan.scope, plan.layer, target
        norm = _Norm(x, weight, bias, plan.norm, scope)
        filters, filter_bias = filters.to(scope.dtype), filter_bias.to(scope.dtype)
        of_logits = scope.buffer("logits", len(x), layer.out_channels, *x.shape[2:])
        # The largest of all: in 4 bytes a value it would take more memory than it is worth, and is computed again.
        kept = scope.buffer("gradient", *x.shape) if x.element_size() == 2 else None

        def compare(rows: slice) -> tuple[float, Tensor, Tensor]:
            activated = norm.activate(x[rows])
            pixels = _convolution(activated, filters, filter_bias, layer).to(weight.dtype).sigmoid_()
            difference = pixels - to_tensor(images[rows], images.device, weight.dtype)
            weighted = difference if weights is None else difference * weights
            squares = (weighted * difference).sum().item()
            of_logits[rows] = weighted.mul_(pixels).mul_(1.0 - pixels)
            of_activated, of_filters = _convolution_gradients(of_logits[rows], activated, filters, layer)
            scaled, of_norm = norm.backward(of_activated, activated, x[rows])
            if kept is not None:
                kept[rows] = scaled
            return squares, of_filters, of_norm

        total, ctx.of_filters = 0.0, torch.zeros_like(layer.weight)
        for squares, of_filters_part, of_norm_part in scope.each(compare, len(x), x[0].numel()):
            total += squares
            ctx.of_filters += of_filters_part
            norm.gradients += of_norm_part
        ctx.save_for_backward(x, filters, of_logits, kept)
        ctx.norm, ctx.plan = norm, plan
        return weight.new_tensor(total / of_logits.numel())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, filters, of_logits, kept = ctx.saved_tensors
        norm: _Norm = ctx.norm
        factor = gradient.item() * 2.0 / of_logits.numel()

        def again(rows: slice) -> Tensor:
            activated = norm.activate(x[rows])
            of_activated = _convolution_gradients(of_logits[rows], activated, filters, ctx.plan.layer, of_weight=False)[
                0
            ]
            return norm.backward(of_activated, activated, x[rows])[0]

        norm.complete(x, again if kept is None else kept.__getitem__, ctx.plan.scope, x[0].numel(), factor)
        of_filters = factor * ctx.of_filters
        of_bias = factor * of_logits.sum((0, 2, 3), dtype=of_filters.dtype)
        return x.detach(), *norm.gradients, of_filters, of_bias, None, None


def _backward_through(
    norm: _Norm, x: Tensor, gradient: Tensor, filters: Tensor, layer: Any, scope: _Scope, size: int
) -> Tensor:
    """Overwrite x with its gradient, and return that of the filters."""
    scaled = scope.buffer("gradient", *x.shape)

    def backward(rows: slice) -> tuple[Tensor, Tensor]:
        activated = norm.activate(x[rows])
        of_activated, of_filters = _convolution_gradients(gradient[rows], activated, filters, layer)
        scaled[rows], of_norm = norm.backward(of_activated, activated, x[rows])
        return of_filters, of_norm

    of_filters = torch.zeros_like(layer.weight)
    for of_filters_part, of_norm_part in scope.each(backward, len(x), size):
        of_filters += of_filters_part
        norm.gradients += of_norm_part
    norm.complete(x, scaled.__getitem__, scope, size)
    return of_filters
