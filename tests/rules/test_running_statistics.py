import pytest

from tests.rules.histories import falling_loss, history, judged, unmeasured

STEPS = (0, 1, 2, 4, 8, 16, 32, 64, 100, 150, 200, 250, 300, 350, 399)
NOISE = 1 / 32**0.5


def run(gap, ratio=lambda s: 0.0, *, momentum=0.1, val=(0.5, 0.4, 0.35, 0.33), steps=STEPS, loss=None, **facts):
    wiring = {"norms": {"net.1": {"momentum": momentum, "track": True, "eps": 1e-5}}}
    loss = falling_loss() if loss is None else loss
    made = history(loss, points={"metric/val_loss": list(val)}, wiring=wiring, **facts)
    made.set_sites("norm", ["net.1"])
    for s in steps:
        row = {"norm/mean_gap": [gap(s)], "norm/log_variance_ratio": [ratio(s)], "norm/values": [32.0]}
        made.add_sample(s, s // 100, row)
    return made


def test_sick_statistics_never_follow():
    (found,) = judged(run(lambda s: 2.0), "running-statistics")
    assert (found.severity, found.site) == ("warning", "net.1")


def test_sick_variance_off_and_validation_bad():
    (found,) = judged(run(lambda s: 0.2, lambda s: 1.2, val=(2.0, 2.1, 2.0, 2.2)), "running-statistics")
    assert found.severity == "error"
    assert "val_loss" in found.message


def test_sick_statistics_of_the_last_batch():
    made = run(lambda s: 0.01, momentum=0.99, val=(2.0, 1.4, 2.5, 1.9), dataset_size=322)
    (found,) = judged(made, "running-statistics")
    assert found.severity == "warning"
    assert "2 samples" in found.message


def test_sick_statistics_of_the_last_batch_make_validation_jump():
    val = (0.5, 0.9, 0.45, 1.0, 0.4, 0.9, 0.42, 0.95)
    assert judged(run(lambda s: 0.01, momentum=0.9, val=val, dataset_size=322), "running-statistics")
    assert judged(run(lambda s: 0.01, momentum=0.1, val=val, dataset_size=322), "running-statistics") == []


def test_high_momentum_without_harm_is_healthy():
    assert judged(run(lambda s: 0.01, momentum=0.99), "running-statistics") == []


@pytest.mark.parametrize("val", [(0.5, 0.4, 0.35, 0.33), (2.0, 2.1, 2.0, 2.2)])
def test_the_noise_of_batches_is_healthy(val):
    assert judged(run(lambda s: NOISE, lambda s: 0.1 * (-1) ** s, val=val), "running-statistics") == []


def test_transient_start_is_healthy():
    assert judged(run(lambda s: 5.0 if s < 100 else NOISE), "running-statistics") == []


def test_absent():
    assert "norm/mean_gap" in unmeasured(history(falling_loss()), "running-statistics")
    assert "needed" in unmeasured(run(lambda s: 2.0, steps=(0, 1, 2), loss=falling_loss(20)), "running-statistics")
    assert "late" in unmeasured(run(lambda s: 2.0, steps=(0, 1, 2, 399)), "running-statistics")


def test_sick_statistics_that_were_never_fed():
    train = {"metric/train_loss": [0.5, 0.4, 0.3, 0.2]}

    def made(val):
        m = run(lambda s: 0.01, val=val, unfed_norms=["average.1"])
        m.add_points("metric/train_loss", (99, 199, 299, 399), train["metric/train_loss"])
        return m

    (found,) = judged(made((2.0, 2.1, 2.0, 2.2)), "running-statistics")
    assert (found.severity, found.site) == ("error", "average.1")
    assert judged(made((0.5, 0.4, 0.35, 0.33)), "running-statistics") == []  # a norm that validation does not use


def test_sick_statistics_that_were_never_fed_where_no_training_loss_is_logged():
    made = run(lambda s: 0.01, val=(2.0, 2.1, 2.0, 2.2), unfed_norms=["average.1"])
    assert judged(made, "running-statistics")[0].site == "average.1"
