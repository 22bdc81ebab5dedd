import numpy as np
import pytest

from tests.rules.histories import falling_loss, flat_loss, history, judged, unmeasured


def test_sick_gives_back_what_it_gained():
    x = np.arange(400)
    loss = 1.5 + np.cos(x / 400 * 2 * np.pi * 5) + 0.05 * np.random.default_rng(0).standard_normal(400)
    (found,) = judged(history(loss), "loss-oscillating")
    assert found.severity == "warning"


@pytest.mark.parametrize("noise", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("seed", range(5))
def test_healthy_however_noisy(noise, seed):
    assert judged(history(np.abs(falling_loss(seed=seed, noise=noise))), "loss-oscillating") == []
    assert judged(history(np.abs(flat_loss(seed=seed, noise=noise))), "loss-oscillating") == []


def test_warm_restarts_that_cost_little_are_silent():
    x = np.arange(400)
    loss = falling_loss() + 0.3 * (x % 100 < 10) * (x > 50)
    assert judged(history(loss), "loss-oscillating") == []


def test_absent():
    assert "needed" in unmeasured(history([1.0] * 20), "loss-oscillating")


def test_a_loss_that_arrives_all_the_same_is_an_info():
    x = np.arange(400)
    loss = 1.5 + np.cos(x / 400 * 2 * np.pi * 5) + 0.05 * np.random.default_rng(0).standard_normal(400)
    loss[360:] = 0.01
    assert judged(history(loss), "loss-oscillating")[0].severity == "info"


def test_noise_that_falls_with_the_loss_is_no_swing():
    x = np.arange(640)
    for seed in range(10):
        loss = 0.08 + 0.6 / (1 + np.exp((x - 110) / 30))  # at rest at first, as with a warmup, then it falls
        loss = loss * np.exp(0.15 * np.random.default_rng(seed).standard_normal(640))
        assert judged(history(loss), "loss-oscillating") == []
