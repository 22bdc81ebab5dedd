import numpy as np
import pytest

from tests.rules.histories import falling_loss, history, judged, unmeasured


def broken(start, *, first=2, inputs=0.0, nan=True, loss_breaks=True, weights=0.0, end=10**9, **run):
    hit = lambda s, j: 7.0 if start <= s < end and j >= first else 0.0  # noqa: E731
    loss = falling_loss()
    if loss_breaks:
        loss[start : min(end, 400)] = np.nan
    return history(
        loss,
        tables={
            "activation/nonfinite": hit,
            "activation/nan": lambda s, j: hit(s, j) * nan,
            "activation/input_nonfinite": lambda s, j: inputs if j == first else float(hit(s, j) > 0),
            "parameter/nonfinite": lambda s, j: weights if s >= start else 0.0,
        },
        **run,
    )


def test_sick_born_in_the_first_layer_hit():
    (found,) = judged(broken(150), "non-finite-activation")
    assert (found.site, found.step, found.last_step, found.severity.value) == ("net.2", 150, 399, "error")
    assert "born here" in found.message
    assert "between step 100" in found.message


def test_sick_input_and_weights():
    (data,) = judged(broken(150, inputs=1.0, first=0), "non-finite-activation")
    assert data.site == "net.0"
    assert "came in with its input" in data.message
    assert "isfinite" in data.prescriptions[0].text
    (weight,) = judged(broken(150, weights=3.0), "non-finite-activation")
    assert "net.2.weight was already not finite" in weight.message


def test_infinite_mask_with_a_finite_loss_is_healthy():
    assert judged(broken(0, nan=False, loss_breaks=False), "non-finite-activation") == []


def test_infinity_that_breaks_the_loss_is_not():
    assert judged(broken(150, nan=False), "non-finite-activation")[0].site == "net.2"


def test_nan_that_does_not_reach_the_loss_is_info():
    (found,) = judged(broken(150, loss_breaks=False), "non-finite-activation")
    assert found.severity == "info"
    assert "loss stayed finite" in found.message


def test_transient_under_a_scaler_is_info():
    (found,) = judged(broken(150, end=160, scaler=True), "non-finite-activation")
    assert found.severity == "info"


@pytest.mark.parametrize("start", [10**6])
def test_healthy(start):
    assert judged(broken(start, loss_breaks=False), "non-finite-activation") == []


def test_absent():
    assert "activation/nonfinite" in unmeasured(history(falling_loss()), "non-finite-activation")
