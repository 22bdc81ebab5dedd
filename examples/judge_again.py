"""Can I judge a finished training again, without training it again?

Every run leaves ``history.jsonl`` (what was measured) and ``health.json`` (the judgement) in its log directory.
``lightning_diag.check`` judges the first anew: with other rules, with parts of the model left out.

    python examples/judge_again.py [--quick]
"""

import argparse
import tempfile
from pathlib import Path

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.loggers import CSVLogger
from sklearn.datasets import load_wine
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_diag import Diagnostics, History, Report, check


class Net(L.LightningModule):
    """A classifier of wines whose middle layer starts dead: its biases are far too negative."""

    def __init__(self) -> None:
        super().__init__()
        middle = nn.Linear(32, 32)
        nn.init.constant_(middle.bias[:24], -10.0)
        self.body = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), middle, nn.ReLU())
        self.head = nn.Linear(32, 3)

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        loss = F.cross_entropy(self.head(self.body(batch[0])), batch[1])
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=3e-3)


def train(root: str, epochs: int) -> Path:
    """Train and return the run directory."""
    L.seed_everything(0, verbose=False)
    x, y = load_wine(return_X_y=True)
    data = TensorDataset(torch.tensor((x - x.mean(0)) / x.std(0)).float(), torch.tensor(y))
    logger = CSVLogger(root)
    trainer = L.Trainer(
        max_epochs=epochs, logger=logger, callbacks=[Diagnostics(verbose=False)], accelerator="cpu",
        enable_checkpointing=False, log_every_n_steps=5,
    )  # fmt: skip
    trainer.fit(Net(), DataLoader(data, batch_size=16, shuffle=True))
    return Path(logger.log_dir)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few epochs")
    epochs = 10 if parser.parse_args().quick else 40
    with tempfile.TemporaryDirectory() as root:
        run = train(root, epochs)

        print("As judged when it ran:")
        print(Report.load(run / "health.json"))

        history = History.load(run)
        print("\nMeasured at body.3:", [s for s in history.statistics if s.startswith("activation/")])
        print(history["activation/zero_fraction", "body.3"].values.round(2)[:8], "...")

        print("\nOnly the rules on the loss:")
        print(check(history, select=["L"]))
        print("\nAll rules, but the dead units of body.* are known and accepted:")
        print(check(history, ignore={"body.*": ["dead-units"]}))
        # In the shell:  lightning-diag check RUN_DIR


if __name__ == "__main__":
    main()
