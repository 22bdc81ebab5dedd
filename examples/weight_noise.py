"""Does blurring the loss over the weights lead to better minima?

A continuation method: each gradient is taken at weights with Gaussian noise, J_s(w) = E J(w + s * n), and s decays to
zero, so that the objective becomes the real one. The callback adds the noise before a step's forward pass and takes it
off again before the optimizer steps. The training set is small and a fifth of its labels are wrong, so that there is
something to gain.

    python examples/weight_noise.py [--quick]
"""

import argparse
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
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
        self.net = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return F.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class WeightNoise(L.Callback):
    """Takes gradients at noisy weights; the noise falls linearly to zero at a share of the steps.

    Args:
        std: standard deviation of the noise at the start, relative to that of each weight matrix.
        until: share of the planned steps after which there is no more noise.
    """

    def __init__(self, std: float, until: float = 0.75) -> None:
        self.std, self.until = std, until
        self.clean: list[tuple[nn.Parameter, Tensor]] = []

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        end = self.until * trainer.estimated_stepping_batches
        std = self.std * max(0.0, 1 - trainer.global_step / end)
        if std == 0:
            return
        with torch.no_grad():
            for p in pl_module.parameters():
                if p.dim() > 1:
                    self.clean.append((p, p.detach().clone()))
                    p.add_(std * p.std() * torch.randn_like(p))

    def on_after_backward(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        with torch.no_grad():
            for p, clean in self.clean:
                p.copy_(clean)
        self.clean.clear()


def accuracy(seed: int, std: float, until: float, epochs: int) -> float:
    """Train; return the accuracy on images that were not trained on."""
    L.seed_everything(seed, verbose=False)
    x, y = (torch.tensor(a) for a in load_digits(return_X_y=True))
    order = torch.randperm(len(x))
    x, y = (x.float()[order] - x.float().mean()) / x.float().std(), y[order]
    noisy = y[:600].clone()
    noisy[:120] = torch.randint(0, 10, (120,))
    module = Classifier()
    callbacks: list[L.Callback] = [WeightNoise(std, until)] if std else []
    loader = DataLoader(TensorDataset(x[:600], noisy), 50, shuffle=True)
    L.Trainer(max_epochs=epochs, callbacks=callbacks, log_every_n_steps=1, **QUIET).fit(module, loader)
    with torch.no_grad():
        return float((module.net(x[600:]).argmax(1) == y[600:]).float().mean())


def main() -> None:
    torch.set_num_threads(1)  # the networks are tiny
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed, few epochs")
    seeds, epochs = (1, 4) if parser.parse_args().quick else (5, 40)
    print(f"{seeds} seed(s), {epochs} epochs each, a fifth of the labels at random, test accuracy in percent:")
    for std, until, name in (
        (0.0, 1.0, "no noise"),
        (0.5, 0.5, "0.5, gone halfway"),
        (1.0, 0.5, "1.0, gone halfway"),
        (1.0, 1.0, "1.0, gone at the end"),
    ):
        found = torch.tensor([100 * accuracy(s, std, until, epochs) for s in range(seeds)])
        spread = f" ± {found.std():.1f}" if seeds > 1 else ""
        print(f"  noise {name:<22} {found.mean():.1f}{spread}")


if __name__ == "__main__":
    main()
