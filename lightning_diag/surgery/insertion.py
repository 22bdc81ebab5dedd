"""Insert normalization behind hidden layers."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

from torch import Size, nn

from lightning_diag.order import trace
from lightning_diag.order.recorded import arguments, tensors
from lightning_diag.order.tracing import output_shapes
from lightning_diag.surgery.changes import Changes
from lightning_diag.surgery.normalizations import Normalization, normalization
from lightning_diag.surgery.operable import check_operable, perform
from lightning_diag.surgery.places import Place, Position, find_places

_POSITIONS: Final = ("pre", "post")
NormalizationName = Literal["batch", "layer", "group", "instance", "rms"]


def insert_normalization(
    model: nn.Module,
    kind: NormalizationName = "batch",
    position: Position = "pre",
    *,
    example_inputs: Any = None,
    names: Iterable[str] | None = None,
    batch_size: int | None = None,
) -> nn.Module:
    """Return the model, in place, with a normalization after every hidden linear layer and convolution.

    Never behind an output layer, where a normalization stands already, in attention, gates or recurrent cells, or on a
    residual sum. The bias of a layer goes where the normalization takes it out exactly. A second call changes
    nothing.
    ``normalization_places`` says what becomes of each layer.

    Args:
        model: the model; its ``forward`` is followed. Not compiled, not wrapped, before its optimizer is made.
        kind: a name of NORMALIZATIONS.
        position: "pre": before the activation, directly on the result of the layer; "post": after the activation.
        example_inputs: one input of the model: a tensor, a tuple of positional or a dict of named arguments. Needed
            where torch.fx cannot follow the model. If given, the changed model is tried: one training pass, and the
            evaluation of one sample.
        names: where neither way finds the order: names of modules in order of execution, one feeding the next.
        batch_size: samples per step and device in training, to warn if batch statistics will be poor; that of
            ``example_inputs`` by default, if it is more than one sample.

    Raises:
        ValueError: with the reason, if there is no place for it or the changed model does not run. The model is
            unchanged then, bit for bit.
        TypeError: if it is no module.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> list(insert_normalization(net, "layer").state_dict())
        ['0.weight', '0.bias', '0.norm.weight', '0.norm.bias', '2.weight', '2.bias']
    """
    row = normalization(kind)
    places = normalization_places(model, kind, position, example_inputs=example_inputs, names=names)
    chosen = [place for place in places if place.verdict == "insert"]
    if not chosen:
        if any(place.verdict == "normalized" for place in places):
            return model
        raise ValueError(f"no place for {kind} normalization in {type(model).__name__}: {_reasons(places)}")
    _warn_of_small_batch(model, row, example_inputs, batch_size)

    def operate(changes: Changes) -> None:
        for place in chosen:
            _insert(changes, place, row)

    return perform(model, operate, example_inputs, what=f"{kind} normalization")


def normalization_places(
    model: nn.Module,
    kind: NormalizationName = "batch",
    position: Position = "pre",
    *,
    example_inputs: Any = None,
    names: Iterable[str] | None = None,
) -> tuple[Place, ...]:
    """Return what ``insert_normalization`` would do to each layer, and why not; the model is not changed.

    Raises:
        ValueError: if the order of execution cannot be found, or the model cannot be operated on.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> [(place.name, place.verdict, place.reason) for place in normalization_places(net)]
        [('0', 'insert', ''), ('2', 'kept', 'it is an output layer')]
    """
    row = normalization(kind)
    if position not in _POSITIONS:
        raise ValueError(f"position must be 'pre' (before the activation) or 'post', got {position!r}")
    check_operable(model)
    order = trace(model, example_inputs, names=names)
    shapes: Mapping[nn.Module, Size] = {}
    if example_inputs is not None:
        shapes = output_shapes(model, example_inputs)
    return find_places(model, order, row, position, shapes)


def _insert(changes: Changes, place: Place, row: Normalization) -> None:
    assert place.carrier is not None
    like = next(place.layer.parameters())
    norm = row.build(place.channels, place.axes).to(like.device)
    if like.is_floating_point():  # that of a quantized layer is not
        norm = norm.to(like.dtype)
    changes.follow(place.carrier, "norm", norm, row.layout(place.axes))
    if place.drop_bias:
        changes.set_parameter(place.layer, "bias", None)


def _warn_of_small_batch(model: nn.Module, row: Normalization, example_inputs: Any, batch_size: int | None) -> None:
    if batch_size is None and example_inputs is not None:
        size = next((len(t) for t in tensors(arguments(model, example_inputs)) if t.dim()), 1)
        batch_size = size if size > 1 else None  # a single sample shows the shape; nobody trains on it
    if batch_size is not None and batch_size < row.least_batch:
        warnings.warn(
            f"a batch of {batch_size} is small for {row.name} normalization, which estimates its statistics from it: "
            f"{row.least_batch} samples or more (accumulate_grad_batches does not help). Take kind='group' or 'layer', "
            "or say batch_size= if training uses larger batches.",
            stacklevel=3,
        )


def _reasons(places: Iterable[Place]) -> str:
    text = "; ".join(f"{place.name}: {place.reason}" for place in list(places)[:5])
    return text or "it has no linear layer and no convolution"
