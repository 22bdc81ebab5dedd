"""Why does my network not learn?

A network that looks right and stays at chance. Add one callback, and read what it says.

    python examples/why_does_it_not_learn.py [--quick]
"""

import argparse

import lightning as L
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_diag import Diagnostics


class Net(L.LightningModule):
    """Eight sigmoid layers: the textbook way to lose the gradient."""

    def __init__(self, activation: type[nn.Module]) -> None:
        super().__init__()
        hidden = [layer for _ in range(8) for layer in (nn.Linear(64, 64), activation())]
        self.net = nn.Sequential(*hidden, nn.Linear(64, 10))
        for weight in self.parameters():
            if weight.ndim == 2:
                nn.init.kaiming_normal_(weight, nonlinearity="relu")

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        loss = F.cross_entropy(self.net(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        logits = self.net(batch[0])
        self.log("val_loss", F.cross_entropy(logits, batch[1]))
        self.log("val_acc", (logits.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05)


def fit(activation: type[nn.Module], epochs: int) -> tuple[Diagnostics, float]:
    """Train, and return what the doctor saw and the validation accuracy."""
    L.seed_everything(0, verbose=False)
    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x).float() / 16, torch.tensor(y)
    train = DataLoader(TensorDataset(x[:1400], y[:1400]), batch_size=64, shuffle=True)
    val = DataLoader(TensorDataset(x[1400:], y[1400:]), batch_size=512)

    diagnostics = Diagnostics()  # this is all
    trainer = L.Trainer(max_epochs=epochs, callbacks=[diagnostics], accelerator="cpu", enable_checkpointing=False)
    trainer.fit(Net(activation), train, val)
    return diagnostics, float(trainer.callback_metrics["val_acc"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer epochs")
    epochs = 14 if parser.parse_args().quick else 20

    sick, accuracy = fit(nn.Sigmoid, epochs)
    print(f"\nWith sigmoids: accuracy {accuracy:.2f}. The doctor's first finding:")
    print(sick.report.primary)
    for prescription in sick.report.primary.prescriptions if sick.report.primary else ():
        print("  ->", prescription.text)

    mended, accuracy = fit(nn.ReLU, epochs)
    print(f"\nWith ReLUs: accuracy {accuracy:.2f}; {mended.report.summary()}")


if __name__ == "__main__":
    main()
