"""A preprocessing as a module: its statistics are buffers, saved, moved and exported with the model.

No postponed annotations here: torch.jit.script reads those of the class.
"""

import math
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from lightning_diag.preprocessing.moments import Moments, StreamingMoments
from lightning_diag.preprocessing.rows import MISSING, TARGETS, PreprocessingRow, preprocessing_row, unknown

Missing = Literal["refuse", "mean", "keep"]
is_tracing: Any = getattr(torch.jit, "is_tracing")  # noqa: B009 - torch.jit does not say that it exports it
_CONSTANT: Final = 1e-7  # spread of a feature, as a share of its largest value, below which it is constant


class Preprocessing(nn.Module):
    """Maps inputs by statistics of the training data; call ``fit`` of this package, or ``set_statistics``, before.

    What it does with what is odd: a *constant* feature is centred and not divided (minmax: 0). *Whole numbers* and
    booleans become floats; halves are computed in single precision and come back as halves. *Missing values* (NaN):
    "refuse" raises while statistics are fitted, "mean" puts the mean of the feature in their place, "keep" leaves them;
    statistics are those of the values that are there (whitening: of complete samples). Infinite values are refused.

    Args:
        kind: name of a row of ``PREPROCESSINGS``.
        eps: under the root that is divided by; None: 1e-5 for whitening, else 0.
        channel_axis: the axis that holds the channels, for kinds that go by channel.
        missing: what is done with NaN.

    Raises:
        ValueError: an unknown name, or a negative ``eps``.

    Example:
        >>> scale = Preprocessing("channel")
        >>> _ = scale.observe(torch.tensor([[1.0, 10.0], [3.0, 10.0]]))
        >>> scale(torch.tensor([[5.0, 10.0]])).tolist()
        [[3.0, 0.0]]
    """

    offset: Tensor
    scale: Tensor
    matrix: Tensor
    mean: Tensor

    def __init__(
        self, kind: str = "channel", *, eps: float | None = None, channel_axis: int = 1, missing: Missing = "refuse"
    ) -> None:
        super().__init__()
        self._start(preprocessing_row(kind), eps, channel_axis, missing)

    def _start(self, row: PreprocessingRow, eps: float | None, channel_axis: int, missing: Missing) -> None:
        if missing not in MISSING:
            raise unknown("missing", missing, list(MISSING))
        self.whitens = row.how in ("pca", "zca")
        self.fitted = False  # whether there are statistics
        eps = eps if eps is not None else (1e-5 if self.whitens else 0.0)
        if isinstance(eps, bool) or not isinstance(eps, (int, float)) or not (math.isfinite(eps) and eps >= 0):
            raise ValueError(f"eps must be a finite number from 0, got {eps!r}")
        if not isinstance(channel_axis, int) or isinstance(channel_axis, bool) or channel_axis == 0:
            raise ValueError(
                f"channel_axis must be a whole number other than 0, the axis of samples, got {channel_axis!r}"
            )
        self.kind, self.how, self.level = row.name, row.how, row.level
        self.eps, self.channel_axis, self.missing = float(eps), channel_axis, missing
        for name in ("offset", "scale", "matrix", "mean"):
            self.register_buffer(name, torch.zeros(0))

    def extra_repr(self) -> str:
        """Return what stands in the printed module."""
        return f"{self.kind!r}, " + (f"fitted, shape {tuple(self.offset.shape)}" if self.fitted else "not fitted")

    def meter(self) -> StreamingMoments:
        """Return what collects the statistics that this kind needs."""
        return StreamingMoments(self.level, self.channel_axis, covariance=self.whitens)

    def observe(self, data: Tensor) -> "Preprocessing":
        """Fit on one tensor that holds all the data, shape (samples, ...), and return the module."""
        meter = self.meter()
        meter.update(data)
        return self.set_statistics(meter)

    def set_statistics(self, meter: StreamingMoments) -> "Preprocessing":
        """Take the statistics that a meter has collected (on all ranks), and return the module.

        Raises:
            ValueError: less than two samples, too many features to whiten, or missing values that are refused.
        """
        if meter.missing and self.missing == "refuse":
            raise ValueError(
                f"{meter.missing} values are missing (NaN) in the data; pass missing='mean' to put the mean in their "
                "place, or missing='keep' to leave them"
            )
        m, shape = meter.compute(), meter.shape or ()
        if float(m.count.max()) < 2:
            raise ValueError(f"statistics need two samples or more, got {int(m.count.max())}")
        offset = m.low if self.how == "range" else m.mean
        matrix = self._whitener(m) if self.whitens else torch.zeros(0)
        values = (("offset", offset), ("scale", self._scale(m)), ("mean", m.mean))
        for name, value in values:
            value = torch.where(m.count > 0, value, 1.0 if name == "scale" else 0.0)  # a feature that was never there
            self._put(name, value.reshape(shape))
        self._put("matrix", matrix)
        self.fitted = True
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Return the input mapped by the statistics, of the same shape."""
        wide = self._widened(x)
        if self.missing == "mean":
            wide = torch.where(torch.isnan(wide), self.mean.to(wide.dtype), wide)
        if self.whitens:
            flat = (wide - self.offset).reshape(x.shape[0], -1)
            out = (flat @ self.matrix.to(flat.dtype)).reshape(x.shape)
        else:
            out = (wide - self.offset) * self.scale
        result: Tensor = out.to(x.dtype) if x.is_floating_point() else out
        return result

    @torch.jit.export
    def inverse(self, y: Tensor) -> Tensor:
        """Return what was mapped to ``y``, of the same shape: predictions in the units of the data."""
        wide = self._widened(y)
        if self.whitens:
            flat = wide.reshape(y.shape[0], -1)
            out = torch.linalg.solve(self.matrix.to(flat.dtype), flat, left=False).reshape(y.shape) + self.offset
        else:
            out = wide / self.scale + self.offset
        result: Tensor = out.to(y.dtype) if y.is_floating_point() else out
        return result

    def _widened(self, x: Tensor) -> Tensor:
        """Return ``x`` in single precision or wider."""
        if not self.fitted:
            raise RuntimeError(
                "this preprocessing has no statistics yet: fit it on the training data (the callback Preprocess does "
                "so at the start of fit, or call lightning_diag.preprocessing.fit), or load a checkpoint that has them"
            )
        if not is_tracing():
            self._check_shape(x)
        narrow = not x.is_floating_point() or x.dtype == torch.float16 or x.dtype == torch.bfloat16
        wide: Tensor = x.to(torch.float32) if narrow else x
        return wide

    def _check_shape(self, x: Tensor) -> None:
        if self.offset.dim() > x.dim():
            raise ValueError("the input has fewer axes than the data that the statistics are of")
        for i in range(self.offset.dim()):
            n = self.offset.shape[self.offset.dim() - 1 - i]
            if n != 1 and x.shape[x.dim() - 1 - i] != n:
                raise ValueError("the input has another shape than the data that the statistics are of")

    def _scale(self, m: Moments) -> Tensor:
        if self.whitens or self.how == "centre":
            return torch.ones_like(m.mean)
        spread = m.high - m.low if self.how == "range" else (m.std.square() + self.eps).sqrt()
        largest = torch.maximum(m.high.abs(), m.low.abs())
        constant = (m.high - m.low) <= _CONSTANT * largest
        return torch.where(constant, 1.0, 1.0 / torch.where(constant, 1.0, spread))

    def _whitener(self, m: Moments) -> Tensor:
        values, vectors = torch.linalg.eigh(m.covariance)
        values, vectors = values.clamp_min(0).flip(0), vectors.flip(1)  # largest first, as an SVD gives them
        largest = vectors.abs().argmax(0)
        vectors = (
            vectors * vectors[largest, torch.arange(len(largest), device=largest.device)].sign()
        )  # the same signs everywhere
        if self.eps == 0 and float(values[-1]) <= 1e-12 * float(values[0]):
            raise ValueError("the covariance is singular, so that whitening divides by 0; give eps above 0")
        white: Tensor = vectors / (values + self.eps).sqrt()
        return white @ vectors.T if self.how == "zca" else white

    def _put(self, name: str, value: Tensor) -> None:
        held: Tensor = getattr(self, name)
        setattr(self, name, value.detach().to(held.device, held.dtype).clone())

    def _apply(self, fn: Any, recurse: bool = True) -> "Preprocessing":
        """Move the statistics, but keep them in single precision where the model becomes half precision."""
        before = dict(self.named_buffers(recurse=False))
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, held in before.items():
            moved: Tensor = getattr(self, name)
            if moved.dtype in (torch.float16, torch.bfloat16):
                setattr(self, name, held.to(moved.device))
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        for name, held in list(self.named_buffers(recurse=False)):
            given = state_dict.get(prefix + name)
            if isinstance(given, Tensor) and given.shape != held.shape:
                setattr(self, name, torch.zeros(given.shape, dtype=held.dtype, device=held.device))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        self.fitted = self.offset.numel() > 0


class TargetPreprocessing(Preprocessing):
    """Maps the targets of a regression; ``inverse`` brings predictions back to their units.

    Args:
        kind: name of a row of ``TARGETS``: "standardize" or "minmax", for each output of its own.
        missing: what is done with NaN.
    """

    def __init__(self, kind: str = "standardize", *, missing: Missing = "refuse") -> None:
        nn.Module.__init__(self)
        self._start(preprocessing_row(kind, TARGETS), None, 1, missing)
