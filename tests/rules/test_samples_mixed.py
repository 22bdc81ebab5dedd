import pytest

from lightning_diag.records import Layer
from tests.rules.histories import falling_loss, history, judged, unmeasured

STRUCTURE = [Layer("net.3", "Softmax", role="output", activation="softmax", units=10)]
BATCH = {"0": {"shape": [32, 64]}, "1": {"shape": [32]}}


def run(error, mean=1 / 32, **facts):
    tables = {"activation/sample_sum_error": lambda s, j: error, "activation/mean": lambda s, j: mean}
    return history(falling_loss(), structure=STRUCTURE, tables=tables, batch=facts.pop("batch", BATCH), **facts)


def test_sick():
    (found,) = judged(run(1e-7), "samples-mixed")
    assert (found.severity, found.site) == ("error", "net.3")


@pytest.mark.parametrize(
    ("error", "mean", "batch"),
    [
        (2.2, 1 / 10, BATCH),  # over the classes
        (1e-7, 1 / 10, BATCH),  # uniform over the classes
        (1e-7, 1 / 32, {"0": {"shape": [32, 64]}, "1": {"shape": [1]}}),  # over the parts of one sample
    ],
)
def test_healthy(error, mean, batch):
    assert judged(run(error, mean, batch=batch), "samples-mixed") == []


def test_as_many_units_as_samples_cannot_be_told():
    batch = {"0": {"shape": [10, 64]}, "1": {"shape": [10]}}
    assert judged(run(1e-7, 1 / 10, batch=batch, batch_size=10), "samples-mixed") == []


def test_absent():
    assert "softmax" in unmeasured(history(falling_loss()), "samples-mixed")
