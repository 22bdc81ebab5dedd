import numpy as np
import pytest

from lightning_diag.records import Layer
from tests.rules.histories import falling_loss, flat_loss, judged, layers, unmeasured
from tests.rules.surroundings import features
from tests.rules.wired import wired

RULE = "no-gradient"
FLAT = flat_loss()


def cut(names, value=np.nan):
    """No gradient at all, or zeros, for parameters that begin so."""
    pick = lambda usual: lambda s, n: value if n.startswith(names) else usual  # noqa: E731
    nonfinite = lambda s, n: (np.nan if np.isnan(value) else 0.0) if n.startswith(names) else 0.0  # noqa: E731
    return {
        "gradient/min": pick(-0.02),
        "gradient/max": pick(0.02),
        "gradient/rms": pick(0.01),
        "gradient/nonfinite": nonfinite,
        "parameter/mean": lambda s, n: 0.0 if n.startswith(names) else 1e-3 * s,
    }


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_sick_cut_off_from_the_first_layer(value):
    (found,) = judged(wired(FLAT, readings=cut(("net.0.", "net.2."), value)), RULE)
    assert (found.severity, found.site) == ("error", "net.0")
    assert "first layer" in found.message


def test_sick_all_of_it():
    (found,) = judged(wired(FLAT, readings=cut(("net.",))), RULE)
    assert found.severity == "error"
    assert "nothing can be learned" in found.message


def test_sick_in_the_middle_is_a_warning_unless_the_fit_is_good():
    (found,) = judged(wired(FLAT, readings=cut(("net.4.",))), RULE)
    assert (found.severity, found.site) == ("warning", "net.4")
    (found,) = judged(wired(falling_loss(scale=0.1), readings=cut(("net.4.",))), RULE)
    assert found.severity == "info"


def test_healthy():
    assert judged(wired(falling_loss()), RULE) == []


def test_a_head_that_does_not_run_is_an_info():
    head = Layer("aux", "Linear", parameters=("aux.weight",))
    made = wired(FLAT, structure=[*layers(), head], readings=cut(("aux.",)), known={"aux.weight": [[2, 64], True, 0]})
    made.layers = tuple(layers())
    (found,) = judged(made, RULE)
    assert found.severity == "info"


def test_transient_absence_frozen_parameters_and_other_optimizers_are_silent():
    late = {k: (lambda s, n, f=f: f(s, n) if s < 200 else 0.01) for k, f in cut(("net.0.",)).items() if "mean" not in k}
    assert judged(wired(FLAT, readings=late), RULE) == []
    frozen = {n: [[64], False, -1] for n in ("net.0.weight", "net.0.bias")}
    assert judged(wired(FLAT, readings=cut(("net.0.",)), known=frozen), RULE) == []


def test_experts_averages_and_biases_alone_are_silent():
    assert judged(wired(FLAT, readings=cut(("net.0.bias",))), RULE) == []
    moving = {**cut(("net.0.",)), "parameter/mean": lambda s, n: 1e-3 * s}
    assert judged(wired(FLAT, readings=moving), RULE) == []


def test_zeros_behind_dead_rectifiers_or_zero_weights_have_rules_of_their_own():
    dead = {**cut(("net.0.",), 0.0), "activation/max": lambda s, n: 0.0}
    assert judged(wired(FLAT, readings=dead), RULE) == []
    zero = {**cut(("net.0.",), 0.0), "parameter/rms": lambda s, n: 0.0 if n == "net.0.weight" else 0.1}
    assert judged(wired(FLAT, readings=zero), RULE) == []


def test_absent():
    assert "needed" in unmeasured(wired(FLAT, steps=(0, 1)), RULE)
    assert "needed" in unmeasured(wired(FLAT, steps=(0, 1, 2, 4), status="running"), RULE)


def test_spare_parts_that_run_are_an_info():
    aux = Layer("net.aux.0", "Linear", parameters=("net.aux.0.weight",))
    structure = [*layers()[:6], aux, *layers()[6:]]
    known = {"net.aux.0.weight": [[64, 64], True, 0]}
    (found,) = judged(wired(FLAT, structure=structure, readings=cut(("net.aux",)), known=known), RULE)
    assert found.severity == "info"


def test_zeros_behind_a_softmax_over_one_unit_or_saturated_units_have_rules_of_their_own():
    one = [*layers(), Layer("soft", "Softmax", activation="softmax", units=1)]
    assert judged(wired(FLAT, structure=one, readings=cut(("net.",), 0.0)), RULE) == []
    full = {**cut(("net.",), 0.0), "activation/saturated_fraction": lambda s, n: 1.0}
    assert judged(wired(FLAT, structure=layers(activation="tanh"), readings=full), RULE) == []


def test_zeros_behind_a_cross_entropy_of_one_class_have_a_rule_of_their_own():
    for classes, said in ((1, 0), (2, 1)):
        call = {"site": "cross_entropy", "loss": "cross_entropy", "prediction_shape": [32, classes]}
        assert len(judged(wired(FLAT, readings=cut(("net.",), 0.0), losses=[call]), RULE)) == said


def test_zeros_behind_huge_inputs_are_the_affair_of_another_rule():
    made = wired(FLAT, readings=cut(("net.0.",), 0.0))
    made.update_run(data={"train": {"0": features(1000, 5)}, "target": {"path": "1"}})
    assert judged(made, RULE) == []
    absent = wired(FLAT, readings=cut(("net.0.",)))
    absent.update_run(data=made.run["data"])
    assert judged(absent, RULE)  # no gradient at all is no matter of size


def test_zeros_behind_gates_that_are_shut_are_their_affair():
    for share, said in ((1.0, 0), (0.5, 1)):
        silent = {"activation/silent_fraction": lambda s, n, share=share: share}
        made = wired(flat_loss(), structure=layers(activation="gelu"), readings={**cut(("net.",), 0.0), **silent})
        assert len(judged(made, RULE)) == said
