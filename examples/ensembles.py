"""How much better are several networks than one?

An ensemble averages the probabilities of networks that differ in their seed only, or in the part of the training data
that they saw (all folds but one). Compared with its members on images that none of them saw.

    python examples/ensembles.py [--quick]
"""

import argparse
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import KFold
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

QUIET: dict[str, Any] = {
    "accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
    "enable_model_summary": False,
}  # fmt: skip


class Classifier(L.LightningModule):
    """A small network."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return F.cross_entropy(self.net(batch[0]), batch[1])

    def predict_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return torch.softmax(self.net(batch[0]), 1)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=3e-3)


def probabilities(seed: int, x: Tensor, y: Tensor, test: Tensor, epochs: int) -> Tensor:
    """Train one network; return its probabilities for the test images, of shape (images, classes)."""
    L.seed_everything(seed, verbose=False)
    trainer = L.Trainer(max_epochs=epochs, log_every_n_steps=1, **QUIET)
    module = Classifier()
    trainer.fit(module, DataLoader(TensorDataset(x, y), 32, shuffle=True))
    predicted = trainer.predict(module, DataLoader(TensorDataset(test), 2048))
    assert predicted is not None
    return torch.cat([p for p in predicted if isinstance(p, Tensor)])


def show(name: str, members: list[Tensor], y: Tensor) -> None:
    """Print accuracy and negative log likelihood of the mean member and of the ensemble."""
    together = torch.stack(members).mean(0)
    rows = [(float((p.argmax(1) == y).float().mean()), float(F.nll_loss(p.log(), y))) for p in (*members, together)]
    single = torch.tensor(rows[:-1])
    print(
        f"  {name:<8} one network (mean of {len(members)}) {100 * single[:, 0].mean():.1f}   {single[:, 1].mean():.3f}"
    )
    print(f"  {name:<8} best single network       {100 * single[:, 0].max():.1f}   {single[:, 1].min():.3f}")
    print(f"  {name:<8} their average             {100 * rows[-1][0]:.1f}   {rows[-1][1]:.3f}")


def main() -> None:
    torch.set_num_threads(1)  # the networks are tiny
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three networks, few epochs")
    members, epochs = (3, 4) if parser.parse_args().quick else (8, 40)
    x, y = (torch.tensor(a) for a in load_digits(return_X_y=True))
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    x, y = (x.float()[order] - x.float().mean()) / x.float().std(), y[order]
    train, labels, test, truth = x[:400], y[:400], x[400:], y[400:]
    print(f"{members} networks, {epochs} epochs each: test accuracy in percent, negative log likelihood")
    show("seeds", [probabilities(s, train, labels, test, epochs) for s in range(members)], truth)
    folds = [torch.tensor(rows) for rows, _ in KFold(members).split(train)]
    show("folds", [probabilities(0, train[rows], labels[rows], test, epochs) for rows in folds], truth)


if __name__ == "__main__":
    main()
