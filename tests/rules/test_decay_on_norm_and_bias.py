from tests.rules.histories import flat_loss, judged, unmeasured
from tests.rules.wired import wired

RULE = "decay-on-norm-and-bias"


def run(kind, decay, names):
    return wired(flat_loss(), optimizers=[{"type": kind, "groups": [{"weight_decay": decay, "parameters": names}]}])


def test_vectors_and_coupled_decay_are_an_info():
    (found,) = judged(run("AdamW", 0.01, ["net.0.weight", "net.0.bias"]), RULE)
    assert found.severity == "info"
    assert "net.0.bias" in found.message
    assert "Adam" in judged(run("Adam", 0.01, ["net.0.weight"]), RULE)[0].message


def test_healthy():
    assert judged(run("AdamW", 0.01, ["net.0.weight"]), RULE) == []
    assert judged(run("Adam", 0.0, ["net.0.weight", "net.0.bias"]), RULE) == []


def test_absent():
    assert "no optimizer" in unmeasured(wired(flat_loss(), optimizers=[]), RULE)
