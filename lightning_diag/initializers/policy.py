"""Initialize a whole model: which layer gets what, and doing it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from lightning_diag.initializers.biases import BiasChoice, check_bias, fill_biases, prior_bias, set_output_bias
from lightning_diag.initializers.lsuv import scale_to_unit_variance
from lightning_diag.initializers.parts import NORMS
from lightning_diag.initializers.plans import Assignment, GainChoice, asked, assignments, excluded, weight_of
from lightning_diag.initializers.pretrained import mark_initialized
from lightning_diag.initializers.rows import Mode, Options, initializer
from lightning_diag.initializers.surroundings import Surroundings, entry, surroundings
from lightning_diag.initializers.words import unknown

OutputChoice = Literal["small", "zeros"] | None
ResidualChoice = Literal["keep", "zero", "scale"]
OUTPUTS: Final = ("small", "zeros")
RESIDUALS: Final = ("keep", "zero", "scale")
_SMALL: Final = 0.1  # the factor of a small output layer


def plan(
    model: nn.Module, scheme: str = "kaiming_normal", *, gain: GainChoice = "auto", example_inputs: Any = None,
    exclude: Sequence[str] = (),
) -> list[Assignment]:  # fmt: skip
    """Return what ``initialize`` would do to each weight, without doing it.

    Example:
        >>> net = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> [(a.name, a.activation, round(a.block.gain, 2)) for a in plan(net)]
        [('0.weight', 'relu', 1.41), ('2.weight', 'linear', 1.0)]
    """
    return assignments(model, asked(scheme), surroundings(model, example_inputs), gain, _globs(exclude))


def initialize(
    model: nn.Module, scheme: str = "kaiming_normal", *, bias: BiasChoice = "zeros", gain: GainChoice = "auto",
    output: OutputChoice = None, residual: ResidualChoice = "keep", prior: Tensor | Sequence[float] | None = None,
    forget_bias: float | None = 1.0, example_inputs: Any = None, exclude: Sequence[str] = (), std: float | None = None,
    bound: float = 0.05, value: float = 0.0, mode: Mode = "fan_in", generator: Generator | None = None,
) -> nn.Module:  # fmt: skip
    """Return the model, its weights initialized in place.

    Linear and bilinear layers, convolutions and transposed convolutions get the scheme; recurrent weights get it gate
    by gate, from one time step to the next they are orthogonal; attention gets it for query, key and value each;
    embeddings get N(0, 1), for a look-up adds up one row (the schemes with a fixed size hold for them as they are).
    Tied weights are filled once, parametrized ones through their parametrization. Normalization stays as it is, and so
    does what is marked by ``mark_pretrained``, frozen or excluded, and parameters of modules that are not known.

    Args:
        model: the model; changed in place.
        scheme: name of a row of ``INITIALIZERS``.
        bias: "zeros"; "small_positive": 0.01 where a rectifier follows, else 0; "prior": the output layer predicts
            ``prior``, else 0; a number; "keep" or None.
        gain: "auto": Kaiming and orthogonal take the gain of the activation that follows (``GAINS``), others 1;
            "torch": every scaled scheme takes that of ``torch.nn.init.calculate_gain``; or a number above 0.
        output: the output layer: "small" (a tenth), "zeros", None (as the scheme says).
        residual: the end of each residual branch: "zero" (gamma of the last norm, else the last weight), "scale" (the
            last weight over the square root of the number of branches), "keep".
        prior: class counts or frequencies, for bias="prior".
        forget_bias: what the biases of an LSTM's forget gates sum to; None: 0.
        example_inputs: what the model is called with (tensor, tuple of arguments, dict of named ones); needed by
            "lsuv", and to know which activation follows where torch.fx cannot trace the model.
        exclude: names of modules that stay as they are, with wildcards.
        std: standard deviation of "normal" and "truncated_normal".
        bound: "uniform" draws from [-bound, bound].
        value: of "constant".
        mode: the fan of Kaiming: "fan_in" keeps the signal, "fan_out" the gradient.
        generator: source of random numbers; None: torch's own.

    Raises:
        TypeError: an argument of a wrong type.
        ValueError: an unknown name, an absurd number, weights that cannot be set (lazy, meta, sharded, old-style
            hooks), no data for "lsuv", no residual branch where one is asked for.

    Example:
        >>> net = initialize(nn.Sequential(nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10)), "kaiming_normal")
        >>> bool(abs(net[0].weight.std() - (2 / 512) ** 0.5) < 0.002), net[0].bias.abs().sum().item()
        (True, 0.0)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    row, globs = asked(scheme), _globs(exclude)
    options = Options(std, bound, value, mode, generator)
    _check(scheme, bias, output, residual, prior, example_inputs, forget_bias)
    around = surroundings(model, example_inputs)
    jobs = assignments(model, row, around, gain, globs)
    if not jobs:
        raise ValueError(f"{type(model).__name__} has no layer that is known (Linear, convolution, recurrent, ...)")
    residual = "zero" if scheme == "zero_gamma" else residual
    ends = _branch_ends(model, around, globs) if residual != "keep" else []
    heads = _heads(model, around, globs) if output is not None or bias == "prior" else []
    for job in jobs:
        _fill(job, options)
    fill_biases(model, bias, around, forget_bias, globs)
    if scheme == "lsuv":
        touched = {j.module for j in jobs if j.scheme == "lsuv" and j.part is not None and j.part.kind == "layer"}
        scale_to_unit_variance(entry(model), [m for m in around.order if m in touched], example_inputs)
    for end in ends:
        _end_branch(end, residual, len(ends))
    for head in heads:
        if output is not None:
            _set(head, "weight", weight_of(head, "weight").detach() * (_SMALL if output == "small" else 0.0))
    if prior is not None:
        _set_prior(heads, prior)
    mark_initialized(model, scheme)
    return model


def _check(
    scheme: str, bias: object, output: object, residual: object, prior: object, inputs: object, forget: object
) -> None:
    check_bias(bias)
    if output is not None and output not in OUTPUTS:
        raise unknown("output", output, OUTPUTS)
    if residual not in RESIDUALS:
        raise unknown("residual", residual, RESIDUALS)
    if (bias == "prior") != (prior is not None):
        raise ValueError(f"bias='prior' and prior= belong together, got bias={bias!r} and prior={prior!r}")
    if scheme == "lsuv" and inputs is None:
        raise ValueError("'lsuv' scales layers on data: give example_inputs, some hundred samples")
    number = isinstance(forget, (int, float)) and not isinstance(forget, bool) and math.isfinite(forget)
    if forget is not None and not number:
        raise TypeError(f"forget_bias must be a finite number or None, got {forget!r}")


def _globs(exclude: Sequence[str]) -> tuple[str, ...]:
    if isinstance(exclude, str) or not all(isinstance(g, str) for g in exclude):
        raise TypeError(f"exclude must be a sequence of names, ['backbone.*'], got {exclude!r}")
    return tuple(exclude)


def _fill(job: Assignment, options: Options) -> None:
    if job.part is None or job.scheme == "keep":
        return
    row = initializer(job.scheme)
    if job.part.kind == "embedding" and job.why:
        options = Options(std=1.0, generator=options.generator)
    with torch.no_grad():
        weight = weight_of(job.module, job.part.parameter)
        value = weight if weight.is_leaf and not is_parametrized(job.module, job.part.parameter) else weight.clone()
        rows = value if job.part.rows is None else value[job.part.rows]
        row.fill(rows, job.block, options)
        padding = getattr(job.module, "padding_idx", None)
        if job.part.kind == "embedding" and padding is not None:
            value[padding] = 0.0
        if value is not weight:
            _set(job.module, job.part.parameter, value)


def _set(module: nn.Module, parameter: str, value: Tensor) -> None:
    """Set a weight, through its parametrization if it has one."""
    with torch.no_grad():
        if not is_parametrized(module, parameter):
            getattr(module, parameter).copy_(value)
            return
        try:
            setattr(module, parameter, value)
        except (NotImplementedError, RuntimeError, ValueError) as error:
            parts = getattr(module, "parametrizations")[parameter]  # noqa: B009 - of a class made on the fly
            kinds = ", ".join(type(p).__name__ for p in parts)
            raise ValueError(
                f"the {parameter} of a {type(module).__name__} is parametrized by {kinds}, through which it cannot be "
                f"set ({type(error).__name__}: {error}); exclude it, or initialize before it is parametrized"
            ) from error


def _branch_ends(model: nn.Module, around: Surroundings, globs: tuple[str, ...]) -> list[nn.Module]:
    names = {module: name for name, module in model.named_modules()}
    ends = [m for m in around.ends if m in names and not excluded(names[m], m, globs)]
    if not ends:
        raise ValueError(
            f"no residual branch was found in {type(model).__name__}; use another scheme and residual='keep', or give "
            f"example_inputs if it has one{'. ' + around.reasons[0] if around.reasons else ''}"
        )
    return ends


def _end_branch(end: nn.Module, residual: ResidualChoice, number: int) -> None:
    layer = end.out_proj if isinstance(end, nn.MultiheadAttention) else end
    weight = getattr(layer, "weight", None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"the residual branch that ends in {layer} has no weight there; use residual='keep'")
    if residual == "zero":
        _set(layer, "weight", torch.zeros_like(weight))
    elif not isinstance(layer, NORMS):
        _set(layer, "weight", weight.detach() / math.sqrt(number))


def _heads(model: nn.Module, around: Surroundings, globs: tuple[str, ...]) -> list[nn.Module]:
    names = {module: name for name, module in model.named_modules()}
    heads = [m for m in around.outputs if m in names and not excluded(names[m], m, globs)]
    if not heads:
        raise ValueError(
            f"the output layer of {type(model).__name__} was not found; give example_inputs"
            f"{'. ' + around.reasons[0] if around.reasons else ''}"
        )
    return heads


def _set_prior(heads: list[nn.Module], prior: Tensor | Sequence[float]) -> None:
    if len(heads) != 1:
        raise ValueError(f"bias='prior' is for one output layer, {len(heads)} were found: set them by set_output_bias")
    outputs = getattr(heads[0], "out_features", getattr(heads[0], "out_channels", 0))
    set_output_bias(heads[0], prior_bias(prior, int(outputs)))
