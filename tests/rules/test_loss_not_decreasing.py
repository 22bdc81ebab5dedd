import numpy as np
import pytest

from tests.rules.histories import falling_loss, flat_loss, history, judged, unmeasured

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("level", [2.3, -40.0, 1e-9, 1e9])
def test_sick_flat(level, seed):
    loss = flat_loss(level=level, noise=0.01 * abs(level), seed=seed)
    (found,) = judged(history(loss), "loss-not-decreasing")
    assert found.severity == "warning"
    assert "400 steps" in found.message
    assert "overfit_batches" in found.prescriptions[0].text


def test_sick_constant():
    assert judged(history([2.3] * 40), "loss-not-decreasing")


def test_sick_rising():
    (found,) = judged(history(flat_loss() + np.linspace(0, 5, 400)), "loss-not-decreasing")
    assert found.severity == "error"
    assert "rose" in found.message


@pytest.mark.parametrize("offset", [0.0, -5.0, -1e3])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_healthy_at_any_scale_and_offset(scale, offset):
    assert judged(history(scale * (falling_loss() + offset)), "loss-not-decreasing") == []


def test_healthy_fall_within_the_first_steps_then_a_plateau():
    loss = flat_loss(5000, level=0.1, noise=0.05)
    loss[:10] = np.linspace(2.3, 0.2, 10)
    assert judged(history(loss), "loss-not-decreasing") == []


@pytest.mark.parametrize("seed", range(10))
def test_healthy_slow_fall_below_the_noise_of_a_step(seed):
    rng = np.random.default_rng(seed)
    loss = 2.3 - np.linspace(0, 0.4, 2000) + 0.4 * rng.standard_normal(2000)
    assert judged(history(loss), "loss-not-decreasing") == []


def test_transient_spikes_do_not_count():
    loss = falling_loss()
    loss[RNG.integers(0, 400, 12)] = 1e4
    assert judged(history(loss), "loss-not-decreasing") == []


def test_improving_metric_is_healthy():
    made = history(flat_loss(), points={"metric/val_reward": list(np.linspace(1, 90, 20))})
    assert judged(made, "loss-not-decreasing") == []


@pytest.mark.parametrize("facts", [{"continues": "run-1"}, {"frozen": ["backbone.0.weight"]}])
def test_a_model_that_may_start_trained_is_info(facts):
    assert judged(history(flat_loss(), **facts), "loss-not-decreasing")[0].severity == "info"


def test_absent():
    assert "needed" in unmeasured(history(flat_loss(15)), "loss-not-decreasing")
    assert "too noisy" in unmeasured(history(flat_loss(100, noise=1.0, seed=2)), "loss-not-decreasing")
    assert "several optimizers" in unmeasured(history(flat_loss(), optimizers=[{}, {}]), "loss-not-decreasing")
    assert "crosses zero" in unmeasured(history(flat_loss(level=0.0)), "loss-not-decreasing")
    assert "one pass" in unmeasured(history(flat_loss(), dataset_size=10**6), "loss-not-decreasing")
    warming = history(flat_loss(), points={"learning_rate/0": list(np.linspace(0, 1, 400))})
    assert "warmed up" in unmeasured(warming, "loss-not-decreasing")
    assert "non-finite-loss" in unmeasured(history([*flat_loss(), np.nan]), "loss-not-decreasing")


CALL = {"site": "cross_entropy", "loss": "cross_entropy", "reduction": "mean", "weighted": False,
        "prediction_shape": [32, 10], "target_dtype": "torch.int64"}  # fmt: skip


def came_down(to, noise=0.02):
    """A loss that starts far too high and comes down in its first steps."""
    return 40 * np.exp(-np.arange(400) / 5) + flat_loss(level=to, noise=noise)


def test_sick_comes_down_to_the_loss_of_a_constant_and_stays():
    (found,) = judged(history(came_down(np.log(10)), losses=[CALL]), "loss-not-decreasing")
    assert found.severity == "warning"
    assert "2.303" in found.message


@pytest.mark.parametrize("level", [0.9 * np.log(10), 1.3 * np.log(10)])  # better than a constant; with a penalty added
def test_healthy_away_from_the_loss_of_a_constant(level):
    assert judged(history(came_down(level), losses=[CALL]), "loss-not-decreasing") == []


@pytest.mark.parametrize("change", [{"weighted": True}, {"reduction": "sum"}, {"target_dtype": "torch.float32"}])
def test_no_constant_is_known(change):
    assert judged(history(came_down(np.log(10)), losses=[CALL | change]), "loss-not-decreasing") == []
    assert judged(history(came_down(np.log(10)), losses=[CALL, CALL]), "loss-not-decreasing") == []


def test_accuracy_by_chance_is_no_learning_but_validation_below_the_constant_is():
    lucky = {"metric/val_acc": list(np.linspace(0.07, 0.13, 10)), "metric/val_loss": [2.30] * 10}
    assert judged(history(came_down(np.log(10)), points=lucky, losses=[CALL]), "loss-not-decreasing")
    learns = lucky | {"metric/val_loss": list(np.linspace(2.3, 1.9, 10))}
    assert judged(history(came_down(np.log(10)), points=learns, losses=[CALL]), "loss-not-decreasing") == []


@pytest.mark.parametrize(
    ("kind", "mean", "rms", "constant"),
    [("mse_loss", 3.0, 5.0, 16.0), ("binary_cross_entropy_with_logits", 0.2, 0.2**0.5, 0.5004)],
)
def test_constant_from_the_targets(kind, mean, rms, constant):
    made = history(came_down(constant, noise=0.01 * constant), losses=[CALL | {"site": kind, "loss": kind}])
    made.set_sites("target", [kind])
    made.add_sample(0, 0, {"target/mean": [mean], "target/rms": [rms]})
    (found,) = judged(made, "loss-not-decreasing")
    assert f"{constant:.4g}" in found.message
