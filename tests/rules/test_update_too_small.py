import numpy as np
import pytest

from tests.rules.histories import falling_loss, flat_loss, history, judged, unmeasured
from tests.rules.wired import wired


def run(ratio, loss, *, rates=None, metrics=None, **facts):
    tables = {"update/rms": lambda s, j: 0.1 * ratio(s), "parameter/rms": lambda s, j: 0.1}
    return history(loss, tables=tables, points={"learning_rate/0": rates or [0.1] * 400, **(metrics or {})}, **facts)


def test_sick_nothing_moves():
    (found,) = judged(run(lambda s: 0.0, flat_loss(), rates=[0.0] * 400), "update-too-small")
    assert found.severity == "error"
    assert "learning rate is 0" in found.message


def test_sick_hardly_moves():
    (found,) = judged(run(lambda s: 1e-8, flat_loss()), "update-too-small")
    assert found.severity == "warning"
    assert found.value == pytest.approx(1e-8)
    assert "lr" in found.prescriptions[0].changes


@pytest.mark.parametrize("loss", [falling_loss(), flat_loss()])
def test_healthy_ratio(loss):
    assert judged(run(lambda s: 1e-3, loss), "update-too-small") == []


def test_converged_or_improving_is_healthy():
    assert judged(run(lambda s: 1e-9, falling_loss()), "update-too-small") == []
    better = {"metric/val_acc": list(np.linspace(0.1, 0.6, 10))}
    assert judged(run(lambda s: 1e-9, flat_loss(), metrics=better), "update-too-small") == []


def test_decayed_rate_is_healthy():
    cosine = list(0.05 * (1 + np.cos(np.pi * np.arange(400) / 400)))
    small_late = lambda s: 1e-3 if s < 200 else 1e-9  # noqa: E731
    assert judged(run(small_late, flat_loss(), rates=cosine), "update-too-small") == []


def test_trained_model_that_moves_a_little_is_healthy_but_not_one_that_stands():
    assert judged(run(lambda s: 1e-8, flat_loss(), frozen=["backbone.weight"]), "update-too-small") == []
    assert judged(run(lambda s: 0.0, flat_loss(), frozen=["backbone.weight"]), "update-too-small")


def test_transient_first_steps_are_silent():
    assert judged(run(lambda s: 0.0 if s < 10 else 1e-3, flat_loss()), "update-too-small") == []


def test_absent():
    warming = list(np.linspace(0, 0.1, 400))
    assert "warmed up" in unmeasured(run(lambda s: 1e-8, flat_loss(), rates=warming), "update-too-small")
    assert "needed" in unmeasured(run(lambda s: 1e-8, flat_loss(10)), "update-too-small")
    assert "update/rms" in unmeasured(history(flat_loss()), "update-too-small")


GONE = [0.1 * 0.9**i for i in range(400)]


def test_sick_rate_is_gone_by_the_middle_of_the_run():
    small_late = lambda s: 1e-3 if s < 100 else 0.0  # noqa: E731
    loss = flat_loss(level=2.2)
    loss[:20] += np.linspace(0.3, 0.0, 20)
    (found,) = judged(run(small_late, loss, rates=GONE), "update-too-small")
    assert found.severity == "warning"
    assert found.step == 132
    assert "schedule" in found.prescriptions[0].text


def test_rate_that_goes_when_the_loss_has_come_to_rest_is_healthy():
    rates = [0.1] * 200 + [0.0] * 200
    small_late = lambda s: 1e-3 if s < 200 else 0.0  # noqa: E731
    rested = 0.5 + 1.8 * np.exp(-np.arange(400) / 15) + 0.01 * np.random.default_rng(0).standard_normal(400)
    assert judged(run(small_late, rested, rates=rates), "update-too-small") == []
    last_tenth = [0.1] * 360 + [0.0] * 40
    assert judged(run(lambda s: 1e-3, falling_loss(), rates=last_tenth), "update-too-small") == []


def grouped(rate, loss, ratio):
    """The first half of the matrices in a group of its own."""
    early, late = [f"net.{i}.weight" for i in (0, 2)], [f"net.{i}.weight" for i in (4, 6, 8)]
    groups = [{"lr": rate, "parameters": early}, {"lr": 1e-3, "parameters": late}]
    readings = {"update/rms": lambda s, n: 0.1 * (ratio if n in early else 1e-3)}
    return judged(wired(loss, readings=readings, optimizers=[{"type": "AdamW", "groups": groups}]), "update-too-small")


def test_sick_groups_that_rest():
    (found,) = grouped(1e-6, flat_loss(), 1e-6)
    assert (found.severity, found.site) == ("warning", "net.0.weight")


def test_groups_with_smaller_rates_that_are_healthy():
    assert grouped(1e-5, flat_loss(), 1e-5) == []  # a hundredth, as in fine-tuning
    assert grouped(1e-6, falling_loss(scale=0.1), 1e-6) == []  # a good fit: pretrained, it seems
    assert grouped(1e-6, flat_loss(), 1e-3) == []  # they move all the same


def test_sick_weights_whose_rate_is_next_to_nothing():
    for rate, ratio, said in ((1e-9, 1e-9, 1), (1e-5, 1e-9, 0), (1e-9, 1e-4, 0)):
        assert len(grouped(rate, falling_loss(scale=0.1), ratio)) == said
