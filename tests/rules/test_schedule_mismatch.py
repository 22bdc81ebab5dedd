import numpy as np
import pytest

from tests.rules.histories import falling_loss, flat_loss, history, judged, unmeasured
from tests.rules.surroundings import cross_entropy, seen


def run(loss, rate, kind="CosineAnnealingLR", *, monitor=None, **settings):
    facts = seen()
    facts["wiring"]["schedulers"] = [{"type": kind, "interval": "step", "monitor": monitor, "settings": settings}]
    made = history(loss, losses=cross_entropy(), **facts)
    made.add_points("learning_rate/0", range(400), [float(rate(s / 400)) for s in range(400)])
    return made


COSINE = lambda t: 0.05 * (1 + np.cos(np.pi * t))  # noqa: E731


def test_sick_climbs_again():
    (found,) = judged(run(flat_loss(), lambda t: COSINE(2 * t)), "schedule-mismatch")
    assert found.severity == "warning"
    assert "climbed back" in found.message


@pytest.mark.parametrize(("back", "severity"), [(0.0, "info"), (0.3, "warning")])
def test_climbs_again_in_a_run_that_is_good(back, severity):
    t = np.linspace(0, 1, 400)
    loss = (
        0.1
        + 2 * np.exp(-20 * t)
        + back * np.clip(2 * t - 1, 0, 1)
        + 0.01 * np.random.default_rng(0).standard_normal(400)
    )
    made = run(loss, lambda t: COSINE(2 * t))
    made.add_points("metric/val_acc", [100, 200, 300, 399], [0.9, 0.96, 0.97, 0.96], stage="validate")
    assert judged(made, "schedule-mismatch")[0].severity == severity


def test_sick_warmup_longer_than_the_run():
    assert "warmup" in judged(run(flat_loss(), lambda t: 0.1 * t, "LambdaLR"), "schedule-mismatch")[0].message


def test_sick_gone_too_early():
    loss = np.concatenate([np.linspace(2.3, 1.9, 40), np.full(360, 1.9)])
    assert (
        "hundredth"
        in judged(run(loss, lambda t: 0.1 * 0.5 ** (400 * t), "ExponentialLR"), "schedule-mismatch")[0].message
    )


def test_sick_watches_the_wrong_way():
    made = run(flat_loss(), lambda t: 0.1 if t < 0.5 else 0.001, "ReduceLROnPlateau", monitor="val_loss", mode="max")
    assert "val_loss" in judged(made, "schedule-mismatch")[0].message


@pytest.mark.parametrize(
    ("rate", "kind"),
    [
        (COSINE, "CosineAnnealingLR"),
        (lambda t: COSINE(3 * t % 1), "CosineAnnealingWarmRestarts"),
        (lambda t: 0.1 * min(1, 10 * t) * (1 - t), "LambdaLR"),
        (lambda t: 0.1, "StepLR"),
        (lambda t: 0.1 if t < 0.5 else 0.01, "MultiStepLR"),
    ],
)
def test_healthy(rate, kind):
    assert judged(run(falling_loss(), rate, kind), "schedule-mismatch") == []


def test_absent():
    assert "recorded" in unmeasured(history(falling_loss()), "schedule-mismatch")


def test_sick_gone_at_once_whatever_a_few_noisy_losses_look_like():
    gone = lambda t: 0.1 * 0.9 ** (600 * t)  # noqa: E731
    noisy = flat_loss(noise=0.3)
    assert judged(run(noisy, gone, "ExponentialLR"), "schedule-mismatch")
    assert judged(run(noisy, gone, "ReduceLROnPlateau", monitor="val_loss", mode="min"), "schedule-mismatch") == []


def test_sick_a_cycle_made_for_another_run():
    rises = lambda t: 0.01 + 1e-4 * t  # noqa: E731
    (found,) = judged(run(flat_loss(), rises, "OneCycleLR", total_steps=20_000), "schedule-mismatch")
    assert "50 times as many" in found.message
    assert judged(run(flat_loss(), rises, "OneCycleLR", total_steps=400), "schedule-mismatch") == []


def test_sick_gone_while_hardly_anything_was_learned():
    gone = lambda t: 0.1 * 0.95 ** (400 * t)  # noqa: E731
    assert judged(run(flat_loss(level=2.2, noise=0.1), gone, "ExponentialLR"), "schedule-mismatch")
    assert judged(run(flat_loss(level=0.5, noise=0.1), gone, "ExponentialLR"), "schedule-mismatch") == []


def test_watching_the_wrong_way_is_no_choice_even_in_a_good_run():
    made = run(falling_loss(scale=0.1), lambda t: 0.1 if t < 0.5 else 0.001, "ReduceLROnPlateau", monitor="val_loss",
               mode="max")  # fmt: skip
    assert judged(made, "schedule-mismatch")[0].severity == "warning"


@pytest.mark.parametrize(("loss", "said"), [(flat_loss(level=1.5), 1), (falling_loss(scale=0.1), 0)])
def test_a_schedule_that_never_changes_the_rate(loss, said):
    assert len(judged(run(loss, lambda t: 0.1, "MultiStepLR"), "schedule-mismatch")) == said
    assert judged(run(loss, lambda t: 0.1, "ReduceLROnPlateau", monitor="val_loss"), "schedule-mismatch") == []


def test_a_cosine_of_many_runs():
    made = run(flat_loss(level=1.5), lambda t: COSINE(t / 5), T_max=2000)
    made.run["steps_planned"] = 400
    (found,) = judged(made, "schedule-mismatch")
    assert "CosineAnnealingLR is made for 2000" in found.message
