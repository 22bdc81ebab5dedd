import numpy as np
import pytest

from tests.rules.histories import history, judged, unmeasured
from tests.rules.surroundings import squared_error

N = 20
X = np.arange(N)
DOWN = 0.1 + 2 * np.exp(-X / 5)
U = 1.0 + 0.004 * (X - 8) ** 2
RNG = np.random.default_rng(0)
JITTER = 0.01 * RNG.standard_normal(N)


def run(train, validate, names=("train_loss", "val_loss"), *, more=None, **facts):
    points = {f"metric/{names[0]}": list(train), f"metric/{names[1]}": list(validate), **(more or {})}
    return history(points=points, **facts)


NAMES = [("train_loss", "val_loss"), ("train/loss", "val/loss"), ("loss_epoch", "val_loss"), ("trainLoss", "valLoss")]


@pytest.mark.parametrize("names", NAMES)
def test_sick_validation_turns_up(names):
    (found,) = judged(run(DOWN, U + JITTER, names), "overfitting")
    assert found.severity == "warning"
    assert found.site == names[1]
    assert found.prescriptions[0].changes["monitor"] == names[1]


def test_sick_accuracy_falls():
    (found,) = judged(run(1 - DOWN / 3, 0.9 - U / 3, ("train_acc", "val_acc")), "overfitting")
    assert "mode='max'" in found.prescriptions[0].text


def test_sick_direction_told_by_torchmetrics():
    made = run(-DOWN, -U, ("train_zeta", "val_zeta"), metric_direction={"val_zeta": "higher"})
    assert judged(made, "overfitting")


def test_sick_validation_stands_still_while_training_learns_by_heart():
    train = np.concatenate([np.linspace(2.3, 1.9, 8), np.linspace(1.8, 0.1, 12)])
    assert judged(run(train, 2.2 + JITTER), "overfitting")


def test_rising_loss_is_info_while_accuracy_holds():
    made = run(DOWN, U, more={"metric/val_acc": list(0.9 - 0.3 * np.exp(-X / 4))})
    (found,) = judged(made, "overfitting")
    assert found.severity == "info"
    assert "val_acc" in found.message


@pytest.mark.parametrize(("level", "severity"), [(0.97, "info"), (0.85, "warning")])
def test_rising_loss_is_info_where_accuracy_is_good_and_stays(level, severity):
    stays = level - 0.2 * np.exp(-X / 1.5) + 0.1 * JITTER
    (found,) = judged(run(DOWN, U, more={"metric/val_acc": list(stays)}), "overfitting")
    assert found.severity == severity


@pytest.mark.parametrize(("end", "severity"), [(0.975, "info"), (0.955, "warning")])
def test_a_good_score_may_lose_a_few_samples(end, severity):
    stays = np.concatenate([np.full(10, 0.99), np.full(10, end)])
    (found,) = judged(run(DOWN, U, more={"metric/val_acc": list(stays)}), "overfitting")
    assert found.severity == severity


@pytest.mark.parametrize(("scale", "severity"), [(0.15, "info"), (1.0, "warning")])
def test_rising_loss_of_a_classifier_is_info_where_it_explains_most_and_no_score_is_logged(scale, severity):
    call = {"loss": "cross_entropy", "reduction": "mean", "prediction_shape": [32, 10], "target_dtype": "torch.int64"}
    (found,) = judged(run(scale * DOWN, scale * U, losses=[call]), "overfitting")
    assert found.severity == severity
    assert judged(run(scale * DOWN, scale * U), "overfitting")[0].severity == "warning"  # of a loss nobody knows


@pytest.mark.parametrize(("validation", "said"), [(0.4, 1), (0.2, 0)])
def test_a_regression_that_explains_nothing_but_its_training_targets(validation, said):
    made = run(0.02 + DOWN / 50, validation + 0.5 * np.exp(-X) + JITTER / 10, losses=squared_error())
    made.set_sites("target", ["mse_loss"])
    for step in range(0, 200, 20):
        made.add_sample(step, 0, {"target/mean": [0.0], "target/rms": [1.0]})
    assert len(judged(made, "overfitting")) == said


@pytest.mark.parametrize("offset", [-1.0, 0.0, 1.0])
def test_healthy_whatever_the_gap(offset):
    assert judged(run(DOWN + offset, DOWN + 0.3 + JITTER), "overfitting") == []


@pytest.mark.parametrize("seed", range(20))
def test_healthy_noisy_plateau(seed):
    rng = np.random.default_rng(seed)
    train = 0.3 + 2 * np.exp(-X / 2) + 0.01 * rng.standard_normal(N)
    assert judged(run(train, 0.4 + 2 * np.exp(-X / 2) + 0.03 * rng.standard_normal(N)), "overfitting") == []


def test_transient_one_bad_point_is_silent():
    bad = DOWN + JITTER
    bad[-1] = bad[10] = 5.0
    assert judged(run(DOWN, bad), "overfitting") == []


def test_both_worse_is_not_overfitting():
    assert judged(run(U, U), "overfitting") == []


def test_absent():
    assert "4 validation points; 5 are needed" in unmeasured(run(DOWN[:4], U[:4]), "overfitting")
    assert "same name" in unmeasured(run(DOWN, U, ("train_loss", "val_nll")), "overfitting")
    assert "same name" in unmeasured(run(DOWN, U, ("train_zeta", "val_zeta")), "overfitting")
    assert unmeasured(history([1.0] * 50), "overfitting")


def test_rising_loss_is_a_warning_where_accuracy_stands_still():
    stands = 0.6 - 0.3 * np.exp(-X / 2) + JITTER
    (found,) = judged(run(DOWN, U + JITTER, more={"metric/val_acc": list(stands)}), "overfitting")
    assert found.severity == "warning"


def test_stalled_loss_is_a_warning_where_accuracy_falls_within_the_noise_of_a_point():
    rng = np.random.default_rng(1)
    train = np.concatenate([np.linspace(0.7, 0.6, 20), np.linspace(0.58, 0.2, 20)])
    worse = np.linspace(0.88, 0.7, 40) + 0.07 * rng.standard_normal(40)
    made = run(train, 0.6 + 0.15 * rng.standard_normal(40), more={"metric/val_acc": list(worse)})
    (found,) = judged(made, "overfitting")
    assert found.severity == "warning"
    held = run(train, 0.6 + 0.15 * rng.standard_normal(40), more={"metric/val_acc": [0.8, 0.82, 0.81, 0.83] * 10})
    assert [f.severity for f in judged(held, "overfitting")] == ["info"]


def test_scores_that_hold_far_below_those_of_training_excuse_nothing():
    held = {"metric/val_acc": list(0.7 - 0.2 * np.exp(-X / 3))}
    recent = {"present": {"0": 200, "1": 200}, "right": {"0": 200, "1": 198}, "predicted": {}}
    by_heart = run(DOWN, U + JITTER, more=held, data={"train": {"0": {}}, "target": {"path": "1", "recent": recent}})
    assert judged(by_heart, "overfitting")[0].severity == "warning"
    recent["right"] = {"0": 150, "1": 150}
    assert judged(by_heart, "overfitting")[0].severity == "info"
