import numpy as np

from tests.rules.histories import falling_loss, history, judged, unmeasured


def broken(start, *, end=10**9, last_parameter=4, loss_breaks=True, scale=None, **run):
    loss = falling_loss()
    if loss_breaks:
        loss[start + 1 :] = np.nan
    tables = {
        "gradient/nonfinite": lambda s, j: 5.0 if start <= s < end and j <= last_parameter else 0.0,
        "activation_gradient/nonfinite": lambda s, j: 3.0 if start <= s < end and j <= 4 else 0.0,
    }
    if scale:
        tables["total/gradient_scale"] = lambda s, j: scale(s)
    return history(loss, tables=tables, **run)


def test_sick_names_the_parameter_nearest_to_the_loss():
    (found,) = judged(broken(150), "non-finite-gradient")
    assert (found.site, found.step, found.severity.value) == ("net.4.weight", 150, "error")
    assert "the loss was finite" in found.message
    assert "output of net.4" in found.message


def test_sick_when_the_loss_was_broken():
    made = broken(150)
    made.add_points("loss", [1000], [np.nan])
    loss = falling_loss()
    loss[150:] = np.nan
    made = history(loss, tables={"gradient/nonfinite": lambda s, j: float(s >= 150)})
    assert "loss itself was not finite" in judged(made, "non-finite-gradient")[0].message


def test_transient_without_scaler_is_a_warning():
    assert judged(broken(150, end=160, loss_breaks=False), "non-finite-gradient")[0].severity == "warning"


def test_skipped_steps_of_a_scaler_are_healthy():
    made = broken(0, end=5, loss_breaks=False, scaler=True, scale=lambda s: 2.0**14)
    assert judged(made, "non-finite-gradient") == []


def test_a_scaler_that_does_not_recover_is_sick():
    (always,) = judged(broken(150, loss_breaks=False, scaler=True), "non-finite-gradient")
    assert "did not recover" in always.message
    made = broken(150, end=160, loss_breaks=False, scaler=True, scale=lambda s: 0.25)
    assert judged(made, "non-finite-gradient")


def test_healthy_and_absent():
    assert judged(broken(10**6, loss_breaks=False), "non-finite-gradient") == []
    assert "gradient" in unmeasured(history(falling_loss()), "non-finite-gradient")


def test_weights_broken_between_samples_imply_the_gradient_of_the_step_before():
    loss = falling_loss()
    loss[150:] = np.nan
    broken_then = lambda s, j: float(s >= 150)  # noqa: E731
    made = history(loss, tables={"gradient/nonfinite": broken_then, "parameter/nonfinite": broken_then})
    (found,) = judged(made, "non-finite-gradient")
    assert found.step == 149
    assert "step 149 broke in its backward pass" in found.message
