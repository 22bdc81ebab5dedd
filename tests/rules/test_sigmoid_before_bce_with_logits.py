import pytest

from lightning_diag.records import Layer
from tests.rules.histories import judged, unmeasured
from tests.rules.loss_histories import called

NAME = "sigmoid-before-bce-with-logits"
LOSS = "binary_cross_entropy_with_logits"
ENDS = {"prediction/min": 0.01, "prediction/max": 0.99}


@pytest.mark.parametrize("kind", ["sigmoid", "softmax", "hardsigmoid"])
def test_sick(kind):
    made = called(LOSS, ENDS, made_by=kind, structure=[Layer("net.1", kind, "output", kind)])
    (found,) = judged(made, NAME)
    assert (found.severity, found.site) == ("error", "net.1")


def test_sick_told_from_values_that_reach_both_ends():
    assert judged(called(LOSS, ENDS), NAME)


def test_sick_sigmoid_of_sigmoid():
    structure = [Layer("a", "Sigmoid", "hidden", "sigmoid"), Layer("b", "Sigmoid", "output", "sigmoid", "a")]
    stats = {"prediction/min": 0.5, "prediction/max": 0.73}
    assert judged(called("binary_cross_entropy", stats, made_by="sigmoid", structure=structure), NAME)


def test_healthy_logits():
    assert judged(called(LOSS, {"prediction/min": -3.0, "prediction/max": 4.0}, made_by="linear"), NAME) == []


def test_borderline_small_positive_logits_of_a_slow_run():
    assert judged(called(LOSS, {"prediction/min": 0.2, "prediction/max": 0.5}), NAME) == []


def test_transient_logits_within_the_unit_interval_at_the_start_only():
    stats = {"prediction/min": lambda s: 0.01 if s < 4 else -3.0, "prediction/max": 0.99}
    assert judged(called(LOSS, stats), NAME) == []


def test_healthy_sigmoid_before_binary_cross_entropy():
    structure = [Layer("b", "Sigmoid", "output", "sigmoid", "net.0")]
    assert judged(called("binary_cross_entropy", ENDS, made_by="sigmoid", structure=structure), NAME) == []


def test_absent():
    assert "not made of" in unmeasured(called("mse_loss", ENDS), NAME)
