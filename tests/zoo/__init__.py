"""Small trainings of every form a model can take, for the contract that observation changes nothing.

Plain torch and Lightning; nothing here imports lightning_diag.
"""

from __future__ import annotations

from tests.zoo import outputs, training, weights
from tests.zoo.task import Case, Task

__all__ = ["CASES", "Case", "Task"]

CASES: tuple[Case, ...] = (*outputs.CASES, *weights.CASES, *training.CASES)
