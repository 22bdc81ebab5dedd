"""How weights and biases start: rows that fill a tensor, and a policy that walks a model.

>>> from torch import nn
>>> net = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 2))
>>> _ = initialize(net, "xavier_uniform", bias="prior", prior=[9, 1])
>>> net[2].bias.softmax(0)
tensor([0.9000, 0.1000], grad_fn=<SoftmaxBackward0>)
"""

from lightning_diag.initializers.biases import BIASES, class_counts, prior_bias, set_output_bias
from lightning_diag.initializers.gains import GAINS, Gain, gain_of
from lightning_diag.initializers.plans import Assignment, is_excluded, left_out
from lightning_diag.initializers.policy import OUTPUTS, RESIDUALS, initialize, plan
from lightning_diag.initializers.pretrained import altered_layers, initialized_by, is_pretrained, mark_pretrained
from lightning_diag.initializers.report import InitReport, init_report
from lightning_diag.initializers.rows import INITIALIZERS, Block, Initializer, Options, initializer
from lightning_diag.initializers.signals import LayerSignal, measure

__all__ = [
    "BIASES",
    "GAINS",
    "INITIALIZERS",
    "OUTPUTS",
    "RESIDUALS",
    "Assignment",
    "Block",
    "Gain",
    "InitReport",
    "Initializer",
    "LayerSignal",
    "Options",
    "altered_layers",
    "class_counts",
    "gain_of",
    "init_report",
    "initialize",
    "initialized_by",
    "initializer",
    "is_excluded",
    "is_pretrained",
    "left_out",
    "mark_pretrained",
    "measure",
    "plan",
    "prior_bias",
    "set_output_bias",
]
