import numpy as np
import pytest

from tests.rules.histories import falling_loss, flat_loss, judged, unmeasured
from tests.rules.wired import wired

RULE = "parameter-not-in-optimizer"
LEFT = {n: [[64, 64], True, -1] for n in ("net.0.weight", "net.2.weight", "net.4.weight", "net.6.weight")}


def test_sick():
    (found,) = judged(wired(flat_loss(), known=LEFT), RULE)
    assert (found.severity, found.site) == ("error", "net.0")


def test_a_small_part_is_a_warning_and_a_good_fit_an_info():
    one = {"net.4.weight": LEFT["net.4.weight"]}
    assert judged(wired(flat_loss(), known=one), RULE)[0].severity == "warning"
    assert judged(wired(falling_loss(scale=0.1), known=LEFT), RULE)[0].severity == "info"


def test_what_stays_as_initialized_is_a_warning_even_in_a_good_fit():
    made = wired(falling_loss(scale=0.1), known=LEFT, wiring={"fresh_left_out": list(LEFT)[:3]})
    assert judged(made, RULE)[0].severity == "warning"
    made = wired(falling_loss(scale=0.1), known=LEFT, wiring={"fresh_left_out": list(LEFT)[:1]})
    assert judged(made, RULE)[0].severity == "info"


def test_healthy_and_frozen():
    assert judged(wired(flat_loss()), RULE) == []
    assert judged(wired(flat_loss(), known={n: [s, False, -1] for n, (s, _, _) in LEFT.items()}), RULE) == []


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_what_no_gradient_passes_is_an_info(value):
    made = wired(flat_loss(), known=LEFT, readings={"activation_gradient/rms": lambda s, n: value})
    assert [f.severity for f in judged(made, RULE)] == ["info"]


def test_absent():
    nobody = {f"net.{i}.{k}": [[64], True, -1] for i in (0, 2, 4, 6, 8) for k in ("weight", "bias")}
    assert "no optimizer" in unmeasured(wired(flat_loss(), known=nobody), RULE)
    made = wired(flat_loss())
    del made.run["wiring"]
    assert "not recorded" in unmeasured(made, RULE)
