"""What follows what in a model, and the role of every layer: hidden or output, in an attention, on a residual sum.

``trace(model)`` follows the tensors of one forward pass, by torch.fx where that works, else by running the model on
``example_inputs``, else by the names that the user gives. ``layer_roles(model)`` says for each layer which activation
really follows it, also where it is a function (``F.relu``) and where a normalization, a pooling or a residual sum
stands between.

>>> from torch import nn
>>> net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 2))
>>> [(layer.name, layer.role, layer.activation) for layer in layer_roles(net)]
[('0', 'hidden', 'tanh'), ('3', 'output', 'linear')]
"""

from lightning_diag.order.calls import Call, Order
from lightning_diag.order.roles import ActivationRole, LayerRole, activation_roles, layer_roles, roles
from lightning_diag.order.tracing import Untraceable, trace

__all__ = [
    "ActivationRole",
    "Call",
    "LayerRole",
    "Order",
    "Untraceable",
    "activation_roles",
    "layer_roles",
    "roles",
    "trace",
]
