"""Which attention looks at later positions of its own sequence: its mask tells, or its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_diag.statistics.views import plain

ATTENTION: Final = frozenset({F.scaled_dot_product_attention, F.multi_head_attention_forward})
_SCALED: Final = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
_SEVERAL: Final = ("query", "key", "value")
_BLOCKED = -1e4  # what is added to a score to block it, or less


def looks_ahead(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool | None:
    """Return whether a call of ``ATTENTION`` lets a position see later ones of the same sequence; None if unknown.

    Example:
        >>> x = torch.ones(2, 5, 4)
        >>> looks_ahead(F.scaled_dot_product_attention, (x, x, x), {})
        True
        >>> looks_ahead(F.scaled_dot_product_attention, (x, x, x), {"is_causal": True})
        False
    """
    several = func is F.multi_head_attention_forward
    given = dict(zip(_SEVERAL if several else _SCALED, args, strict=False)) | dict(kwargs)
    query, key, mask = given["query"], given["key"], given.get("attn_mask")
    places = 0 if several else -2
    if query.is_nested or key.is_nested or query.shape[places] != key.shape[places] or query.shape[places] < 2:
        return None
    if several and query is not key:
        return None  # across sequences, nothing comes earlier or later
    if given.get("is_causal"):
        return False
    if mask is None:
        return True
    values = plain(mask)
    if values is None or values.dim() < 2 or values.shape[-1] != values.shape[-2]:
        return None
    told = mask.dtype == torch.bool  # True is blocked for several heads, and let through for one
    seen = (values == 0 if several else values != 0) if told else values > _BLOCKED
    return bool(seen.triu(1).any())


def weights_look_ahead(weights: Tensor) -> bool | None:
    """Return whether attention weights (..., places, places), rows of which sum to 1, lie on later places."""
    values = plain(weights)
    if values is None or values.dim() < 3 or values.shape[-1] != values.shape[-2] or values.shape[-1] < 2:
        return None
    return bool((values.flatten(0, -3)[0].triu(1) > 0).any())  # of one head, of one sample
