"""Input and target preprocessing, fitted on the training data and kept with the model.

>>> import torch
>>> whiten = Preprocessing("pca").observe(torch.randn(500, 3) @ torch.tensor([[3.0, 1, 0], [0, 1, 0], [0, 0, 9]]))
>>> whitened = whiten(torch.randn(500, 3) @ torch.tensor([[3.0, 1, 0], [0, 1, 0], [0, 0, 9]]))
>>> bool((torch.cov(whitened.T) - torch.eye(3)).abs().max() < 0.3)
True
"""

from lightning_diag.preprocessing.attaching import (
    INPUT,
    TARGET,
    Preprocessed,
    attach,
    bundle,
    entry_of,
    hooks_of,
)
from lightning_diag.preprocessing.fitting import fit, part_of, undisturbed
from lightning_diag.preprocessing.modules import Preprocessing, TargetPreprocessing
from lightning_diag.preprocessing.moments import Moments, StreamingMoments, merged, moments_of
from lightning_diag.preprocessing.rows import MISSING, PREPROCESSINGS, TARGETS, PreprocessingRow

__all__ = [
    "INPUT",
    "MISSING",
    "PREPROCESSINGS",
    "TARGET",
    "TARGETS",
    "Moments",
    "Preprocessed",
    "Preprocessing",
    "PreprocessingRow",
    "StreamingMoments",
    "TargetPreprocessing",
    "attach",
    "bundle",
    "entry_of",
    "fit",
    "hooks_of",
    "merged",
    "moments_of",
    "part_of",
    "undisturbed",
]
