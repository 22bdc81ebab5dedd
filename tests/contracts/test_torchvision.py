"""torchvision's classifiers and random transformers train with the doctor on: unchanged, seen, nothing to say."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_diag import Diagnostics
from tests.zoo import Case, Task
from tests.zoo.compare import faults, fit

models = pytest.importorskip("torchvision.models")
# One per family, small. The deepest need more: batch statistics over two values a channel make the gradient of an
# untrained net of a thousand layers 1e10 and more, and the second step is NaN with or without the doctor.
QUICK = {
    "alexnet": 64, "vgg11": 32, "resnet18": 32, "squeezenet1_1": 32, "densenet121": 32, "inception_v3": 75,
    "googlenet": 32, "shufflenet_v2_x0_5": 32, "mobilenet_v2": 32, "mobilenet_v3_small": 32, "resnext50_32x4d": 32,
    "mnasnet0_5": 32, "efficientnet_b0": 32, "efficientnet_v2_s": 32, "regnet_y_400mf": 32, "vit_b_32": 32,
    "swin_t": 32, "swin_v2_t": 64, "maxvit_t": 224, "convnext_tiny": 32, "wide_resnet50_2": 32,
}  # fmt: skip
SLOW = ("maxvit_t", "vgg11", "efficientnet_v2_s", "swin_v2_t", "wide_resnet50_2", "inception_v3", "resnext50_32x4d")
SIZES = {"inception_v3": 75, "maxvit_t": 224, "vit_h_14": 56}


class Classifier(Task):
    """A classifier, and the extra outputs that some have in training."""

    def compute(self, batch: Any) -> Tensor:
        out = self(batch[0])
        if isinstance(out, Tensor):
            return F.cross_entropy(out, batch[1])
        return F.cross_entropy(out.logits, batch[1]) + 0.3 * F.cross_entropy(out.aux_logits, batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=1e-6)  # untrained nets on two images: a larger step overflows some


def images(size: int, batch: int = 2) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2 * batch, 3, size, size, generator=generator)
    return DataLoader(TensorDataset(x, torch.tensor([1, 0, 3, 2]).repeat(batch // 2)), batch_size=batch)


def build(name: str) -> nn.Module:
    options: dict[str, Any] = {"weights": None, "num_classes": 4}
    if name.startswith("vit"):
        options["image_size"] = size_of(name)
    if name == "googlenet":
        options |= {"aux_logits": False, "init_weights": True}
    if name == "inception_v3":
        options |= {"aux_logits": False, "init_weights": True}
    return models.get_model(name, **options)


def size_of(name: str) -> int:
    return QUICK.get(name) or next((s for key, s in SIZES.items() if name.startswith(key)), 64)


def examine(case: Case, root: Path) -> None:
    diagnostics = Diagnostics(every_n_steps=1, verbose=False)
    found = {}
    for key, callbacks in (("alone", []), ("seen", [diagnostics])):
        _, found[key], _ = fit(case, root / key, callbacks, limit_val_batches=0, log_every_n_steps=1)
    changed = [key for key in found["alone"] if found["seen"].get(key) != found["alone"][key]]
    assert changed == []
    assert list(faults(diagnostics)) == []
    history = diagnostics.history
    assert len(history) == 2
    for statistic in ("activation/rms", "activation_gradient/rms", "gradient/rms"):
        assert np.isfinite(history.table(statistic).matrix).mean() > 0.95, statistic
    assert [f for f in diagnostics.report.findings if f.severity.rank >= 1] == []


def names() -> list[Any]:
    known = [n for n in models.list_models(module=models) if not n.startswith("quantized")]
    return [pytest.param(n, marks=[] if n in QUICK and n not in SLOW else [pytest.mark.full]) for n in known]


@pytest.mark.parametrize("name", names())
def test_torchvision(name: str, tmp_path: Path) -> None:
    examine(
        Case(name, lambda: Classifier(build(name)), data=lambda: images(size_of(name), 2 if name in QUICK else 4)),
        tmp_path,
    )


class Sequences(nn.Module):
    """A transformer of a random configuration over the pixels of an image."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        draw = random.Random(seed)
        heads = draw.choice([1, 2, 3, 4])
        width, depth = heads * draw.choice([4, 6, 8]), draw.choice([1, 2, 3])
        options: dict[str, Any] = {
            "dim_feedforward": draw.choice([16, 40]),
            "dropout": draw.choice([0.0, 0.1]),
            "activation": draw.choice(["relu", "gelu", F.silu]),
            "norm_first": draw.random() < 0.5,
            "bias": draw.random() < 0.8,
            "batch_first": True,
        }
        self.patches, self.place = nn.Conv2d(3, width, 4, stride=4), nn.Parameter(torch.randn(16, width) * 0.02)
        self.decoder = None
        layer = nn.TransformerEncoderLayer(width, heads, **options)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        if draw.random() < 0.4:
            self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(width, heads, **options), depth)
        self.causal, self.head = draw.random() < 0.5, nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.patches(x).flatten(2).transpose(1, 2) + self.place
        mask = nn.Transformer.generate_square_subsequent_mask(h.shape[1]) if self.causal else None
        memory = self.encoder(h, mask=mask, is_causal=self.causal)
        out = memory if self.decoder is None else self.decoder(h, memory, tgt_mask=mask)
        return self.head(out.mean(1))


@pytest.mark.parametrize("seed", [pytest.param(i, marks=[pytest.mark.full] if i > 1 else []) for i in range(40)])
def test_random_transformers(seed: int, tmp_path: Path) -> None:
    examine(Case(f"transformer {seed}", lambda: Classifier(Sequences(seed)), data=lambda: images(16)), tmp_path)
