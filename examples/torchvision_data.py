"""How does it look on images, with a CNN and torchvision's data sets?

Without options a small CNN on scikit-learn's digits. With ``--data`` the real loading code for larger sets:

    python examples/torchvision_data.py [--quick]
    python examples/torchvision_data.py --data fashionmnist --root DIR [--download]
    python examples/torchvision_data.py --data cifar10 --root DIR [--download]
"""

import argparse
from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_diag import Diagnostics

SIZES = {"digits": (1, 8), "fashionmnist": (1, 28), "cifar10": (3, 32)}


def datasets(name: str, root: str, download: bool) -> tuple[Any, Any]:
    """Return training and validation set of (image, class); images are floats in [0, 1]."""
    if name == "digits":
        from sklearn.datasets import load_digits

        x, y = load_digits(return_X_y=True)
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
        data = TensorDataset((torch.tensor(x).float() / 16).reshape(-1, 1, 8, 8)[order], torch.tensor(y)[order])
        return tuple(torch.utils.data.random_split(data, [1400, 397], torch.Generator().manual_seed(0)))  # type: ignore[return-value]
    try:
        from torchvision import datasets, transforms
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision built for another torch
        raise SystemExit(f'--data {name} needs torchvision: pip install "lightning-diag[vision]" ({error})') from None
    kind = {"fashionmnist": datasets.FashionMNIST, "cifar10": datasets.CIFAR10}[name]
    plain = transforms.ToTensor()
    augmented = transforms.Compose([transforms.RandomHorizontalFlip(), plain])
    return kind(root, True, augmented, download=download), kind(root, False, plain, download=download)


class CNN(L.LightningModule):
    """Two convolutions with BatchNorm, a pool, a linear head."""

    def __init__(self, channels: int, size: int, lr: float = 3e-3) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        )  # fmt: skip
        self.head = nn.Linear(32 * (size // 2) ** 2, 10)
        self.lr = lr

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        loss = F.cross_entropy(self.head(self.body(batch[0])), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        logits = self.head(self.body(batch[0]))
        self.log("val_loss", F.cross_entropy(logits, batch[1]))
        self.log("val_acc", (logits.argmax(1) == batch[1]).float().mean(), prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=self.lr)


def main(argv: Sequence[str] | None = None) -> Diagnostics:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", choices=sorted(SIZES), default="digits")
    parser.add_argument("--root", default="data", help="where the files are, or go with --download")
    parser.add_argument("--download", action="store_true")
    parser.add_argument("--quick", action="store_true", help="one epoch of at most 40 steps")
    args = parser.parse_args(argv)
    L.seed_everything(0, verbose=False)
    train, val = datasets(args.data, args.root, args.download)
    diagnostics = Diagnostics()
    limits: dict[str, Any] = {"max_epochs": 1, "limit_train_batches": 40} if args.quick else {"max_epochs": 5}
    trainer = L.Trainer(callbacks=[diagnostics], enable_checkpointing=False, **limits)
    trainer.fit(CNN(*SIZES[args.data]), DataLoader(train, 64, shuffle=True), DataLoader(val, 512))
    return diagnostics


if __name__ == "__main__":
    main()
