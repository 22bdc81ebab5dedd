"""Which weights look as they were initialized."""

import pytest
import torch
from torch import nn

from lightning_diag.callbacks.wiring import fresh

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
