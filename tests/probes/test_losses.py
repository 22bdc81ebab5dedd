"""What is noticed of a loss written by hand: differences and products with the batch, also with copies of it."""

import pytest
import torch
from torch import nn

from lightning_diag.probes.functions import FunctionProbe
from lightning_diag.probes.losses import LossCalls
from lightning_diag.probes.readings import Readings
from lightning_diag.statistics.views import storage

N = 6


def fail(error: BaseException) -> None:
    raise error


def watched(compute, target) -> FunctionProbe:
    """Return a probe that saw ``compute(prediction, target)``."""
    net, x = nn.Linear(3, 1), torch.randn(N, 3)
    probe = FunctionProbe(net, Readings(), lambda *_: None, lambda *_: None, fail)
    probe.losses.batch, probe.batch_size = {storage(target): "1"}, N
    probe.open()
    try:
        compute(net(x), target)
    finally:
        probe.close()
    return probe


def seen(compute, target) -> LossCalls:
    """Return what it saw of losses."""
    return watched(compute, target).losses


@pytest.mark.parametrize(
    "cast",
    [
        lambda y: y.float(),
        lambda y: y.to(torch.float32).unsqueeze(1),
        lambda y: y.view(-1, 1).type(torch.float32),
        lambda y: y.clone().double(),
    ],
)
def test_a_cast_target_is_still_the_target(cast):
    found = seen(lambda p, y: ((p - cast(y)) ** 2).mean(), torch.arange(N))
    assert [f["target"] for f in found.differences] == ["1"]


def test_what_is_computed_of_the_target_is_not_the_target():
    assert seen(lambda p, y: (p - (y.float() + 1)).square().mean(), torch.arange(N)).differences == []
    assert seen(lambda p, y: (p - torch.eye(N)[y]).square().mean(), torch.arange(N)).differences == []


def test_products_that_make_more_numbers():
    found = seen(lambda p, y: -(y.float() * p.sigmoid().log()).mean(), torch.arange(N) % 2)
    (fact,) = found.products
    assert (fact["prediction_shape"], fact["target_shape"]) == ([N, 1], [N])
    assert seen(lambda p, y: (y.float() * p[:, 0]).mean(), torch.arange(N) % 2).products == []
    assert seen(lambda p, y: (y.float()[:, None] * p).mean(), torch.arange(N) % 2).products == []


def test_large_copies_are_not_kept():
    large = torch.zeros(N, 1 << 15)
    assert seen(lambda p, y: (p - y.double()).mean(), large).differences == []


@pytest.mark.parametrize(
    ("compute", "torn"),
    [
        (lambda p, y: (p * torch.ones(4)).T.reshape(N, -1), True),  # the states of an LSTM, time first
        (lambda p, y: (p * torch.ones(4)).T.contiguous().view(N, 2, 2), True),
        (lambda p, y: (p * torch.ones(4)).view(4, N), True),
        (lambda p, y: (p * torch.ones(4)).T.flatten(), False),
        (lambda p, y: p.T.reshape(N, 1), False),  # a single layer's last state
        (lambda p, y: (p * torch.ones(4)).reshape(N, 2, 2).flatten(1), False),
        (lambda p, y: (p * torch.ones(4)).reshape(-1, 2).reshape(N, -1), False),
        (lambda p, y: torch.ones(4, N).reshape(N, -1) * p, False),  # nothing that was computed of samples
    ],
)
def test_reshapes_that_tear_samples(compute, torn):
    assert bool(watched(compute, torch.zeros(N)).reshapes) == torn
