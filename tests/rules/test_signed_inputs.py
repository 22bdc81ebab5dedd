from dataclasses import replace

from lightning_diag.records import Layer
from tests.rules.histories import falling_loss, history, judged, unmeasured

SIGMOID = Layer("net.1", "Sigmoid", activation="sigmoid", follows="net.0", units=64)
STRUCTURE = [
    Layer("net.0", "Linear", units=64, parameters=("net.0.weight",)),
    SIGMOID,
    Layer("net.2", "Linear", role="output", follows="net.1", units=10, parameters=("net.2.weight",)),
]


def run(structure, low=0.01):
    return history(falling_loss(), structure=structure, tables={"activation/min": lambda s, j: low})


def test_found_as_an_info():
    (found,) = judged(run(STRUCTURE), "signed-inputs")
    assert (found.severity, found.site) == ("info", "net.1")


def test_silent():
    first, _, last = STRUCTURE
    assert judged(run([first, replace(SIGMOID, activation="relu"), last]), "signed-inputs") == []
    assert judged(run([first, replace(SIGMOID, role="output"), last]), "signed-inputs") == []
    assert judged(run([first, SIGMOID, replace(last, follows="")]), "signed-inputs") == []  # a gate


def test_absent():
    assert "activation/min" in unmeasured(history(falling_loss()), "signed-inputs")
