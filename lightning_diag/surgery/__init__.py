"""Change the layers of a model, in place, before its optimizers exist."""

from lightning_diag.surgery.conversion import convert_normalization
from lightning_diag.surgery.insertion import insert_normalization, normalization_places
from lightning_diag.surgery.normalizations import NORMALIZATIONS, Normalization
from lightning_diag.surgery.places import Place
from lightning_diag.surgery.removal import fold_batchnorm, remove_normalization

__all__ = [
    "NORMALIZATIONS",
    "Normalization",
    "Place",
    "convert_normalization",
    "fold_batchnorm",
    "insert_normalization",
    "normalization_places",
    "remove_normalization",
]
