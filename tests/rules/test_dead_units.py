import numpy as np
import pytest

from lightning_diag.findings import Severity
from lightning_diag.rules.dead_units import DeadUnits
from tests.rules.histories import STEPS, flat_loss, history, judged, layers, unmeasured

NAN = float("nan")


def dead(fraction, *, where=(3,), start=1.0, bias=NAN, gradient=0.0, measured_from=4):
    relu = lambda value: lambda s, j: value(s, j) if j % 2 and s >= measured_from else NAN  # noqa: E731
    share = lambda s, j: fraction(s) if j in where else 0.05  # noqa: E731
    return history(
        flat_loss(),
        tables={
            "activation/dead_fraction": relu(share),
            "activation/silent_fraction": lambda s, j: share(s, j) if j % 2 else NAN,
            "activation/dead_examples": relu(lambda s, j: 1000.0),
            "activation/dead_from_start_fraction": relu(lambda s, j: start * share(s, j)),
            "activation/dead_by_bias_fraction": relu(lambda s, j: bias),
            "activation_gradient/rms": lambda s, j: gradient if j < min(where) else 1e-3,
        },
    )


def test_sick_most_units_dead_from_the_start():
    (found,) = judged(dead(lambda s: 0.7, bias=0.9), "dead-units")
    assert (found.site, found.severity, found.step, found.last_step) == ("net.3", Severity.WARNING, 0, STEPS[-1])
    for words in ("70 % of its 64 units", "1000 examples", "0.3 %", "since the first sample", "Without the bias"):
        assert words in found.message
    assert found.prescriptions[0].changes == {"bias_init": "zeros"}


def test_sick_died_later_asks_for_a_smaller_rate():
    (found,) = judged(dead(lambda s: 0.8 if s >= 100 else 0.0, start=0.0), "dead-units")
    assert found.step == 100
    assert "died later" in found.message
    assert "lr" in found.prescriptions[0].changes


def test_whole_layer_is_an_error_unless_gradients_flow_around_it():
    assert judged(dead(lambda s: 1.0), "dead-units")[0].severity == "error"
    assert judged(dead(lambda s: 1.0, gradient=1e-4), "dead-units")[0].severity == "warning"


def test_several_mostly_dead_layers_are_an_error():
    found = judged(dead(lambda s: 0.85, where=(1, 5)), "dead-units")
    assert [(f.site, f.severity.value) for f in found] == [("net.1", "error"), ("net.5", "error")]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5])
def test_healthy_wide_layer_may_have_dead_units(share):
    assert judged(dead(lambda s: share), "dead-units") == []


def test_transient_is_silent():
    assert judged(dead(lambda s: 0.9 if s <= 64 else 0.1), "dead-units") == []


def test_output_relu_is_named():
    made = dead(lambda s: 0.7, where=(7,))
    made.set_layers([*layers()[:7], layers()[7].__class__("net.7", "ReLU", role="output", activation="relu", units=64)])
    (found,) = judged(made, "dead-units")
    assert "output layer" in found.message
    assert "ReLU behind the last" in found.prescriptions[0].text


def test_absent_says_what_is_missing():
    assert "512 are needed" in unmeasured(dead(lambda s: 0.9, measured_from=10**6), "dead-units")
    none = history(tables={"activation/dead_fraction": lambda s, j: NAN})
    assert "no rectifier" in unmeasured(none, "dead-units")
    assert "no rectifier" in unmeasured(history(flat_loss()), "dead-units")


def test_unmeasured_values_are_never_dead():
    made = dead(lambda s: NAN if s == STEPS[-2] else 0.2)
    assert judged(made, "dead-units") == []
    assert np.isnan(made["activation/dead_by_bias_fraction", "net.3"].values).all()


def test_range_is_checked():
    with pytest.raises(ValueError, match=r"max_dead_fraction is 1\.5"):
        DeadUnits(max_dead_fraction=1.5)


def test_units_that_never_fired_are_an_info_where_the_score_is_good():
    for start, score, severity in ((1.0, 0.95, "info"), (1.0, 0.6, "warning"), (0.0, 0.95, "warning")):
        made = dead(lambda s: 0.7, start=start)
        made.add_points("metric/val_acc", range(0, 400, 100), [score] * 4, stage="validate")
        assert judged(made, "dead-units")[0].severity == severity


def test_a_gate_that_is_shut_is_as_good_as_zero():
    made = dead(lambda s: 0.97, where=(7,))
    made.set_layers([*layers()[:7], layers()[7].__class__("net.7", "GELU", activation="gelu", units=64)])
    (found,) = judged(made, "dead-units")
    assert "as good as zero" in found.message
    assert not any("nn.GELU" in p.text for p in found.prescriptions)


def test_a_half_and_what_chance_adds_to_it():
    assert judged(dead(lambda s: 0.58), "dead-units") == []  # 37 of 64 heads: one series of tosses in ten has so many
    assert judged(dead(lambda s: 0.65), "dead-units")
