import numpy as np
import pytest

from tests.rules.histories import flat_loss, judged, unmeasured
from tests.rules.loss_histories import by_hand, called

NAME = "collapsed-output"
DATA = {"data": {"train": {"0": {"rows": 100}, "1": {"rows": 100}}, "target": {"path": "1"}}}


def predicted(spread, values=None, loss="mse_loss", size=3.0, target=1.0, run=DATA, **facts):
    stats = {"prediction/sample_std": spread, "prediction/rms": size, "prediction/min": 0.0, "prediction/max": 1.0}
    stats |= {"target/std": target, "target/rms": 2.0}
    return called(loss, stats, flat_loss(level=1.0) if values is None else values, run=run, **facts)


@pytest.mark.parametrize("loss", ["mse_loss", "l1_loss", "cross_entropy", "binary_cross_entropy_with_logits"])
@pytest.mark.parametrize("spread", [0.0, 1e-7, 1e-3])
def test_sick(spread, loss):
    (found,) = judged(predicted(spread, loss=loss), NAME)
    assert found.severity == "error"


def test_sick_by_hand():
    stats = {"activation/sample_std": 1e-6, "activation/rms": 1.0, "batch/std": 1.0}
    assert judged(by_hand(stats, flat_loss(level=1.0), **DATA), NAME)


@pytest.mark.parametrize("loss", ["binary_cross_entropy", "binary_cross_entropy_with_logits", "mse_loss"])
def test_sick_softmax_over_one_unit(loss):
    stats = {"prediction/min": 1.0, "prediction/max": 1.0}
    (found,) = judged(called(loss, stats, made_by="softmax", prediction_shape=[32, 1]), NAME)
    assert "single unit" in found.message


def test_sick_cross_entropy_over_one_class():
    assert judged(called("cross_entropy", {"prediction/min": 0.0}, prediction_shape=[32, 1]), NAME)


def test_healthy():
    assert judged(predicted(0.5), NAME) == []
    assert judged(predicted(0.05), NAME) == []  # drawn to the mean of hard targets
    assert judged(predicted(0.0, target=0.0), NAME) == []
    assert judged(predicted(0.0, reduction="none"), NAME) == []
    assert judged(predicted(0.0, run={"data": {"train": {"1": {"rows": 9}}, "target": {"path": "1"}}}), NAME) == []


def test_healthy_part_of_a_softmax_over_two():
    assert judged(predicted(0.4, loss="binary_cross_entropy", made_by="softmax", prediction_shape=[32]), NAME) == []


def test_transient_at_the_beginning():
    assert judged(predicted(lambda s: 0.0 if s < 100 else 0.6), NAME) == []


def test_a_loss_that_still_falls():
    assert judged(predicted(1e-3, np.linspace(9, 1, 400)), NAME) == []


def test_rare_classes_are_info():
    data = {"data": {**DATA["data"], "target": {"path": "1", "counts": {"0": 990, "1": 10}}}}
    made = predicted(0.001, loss="binary_cross_entropy_with_logits", run=data)
    assert judged(made, NAME)[0].severity == "info"


def test_absent():
    assert "opponent" in unmeasured(predicted(0.0, run={**DATA, "optimizers": [{}, {}]}), NAME)
    assert "not made of" in unmeasured(predicted(0.0, loss="kl_div"), NAME)


def reconstructed(spread, level):
    """Eight features of variance 1, from themselves."""
    train = {"0": {"rows": 512, "mean": [float(i) for i in range(8)], "std": [1.0] * 8}}
    run = {"data": {"train": train, "target": {"path": "0"}}}
    stats = {"prediction/sample_std": spread, "prediction/rms": 4.0, "prediction/min": 0.0}
    stats |= {"target/std": 1.0, "target/rms": 4.0}
    facts = {"prediction_shape": [32, 8], "target_shape": [32, 8], "target": "0", "target_dtype": "torch.float32"}
    return called("mse_loss", stats, flat_loss(level=level), run=run, **facts)


def test_a_reconstruction_that_is_about_the_mean_of_all():
    (found,) = judged(reconstructed(0.05, 1.0), NAME)
    assert "a constant" in found.message
    assert judged(reconstructed(0.05, 0.8), NAME) == []  # the loss knows more than the mean
    assert judged(reconstructed(0.5, 1.0), NAME) == []


def test_a_constant_is_one_although_a_metric_creeps():
    made = predicted(1e-9, size=0.5)
    made.add_points("metric/val_mae", range(25, 400, 25), list(np.linspace(0.8, 0.7, 15)), stage="validate")
    assert judged(made, NAME)
    made = predicted(1e-3, size=0.5)
    made.add_points("metric/val_mae", range(25, 400, 25), list(np.linspace(0.8, 0.7, 15)), stage="validate")
    assert judged(made, NAME) == []


def test_a_reconstruction_summed_by_hand():
    stats = {"prediction/sample_std": 0.05, "prediction/rms": 4.0, "prediction/min": 0.0, "loss_call/value": 1.0}
    facts = {"prediction_shape": [32, 8], "target_shape": [32, 8], "target": "0", "reduction": "none"}
    train = {"0": {"rows": 512, "mean": [0.0] * 8, "std": [1.0] * 8}}
    run = {"data": {"train": train, "target": {"path": "0"}}}
    more = {"target/std": 1.0, "target/rms": 4.0}
    assert judged(called("mse_loss", stats | more, flat_loss(level=8.0), run=run, **facts), NAME)
    known = stats | more | {"loss_call/value": 0.5}
    assert judged(called("mse_loss", known, flat_loss(level=4.0), run=run, **facts), NAME) == []
