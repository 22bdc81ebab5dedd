import pytest

from tests.rules.histories import judged, unmeasured
from tests.rules.loss_histories import by_hand, called

NAME = "loss-target-mismatch"
EVEN = {str(k): 100 for k in range(10)}
COUNTS = {str(k): c for k, c in enumerate((300, 250, 140, 60, 20, 5))}


def facts(counts, dtype="torch.int64"):
    return {"data": {"target": {"path": "1", "counts": counts}}, "batch": {"1": {"shape": [32], "dtype": dtype}}}


def squared(counts, dtype="torch.int64", metric="metric/train_acc", loss="mse_loss"):
    made = called(loss, {"prediction/min": 0.0}, run=facts(counts, dtype), target="", target_dtype="torch.float32")
    if metric:
        made.add_points(metric, range(5), [0.1] * 5)
    return made


@pytest.mark.parametrize("loss", ["mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"])
def test_sick_squared_error_of_class_numbers(loss):
    (found,) = judged(squared(EVEN, loss=loss), NAME)
    assert found.severity == "error"
    assert "10 outputs" in found.prescriptions[0].text


def test_without_a_metric_it_is_a_warning():
    assert judged(squared(EVEN, metric=""), NAME)[0].severity == "warning"


def test_sick_by_hand():
    made = by_hand({}, **facts(EVEN))
    made.add_points("metric/val_accuracy", range(5), [0.1] * 5, stage="validate")
    assert judged(made, NAME)


@pytest.mark.parametrize(
    ("counts", "dtype", "metric"),
    [
        (EVEN, "torch.int64", "metric/train_mae"),
        (COUNTS, "torch.int64", ""),
        (EVEN, "torch.float32", ""),
        ({"1": 50, "2": 50, "3": 50, "4": 50, "5": 50}, "torch.int64", ""),
        ({"0": 50, "1": 50}, "torch.int64", "metric/train_acc"),
        ({}, "torch.float32", "metric/train_acc"),
    ],
)
def test_healthy_numbers(counts, dtype, metric):
    assert judged(squared(counts, dtype, metric), NAME) == []


def binary(low, high, **more):
    return called(
        "binary_cross_entropy_with_logits", {"prediction/min": 0.0, "target/min": low, "target/max": high}, **more
    )


@pytest.mark.parametrize(("low", "high"), [(0.0, 9.0), (-1.0, 1.0), (0.0, 255.0), (-2.1, 2.6)])
def test_sick_binary_targets(low, high):
    assert judged(binary(low, high), NAME)[0].severity == "error"
    assert judged(binary(low, high, reduction="none"), NAME)[0].severity == "info"


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.1, 0.9)])
def test_healthy_binary_targets(low, high):
    assert judged(binary(low, high), NAME) == []


def test_borderline_a_hair_beyond_is_info():
    assert judged(binary(-0.01, 1.02), NAME)[0].severity == "info"


def soft(mean, least=0.0, target="1"):
    shape = {"prediction_shape": [32, 10], "target_shape": [32, 10], "target_dtype": "torch.float32", "target": target}
    return called("cross_entropy", {"prediction/min": 0.0, "target/mean": mean, "target/min": least}, **shape)


def test_several_labels():
    assert judged(soft(0.31), NAME)
    assert judged(soft(0.1), NAME) == []
    assert judged(soft(0.31, target=""), NAME) == []


def test_signs_and_counts():
    zeros = {"prediction/min": 0.0, "target/min": 0.0, "target/max": 1.0, "target/zero_fraction": 0.5}
    assert judged(called("soft_margin_loss", zeros), NAME)
    assert judged(called("soft_margin_loss", {**zeros, "target/min": -1.0, "target/zero_fraction": 0.0}), NAME) == []
    assert judged(called("poisson_nll_loss", {**zeros, "target/min": -0.5}), NAME)
    assert judged(called("poisson_nll_loss", zeros), NAME) == []


def test_absent():
    assert "no call" in unmeasured(called("", {}), NAME)


def test_sick_several_labels_under_a_softmax_by_hand():
    labels = {"prediction/min": -5.0, "target/min": 0.0, "target/max": 1.0, "target/mean": 0.25, "target/rms": 0.5}
    shapes = {"prediction_shape": [32, 10], "target_shape": [32, 10], "target_dtype": "torch.float32"}
    batch = {"batch": {"0": {"shape": [32, 8]}, "1": {"shape": [32, 10]}}}
    (found,) = judged(called("nll_loss", labels, by_hand=True, run=batch, **shapes), NAME)
    assert "nll_loss (written by hand)" in found.message
    for other in ({"target/mean": 0.1, "target/rms": 0.1**0.5}, {"target/rms": 0.3}):  # one a row; graded
        assert judged(called("nll_loss", labels | other, by_hand=True, run=batch, **shapes), NAME) == []
    alone = {"batch": {"1": {"shape": [32, 10]}}}  # reconstructed from itself
    assert judged(called("nll_loss", labels, by_hand=True, run=alone, **shapes), NAME) == []
