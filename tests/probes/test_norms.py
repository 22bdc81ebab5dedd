import pytest
import torch
from torch import nn

from lightning_diag.probes.norms import in_wrong_mode, take_batch_norm
from lightning_diag.probes.parameters import clones
from lightning_diag.probes.readings import Readings
from lightning_diag.probes.unregistered import unregistered
from lightning_diag.statistics.rows import rows_of, spread


def read(module, x):
    readings = Readings()
    take_batch_norm("bn", module, x, readings)
    return {key[0]: value for key, value in readings.fetch().scalars.items()}


def test_running_statistics_against_the_batch():
    torch.manual_seed(0)
    module, x = nn.BatchNorm2d(3), 4 * torch.randn(16, 3, 8, 8) + 2
    before = read(module, x)
    assert before["norm/values"] == 16 * 64
    assert before["norm/mean_gap"] == pytest.approx(2, rel=0.05)
    assert before["norm/log_variance_ratio"] == pytest.approx(-torch.tensor(16.0).log().item(), abs=0.1)
    for _ in range(100):
        module(x)
    after = read(module, x)
    assert after["norm/mean_gap"] < 0.01
    assert abs(after["norm/log_variance_ratio"]) < 0.01


def test_without_running_statistics_only_the_values_are_counted():
    assert read(nn.BatchNorm1d(4, track_running_stats=False), torch.randn(8, 4)) == {"norm/values": 8}
    assert read(nn.LayerNorm(4), torch.randn(8, 4)) == {}


def test_modes():
    net = nn.ModuleDict({"a": nn.BatchNorm1d(4), "b": nn.Dropout(0.5), "c": nn.Dropout(0.0), "d": nn.ReLU()})
    assert in_wrong_mode(net, training=True) == []
    net.eval()
    assert in_wrong_mode(net, training=True) == ["a", "b"]
    net["a"].requires_grad_(False)
    assert in_wrong_mode(net, training=True) == ["b"]  # a frozen norm rests on purpose
    net["a"].train()
    assert in_wrong_mode(net, training=False, frozen=True) == ["a"]


def test_spread_and_effective_rank():
    torch.manual_seed(0)
    x = torch.randn(128, 64)
    std, rank = spread(x).tolist()
    assert std == pytest.approx(1, rel=0.05)
    assert rank == pytest.approx(128 * 64 / (128 + 64), rel=0.1)  # Marchenko-Pastur: n d / (n + d)
    assert spread(torch.outer(x[:, 0], x[0]))[1].item() == pytest.approx(1, rel=1e-3)
    assert spread(torch.ones(8, 4))[0] == 0
    assert rows_of(torch.zeros(300, 5, 100)).shape == (128, 128)


def test_clones_are_found_and_zeros_are_none():
    torch.manual_seed(0)
    w = torch.randn(64, 300)
    assert clones(w) == 0
    assert clones(torch.full((64, 300), 0.1)) == 1
    assert clones(torch.zeros(64, 300)) == 0
    w[10] = w[50]
    assert clones(w).item() == pytest.approx(2 / 64)


class Hiding(nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = nn.Linear(2, 2)
        self.layers = [nn.Linear(2, 2), nn.Linear(2, 3)]
        self.by_name = {"head": nn.Linear(2, 1)}
        self.loose = torch.zeros(3, requires_grad=True)
        self.known = [self.seen, self.seen.weight]
        self.numbers = [torch.ones(2)]
        self.teacher = [nn.Linear(2, 2).requires_grad_(False)]


def test_what_is_hidden_in_plain_containers():
    model = Hiding()
    model.layers[0].weight.grad = torch.ones(2, 2)
    found = {x["attribute"]: x for x in unregistered(model)}
    assert set(found) == {"layers", "by_name", "loose"}
    assert found["layers"]["tensors"] == 4
    assert found["layers"]["with_gradient"] == 1
    owned = {id(p) for layer in model.layers for p in layer.parameters()}
    assert {x["attribute"] for x in unregistered(model, owned)} == {"by_name", "loose"}
