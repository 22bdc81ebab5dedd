import pytest

from tests.rules.histories import judged, unmeasured
from tests.rules.loss_histories import called

NAME = "logits-for-probabilities"
ROWS = {"prediction/row_sum_min": 1.0, "prediction/row_sum_max": 1.0}


@pytest.mark.parametrize("loss", ["nll_loss", "kl_div", "ctc_loss"])
def test_sick_raw_outputs(loss):
    (found,) = judged(called(loss, {"prediction/min": -2.0, "prediction/max": 3.0}, made_by="linear"), NAME)
    assert found.severity == "error"
    assert "logits" in found.message


@pytest.mark.parametrize("kind", ["softmax", ""])
def test_sick_probabilities(kind):
    stats = {"prediction/min": 0.01, "prediction/max": 0.9, **ROWS}
    (found,) = judged(called("nll_loss", stats, made_by=kind), NAME)
    assert "probabilities" in found.message


def test_sick_targets_of_a_divergence():
    stats = {"prediction/min": -5.0, "prediction/max": -0.1, "target/min": -4.0, "target/max": 3.0}
    assert judged(called("kl_div", stats), NAME)
    assert judged(called("kl_div", stats, log_target=True), NAME)


def test_sick_clamped_logits():
    stats = {"prediction/min": 0.0, "prediction/max": 1.0, "prediction/zero_fraction": 0.5}
    assert judged(called("binary_cross_entropy", stats, made_by="clamp", structure=[]), NAME)


def test_healthy_clamped_probabilities():
    stats = {
        "prediction/min": lambda s: max(1e-6, 0.3 - s / 100),
        "prediction/max": 0.99,
        "prediction/zero_fraction": 0,
    }
    assert judged(called("binary_cross_entropy", stats, made_by="clamp", structure=[]), NAME) == []


@pytest.mark.parametrize("most", [0.0, 1e-6, -0.1])
def test_healthy_log_probabilities(most):
    stats = {"prediction/min": -8.0, "prediction/max": most, "target/min": 0.0, "target/max": 1.0}
    assert judged(called("nll_loss", stats, made_by="log_softmax"), NAME) == []
    assert judged(called("kl_div", stats, made_by="log_softmax"), NAME) == []


def test_healthy_cross_entropy():
    assert judged(called("cross_entropy", {"prediction/min": -2.0, "prediction/max": 3.0}), NAME) == []


def test_absent():
    assert "not made of" in unmeasured(called("mse_loss", {"prediction/min": -2.0}), NAME)
