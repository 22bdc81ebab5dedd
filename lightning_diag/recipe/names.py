"""The names that a Recipe may hold: closed choices as Literals, one place for all."""

from __future__ import annotations

from typing import Literal, TypeAlias

OptimizerName: TypeAlias = Literal[
    "sgd", "momentum", "nesterov", "rmsprop", "adagrad", "adadelta", "adam", "adamw", "adamax", "nadam", "radam",
    "asgd", "rprop", "adafactor", "muon",
]  # fmt: skip
ScheduleName: TypeAlias = Literal[
    "constant", "step", "milestones", "exponential", "natural_exponential", "linear", "linear_to_floor", "cosine",
    "inverse_sqrt", "inverse_time", "polynomial", "triangular", "triangular2", "exp_range", "cosine_restarts",
    "one_cycle", "warmup_stable_decay", "plateau",
]  # fmt: skip
WarmupName: TypeAlias = Literal["linear", "exponential"]
Interval: TypeAlias = Literal["step", "epoch"]
InitName: TypeAlias = Literal[
    "zeros", "constant", "normal", "uniform", "truncated_normal", "xavier_normal", "xavier_uniform", "kaiming_normal",
    "kaiming_uniform", "lecun_normal", "lecun_uniform", "orthogonal", "identity", "lsuv", "zero_gamma",
]  # fmt: skip
BiasName: TypeAlias = Literal["zeros", "small_positive", "prior"]
OutputInitName: TypeAlias = Literal["small", "zeros"]
NormName: TypeAlias = Literal["batch", "layer", "group", "instance", "rms"]
NormPosition: TypeAlias = Literal["pre", "post"]
ActivationName: TypeAlias = Literal["relu", "leaky_relu", "prelu", "elu", "selu", "gelu", "silu", "tanh", "sigmoid"]
StandardizeName: TypeAlias = Literal[
    "mean", "mean_image", "channel_mean", "channel", "feature", "minmax", "pca", "zca"
]  # fmt: skip
TargetName: TypeAlias = Literal["standardize", "minmax"]
AveragingName: TypeAlias = Literal["polyak", "ema"]
CurriculumName: TypeAlias = Literal["order", "weight"]
ClipName: TypeAlias = Literal["norm", "value"]
Mode: TypeAlias = Literal["min", "max"]
PrecisionName: TypeAlias = Literal[
    "64-true", "32-true", "16-true", "16-mixed", "bf16-true", "bf16-mixed", "transformer-engine"
]  # fmt: skip
