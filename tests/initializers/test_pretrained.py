"""Layers that torch has just made are told from those that were trained, loaded or set by hand."""

from __future__ import annotations

import torch
from torch import nn

from lightning_diag.initializers import altered_layers, initialize, is_pretrained, mark_pretrained
from tests.initializers.models import MODELS


def test_fresh_models_are_fresh() -> None:
    for seed in range(40):
        torch.manual_seed(seed)
        for make, _ in MODELS.values():
            assert altered_layers(make()) == []
        assert altered_layers(nn.ModuleList([nn.GRUCell(3, 4), nn.LSTM(8, 16, proj_size=4), nn.Linear(1, 1)])) == []


def test_a_few_small_steps_show() -> None:
    torch.manual_seed(0)
    model = MODELS["mlp"][0]()
    optimizer = torch.optim.SGD(model.parameters(), 1e-2)
    for _ in range(20):
        optimizer.zero_grad()
        model(torch.randn(16, 6)).square().mean().backward()
        optimizer.step()
    assert altered_layers(model) != []


def test_weights_of_other_hands_show() -> None:
    for fill in (nn.init.kaiming_normal_, nn.init.xavier_uniform_, nn.init.zeros_, nn.init.ones_):
        layer = nn.Linear(32, 32)
        fill(layer.weight)
        assert altered_layers(nn.Sequential(nn.Linear(4, 32), layer)) == ["1"], fill.__name__


def test_marks_hold_for_what_is_inside_and_survive_a_copy() -> None:
    import copy

    backbone = mark_pretrained(nn.Sequential(nn.Linear(2, 2)))
    assert is_pretrained(copy.deepcopy(backbone)[0])
    nn.init.ones_(backbone[0].weight)
    assert altered_layers(backbone) == []
    initialize(nn.Sequential(backbone, nn.Linear(2, 2)), "zeros")
    assert backbone[0].weight.tolist() == [[1.0, 1.0], [1.0, 1.0]]
