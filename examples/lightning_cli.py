"""How do I use Diagnostics from LightningCLI, without touching code?

python examples/lightning_cli.py fit --config examples/lightning_cli.yaml
python examples/lightning_cli.py fit --trainer.callbacks+=lightning_diag.Diagnostics
python examples/lightning_cli.py --quick
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.cli import LightningCLI
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(L.LightningModule):
    """A two-layer network for 8x8 digits."""

    def __init__(self, width: int = 64, lr: float = 0.05) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))
        self.lr = lr

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        loss = F.cross_entropy(self.net(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        self.log("val_loss", F.cross_entropy(self.net(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)


class Digits(L.LightningDataModule):
    """The handwritten digits that come with scikit-learn."""

    def __init__(self, batch_size: int = 64) -> None:
        super().__init__()
        self.batch_size = batch_size
        x, y = load_digits(return_X_y=True)
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
        self.x, self.y = torch.tensor(x).float()[order] / 16, torch.tensor(y)[order]

    def train_dataloader(self) -> DataLoader[tuple[torch.Tensor, ...]]:
        return DataLoader(TensorDataset(self.x[:1400], self.y[:1400]), batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[tuple[torch.Tensor, ...]]:
        return DataLoader(TensorDataset(self.x[1400:], self.y[1400:]), batch_size=512)


def main(args: Sequence[str]) -> LightningCLI:
    arguments = list(args)
    if "--quick" in arguments:
        config = Path(__file__).with_suffix(".yaml")
        arguments = ["fit", "--config", str(config), "--trainer.max_epochs", "3"]
    return LightningCLI(Net, Digits, args=arguments, save_config_callback=None)


if __name__ == "__main__":
    main(sys.argv[1:])
