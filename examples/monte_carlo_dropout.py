"""What does dropout say about how sure a network is?

Dropout trains many networks that share weights. One pass with all units stands for their average; many passes with
dropout left on ("Monte-Carlo dropout") average them in fact, and their disagreement tells where the network is unsure.

    python examples/monte_carlo_dropout.py [--quick]
"""

import argparse
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

QUIET: dict[str, Any] = {
    "accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
    "enable_model_summary": False,
}  # fmt: skip


class Classifier(L.LightningModule):
    """A network with dropout; prediction leaves it on for ``passes``."""

    def __init__(self, passes: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 128), nn.ReLU(), nn.Dropout(0.5),
            nn.Linear(128, 10),
        )  # fmt: skip
        self.passes = passes

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return F.cross_entropy(self.net(batch[0]), batch[1])

    def predict_step(self, batch: list[Tensor], batch_idx: int) -> tuple[Tensor, Tensor]:
        """Return probabilities (images, classes) of one pass without dropout, and (passes, images, classes) with it."""
        alone = torch.softmax(self.net(batch[0]), 1)
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.train()  # dropout only: BatchNorm would stay as it is
        sampled = torch.stack([torch.softmax(self.net(batch[0]), 1) for _ in range(self.passes)])
        self.eval()
        return alone, sampled

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=3e-3)


def entropy(p: Tensor) -> Tensor:
    """Return the entropy of probabilities over the last axis, in nats."""
    return -(p * p.clamp_min(1e-12).log()).sum(-1)


def measure(seed: int, epochs: int, passes: int) -> dict[str, tuple[float, float, float]]:
    """Train; return accuracy, negative log likelihood, and how well doubt tells errors (area under the ROC curve)."""
    L.seed_everything(seed, verbose=False)
    x, y = (torch.tensor(a) for a in load_digits(return_X_y=True))
    order = torch.randperm(len(x))
    x, y = (x.float()[order] - x.float().mean()) / x.float().std(), y[order]
    module = Classifier(passes)
    trainer = L.Trainer(max_epochs=epochs, log_every_n_steps=1, **QUIET)
    trainer.fit(module, DataLoader(TensorDataset(x[:400], y[:400]), 32, shuffle=True))
    predicted = trainer.predict(module, DataLoader(TensorDataset(x[400:]), 2048))
    assert predicted is not None
    alone, sampled = predicted[0]
    truth, mean = y[400:], sampled.mean(0)
    first = sampled[0]
    disagreement = entropy(mean) - entropy(sampled).mean(0)  # what the passes do not agree on
    rows = {
        "one pass without dropout": (alone, entropy(alone)),
        "one pass with dropout": (first, entropy(first)),
        f"mean of {passes} passes, its entropy": (mean, entropy(mean)),
        f"mean of {passes} passes, disagreement": (mean, disagreement),
    }
    return {name: (*scores(p, truth), roc_auc_score(p.argmax(1) != truth, doubt)) for name, (p, doubt) in rows.items()}


def scores(p: Tensor, truth: Tensor) -> tuple[float, float]:
    """Return accuracy in percent and negative log likelihood."""
    return 100 * float((p.argmax(1) == truth).float().mean()), float(F.nll_loss(p.clamp_min(1e-12).log(), truth))


def main() -> None:
    torch.set_num_threads(1)  # the networks are tiny
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed, few epochs, few passes")
    seeds, epochs, passes = (1, 6, 10) if parser.parse_args().quick else (5, 40, 50)
    found = [measure(seed, epochs, passes) for seed in range(seeds)]
    print(f"{seeds} seed(s): test accuracy in percent, negative log likelihood, errors told by doubt (area under ROC)")
    for name in found[0]:
        accuracy, nll, auc = torch.tensor([f[name] for f in found]).mean(0).tolist()
        print(f"  {name:<34} {accuracy:.1f}   {nll:.3f}   {auc:.3f}")


if __name__ == "__main__":
    main()
