import numpy as np

from tests.rules.histories import falling_loss, flat_loss, history, judged, unmeasured


def run(rms, loss, **facts):
    tables = {"activation/rms": rms, "activation/max": rms, "activation/min": lambda s, j: 0.0}
    return history(loss, tables=tables, **facts)


def test_sick_over_depth():
    (found,) = judged(run(lambda s, j: 10.0**j, flat_loss()), "activation-explosion")
    assert found.severity == "error"
    assert found.site == "net.4"


def test_sick_over_time():
    (found,) = judged(run(lambda s, j: 1.0 + s**2, flat_loss()), "activation-explosion")
    assert (found.severity, found.site, found.step) == ("error", "net.0", 32)


def test_sick_near_the_overflow_of_half_precision():
    made = run(lambda s, j: 40000.0 if j == 2 else 1.0, falling_loss(), precision="16-mixed")
    (found,) = judged(made, "activation-explosion")
    assert (found.severity, found.site) == ("warning", "net.2")


def test_sick_before_the_loss_breaks():
    loss = np.full(400, 2.3)
    loss[100:] = np.nan
    assert judged(run(lambda s, j: 8.0 ** (s / 8), loss), "activation-explosion")[0].last_step < 100


def test_healthy():
    assert judged(run(lambda s, j: 1.5**j, flat_loss()), "activation-explosion") == []
    assert judged(run(lambda s, j: 10.0**j, falling_loss()), "activation-explosion") == []
    assert judged(run(lambda s, j: 1e-8 * (1 + s**2), flat_loss()), "activation-explosion") == []
    assert judged(run(lambda s, j: 200.0, flat_loss()), "activation-explosion") == []


def test_outputs_and_transients_are_silent():
    assert judged(run(lambda s, j: 1e6 if j == 8 else 1.0, flat_loss()), "activation-explosion") == []
    assert judged(run(lambda s, j: 1e6 if s == 16 else 1.0, flat_loss()), "activation-explosion") == []


def test_absent():
    assert "activation" in unmeasured(history(flat_loss()), "activation-explosion")
    assert "2 samples" in unmeasured(
        history(flat_loss(), tables={"activation/rms": lambda s, j: 1.0}, steps=(0,)), "activation-explosion"
    )
