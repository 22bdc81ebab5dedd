"""Can a deep network be built layer by layer, when it does not train as a whole?

Greedy supervised pretraining: each layer is trained with a head of its own on top of the frozen layers below, then all
are fine-tuned together. Lightning's ``BaseFinetuning`` freezes and frees. Compared with training the same network as a
whole for the same number of epochs: once with sigmoid units, whose gradients vanish, and once with ReLU.

    python examples/greedy_pretraining.py [--quick]
"""

import argparse
from itertools import pairwise
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import BaseFinetuning
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

QUIET: dict[str, Any] = {
    "accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
    "enable_model_summary": False,
}  # fmt: skip


class Deep(L.LightningModule):
    """Hidden layers, each with a head; ``depth`` of them are in use."""

    def __init__(self, activation: type[nn.Module], layers: int = 6) -> None:
        super().__init__()
        widths = [64] + [48] * layers
        pairs = pairwise(widths)
        self.hidden = nn.ModuleList(nn.Sequential(nn.Linear(a, b), activation()) for a, b in pairs)
        self.heads = nn.ModuleList(nn.Linear(w, 10) for w in widths[1:])
        self.depth = layers

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.hidden[: self.depth]:
            x = layer(x)
        logits: Tensor = self.heads[self.depth - 1](x)
        return logits

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam((p for p in self.parameters() if p.requires_grad), lr=3e-3)


class LayerByLayer(BaseFinetuning):
    """Gives each layer some epochs, then all of them together the rest."""

    def __init__(self, epochs_a_layer: int) -> None:
        super().__init__()
        self.epochs_a_layer = epochs_a_layer

    def freeze_before_training(self, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Deep)
        pl_module.depth = 1
        self.freeze([*list(pl_module.hidden)[1:], *list(pl_module.heads)[1:]])

    def finetune_function(self, pl_module: L.LightningModule, epoch: int, optimizer: torch.optim.Optimizer) -> None:
        assert isinstance(pl_module, Deep)
        layer, layers = epoch // self.epochs_a_layer, len(pl_module.hidden)
        if epoch % self.epochs_a_layer or not 0 < layer <= layers:
            return
        if layer == layers:  # every layer has had its turn
            self.make_trainable([*pl_module.hidden, pl_module.heads[-1]])
            return
        pl_module.depth = layer + 1
        self.freeze([pl_module.hidden[layer - 1], pl_module.heads[layer - 1]])
        self.unfreeze_and_add_param_group([pl_module.hidden[layer], pl_module.heads[layer]], optimizer, lr=3e-3)


def accuracy(seed: int, activation: type[nn.Module], layer_epochs: int, epochs: int) -> float:
    """Train; return the accuracy on images that were not trained on."""
    L.seed_everything(seed, verbose=False)
    x, y = (torch.tensor(a) for a in load_digits(return_X_y=True))
    order = torch.randperm(len(x))
    x, y = (x.float()[order] - x.float().mean()) / x.float().std(), y[order]
    module = Deep(activation)
    loader = DataLoader(TensorDataset(x[:1200], y[:1200]), 64, shuffle=True)
    callbacks: list[L.Callback] = [LayerByLayer(layer_epochs)] if layer_epochs else []
    L.Trainer(max_epochs=epochs, callbacks=callbacks, log_every_n_steps=1, **QUIET).fit(module, loader)
    with torch.no_grad():
        return float((module.eval()(x[1200:]).argmax(1) == y[1200:]).float().mean())


def main() -> None:
    torch.set_num_threads(1)  # the networks are tiny
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed, few epochs")
    quick = parser.parse_args().quick
    seeds, a_layer, after = (1, 1, 1) if quick else (3, 4, 16)
    epochs = 6 * a_layer + after
    print(f"six hidden layers, {seeds} seed(s), {epochs} epochs each, test accuracy in percent:")
    for activation in (nn.Sigmoid, nn.ReLU):
        for name, layer_epochs in (("as a whole", 0), ("layer by layer, then all", a_layer)):
            found = torch.tensor([100 * accuracy(s, activation, layer_epochs, epochs) for s in range(seeds)])
            spread = f" ± {found.std():.1f}" if seeds > 1 else ""
            print(f"  {activation.__name__:<8} {name:<25} {found.mean():.1f}{spread}")


if __name__ == "__main__":
    main()
