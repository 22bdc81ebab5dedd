"""Inputs and targets of a batch, found by convention or by name, and batches with other ones."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, Union

from torch import Tensor

from lightning_diag.probes.batch import TARGETS

Place = Union[int, str, None]


def place_of(batch: Any, place: Place, role: Literal["inputs", "targets"]) -> Place:
    """Return where the inputs or targets of a batch are.

    By convention the inputs of a sequence are its first element and the targets its second; those of a mapping are the
    only floating point tensor that is not named as targets are, and the only tensor that is; a tensor is its inputs.

    Args:
        batch: a batch.
        place: an index, key or attribute; None asks the convention.
        role: what is looked for.

    Returns:
        An index, a key or the name of an attribute; None: the batch itself.

    Raises:
        ValueError: there is no tensor, or the convention does not tell.

    Example:
        >>> import torch
        >>> place_of([torch.ones(2, 3), torch.ones(2)], None, "targets")
        1
        >>> place_of({"image": torch.ones(2, 3), "label": torch.ones(2)}, None, "inputs")
        'image'
    """
    if place is None and isinstance(batch, Tensor) and role == "inputs":
        return None
    found: list[int | str] = [] if place is None else [place]
    if place is None and isinstance(batch, (list, tuple)):
        found = [("inputs", "targets").index(role)]
    elif place is None and isinstance(batch, Mapping):
        named = {k: str(k).lower() in TARGETS for k, v in batch.items() if isinstance(v, Tensor)}
        found = [k for k, t in named.items() if t == (role == "targets") and (t or batch[k].is_floating_point())]
    if len(found) != 1 or not isinstance(part_of(batch, found[0]), Tensor):
        raise ValueError(f"which part of the batch are the {role} is not clear: {_asked(place)} among {_parts(batch)}; "
                         f"say {role}=<index or key of a tensor>")  # fmt: skip
    return found[0]


def part_of(batch: Any, place: Place) -> Any:
    """Return what is at a place of a batch; None if nothing is."""
    if place is None:
        return batch
    try:
        return getattr(batch, str(place)) if _has_attributes(batch) else batch[place]
    except (AttributeError, IndexError, KeyError, TypeError):
        return None


def with_parts(batch: Any, parts: Mapping[Any, Any]) -> Any:
    """Return a batch like this one with other tensors at some places; the one given stays as it is.

    Example:
        >>> import torch
        >>> with_parts((torch.zeros(1), "name"), {0: torch.ones(1)})
        (tensor([1.]), 'name')
    """
    if None in parts:
        return parts[None]
    if isinstance(batch, (list, tuple)):
        items = [parts.get(i, parts.get(i - len(batch), x)) for i, x in enumerate(batch)]
        return type(batch)(*items) if hasattr(batch, "_fields") else type(batch)(items)
    other = copy.copy(batch)
    for place, part in parts.items():
        if _has_attributes(batch):
            object.__setattr__(other, str(place), part)  # a dataclass may be frozen
        else:
            other[place] = part
    return other


def _has_attributes(batch: Any) -> bool:
    return not isinstance(batch, (Tensor, list, tuple, Mapping)) and not hasattr(batch, "__getitem__")


def _asked(place: Place) -> str:
    return "none of one meaning" if place is None else f"no tensor at {place!r}"


def _parts(batch: Any) -> str:
    if isinstance(batch, Mapping):
        names = {k: _kind(v) for k, v in batch.items()}
    elif isinstance(batch, (list, tuple)):
        names = {i: _kind(v) for i, v in enumerate(batch)}
    elif dataclasses.is_dataclass(batch):
        names = {f.name: _kind(getattr(batch, f.name)) for f in dataclasses.fields(batch)}
    else:
        return _kind(batch)
    return ", ".join(f"{k!r}: {v}" for k, v in names.items())


def _kind(x: Any) -> str:
    return f"{str(x.dtype).removeprefix('torch.')} {list(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
