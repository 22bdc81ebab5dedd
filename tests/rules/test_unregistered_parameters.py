import pytest

from tests.rules.histories import falling_loss, flat_loss, judged, unmeasured
from tests.rules.wired import wired

RULE = "unregistered-parameters"


def hidden(kind="list", attribute="blocks", owner="net", got=4):
    return [{"owner": owner, "attribute": attribute, "kind": kind, "tensors": 4, "with_gradient": got, "elements": 800}]


@pytest.mark.parametrize("kind", ["list", "dict", "tuple"])
def test_sick(kind):
    (found,) = judged(wired(flat_loss(), unregistered=hidden(kind)), RULE)
    assert (found.severity, found.site) == ("error", "net.blocks")
    assert "net.blocks" in found.message


def test_good_fit_is_a_warning():
    assert judged(wired(falling_loss(scale=0.1), unregistered=hidden()), RULE)[0].severity == "warning"


def test_a_bare_tensor():
    assert judged(wired(flat_loss(), unregistered=hidden("Tensor", "weight")), RULE)[0].severity == "warning"
    points = hidden("Tensor", "x_collocation", "")
    assert judged(wired(flat_loss(), unregistered=points), RULE)[0].severity == "info"


def test_healthy_without_gradient_or_without_any():
    assert judged(wired(flat_loss(), unregistered=hidden(got=0)), RULE) == []
    assert judged(wired(flat_loss()), RULE) == []


def test_absent():
    made = wired(flat_loss())
    del made.run["wiring"]
    assert "not recorded" in unmeasured(made, RULE)
