"""How a network is to be trained, as one frozen object; standard library only."""

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
from lightning_diag.recipe.recipe import Recipe

__all__ = [
    "ActivationName",
    "AveragingName",
    "BiasName",
    "ClipName",
    "CurriculumName",
    "InitName",
    "Interval",
    "Mode",
    "NormName",
    "NormPosition",
    "OptimizerName",
    "OutputInitName",
    "PrecisionName",
    "Recipe",
    "ScheduleName",
    "StandardizeName",
    "TargetName",
    "WarmupName",
]
