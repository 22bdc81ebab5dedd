"""The frozen description of a training: what optimizer, which schedule, how it starts, what is averaged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from lightning_diag.recipe.checks import check
from lightning_diag.recipe.edits import edited
from lightning_diag.recipe.names import (
    ActivationName,
    AveragingName,
    BiasName,
    ClipName,
    CurriculumName,
    InitName,
    Interval,
    Mode,
    NormName,
    NormPosition,
    OptimizerName,
    OutputInitName,
    PrecisionName,
    ScheduleName,
    StandardizeName,
    TargetName,
    WarmupName,
)


@dataclass(frozen=True, kw_only=True, repr=False)
class Recipe:
    """How a network is to be trained; ``None`` leaves a thing as it is.

    ``Recipe()`` states the defaults of the lectures: Adam at 3e-4 ("use as default optimizer"; "3e-4 is the best
    learning rate for Adam"), reduce-on-plateau ("always use learning rate scheduling; a solid default"), Kaiming
    normal weights with zero biases for ReLU networks built from scratch ("for now, a good place to start");
    normalization, penalties and dropout are off. SGD means Nesterov momentum of 0.9 ("usually a good idea to use
    this variant; 0.9 is usually fine") unless ``momentum=0.0`` asks for plain gradient descent; give ``lr`` with it.
    ``Recipe.untouched()`` is the recipe that changes nothing.

    Args:
        optimizer: row of ``lightning_diag.optim.OPTIMIZERS``; None: the module's own ``configure_optimizers``.
        lr: base learning rate, above 0; "search": Lightning's learning-rate finder sets it before the first step.
        momentum: share of the last step that is kept, in [0, 1); SGD, RMSprop and Muon.
        nesterov: look ahead before taking the gradient; SGD and Muon.
        betas: decay of the first and second moment, each in [0, 1); the Adam family.
        smoothing: decay of the mean square, in [0, 1); RMSprop (alpha) and Adadelta (rho).
        eps: what keeps a division from zero, above 0.
        weight_decay: decay of the weights; decoupled for adamw and muon, else L2. Never on norms, biases and PReLU
            slopes. None: the optimizer's own (adamw 0.01, muon 0.1, others 0).
        decay_embeddings: whether weight decay holds for embeddings too.
        layer_decay: factor of the rate per layer counted from the output, in (0, 1].
        overrides: name glob -> settings of the parameters it matches, ``{"head.*": {"lr": 0.01}}``; the first match
            wins; settings are lr (a number, or "x0.1"), weight_decay, momentum, betas, eps.
        l1: weight of the sum of absolute weights added to the loss; on the same parameters as weight decay.
        gradient_clip_val: largest norm (or value) of the gradient, above 0.
        gradient_clip_algorithm: whether the norm of all or each value is clipped; None: norm.
        schedule: row of ``lightning_diag.schedules.SCHEDULES``; None: no scheduler.
        schedule_options: options of that schedule, ``{"final": 0.01}``.
        interval: what the schedule counts; None: epochs for step, milestones, exponential, plateau, else steps.
        warmup: steps before the schedule begins (a whole number), or their share of all steps (in (0, 1)).
        warmup_kind: how the rate rises; None: linear.
        monitor: logged metric that plateau and early stopping watch; None: val_loss, the training loss without it.
        monitor_mode: whether less or more of it is better; None: min, or max for accuracies and scores.
        init: how weights start; restored and pretrained weights stay.
        bias_init: how biases start, or their value.
        init_options: options of the initializer, ``{"std": 0.01}``.
        output_init: how the last layer starts, where it differs.
        norm: normalization to insert behind hidden layers.
        norm_position: before or after the activation; None: before.
        norm_momentum: share of the new batch in running statistics (torch's meaning), in (0, 1].
        activation: hidden activations are swapped for it.
        dropout: probability to drop a hidden activation, in [0, 1).
        standardize: preprocessing of inputs, fitted on the training data.
        standardize_target: preprocessing of targets, undone in predictions.
        mixup: parameter of the Beta distribution that mixes pairs of samples, above 0.
        input_noise: standard deviation of Gaussian noise on inputs at the start of training; it decays.
        curriculum: easy samples first, by order or by weight.
        averaging: evaluate averaged weights: the mean of all, or an exponential average.
        ema_decay: share of the old average, in (0, 1); averaging="ema".
        early_stopping: validations without gain after which training stops.
        batch_size: samples a batch; the loader builder's.
        shuffle: whether training samples are shuffled; the loader builder's.
        num_workers: processes that load; the loader builder's.
        max_epochs: the Trainer's.
        accumulate_grad_batches: the Trainer's.
        precision: the Trainer's.

    Raises:
        TypeError: a value is of a wrong type.
        ValueError: a name is unknown, a number absurd, or two fields exclude each other.

    Example:
        >>> from dataclasses import replace
        >>> recipe = Recipe(optimizer="adamw", weight_decay=0.05, schedule="cosine", warmup=0.05)
        >>> replace(recipe, lr=1e-3).lr
        0.001
        >>> recipe.edited({"warmup": 500, "norm": True})
        Recipe(optimizer='adamw', lr=0.0003, weight_decay=0.05, decay_embeddings=True, schedule='cosine', warmup=500,
            init='kaiming_normal', bias_init='zeros', norm='batch')
    """

    optimizer: OptimizerName | None = "adam"
    lr: float | Literal["search"] | None = 3e-4
    momentum: float | None = None
    nesterov: bool | None = None
    betas: tuple[float, float] | None = None
    smoothing: float | None = None
    eps: float | None = None
    weight_decay: float | None = None
    decay_embeddings: bool = True
    layer_decay: float | None = None
    overrides: Mapping[str, Mapping[str, Any]] | None = field(default=None, hash=False)
    l1: float | None = None
    gradient_clip_val: float | None = None
    gradient_clip_algorithm: ClipName | None = None
    schedule: ScheduleName | None = "plateau"
    schedule_options: Mapping[str, Any] | None = field(default=None, hash=False)
    interval: Interval | None = None
    warmup: int | float | None = None
    warmup_kind: WarmupName | None = None
    monitor: str | None = None
    monitor_mode: Mode | None = None
    init: InitName | None = "kaiming_normal"
    bias_init: BiasName | float | None = "zeros"
    init_options: Mapping[str, Any] | None = field(default=None, hash=False)
    output_init: OutputInitName | None = None
    norm: NormName | None = None
    norm_position: NormPosition | None = None
    norm_momentum: float | None = None
    activation: ActivationName | None = None
    dropout: float | None = None
    standardize: StandardizeName | None = None
    standardize_target: TargetName | None = None
    mixup: float | None = None
    input_noise: float | None = None
    curriculum: CurriculumName | None = None
    averaging: AveragingName | None = None
    ema_decay: float | None = None
    early_stopping: int | None = None
    batch_size: int | None = None
    shuffle: bool | None = None
    num_workers: int | None = None
    max_epochs: int | None = None
    accumulate_grad_batches: int | None = None
    precision: PrecisionName | None = None

    def __post_init__(self) -> None:
        betas: object = self.betas
        if isinstance(betas, list):  # YAML and JSON know no tuples
            object.__setattr__(self, "betas", tuple(betas))
        check(self)

    @classmethod
    def untouched(cls, **changes: Any) -> Recipe:
        """Return the recipe that leaves everything as it is, but for ``changes``."""
        off = {"optimizer": None, "lr": None, "schedule": None, "init": None, "bias_init": None}
        return cls(**{**off, **changes})

    def edited(self, changes: Mapping[str, Any]) -> Recipe:
        """Return this recipe with the changes of a prescription.

        A value may be relative to the one here ("x0.1", "+0.15"), ``True`` for a field of choices or numbers (what is
        set stays, else the usual choice), or another name that rules use ("kaiming", "AdamW", "bf16").

        Args:
            changes: field -> value, as in ``Prescription.changes``.

        Raises:
            ValueError: no such field, or a relative value for a field that is unset here.
        """
        return Recipe(**edited({f.name: getattr(self, f.name) for f in fields(self)}, changes))

    def __repr__(self) -> str:
        said = [f"{f.name}={v!r}" for f in fields(self) for v in [getattr(self, f.name)] if v != f.default or v]
        return f"Recipe({', '.join(said)})"

    def set_fields(self) -> dict[str, Any]:
        """Return the fields that are not None, by name."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain data (dict, list, str, numbers), for YAML, JSON and checkpoints."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Recipe:
        """Return the recipe that ``to_dict`` wrote; fields that are not given have their default.

        Raises:
            ValueError: a field is unknown.
        """
        return cls(**edited({}, data, relative=False))


def _plain(x: Any) -> Any:
    if isinstance(x, Mapping):
        return {str(k): _plain(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return [_plain(v) for v in x]
    return x
