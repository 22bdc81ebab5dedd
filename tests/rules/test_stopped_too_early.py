import numpy as np
import pytest

from lightning_diag.rules import curve
from tests.rules.histories import STEPS, history, judged, unmeasured
from tests.rules.surroundings import cross_entropy


def run(tau, *, n=400, val=True, rate=lambda s: 0.1, **facts):
    x = np.arange(n)
    rng = np.random.default_rng(0)
    loss = 0.2 + 2 * np.exp(-x / tau) + 0.03 * rng.standard_normal(n)
    points = {"learning_rate/0": [rate(s / 20) for s in range(20)]}
    if val:
        points["metric/val_loss"] = [0.25 + 2 * float(np.exp(-t / tau)) for t in range(40, n + 1, 40)]
    return history(
        loss, tables={"update/ratio": lambda s, j: 1e-3}, steps=STEPS, points=points, steps_planned=n, **facts
    )


@pytest.mark.parametrize("tau", [320, 400, 2000])
def test_sick(tau):
    (found,) = judged(run(tau), "stopped-too-early")
    assert found.severity == "warning"
    assert "max_epochs" in found.prescriptions[0].changes


@pytest.mark.parametrize("tau", [20, 80, 130])
def test_healthy(tau):
    assert judged(run(tau), "stopped-too-early") == []


def test_silent_where_it_was_meant_to_end():
    assert judged(run(400, rate=lambda t: 0.1 * (1 - t)), "stopped-too-early") == []  # decayed to its end
    assert judged(run(400, status="interrupted"), "stopped-too-early") == []
    made = run(400)
    made.run["steps_planned"] = 4000  # early stopping
    assert judged(made, "stopped-too-early") == []


def test_absent():
    assert "still going" in unmeasured(run(400, status="running"), "stopped-too-early")


def test_a_few_steps_are_a_smoke_run_unless_they_are_many_epochs():
    loss = np.linspace(2.0, 1.0, 40)
    for epochs, severity in ((2, "info"), (40, "warning")):
        made = history(loss, points={"learning_rate/0": [0.1] * 20}, steps_planned=40)
        made.add_points("metric/val_loss", range(0, 40, 5), [float(x) for x in loss[::5]], stage="validate")
        made.set_sites("total", [""])
        for step in range(40):
            made.add_sample(step, step * epochs // 40, {"total/gradient_norm": [1.0]})
        assert judged(made, "stopped-too-early")[0].severity == severity


def test_sick_where_little_was_gained_and_a_fifth_of_it_in_the_end():
    rng = np.random.default_rng(0)
    loss = np.linspace(2.30, 2.25, 200) + 0.001 * rng.standard_normal(200)
    made = history(loss, points={"learning_rate/0": [0.1] * 20}, steps_planned=200, losses=cross_entropy())
    made.set_sites("total", [""])
    for step in range(0, 200, 10):
        made.add_sample(step, step // 100, {"total/gradient_norm": [1.0]})
    assert judged(made, "stopped-too-early")


def cut_short(val_loss, val_acc, callbacks=("EarlyStopping",), stops=()):
    points = {"learning_rate/0": [0.1] * 20, "metric/val_loss": val_loss, "metric/val_acc": val_acc}
    made = history(
        np.linspace(2.3, 0.9, 400), tables={"update/ratio": lambda s, j: 1e-3}, steps=STEPS, points=points,
        wiring={"callbacks": list(callbacks), "early_stopping": list(stops)}, steps_planned=4000,
    )  # fmt: skip
    return judged(made, "stopped-too-early")


BETTER, BEST = [0.3, 0.4, 0.6, 0.7, 0.8], [2.2, 1.7, 1.2, 0.9, 0.7]


def test_early_stopping_that_stops_at_the_best():
    (found,) = cut_short(BEST, BETTER)
    assert found.severity == "warning"
    assert "mode" in found.prescriptions[0].text


def test_early_stopping_that_does_its_work():
    assert cut_short([2.2, 1.2, 0.7, 0.8, 0.9], BETTER) == []  # one of the two has its best behind it
    assert cut_short(BEST, [0.3, 0.8, 0.7, 0.7, 0.7]) == []
    assert cut_short(BEST, [0.3, 0.6, 0.8, 0.9, 0.97]) == []  # good enough
    assert cut_short(BEST, BETTER, ["Timer"]) == []  # something else ended it


UNSURE = [0.3, 0.8, 0.7, 0.7, 0.7]


def test_early_stopping_that_watches_the_wrong_way():
    (found,) = cut_short(BEST, UNSURE, stops=[{"monitor": "val_acc", "mode": "min"}])
    assert 'monitor="val_acc", mode="min"' in found.message
    assert cut_short(BEST, UNSURE, stops=[{"monitor": "val_acc", "mode": "max"}]) == []
    assert cut_short(BEST, UNSURE, stops=[{"monitor": "wobble", "mode": "min"}]) == []  # who knows


def test_a_threshold_that_was_set_ends_as_it_should():
    assert cut_short(BEST, BETTER, stops=[{"monitor": "val_loss", "mode": "min", "stopping_threshold": 0.8}]) == []


@pytest.mark.parametrize(("end", "speaks"), [(1.95, True), (2.05, False)])
def test_a_few_epochs_that_have_just_begun(end, speaks):
    x = np.arange(96)
    loss = 1.9 + 1.1 * np.exp(-x / 48) + 0.02 * np.random.default_rng(0).standard_normal(96)
    made = history(loss, points={"learning_rate/0": [0.1] * 20}, steps_planned=96, losses=cross_entropy(20))
    made.set_sites("total", [""])
    for step in range(0, 96, 4):
        made.add_sample(step, step // 32, {"total/gradient_norm": [1.0]})
    made.add_points("metric/val_loss", [31, 63, 95], [2.5, 2.1, end], stage="validate")
    assert bool(judged(made, "stopped-too-early")) == speaks


@pytest.mark.parametrize(("end", "n", "speaks"), [(0.48, 120, True), (0.6, 120, False), (0.48, 84, False)])
def test_a_few_epochs_of_which_the_last_brought_a_fifth_of_what_was_left(end, n, speaks):
    x = np.arange(n)
    loss = 0.35 + 2.65 * np.exp(-4 * x / n) + 0.02 * np.random.default_rng(0).standard_normal(n)
    made = history(loss, points={"learning_rate/0": [0.1] * 20}, steps_planned=n, losses=cross_entropy(20))
    made.set_sites("total", [""])
    for step in range(0, n, 4):
        made.add_sample(step, 4 * step // n, {"total/gradient_norm": [1.0]})
    made.add_points(
        "metric/val_loss", [n // 4 - 1, n // 2 - 1, 3 * n // 4 - 1, n - 1], [1.77, 0.97, 0.63, end], stage="validate"
    )
    assert bool(judged(made, "stopped-too-early")) == speaks


@pytest.mark.parametrize(("late", "speaks"), [(0.18, True), (0.01, False)])
def test_an_accuracy_that_still_climbs(late, speaks):
    x = np.arange(400)
    loss = 0.5 + 1.8 * np.exp(-x / 200) + 0.02 * np.random.default_rng(0).standard_normal(400)
    assert 0.15 < curve.pace(loss) < 0.6
    made = history(loss, points={"learning_rate/0": [0.1] * 20}, steps_planned=400, losses=cross_entropy(10))
    rises = np.concatenate([np.linspace(0.2, 0.7, 8), np.linspace(0.7, 0.7 + late, 4)])
    made.add_points("metric/val_acc", range(33, 400, 33), rises.tolist(), stage="validate")
    made.add_points("metric/val_loss", range(33, 400, 33), (2 - rises).tolist(), stage="validate")
    assert bool(judged(made, "stopped-too-early")) == speaks


def test_early_stopping_after_three_validations():
    stop = [{"monitor": "val_loss", "mode": "min", "min_delta": -0.06}]
    assert cut_short([2.2, 1.7, 1.2], [0.3, 0.4, 0.6])
    assert cut_short([2.2, 1.7, 1.2], [0.3, 0.4, 0.35]) == []
    assert cut_short(BEST, BETTER, stops=stop) == []  # content with less


def test_an_overlap_of_nine_tenths_is_good():
    def iou(end):
        made = history(
            np.linspace(0.8, 0.2, 200), tables={"update/ratio": lambda s, j: 1e-3}, steps_planned=200,
            points={"learning_rate/0": [0.1] * 20, "metric/val_iou": np.linspace(0.3, end, 10)},
        )  # fmt: skip
        return made

    assert judged(iou(0.8), "stopped-too-early")
    assert judged(iou(0.91), "stopped-too-early") == []
