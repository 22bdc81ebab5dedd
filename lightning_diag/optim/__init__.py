"""Optimizers by name, parameter groups, schedulers and the L1 penalty, over torch.optim."""

from lightning_diag.optim.building import build_optimizer, follow, reduce_on_plateau, rising
from lightning_diag.optim.groups import base_rate, check_once, parameter_groups
from lightning_diag.optim.muon import MuonAndAdamW
from lightning_diag.optim.penalty import add_l1_gradient, l1_of, penalized
from lightning_diag.optim.plateau import Plateau
from lightning_diag.optim.roles import Part, layers, trainable
from lightning_diag.optim.rows import OPTIMIZERS, OptimizerRow

__all__ = [
    "OPTIMIZERS",
    "MuonAndAdamW",
    "OptimizerRow",
    "Part",
    "Plateau",
    "add_l1_gradient",
    "base_rate",
    "build_optimizer",
    "check_once",
    "follow",
    "l1_of",
    "layers",
    "parameter_groups",
    "penalized",
    "reduce_on_plateau",
    "rising",
    "trainable",
]
