import numpy as np

from tests.rules.histories import falling_loss, flat_loss, judged, layers, unmeasured
from tests.rules.wired import wired

RULE = "symmetric-units"


def run(clones, loss=None, **more):
    return wired(flat_loss() if loss is None else loss, readings={"parameter/clones": clones, **more})


def test_sick_clones_that_stay():
    (found,) = judged(run(lambda s, n: 1.0 if n == "net.0.weight" else 0.0), RULE)
    assert (found.severity, found.site) == ("error", "net.0")
    assert judged(run(lambda s, n: 1.0, falling_loss(scale=0.1)), RULE)[0].severity == "warning"


def test_sick_zero_weights_that_wait_for_each_other():
    zero = {s: (lambda s, n: 0.0) for s in ("parameter/rms", "gradient/rms", "update/rms")}
    (found,) = judged(run(lambda s, n: 0.0, **zero), RULE)
    assert "zero" in found.message
    assert "3 other" in found.message


def test_sick_weights_too_large_to_compare():
    spread = {"parameter/std": lambda s, n: 0.0 if s == 0 else 0.1, "activation/effective_rank": lambda s, n: 1.0}
    assert judged(run(lambda s, n: np.nan, **spread), RULE)[0].site == "net.0"


def test_healthy():
    assert judged(run(lambda s, n: 0.0), RULE) == []
    assert judged(run(lambda s, n: 0.1), RULE) == []


def test_transient_and_head_are_silent():
    assert judged(run(lambda s, n: 1.0 if s < 8 else 0.0), RULE) == []
    assert judged(run(lambda s, n: 1.0 if n == "net.8.weight" else 0.0), RULE) == []
    grows = {"parameter/rms": lambda s, n: 0.0 if s == 0 else 0.1}
    assert judged(run(lambda s, n: 0.0, **grows), RULE) == []


def test_absent():
    assert "no hidden weight" in unmeasured(run(lambda s, n: np.nan), RULE)
    made = run(lambda s, n: 1.0)
    made.layers = tuple(layers(type_="Embedding")[:-1])
    assert "no hidden weight" in unmeasured(made, RULE)


def test_clones_that_no_gradient_moves_are_sick_and_frozen_ones_are_not():
    rests = {"update/rms": lambda s, n: 0.0}
    assert judged(run(lambda s, n: 1.0, **rests), RULE)[0].site == "net.0"
    made = run(lambda s, n: float(n == "net.0.weight"), **rests)
    made.run["frozen"] = ["net.0.weight"]
    assert judged(made, RULE) == []


def test_weights_that_started_as_one_number():
    filled = {"parameter/std": lambda s, n: 0.0 if s == 0 and n == "net.0.weight" else 0.1}
    (found,) = judged(run(lambda s, n: 0.0, **filled), RULE)
    assert found.site == "net.0"
    assert "started as one number" in found.message
    assert judged(run(lambda s, n: 0.0, falling_loss(scale=0.1), **filled), RULE) == []  # got over it
    zeros = {**filled, "parameter/rms": lambda s, n: 0.0 if s == 0 else 0.1}
    assert judged(run(lambda s, n: 0.0, **zeros), RULE) == []  # a residual branch that starts at zero
