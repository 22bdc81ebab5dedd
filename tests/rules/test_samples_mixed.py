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


def over_time(samples, times, *, size=32, shape=(32, 8, 5)):
    wiring = {"train_loader": {"batch_size": size}}
    batch = {"0": {"shape": list(shape)}, "1": {"shape": [shape[0]]}}
    return history(falling_loss(), batch=batch, wiring=wiring, sequences={"net.rnn": [samples, times]})


def test_samples_taken_for_time_steps():
    (found,) = judged(over_time(8, 32), "samples-mixed")
    assert (found.severity, found.site) == ("error", "net.rnn")
    assert "batch_first=True" in found.prescriptions[0].text


@pytest.mark.parametrize(
    "made",
    [
        over_time(32, 8),  # as it should be
        over_time(32, 32, shape=(32, 32, 5)),  # cannot be told
        over_time(8, 32, size=8, shape=(32, 8, 5)),  # the batch comes as (time, samples, features)
        over_time(64, 32),  # another axis, folded
    ],
)
def test_layers_over_time_that_are_right(made):
    assert judged(made, "samples-mixed") == []


def test_a_reshape_in_place_of_a_transpose():
    made = over_time(32, 8)
    made.update_run(reshapes=[{"site": "net", "from": [8, 32, 5], "to": [32, 40]}])
    (found,) = judged(made, "samples-mixed")
    assert (found.severity, found.site) == ("error", "net")
    assert "transpose" in found.prescriptions[0].text


def test_absent():
    assert "softmax" in unmeasured(history(falling_loss()), "samples-mixed")


def test_samples_taken_for_time_steps_that_were_cut_from_a_row():
    made = over_time(8, 32, shape=(32, 40))
    assert judged(made, "samples-mixed") == []  # nobody knows what it takes at a step
    made.run["wiring"]["parameters"] = {"net.rnn.weight_ih_l0": [[64, 5], True, 0]}
    assert judged(made, "samples-mixed")
    folded = over_time(64, 32, shape=(32, 320))
    folded.run["wiring"]["parameters"] = {"net.rnn.weight_ih_l0": [[64, 5], True, 0]}
    assert judged(folded, "samples-mixed") == []  # a multiple of the samples: another axis, folded
