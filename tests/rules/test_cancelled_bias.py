from dataclasses import replace

from lightning_diag.records import Layer
from tests.rules.histories import falling_loss, history, judged, unmeasured

STRUCTURE = [
    Layer("net.0", "Conv2d", units=8, parameters=("net.0.weight", "net.0.bias")),
    Layer("net.1", "BatchNorm2d", follows="net.0", units=8, parameters=("net.1.weight", "net.1.bias")),
    Layer("net.2", "ReLU", activation="relu", follows="net.1", units=8),
]


def run(structure, bias=1e-9, **facts):
    tables = {"parameter/rms": lambda s, j: 0.1, "gradient/rms": lambda s, j: bias if j == 1 else 0.01}
    return history(falling_loss(), structure=structure, tables=tables, **facts)


def test_found_as_an_info():
    (found,) = judged(run(STRUCTURE), "cancelled-bias")
    assert (found.severity, found.site) == ("info", "net.0.bias")


def test_silent():
    conv, norm, relu = STRUCTURE
    elsewhere = Layer("net.3", "Conv2d", follows="net.0", units=8)
    assert judged(run([conv, replace(norm, type="GroupNorm"), relu]), "cancelled-bias") == []
    assert judged(run([replace(conv, parameters=("net.0.weight",)), norm]), "cancelled-bias") == []
    assert judged(run([conv, replace(norm, follows="net.2"), relu]), "cancelled-bias") == []
    assert judged(run([*STRUCTURE, elsewhere]), "cancelled-bias") == []
    assert judged(run(STRUCTURE, bias=0.01), "cancelled-bias") == []
    assert judged(run(STRUCTURE, modes={"train": {"": 9, "net.1": 9}}), "cancelled-bias") == []


def test_absent():
    assert "parameter" in unmeasured(history(falling_loss()), "cancelled-bias")


def test_transposed_convolutions_too():
    conv, norm, relu = STRUCTURE
    assert judged(run([replace(conv, type="ConvTranspose2d"), norm, relu]), "cancelled-bias")
