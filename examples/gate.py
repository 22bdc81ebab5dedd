"""Can my nightly training turn the pipeline red when it gets sick?

Trains a healthy network and its sick twin (a learning rate far too high), and asks the gate about both. A pipeline
does the same with two lines: one that trains with Diagnostics() among the callbacks, and one that checks:

    lightning-diag check runs/healthy --format github --format junit:health.xml

    python examples/gate.py [--quick] [--directory runs]
"""

import argparse
import tempfile
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.loggers import CSVLogger
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_diag import Diagnostics
from lightning_diag.cli import main as lightning_diag


class Digits(L.LightningModule):
    """A classifier of 8 x 8 digits."""

    def __init__(self, lr: float) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        self.lr = lr

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)


def train(directory: Path, lr: float, epochs: int) -> None:
    """Train; the run's files lie in ``directory``."""
    L.seed_everything(0, verbose=False)
    x, y = load_digits(return_X_y=True)
    data = TensorDataset(torch.tensor((x - x.mean()) / x.std()).float(), torch.tensor(y))
    trainer = L.Trainer(
        max_epochs=epochs, logger=CSVLogger(directory.parent, name="", version=directory.name), accelerator="cpu",
        callbacks=[Diagnostics(verbose=False)], enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, log_every_n_steps=5,
    )  # fmt: skip
    trainer.fit(Digits(lr), DataLoader(data, batch_size=64, shuffle=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few epochs")
    parser.add_argument("--directory", help="where the runs go; a temporary directory if not given")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(options.directory or temporary)
        for name, lr in (("healthy", 0.02), ("sick", 1e4)):
            train(root / name, lr, epochs=2 if options.quick else 12)
            print(f"\n$ lightning-diag check runs/{name} --format concise")
            code = lightning_diag(["check", str(root / name), "--format", "concise", "--no-config"])
            print(f"exit code of the {name} run: {code}")


if __name__ == "__main__":
    main()
