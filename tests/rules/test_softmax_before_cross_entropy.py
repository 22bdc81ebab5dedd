import pytest

from lightning_diag.records import Layer
from tests.rules.histories import falling_loss, judged, unmeasured
from tests.rules.loss_histories import called

NAME = "softmax-before-cross-entropy"
PROBABLE = {"prediction/min": 0.01, "prediction/max": 0.9, "prediction/row_sum_min": 1.0, "prediction/row_sum_max": 1.0}
RAW = {"prediction/min": -2.0, "prediction/max": 3.0, "prediction/row_sum_min": -4.0, "prediction/row_sum_max": 5.0}


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_sick(kind):
    made = called("cross_entropy", PROBABLE, made_by=kind, structure=[Layer("net.1", kind, "output", kind)])
    (found,) = judged(made, NAME)
    assert found.severity == "error"
    assert found.site == "net.1"
    assert "10 classes" in found.message


def test_sick_told_from_the_row_sums():
    assert judged(called("cross_entropy", PROBABLE), NAME)


def test_sick_softmax_of_softmax():
    structure = [Layer("a", "Softmax", "hidden", "softmax"), Layer("b", "LogSoftmax", "output", "log_softmax", "a")]
    stats = {"prediction/min": -3.0, "prediction/max": -0.1}
    assert judged(called("nll_loss", stats, made_by="log_softmax", structure=structure), NAME)


def test_log_softmax_is_info():
    (found,) = judged(
        called("cross_entropy", {"prediction/min": -5.0, "prediction/max": 0.0}, made_by="log_softmax"), NAME
    )
    assert found.severity == "info"


@pytest.mark.parametrize("kind", ["linear", ""])
def test_healthy_logits(kind):
    assert judged(called("cross_entropy", RAW, made_by=kind), NAME) == []


def test_healthy_positive_logits_are_no_distribution():
    stats = {**PROBABLE, "prediction/row_sum_min": 0.7}
    assert judged(called("cross_entropy", stats), NAME) == []


def test_one_unit_is_a_matter_of_another_rule():
    assert judged(called("cross_entropy", PROBABLE, made_by="softmax", prediction_shape=[32, 1]), NAME) == []


def test_a_call_that_is_only_logged():
    made = called("cross_entropy", PROBABLE, made_by="softmax", learns=False)
    assert "no call" in unmeasured(made, NAME)


def test_absent():
    assert "not made of" in unmeasured(called("mse_loss", RAW), NAME)
    assert "no call" in unmeasured(called("", {}, falling_loss()), NAME)
