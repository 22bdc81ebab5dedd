import numpy as np
import pytest

from tests.rules.histories import falling_loss, judged, unmeasured
from tests.rules.loss_histories import by_hand, called

NAME = "negative-loss"


def valued(loss, value, **facts):
    return called(loss, {"prediction/min": 0.0, "loss_call/value": value}, falling_loss() - 3, **facts)


@pytest.mark.parametrize("loss", ["binary_cross_entropy", "cross_entropy", "nll_loss", "mse_loss"])
def test_sick(loss):
    (found,) = judged(valued(loss, lambda s: 1.0 - s / 20), NAME)
    assert found.severity == "error"
    assert found.step == 32
    assert loss in found.message


@pytest.mark.parametrize("loss", ["binary_cross_entropy", "cross_entropy", "mse_loss"])
@pytest.mark.parametrize("value", [0.5, 0.0, -1e-9])
def test_healthy_and_rounding(loss, value):
    assert judged(valued(loss, value), NAME) == []


def test_transient_a_single_sample():
    assert judged(valued("kl_div", lambda s: -1.0 if s == 8 else 0.3, log_target=False), NAME) == []


def test_losses_that_may_be_negative_are_not_judged():
    assert "not made of" in unmeasured(valued("gaussian_nll_loss", -3.0), NAME)
    assert "no call" in unmeasured(called("", {}, falling_loss() - 9), NAME)


def apart(loss):
    stats = {"batch/mean": 0.4, "activation/mean": lambda s: 0.4 - s / 10}
    return by_hand(stats, loss(np.arange(400)))


def test_plain_difference_by_hand():
    assert judged(apart(lambda s: -s / 10), NAME)
    assert judged(apart(lambda s: (s / 10) ** 2), NAME) == []
    assert judged(apart(lambda s: 2.0 - s / 70), NAME) == []
