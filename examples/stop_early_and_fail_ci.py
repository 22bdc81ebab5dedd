"""Can a hopeless training stop by itself, and turn my CI red?

``stop_on`` ends the training at the first finding of that severity, ``fail_on`` raises at the end of fit.

    python examples/stop_early_and_fail_ci.py [--quick]
"""

import argparse

import lightning as L
import torch
from sklearn.datasets import load_diabetes
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_diag import Diagnostics, UnhealthyTraining


class Regression(L.LightningModule):
    """A small regression."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 1))

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        loss = nn.functional.mse_loss(self.net(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-2)


def loader(broken: bool) -> DataLoader[tuple[torch.Tensor, ...]]:
    """Return diabetes progression; ``broken`` leaves one target missing, as data in the wild do."""
    x, y = load_diabetes(return_X_y=True)
    target = torch.tensor((y - y.mean()) / y.std()).float()[:, None]
    if broken:
        target[300] = float("nan")
    return DataLoader(TensorDataset(torch.tensor(x / x.std(0)).float(), target), batch_size=32, shuffle=True)


def fit(broken: bool, epochs: int) -> None:
    """Train; raises UnhealthyTraining where the doctor finds an error."""
    L.seed_everything(0, verbose=False)
    doctor = Diagnostics(stop_on="error", fail_on="error")
    trainer = L.Trainer(max_epochs=epochs, callbacks=[doctor], accelerator="cpu", enable_checkpointing=False)
    try:
        trainer.fit(Regression(), loader(broken))
    finally:
        print(f"stopped after {trainer.global_step} of {trainer.num_training_batches * epochs} steps")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few epochs")
    epochs = 5 if parser.parse_args().quick else 40

    print("A training with one missing target:")
    try:
        fit(broken=True, epochs=epochs)
    except UnhealthyTraining as unhealthy:
        # Not caught, this makes the script exit with 1: that is how CI turns red.
        print("UnhealthyTraining:", unhealthy.report.primary)
        print("exit code for CI:", unhealthy.report.exit_code(fail_on="error"))

    print("\nThe same with all targets:")
    fit(broken=False, epochs=epochs)  # passes


if __name__ == "__main__":
    main()
