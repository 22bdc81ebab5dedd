"""Which plain tensor stands for a value: finding it in nested outputs, and making it dense, real and local."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

_MAX_DEPTH, _MAX_ITEMS = 4, 64


def tensors(value: Any, depth: int = 0) -> Iterator[Tensor]:
    """Yield the tensors in a value: tuples, lists, dicts, dataclasses, named tuples, packed sequences.

    Generators and opaque objects are left alone (looking into a generator would consume it).
    """
    if isinstance(value, Tensor):
        yield value
    elif depth < _MAX_DEPTH:
        for item in _children(value):
            yield from tensors(item, depth + 1)


def _children(value: Any) -> list[Any]:
    if isinstance(value, (tuple, list)):
        return list(value[:_MAX_ITEMS])
    if isinstance(value, Mapping):
        return [v for _, v in zip(range(_MAX_ITEMS), value.values(), strict=False)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, f.name, None) for f in dataclasses.fields(value)[:_MAX_ITEMS]]
    return []


def main_tensor(value: Any) -> Tensor | None:
    """Return the first floating-point or complex tensor in a module's output; None if there is none."""
    return next((t for t in tensors(value) if t.is_floating_point() or t.is_complex()), None)


_COMPRESSED = (torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc)


def _computes_its_own_way(x: Tensor) -> bool:
    own: Any = getattr(type(x), "__torch_dispatch__", None)
    return own is not None and own is not torch._C._disabled_torch_dispatch_impl


def plain(x: Tensor) -> Tensor | None:
    """Return a detached, dense, strided, real tensor holding the numbers of ``x``; None if they cannot be read.

    Complex tensors become their real view (trailing axis 2), sharded tensors the local shard, sparse and nested
    tensors their stored values, float8 and the like float32. Unmeasurable: quantized, meta, wrapped by a functorch
    transform, opaque layouts, subclasses that compute in a way of their own, empty.
    """
    if torch._C._functorch.is_functorch_wrapped_tensor(x) or x.device.type == "meta":
        return None
    if hasattr(x, "to_local"):
        x = x.to_local()
    if hasattr(x, "trigger_wait"):  # still on its way from another rank
        x = x.trigger_wait()
    x = x.detach()
    if x.layout == torch.sparse_coo:
        x = x.coalesce().values()
    elif x.layout in _COMPRESSED or x.is_nested:
        x = x.values()
    if x.is_quantized or x.layout != torch.strided or _computes_its_own_way(x):
        return None
    if x.is_complex():
        x = torch.view_as_real(x.resolve_conj())
    if not x.is_floating_point() or x.dtype.itemsize < 2:
        x = x.float()
    return x if x.numel() else None


def flat(x: Tensor) -> Tensor:
    """Return the elements of a dense tensor as a vector in some order, without a copy where strides allow it."""
    if x.is_contiguous():
        return x.view(-1)
    strides = x.stride()
    order = sorted(range(x.dim()), key=lambda d: -strides[d])
    y = x.permute(order)
    return y.view(-1) if y.is_contiguous() else x.reshape(-1)


def stands_whole(values: Tensor | None, x: Tensor) -> bool:
    """Return whether the plain ``values`` of ``x`` have its shape: not those of a sparse, nested or complex tensor."""
    return values is not None and not x.is_nested and values.shape == x.shape


def storage(x: Any) -> int:
    """Return what tells the memory of a tensor from that of others; 0 where it has none of its own."""
    try:
        return int(x.untyped_storage().data_ptr())
    except (RuntimeError, NotImplementedError, AttributeError, TypeError):
        return 0
