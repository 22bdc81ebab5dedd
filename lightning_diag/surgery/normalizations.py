"""The normalizations that can be inserted: a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, final

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_diag.surgery.followed import Layout
from lightning_diag.surgery.naming import row_named

_LARGEST_GROUPS: Final = 32
_SMALLEST_GROUP: Final = 4  # channels; a group of one channel at one position would always be zero


@final
class ChannelLayerNorm(nn.LayerNorm):
    """``nn.LayerNorm`` over the channels of (batch, channel, ...), at each position by itself.

    Args:
        channels: their number.
        eps: added to the variance.

    Source: Liu et al., A ConvNet for the 2020s (2022).
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__(channels, eps)

    def forward(self, x: Tensor) -> Tensor:
        """Return x, normalized; contiguous if x is."""
        return _as_contiguous_as(x, super().forward(x.movedim(1, -1)).movedim(-1, 1))


@final
class ChannelRMSNorm(nn.RMSNorm):
    """``nn.RMSNorm`` over the channels of (batch, channel, ...), at each position by itself."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__(channels, eps)

    def forward(self, x: Tensor) -> Tensor:
        """Return x, normalized; contiguous if x is."""
        weight = self.weight.to(x.dtype)  # else the fused kernel is left under autocast
        normed = F.rms_norm(x.movedim(1, -1), self.normalized_shape, weight, self.eps)
        return _as_contiguous_as(x, normed.movedim(-1, 1))


def _as_contiguous_as(x: Tensor, y: Tensor) -> Tensor:
    return y.contiguous() if x.is_contiguous() else y  # a later view() of the user's depends on it


@final
class BatchNormNd(nn.modules.batchnorm._BatchNorm):
    """Batch normalization of (batch, channel, ...) with any number of axes."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected (batch, channel, ...), got the shape {tuple(input.shape)}")


def groups_for(channels: int) -> int:
    """Return into how many groups channels are split: the most, up to 32, with 4 channels or more in each.

    >>> [groups_for(c) for c in (1, 6, 8, 30, 64, 256)]
    [1, 1, 2, 6, 16, 32]
    """
    most = max(1, min(_LARGEST_GROUPS, channels // _SMALLEST_GROUP))
    return next(g for g in range(most, 0, -1) if channels % g == 0)


_BATCH: Final = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_INSTANCE: Final = (nn.InstanceNorm1d, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)


def _batch(channels: int, axes: int) -> nn.Module:
    return _BATCH[axes](channels)


def _layer(channels: int, axes: int) -> nn.Module:
    return ChannelLayerNorm(channels) if axes else nn.LayerNorm(channels)


def _group(channels: int, axes: int) -> nn.Module:
    return nn.GroupNorm(groups_for(channels), channels)


def _instance(channels: int, axes: int) -> nn.Module:
    return _INSTANCE[axes](channels, affine=True)


def _rms(channels: int, axes: int) -> nn.Module:
    return ChannelRMSNorm(channels) if axes else nn.RMSNorm(channels, eps=1e-6)


@final
@dataclass(frozen=True, kw_only=True)
class Normalization:
    """A kind of normalization.

    Attributes:
        name: as the user says it.
        build: (channels, axes of positions: 0 for a linear layer, 1 to 3 for a convolution) -> module.
        linear: the layout of what a linear layer puts out (channels last) that the module wants.
        least_batch: samples in a batch below which it is warned.
        least_channels: with fewer the result would be constant.
        cancels_bias: whether it takes out a constant that was added to a channel.
        source: where it comes from.
    """

    name: str
    build: Callable[[int, int], nn.Module] = field(repr=False)
    linear: Layout
    least_batch: int = 1
    least_channels: int = 1
    cancels_bias: bool
    source: str

    def layout(self, axes: int) -> Layout:
        """Return how the module wants the result of a layer."""
        return "" if axes else self.linear


NORMALIZATIONS: Final[tuple[Normalization, ...]] = (
    Normalization(
        name="batch",
        build=_batch,
        linear="flat",
        least_batch=16,
        cancels_bias=True,
        source="Ioffe and Szegedy, Batch Normalization (2015); limit of the batch: Wu and He (2018), figure 1",
    ),
    Normalization(
        name="layer",
        build=_layer,
        linear="",
        least_channels=2,
        cancels_bias=False,
        source="Ba, Kiros and Hinton, Layer Normalization (2016)",
    ),
    Normalization(
        name="group",
        build=_group,
        linear="flat",
        least_channels=2,
        cancels_bias=False,
        source="Wu and He, Group Normalization (2018)",
    ),
    Normalization(
        name="instance",
        build=_instance,
        linear="tokens",
        cancels_bias=True,
        source="Ulyanov, Vedaldi and Lempitsky, Instance Normalization (2016)",
    ),
    Normalization(
        name="rms",
        build=_rms,
        linear="",
        least_channels=2,
        cancels_bias=False,
        source="Zhang and Sennrich, Root Mean Square Layer Normalization (2019)",
    ),
)


def normalization(kind: str) -> Normalization:
    """Return the row of a kind.

    Raises:
        ValueError: if there is none of that name.
    """
    found: Normalization = row_named(kind, NORMALIZATIONS, "normalization")
    return found
