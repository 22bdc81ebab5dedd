import pytest

from lightning_diag.rules.saturated_units import SaturatedUnits
from tests.rules.histories import falling_loss, flat_loss, history, judged, layers, unmeasured

NAN = float("nan")


def saturated(fraction, loss=None, *, activation="tanh", where=3, structure=None, **run):
    return history(
        flat_loss() if loss is None else loss,
        structure=structure or layers(activation=activation),
        tables={
            "activation/saturated_units_fraction": lambda s, j: (fraction(s) if j == where else 0.1) if j % 2 else NAN,
            "activation/saturated_fraction": lambda s, j: (fraction(s) if j == where else 0.2) if j % 2 else NAN,
        },
        **run,
    )


def test_sick_from_the_start():
    (found,) = judged(saturated(lambda s: 0.97), "saturated-units")
    assert (found.site, found.severity.value, found.step) == ("net.3", "error", 0)
    assert "97 % of its 64 units" in found.message
    assert "from the start" in found.message
    assert found.prescriptions[0].changes["init"] == "xavier_normal"


def test_sick_later_asks_for_a_smaller_rate_and_learning_softens_it():
    (found,) = judged(saturated(lambda s: 0.97 if s > 50 else 0.1, falling_loss()), "saturated-units")
    assert found.severity == "warning"
    assert found.step == 64
    assert "lr" in found.prescriptions[0].changes


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5])
def test_healthy(share):
    assert judged(saturated(lambda s: share), "saturated-units") == []


def test_transient_is_silent():
    assert judged(saturated(lambda s: 1.0 if s in (0, 1, 399) else 0.2), "saturated-units") == []


def test_output_activation_and_relu6_are_not_judged():
    tanh = layers(activation="tanh")
    out = [*tanh[:3], tanh[3].__class__("net.3", "Sigmoid", role="output", activation="sigmoid", units=1)]
    assert judged(saturated(lambda s: 1.0, structure=out), "saturated-units") == []
    assert "no hidden" in unmeasured(saturated(lambda s: 1.0, activation="relu6"), "saturated-units")


def test_absent():
    assert "too small" in unmeasured(saturated(lambda s: 1.0, batch_size=2), "saturated-units")
    assert "saturated" in unmeasured(history(flat_loss()), "saturated-units")


def test_range_is_checked():
    with pytest.raises(ValueError, match="max_saturated_units"):
        SaturatedUnits(max_saturated_units=-0.1)


def test_sick_hot_start_where_units_are_saturated_on_either_side():
    def hot(first, late, activation="tanh"):
        share = lambda s, j: (first if s == 0 else late) if j == 3 else 0.03  # noqa: E731
        tables = {
            "activation/saturated_units_fraction": lambda s, j: 0.2 if j % 2 else NAN,
            "activation/saturated_fraction": lambda s, j: share(s, j) if j % 2 else NAN,
        }
        return history(falling_loss(), structure=layers(activation=activation), tables=tables)

    (found,) = judged(hot(0.7, 0.8), "saturated-units")
    assert found.step == 0
    assert "from the start" in found.message
    assert judged(hot(0.03, 0.8), "saturated-units") == []  # trained, not started so
    assert judged(hot(0.7, 0.3), "saturated-units") == []
    assert judged(hot(0.7, 0.7, "hardtanh"), "saturated-units") == []
    assert judged(hot(0.4, 0.8), "saturated-units")
    assert judged(hot(0.2, 0.8), "saturated-units") == []  # a gain of 5/3
