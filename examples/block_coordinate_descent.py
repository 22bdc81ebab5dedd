"""Is it better to optimize one block of parameters at a time?

Sparse coding, the standard example: codes H and a dictionary W with J(H, W) = |H| + |X - H W|^2. Either block is easy
with the other one fixed, both together are not. Lightning's ``BaseFinetuning`` freezes one block and frees the other.

    python examples/block_coordinate_descent.py [--quick]
"""

import argparse
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import BaseFinetuning
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader

ATOMS, PENALTY = 48, 0.1
QUIET: dict[str, Any] = {
    "accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
    "enable_model_summary": False,
}  # fmt: skip


class SparseCoding(L.LightningModule):
    """A code for every image and a dictionary of parts; the parts have length 1, or codes could shrink for nothing."""

    def __init__(self, samples: int, features: int, lr: float) -> None:
        super().__init__()
        self.codes, self.dictionary = nn.Embedding(samples, ATOMS), nn.Linear(ATOMS, features, bias=False)
        nn.init.normal_(self.codes.weight, std=0.1)
        self.lr = lr
        self.objective = float("nan")

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        x, numbers = batch
        codes, parts = self.codes(numbers), F.normalize(self.dictionary.weight, dim=0)
        loss: Tensor = (x - codes @ parts.T).square().sum(1).mean() + PENALTY * codes.abs().sum(1).mean()
        self.objective = float(loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)


class OneBlockAtATime(BaseFinetuning):
    """Frees codes and dictionary in turn, each for some epochs."""

    def __init__(self, epochs_a_block: int) -> None:
        super().__init__()
        self.epochs_a_block = epochs_a_block

    def freeze_before_training(self, pl_module: L.LightningModule) -> None:
        """Leave everything to the optimizer, which has to know both blocks."""

    def finetune_function(self, pl_module: L.LightningModule, epoch: int, optimizer: torch.optim.Optimizer) -> None:
        assert isinstance(pl_module, SparseCoding)
        blocks = (pl_module.codes, pl_module.dictionary)
        turn = epoch // self.epochs_a_block % 2
        self.freeze(blocks[1 - turn])
        self.make_trainable(blocks[turn])


def fit(seed: int, epochs: int, x: Tensor, lr: float, epochs_a_block: int) -> float:
    """Train on all images at once, ten steps an epoch; return the objective at the end."""
    L.seed_everything(seed, verbose=False)
    module = SparseCoding(len(x), x.shape[1], lr)
    callbacks: list[L.Callback] = [OneBlockAtATime(epochs_a_block)] if epochs_a_block else []
    batches: Any = [[x, torch.arange(len(x))]] * 10
    loader: DataLoader[Any] = DataLoader(batches, batch_size=None)
    L.Trainer(max_epochs=epochs, callbacks=callbacks, log_every_n_steps=1, **QUIET).fit(module, loader)
    return module.objective


def main() -> None:
    torch.set_num_threads(1)  # the networks are tiny
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed, few epochs")
    quick = parser.parse_args().quick
    seeds, epochs = (1, 8) if quick else (3, 60)
    x = torch.tensor(load_digits().data[: 200 if quick else 1000] / 16).float()
    x = x - x.mean(0)
    print(f"{seeds} seed(s), {10 * epochs} gradient steps each, objective (less is better):")
    for lr in (0.02, 0.2):
        for name, turns in (("both blocks at once", 0), ("a block 10 steps", 1), ("a block 50 steps", 5)):
            found = torch.tensor([fit(s, epochs, x, lr, turns) for s in range(seeds)])
            spread = f" ± {found.std():.3f}" if seeds > 1 else ""
            print(f"  lr {lr:<5} {name:<20} {found.mean():.3f}{spread}")


if __name__ == "__main__":
    main()
