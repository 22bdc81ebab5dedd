import pytest

from lightning_diag.records import Layer
from tests.rules.histories import falling_loss, history, judged, unmeasured

STRUCTURE = [
    Layer("net.0", "Linear", units=64, parameters=("net.0.weight", "net.0.bias")),
    Layer("net.1", "BatchNorm1d", follows="net.0", units=64, parameters=("net.1.weight", "net.1.bias")),
    Layer("net.4", "Linear", role="output", units=10, parameters=("net.4.weight", "net.4.bias")),
]
NAMES = [p for x in STRUCTURE for p in x.parameters]


def run(modes, *, resting=3.0, owner=0, gap=0.05, **facts):
    wiring = {
        "parameters": {n: [[64], owner >= 0, owner] for n in NAMES},
        "norms": {"net.1": {"momentum": 0.1, "track": True, "eps": 1e-5}},
        "dropout": {"net.3": 0.5},
    }
    tables = {"total/eval_modules": lambda s, j: resting}
    made = history(
        falling_loss(), structure=STRUCTURE, tables=tables, wiring=wiring, modes={"train": {"": 15, **modes}}, **facts
    )
    made.set_sites("norm", ["net.1"])
    for step in (401, 402, 403, 404):
        made.add_sample(step, 4, {"norm/mean_gap": [gap], "norm/log_variance_ratio": [0.0]})
    return made


def test_sick_the_whole_network_rests():
    (found,) = judged(run({"net.1": 15, "net.3": 15}, resting=5.0), "module-in-eval-mode")
    assert found.severity == "warning"
    assert found.site == "net.1"
    assert "whole network" in found.message


def test_sick_only_after_the_first_validation():
    (found,) = judged(run({"net.3": 9}), "module-in-eval-mode")
    assert (found.severity, found.site) == ("warning", "net.3")


@pytest.mark.parametrize(("gap", "severity"), [(0.05, "info"), (3.0, "warning")])
def test_batchnorm_alone_matters_where_its_statistics_are_not_those_of_the_data(gap, severity):
    (found,) = judged(run({"net.1": 15}, resting=1.0, gap=gap), "module-in-eval-mode")
    assert found.severity == severity


def test_healthy_and_transient():
    assert judged(run({}), "module-in-eval-mode") == []
    assert judged(run({"net.3": 1}), "module-in-eval-mode") == []


def test_a_frozen_or_foreign_part_rests_on_purpose():
    assert judged(run({"net.1": 15, "net.3": 15}, owner=-1), "module-in-eval-mode") == []


def test_one_of_two_opponents_may_rest():
    made = run({"net.3": 15}, resting=1.0, optimizers=[{"type": "Adam"}, {"type": "Adam"}])
    assert judged(made, "module-in-eval-mode") == []


def test_absent():
    assert "no training step" in unmeasured(history(falling_loss()), "module-in-eval-mode")
    one = history(falling_loss(), modes={"train": {"": 1}})
    assert "are needed" in unmeasured(one, "module-in-eval-mode")
