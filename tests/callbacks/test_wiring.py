"""Which weights look as they were initialized."""

from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, Timer
from torch import nn

from lightning_diag.callbacks.wiring import fresh, wiring_facts

XAVIER, HE = nn.init.xavier_normal_, nn.init.kaiming_normal_
INITS = [None, nn.init.xavier_uniform_, XAVIER, HE, nn.init.kaiming_uniform_, lambda w: nn.init.normal_(w, std=0.02)]


def made(init, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(40, 64), nn.Conv1d(16, 32, 5), nn.LSTM(24, 32))
    for p in net.parameters():
        if init is not None and p.dim() > 1:
            init(p)
    return net


@pytest.mark.parametrize("init", INITS)
def test_initialized_weights_look_so(init):
    found = [len(list(fresh(made(init, seed), lambda _: True))) for seed in range(20)]
    assert sum(found) >= 0.93 * 20 * 4  # three standard errors each of three numbers


@pytest.mark.parametrize("init", INITS)
def test_trained_weights_do_not(init):
    found = 0
    for seed in range(20):
        net = made(init, seed)
        with torch.no_grad():
            for p in net.parameters():  # grew by a fifth, some more than others
                p.mul_(1.2).mul_(1 + 0.4 * torch.rand_like(p))
        found += len(list(fresh(net, lambda _: True)))
    assert found <= 0.05 * 20 * 4


def test_only_those_asked_for():
    net = made(None, 0)
    net[0].requires_grad_(False)
    assert list(fresh(net, lambda p: not p.requires_grad)) == ["0.weight"]


def test_embeddings_look_as_they_are_initialized():
    found = []
    for seed in range(20):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Embedding(50, 16, padding_idx=0), nn.Embedding(4, 8), nn.Embedding(40, 12))
        with torch.no_grad():
            net[2].weight.mul_(1.5).add_(0.4 * torch.rand(12))  # trained
        found += list(fresh(net, lambda _: True))
    assert found.count("0.weight") >= 19
    assert found.count("1.weight") == 0  # too small to tell
    assert found.count("2.weight") <= 1


def test_what_early_stopping_watches():
    callbacks = [Timer(), EarlyStopping("val_acc", mode="max", patience=4)]
    stops = wiring_facts(SimpleNamespace(callbacks=callbacks), nn.Linear(2, 2))["early_stopping"]
    assert [(s["monitor"], s["mode"], s["patience"]) for s in stops] == [("val_acc", "max", 4)]
