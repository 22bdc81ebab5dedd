"""Every family of torchvision's classifiers: as it is, and with its own normalization taken out.

Most have a norm behind every hidden layer already, so that there is nothing to change; without it they are the same
architectures, and the convolutional ones are changed, train, and evaluate one sample.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from lightning_diag.surgery import (
    insert_dropout,
    insert_normalization,
    normalization_places,
    remove_normalization,
    swap_activations,
)
from tests.surgery.contract import examine

models = pytest.importorskip("torchvision.models")
families = pytest.importorskip("tests.surgery.families")
pytestmark = pytest.mark.filterwarnings("ignore:torch.meshgrid")  # torchvision 0.19
ATTENTION, FAMILIES = families.ATTENTION, families.FAMILIES
SIZES = {"alexnet": 64, "inception_v3": 75, "maxvit_t": 224, "vit_h_14": 56}
# Kept out of one step of training by their size alone; their smaller siblings are the same code.
HUGE = ("regnet_y_128gf", "vit_h_14", "vit_l_16", "vit_l_32")


def build(name: str) -> nn.Module:
    options: dict[str, Any] = {"weights": None, "num_classes": 4}
    if name.startswith("vit"):
        options["image_size"] = SIZES.get(name, 64)
    if name in ("googlenet", "inception_v3"):
        options |= {"aux_logits": False, "init_weights": False}
    return models.get_model(name, **options)


def insert(kind: str, model: nn.Module, x: Any) -> nn.Module:
    return insert_normalization(model, kind, example_inputs=x, batch_size=32)


def stripped(name: str, model: nn.Module) -> nn.Module:
    """Return the model without its own norms (one of attention keeps those), with weights that are kind to depth."""
    remove_normalization(model, ["batch"] if name.startswith(ATTENTION) else None)
    for p in model.parameters():
        if p.dim() > 1:
            nn.init.kaiming_normal_(p, a=1)
    return model


def verdicts(model: nn.Module) -> set[str]:
    return {place.verdict for place in normalization_places(model)}


def in_quick(kind: str, number: int) -> bool:
    return kind == "batch" or number % 6 == KINDS.index(kind)


KINDS = ["batch", "layer", "group", "instance", "rms"]
EACH = [
    pytest.param(name, kind, marks=[] if in_quick(kind, i) else [pytest.mark.full])
    for i, name in enumerate(FAMILIES)
    for kind in KINDS
]


@pytest.mark.parametrize(("name", "kind"), EACH)
def test_each_family_is_changed_and_trains(name: str, kind: str) -> None:
    torch.manual_seed(0)
    builder, size, expected = FAMILIES[name]
    x = torch.randn(4, 3, size, size)
    if kind == "batch":
        assert ("changed" if "insert" in verdicts(builder()) else "same") == expected
    model = stripped(name, builder())
    before = len(list(model.parameters()))
    assert examine(model, x, partial(insert, kind), picklable=name != "maxvit") == "changed"
    assert len(list(model.parameters())) > before
    assert "insert" not in {place.verdict for place in normalization_places(model, kind, example_inputs=x)}


def known() -> list[str]:
    return [n for n in models.list_models(module=models) if not n.startswith("quantized")]


@pytest.mark.full
@pytest.mark.parametrize("name", known())
def test_every_classifier_is_changed_and_trains(name: str) -> None:
    """With example inputs, the insertion itself tries a training pass and one sample; it raises if either fails."""
    torch.manual_seed(0)
    model, size = build(name), SIZES.get(name, 64)
    x = torch.randn(2, 3, size, size)
    if "insert" in verdicts(model):
        assert insert("batch", model, x) is model
    assert verdicts(model) <= {"normalized", "kept"}
    model = stripped(name, model)
    before = {key for key in model.state_dict() if key.endswith("running_mean")}
    if name in HUGE:
        assert "insert" in verdicts(model)
        return
    insert("batch", model, x)
    assert len({key for key in model.state_dict() if key.endswith("running_mean")} - before) >= 3
    assert "insert" not in verdicts(model)


def swap(model: nn.Module, x: Any) -> nn.Module:
    return swap_activations(model, "leaky_relu", example_inputs=x)


# activations of outputs, of weights, and those that are no rectifier
OTHERS = {"squeezenet": -1, "swin_v2": -3, "maxvit": 1}
SWAPPED = [
    pytest.param(name, marks=[] if name in ("resnet", "mobilenet_v3", "squeezenet", "densenet") else [pytest.mark.full])
    for name in FAMILIES
]


@pytest.mark.filterwarnings("ignore:dropout is inserted ahead of BatchNorm")
@pytest.mark.parametrize("name", SWAPPED)
def test_activations_are_swapped_and_dropped(name: str) -> None:
    torch.manual_seed(0)
    builder, size, _ = FAMILIES[name]
    model, x = builder(), torch.randn(4, 3, size, size)
    kinds = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.SiLU, nn.GELU)
    old = sum(isinstance(m, kinds) for m in model.modules())
    outcome = examine(model, x, swap, picklable=False)
    if name in ("densenet", "inception", "googlenet"):  # F.relu
        assert "are functions, which cannot be swapped" in outcome
    else:
        assert outcome == "changed"
        assert sum(isinstance(m, nn.LeakyReLU) for m in model.modules()) == old + OTHERS.get(name, 0)
    outcome = examine(model, x, lambda m, x: insert_dropout(m, 0.1, example_inputs=x), picklable=False)
    assert outcome == ("same" if name in ("vit", "swin", "swin_v2") else "changed")  # those have some already
