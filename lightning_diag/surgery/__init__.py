"""Change the layers of a model, in place, before its optimizers exist.

Insert normalization, turn it into another, fold it or take it out; swap activations; insert dropout. All by one
knowledge of the order of execution and of the role of each layer (``lightning_diag.order``): what cannot be done right
is refused with a reason, and then the model is as it was, bit for bit.
"""

from lightning_diag.surgery.activations import (
    ACTIVATIONS,
    Activation,
    ActivationPlace,
    activation_places,
    swap_activations,
    wanted_initialization,
)
from lightning_diag.surgery.conversion import convert_normalization
from lightning_diag.surgery.described import LayerRow, compare, describe
from lightning_diag.surgery.dropout import DropoutPlace, dropout_places, insert_dropout
from lightning_diag.surgery.insertion import insert_normalization, normalization_places
from lightning_diag.surgery.normalizations import NORMALIZATIONS, Normalization
from lightning_diag.surgery.places import Place
from lightning_diag.surgery.removal import fold_batchnorm, remove_normalization

__all__ = [
    "ACTIVATIONS",
    "NORMALIZATIONS",
    "Activation",
    "ActivationPlace",
    "DropoutPlace",
    "LayerRow",
    "Normalization",
    "Place",
    "activation_places",
    "compare",
    "convert_normalization",
    "describe",
    "dropout_places",
    "fold_batchnorm",
    "insert_dropout",
    "insert_normalization",
    "normalization_places",
    "remove_normalization",
    "swap_activations",
    "wanted_initialization",
]
