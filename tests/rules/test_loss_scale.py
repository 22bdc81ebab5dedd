import numpy as np
import pytest

from tests.rules.histories import falling_loss, flat_loss, judged, unmeasured
from tests.rules.loss_histories import by_hand, called

NAME = "loss-scale"
BROKEN = np.concatenate([np.full(9, 70.0), np.full(391, np.nan)])


def summed(values, ratio, *, share=1.0, optimizer="SGD", **facts):
    at = dict(enumerate(values))
    tables = {"update/ratio": ratio, "parameter/rms": 0.1}
    stats = {"prediction/min": 0.0, "loss_call/value": lambda s: share * float(np.nan_to_num(at[s], nan=70.0))}
    facts = {"reduction": "sum", "target_shape": [64, 1], "target_dtype": "torch.float32", **facts}
    run = {"optimizers": [{"type": optimizer, "groups": []}]}
    return called("mse_loss", stats, values, tables=tables, run=run, **facts)


@pytest.mark.parametrize("values", [BROKEN, flat_loss(level=64.0), flat_loss(level=64.0) + np.linspace(0, 50, 400)])
def test_sick_sum(values):
    (found,) = judged(summed(values, 0.8), NAME)
    assert found.severity == "error"
    assert found.value == pytest.approx(64)
    assert "reduction='mean'" in found.prescriptions[0].text


def test_sick_multiplied():
    made = summed(flat_loss(level=1000.0, noise=5.0), 0.9, share=0.001, reduction="mean")
    assert judged(made, NAME)[0].value == pytest.approx(1000)


def test_sick_multiplied_with_next_to_nothing():
    made = summed(flat_loss(level=1e-4, noise=1e-6), 1e-6, share=1e4, reduction="mean")
    (found,) = judged(made, NAME)
    assert (found.severity, found.value) == ("warning", pytest.approx(1e-4))


def test_sick_by_hand():
    tables = {"update/ratio": 0.8, "parameter/rms": 0.1, "activation/rms": 0.5, "batch/rms": 1.0}
    made = by_hand(tables, flat_loss(level=70.0, noise=2.0))
    assert judged(made, NAME)
    assert judged(by_hand(tables, flat_loss(level=1.2)), NAME) == []


def test_healthy():
    assert judged(summed(falling_loss(scale=64.0), 0.01), NAME) == []  # a rate that fits the sum
    assert judged(summed(flat_loss(level=64.0), 0.8, optimizer="Adam"), NAME) == []
    assert judged(summed(flat_loss(level=64.0), 1e-4), NAME) == []  # clipped, or flat for another reason
    assert judged(summed(flat_loss(level=64.0), 30.0), NAME) == []  # too long without the sum as well
    assert judged(summed(BROKEN, 0.8, reduction="mean"), NAME) == []


def test_borderline_a_factor_that_is_a_weight():
    assert judged(summed(flat_loss(level=5.0), 0.5, share=0.2, reduction="mean"), NAME) == []


def test_absent():
    assert "no call" in unmeasured(called("", {}, tables={"update/ratio": 0.8, "parameter/rms": 0.1}), NAME)


def test_sick_divided_where_the_loss_comes_to_rest_because_the_rate_does():
    values = 0.0230 * (1 - 0.04 * np.minimum(np.arange(400) / 300, 1)) + 1e-5 * flat_loss(level=0.0, noise=1.0)
    at = dict(enumerate(values))
    stats = {"prediction/min": 0.0, "loss_call/value": lambda s: 100 * float(at[s])}
    tables = {"update/ratio": 2e-4, "parameter/rms": 0.1}
    made = called("cross_entropy", stats, values, tables=tables, prediction_shape=[32, 10])
    assert judged(made, NAME)[0].value == pytest.approx(0.01, rel=1e-3)
