import numpy as np
import pytest

from lightning_diag.records import Layer
from tests.rules.histories import falling_loss, flat_loss, judged, unmeasured
from tests.rules.loss_histories import by_hand, called

NAME = "output-range"
NORMAL = {"target/mean": 0.0, "target/rms": 1.0, "target/min": -2.3, "target/max": 2.3}


def mse(kind, stats=NORMAL, loss="mse_loss", low=0.0, high=1.0, level=0.6, **facts):
    seen = {"prediction/min": low, "prediction/max": high, "loss_call/value": level, **stats}
    facts = {"made_by": kind, "prediction_shape": [32, 1], "target_shape": [32, 1], "target": "", **facts}
    return called(loss, seen, flat_loss(level=level), structure=[Layer("net.1", kind, "output", kind)], **facts)


@pytest.mark.parametrize("loss", ["mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"])
@pytest.mark.parametrize("kind", ["relu", "sigmoid", "softmax", "tanh", "softplus", "hardsigmoid"])
def test_sick_standardized_targets(kind, loss):
    (found,) = judged(mse(kind, loss=loss), NAME)
    assert (found.severity, found.site) == ("error", "net.1")
    assert kind in found.prescriptions[0].text


def test_sick_targets_far_above():
    far = {"target/mean": 20.0, "target/rms": 20.1, "target/min": 15.0, "target/max": 25.0}
    assert "All" in judged(mse("sigmoid", far, level=380.0), NAME)[0].message


def test_sick_clamp_is_told_from_its_ends():
    assert judged(mse("clamp", low=-0.5, high=0.5), NAME)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_sick_at_any_scale(scale):
    stats = {k: v * scale for k, v in NORMAL.items()}
    assert judged(mse("relu", stats, high=2 * scale, level=0.6 * scale**2), NAME)


@pytest.mark.parametrize(
    ("kind", "stats"),
    [
        ("relu", {"target/mean": 1.0, "target/rms": 1.4, "target/min": 0.0, "target/max": 5.0}),
        ("sigmoid", {"target/mean": 0.5, "target/rms": 0.6, "target/min": 0.0, "target/max": 1.0}),
        ("tanh", {"target/mean": 0.0, "target/rms": 0.5, "target/min": -1.05, "target/max": 1.02}),
        ("linear", NORMAL),
        ("", NORMAL),
        ("leaky_relu", NORMAL),
    ],
)
def test_healthy(kind, stats):
    assert judged(mse(kind, stats), NAME) == []


def test_healthy_where_the_loss_came_below_what_was_reckoned():
    skewed = {"target/mean": 1.0, "target/rms": 1.42, "target/min": -1.0, "target/max": 8.0}
    assert judged(mse("relu", skewed, level=0.01), NAME) == []


def test_healthy_clamp_that_is_seldom_touched():
    assert judged(mse("clamp", low=lambda s: -1.0 - s / 1e3, high=lambda s: 1.0 + s / 1e3), NAME) == []


def test_bounded_logits():
    stats = {"prediction/min": -1.0, "prediction/max": 1.0, "target/mean": 0.5}
    assert judged(called("cross_entropy", stats, made_by="tanh"), NAME)
    assert judged(called("binary_cross_entropy_with_logits", stats, made_by="tanh"), NAME)
    positive = {**stats, "prediction/min": 0.0}
    assert judged(called("binary_cross_entropy_with_logits", positive, made_by="relu"), NAME)
    assert judged(called("cross_entropy", positive, made_by="relu"), NAME) == []
    wide = {"prediction/min": -20.0, "prediction/max": 20.0, "target/mean": 0.5}
    assert judged(called("cross_entropy", wide, made_by="clamp"), NAME) == []


def hand(kind, path="1"):
    data = {"train": {"1": {"mean": [0.0], "std": [1.0], "min": [-3.0], "max": [3.0]}}, "target": {"path": path}}
    stats = {"batch/min": -2.0, "batch/max": 2.0, "batch/rms": 1.0, "activation/min": 0.0, "activation/max": 1.0}
    structure = [Layer("net.1", kind, "output", kind)]
    return by_hand({**stats, "activation/rms": 0.5}, np.full(400, 9.0), made_by=kind, structure=structure, data=data)


def test_by_hand():
    assert judged(hand("relu"), NAME)
    assert judged(hand("linear"), NAME) == []


def test_a_difference_with_an_input_is_no_error():
    assert judged(hand("relu", path="2"), NAME) == []


def test_absent():
    assert "not made of" in unmeasured(called("nll_loss", {"prediction/min": -1.0}), NAME)


def test_rectified_logits_are_sick_where_the_loss_stays_high():
    stats = {"prediction/min": 0.0, "prediction/max": 4.0, "target/mean": 4.5, "prediction/zero_fraction": 0.8}
    structure = [Layer("net.0", "Linear", units=10), Layer("net.1", "ReLU", "output", "relu", "net.0", 10)]
    (found,) = judged(called("cross_entropy", stats, flat_loss(), structure=structure, made_by="relu"), NAME)
    assert found.site == "net.1"
    assert "80 %" in found.message
    fits = called("cross_entropy", stats, falling_loss(scale=0.2), structure=structure, made_by="relu")
    assert judged(fits, NAME) == []
