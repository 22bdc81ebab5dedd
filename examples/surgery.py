"""I was told "insert BatchNorm before the activations", or "use ReLU": how, without rewriting my model?

A network of six sigmoid layers learns nothing from digits: its gradient vanishes on the way back. It is trained as it
is, with normalization, and with other activations; a table shows what surgery did. What cannot be done is refused.

    python examples/surgery.py [--quick]
"""

import argparse

import lightning as L
import torch
import torch.nn.functional as F
from rich.console import Console
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, random_split

from lightning_diag import InsertDropout, InsertNormalization, SwapActivations, insert_normalization
from lightning_diag.surgery import compare, describe, normalization_places


class Digits(L.LightningModule):
    """A classifier with six hidden sigmoid layers."""

    def __init__(self) -> None:
        super().__init__()
        hidden = [module for _ in range(6) for module in (nn.Linear(64, 64), nn.Sigmoid())]
        self.net = nn.Sequential(*hidden, nn.Linear(64, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)  # type: ignore[no-any-return]

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("accuracy", (self(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def accuracy(callbacks: list[L.Callback], epochs: int) -> float:
    """Train with callbacks and return the share of validation digits that are told right."""
    L.seed_everything(0, verbose=False)
    x, y = load_digits(return_X_y=True)
    train, val = random_split(TensorDataset(torch.tensor(x / 16).float(), torch.tensor(y)), [1400, 397])
    trainer = L.Trainer(
        max_epochs=epochs, callbacks=callbacks, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Digits(), DataLoader(train, 50, shuffle=True), DataLoader(val, 397))
    return float(trainer.callback_metrics["accuracy"])


def he(module: nn.Module, name: str) -> None:
    """Give layers the start that the new activation asks for by name: "kaiming_normal"."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight)


class Branching(nn.Module):
    """A forward that depends on data: nothing can be traced without an input."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(64, 32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(torch.relu(self.fc1(x)) if x.mean() > 0 else self.fc1(x))  # type: ignore[no-any-return]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few epochs")
    epochs = 4 if parser.parse_args().quick else 20

    model = Digits()
    table = compare(describe(model), describe(insert_normalization(model, "batch")), "BatchNorm before the activations")
    Console(width=110).print(table)

    norm, relu = InsertNormalization("batch", verbose=False), SwapActivations("relu", initialize=he, verbose=False)
    print(f"as it is                               accuracy {accuracy([], epochs):.2f}")
    print(f"batch normalization                    accuracy {accuracy([norm], epochs):.2f}")
    print(f"ReLU, with the start that it asks for  accuracy {accuracy([relu], epochs):.2f}")
    print(f"the same and dropout                   accuracy {accuracy([relu, InsertDropout(0.1)], epochs):.2f}")

    try:
        insert_normalization(Branching(), "batch")
    except ValueError as refusal:
        print(f"\nRefused: {refusal}")
    for place in normalization_places(Branching(), "batch", example_inputs=torch.randn(32, 64)):
        print(f"With example_inputs: {place.name}: {place.verdict} {place.reason}")


if __name__ == "__main__":
    main()
