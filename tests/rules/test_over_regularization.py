import numpy as np

from tests.rules.histories import STEPS, falling_loss, flat_loss, history, judged, unmeasured
from tests.rules.surroundings import cross_entropy, seen


def run(loss, *, decay=0.0, weight=lambda s: 0.1, own=None, dropout=0.0, gradient=None, **facts):
    group = {"lr": 0.1, "weight_decay": decay, "parameters": []}
    known = seen()
    known["wiring"]["dropout"] = {"net.1": dropout} if dropout else {}
    tables = {"parameter/rms": lambda s, j: weight(s)}
    if gradient is not None:
        tables["gradient/rms"] = lambda s, j: gradient
    made = history(
        loss,
        tables=tables,
        points={"learning_rate/0": [0.1] * 20},
        losses=cross_entropy(),
        optimizers=[{"type": "SGD", "groups": [group]}],
        **{**known, **facts},
    )
    made.set_sites("loss_call", ["cross_entropy"])
    for s in STEPS:
        made.add_sample(400 + s, 1, {"loss_call/value": [float(loss[s] if own is None else own[s])]})
    return made


def test_sick_decay():
    (found,) = judged(run(flat_loss(), decay=1.0, weight=lambda s: 0.1 * 0.98**s), "over-regularization")
    assert found.severity == "warning"
    assert "decay of 1" in found.message


def test_sick_decay_that_an_adaptive_optimizer_divides_by_its_size():
    for kind, gradient, said in (("RMSprop", 1e-4, 1), ("RMSprop", 1.0, 0), ("AdamW", 1e-4, 0)):
        made = run(flat_loss(), decay=0.01, weight=lambda s: 0.1 * 0.98**s, gradient=gradient)
        made.run["optimizers"][0]["type"] = kind
        assert len(judged(made, "over-regularization")) == said


def test_sick_dropout():
    (found,) = judged(run(flat_loss(), dropout=0.95), "over-regularization")
    assert found.site == "net.1"


def test_sick_penalty():
    loss = 20 * np.exp(-np.arange(400) / 100) + 2.3
    assert "added to it" in judged(run(loss, own=flat_loss()), "over-regularization")[0].message


def test_healthy_strong_but_harmless():
    assert judged(run(falling_loss(), decay=1.0, weight=lambda s: 0.1 * 0.98**s), "over-regularization") == []
    assert judged(run(falling_loss(), dropout=0.9), "over-regularization") == []
    assert judged(run(flat_loss(), decay=1e-4), "over-regularization") == []


def test_absent():
    assert "end" in unmeasured(run(flat_loss(), status="running"), "over-regularization")
