"""What a Recipe refuses: unknown names, absurd numbers, fields that exclude each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, get_args

from lightning_diag.recipe import names as n
from lightning_diag.recipe.options import check_options, check_overrides
from lightning_diag.recipe.ranges import COUNT, POSITIVE, Range, check_number
from lightning_diag.recipe.words import unknown

if TYPE_CHECKING:
    from lightning_diag.recipe.recipe import Recipe

CHOICES: Final[Mapping[str, Any]] = {
    "optimizer": n.OptimizerName,
    "gradient_clip_algorithm": n.ClipName,
    "schedule": n.ScheduleName,
    "interval": n.Interval,
    "warmup_kind": n.WarmupName,
    "monitor_mode": n.Mode,
    "init": n.InitName,
    "bias_init": n.BiasName,
    "output_init": n.OutputInitName,
    "norm": n.NormName,
    "norm_position": n.NormPosition,
    "activation": n.ActivationName,
    "standardize": n.StandardizeName,
    "standardize_target": n.TargetName,
    "curriculum": n.CurriculumName,
    "averaging": n.AveragingName,
    "precision": n.PrecisionName,
}


NUMBERS: Final[Mapping[str, Range]] = {
    "lr": POSITIVE,
    "momentum": Range("[0, 1)"),
    "smoothing": Range("[0, 1)"),
    "eps": POSITIVE,
    "weight_decay": Range("[0, inf)"),
    "layer_decay": Range("(0, 1]"),
    "l1": Range("[0, inf)"),
    "gradient_clip_val": POSITIVE,
    "bias_init": Range("(-inf, inf)"),
    "norm_momentum": Range("(0, 1]"),
    "dropout": Range("[0, 1)"),
    "mixup": POSITIVE,
    "input_noise": POSITIVE,
    "ema_decay": Range("(0, 1)"),
    "early_stopping": COUNT,
    "batch_size": COUNT,
    "num_workers": Range("[0, inf)", whole=True),
    "max_epochs": COUNT,
    "accumulate_grad_batches": COUNT,
}
_FLAGS: Final = ("nesterov", "decay_embeddings", "shuffle")
_TAKERS: Final[Mapping[str, tuple[str, ...]]] = {
    "momentum": ("sgd", "momentum", "nesterov", "rmsprop", "muon"),
    "nesterov": ("sgd", "momentum", "nesterov", "muon"),
    "betas": ("adam", "adamw", "adamax", "nadam", "radam"),
    "smoothing": ("rmsprop", "adadelta"),
}
_NEEDS: Final = {
    "gradient_clip_algorithm": "gradient_clip_val",
    "norm_position": "norm",
    "warmup_kind": "warmup",
    "init_options": "init",
    "output_init": "init",
    "schedule_options": "schedule",
    "interval": "schedule",
}
_WITHOUT_EPS: Final = ("sgd", "momentum", "nesterov", "asgd", "rprop", "adafactor")


def check(recipe: Recipe) -> None:
    """Raise TypeError or ValueError for what a recipe must not hold."""
    for name in CHOICES:
        _choice(recipe, name)
    for name, allowed in NUMBERS.items():
        value = getattr(recipe, name)
        if value is not None and not (isinstance(value, str) and name in ("lr", "bias_init")):
            check_number(f"Recipe.{name}", value, allowed)
    if isinstance(recipe.lr, str) and recipe.lr != "search":
        raise ValueError(f"Recipe.lr must be a number above 0 or 'search', got {recipe.lr!r}")
    for name in _FLAGS:
        value = getattr(recipe, name)
        if not isinstance(value, bool) and (value is not None or name == "decay_embeddings"):
            raise TypeError(f"Recipe.{name} must be True or False, got {value!r}")
    _betas(recipe.betas)
    _warmup(recipe.warmup)
    if recipe.monitor is not None and (not isinstance(recipe.monitor, str) or not recipe.monitor):
        raise TypeError(f"Recipe.monitor must be the name of a logged metric, got {recipe.monitor!r}")
    check_overrides(recipe.overrides)
    check_options("schedule", recipe.schedule, recipe.schedule_options)
    check_options("init", recipe.init, recipe.init_options)
    _optimizer_fields(recipe)
    _companions(recipe)
    _schedule_fields(recipe)


def _choice(recipe: Recipe, name: str) -> None:
    value = getattr(recipe, name)
    if value is None or (name in NUMBERS and not isinstance(value, str)):
        return
    if value not in get_args(CHOICES[name]):
        raise unknown(f"Recipe.{name}", value, get_args(CHOICES[name]))


def _betas(betas: object) -> None:
    if betas is None:
        return
    if not isinstance(betas, tuple) or len(betas) != 2:
        raise TypeError(f"Recipe.betas must be two numbers in [0, 1), got {betas!r}")
    for beta in betas:
        check_number("each of Recipe.betas", beta, Range("[0, 1)"))


def _warmup(warmup: object) -> None:
    if warmup is None or (isinstance(warmup, int) and not isinstance(warmup, bool) and warmup >= 0):
        return
    if isinstance(warmup, bool) or not isinstance(warmup, (int, float)):
        raise TypeError(f"Recipe.warmup must be a whole number of steps or a share in (0, 1), got {warmup!r}")
    if not (0 < warmup < 1):
        raise ValueError(f"Recipe.warmup must be a whole number of steps or a share in (0, 1), got {warmup!r}")


def _optimizer_fields(r: Recipe) -> None:
    if r.optimizer is None:
        given = [f for f in ("lr", "momentum", "nesterov", "betas", "smoothing", "eps", "weight_decay", "layer_decay",
                             "overrides", "schedule", "warmup") if getattr(r, f) is not None]  # fmt: skip
        if given:
            raise ValueError(
                f"Recipe(optimizer=None) leaves optimizer and schedule to the module, so {', '.join(given)} cannot be "
                "carried out; name an optimizer, or start from Recipe.untouched()"
            )
        return
    if r.lr is None:
        raise ValueError(f"Recipe(optimizer={r.optimizer!r}) needs a learning rate: give lr")
    wanted = {name for name in _TAKERS if getattr(r, name) is not None}
    wanted.update(name for settings in (r.overrides or {}).values() for name in settings if name in _TAKERS)
    for name in sorted(wanted):
        if r.optimizer not in _TAKERS[name]:
            raise ValueError(f"{r.optimizer} takes no {name}; those that do: {', '.join(_TAKERS[name])}")
    if r.eps is not None and r.optimizer in _WITHOUT_EPS:
        raise ValueError(f"{r.optimizer} takes no eps; without it are {', '.join(_WITHOUT_EPS)}")
    if r.optimizer == "rprop" and r.weight_decay:
        raise ValueError("rprop uses only the sign of the gradient and takes no weight_decay; choose another optimizer")
    if r.optimizer == "nesterov" and r.nesterov is False:
        raise ValueError("Recipe(optimizer='nesterov', nesterov=False) contradicts itself; use optimizer='momentum'")
    if r.optimizer == "momentum" and r.nesterov:
        raise ValueError("Recipe(optimizer='momentum', nesterov=True) contradicts itself; use optimizer='nesterov'")
    if r.momentum == 0 and (r.nesterov or r.optimizer in ("momentum", "nesterov")):
        raise ValueError(
            "momentum=0 leaves nothing to look ahead with; use optimizer='sgd', momentum=0.0, nesterov=None"
        )


def _companions(r: Recipe) -> None:
    """Check that a field is not set without the one that it belongs to."""
    for name, needed in _NEEDS.items():
        if getattr(r, name) is not None and getattr(r, needed) is None:
            raise ValueError(
                f"Recipe.{name}={getattr(r, name)!r} has no effect without Recipe.{needed}; set both or none"
            )
    if r.bias_init == "prior" and r.init is None:
        raise ValueError(
            "Recipe(bias_init='prior') sets the output layer, so it needs Recipe.init; name an initializer"
        )
    if r.ema_decay is not None and r.averaging != "ema":
        raise ValueError(f"Recipe.ema_decay={r.ema_decay} needs averaging='ema', got averaging={r.averaging!r}")
    if r.shuffle and r.curriculum:
        raise ValueError("a curriculum orders the samples, shuffle=True disorders them; set one of the two")


def _schedule_fields(r: Recipe) -> None:
    if r.schedule == "one_cycle" and r.warmup:
        raise ValueError(
            "one_cycle has a warmup of its own (schedule_options={'rise': 0.3}), so warmup must be None with it"
        )
    if r.schedule == "plateau" and r.interval == "step":
        raise ValueError("plateau looks at a metric once an epoch; interval must be None or 'epoch' with it")
