import pytest

from lightning_diag.records import Layer
from tests.rules.histories import falling_loss, history, judged, unmeasured
from tests.rules.surroundings import features, seen


def run(train, **facts):
    return history(falling_loss(), **{**seen(train), **facts})


@pytest.mark.parametrize(
    ("train", "word"),
    [
        (features(100, 80, rows=256), "root mean square of 128"),
        (features(290, 8), "root mean square"),
        (features(0, [1, 1, 1, 2000, 1, 1, 1, 1]), "2e+03 times"),
        (features(1e-3, 5e-4), "only"),
        (features(1.0, 0.001), "offset"),
    ],
)
def test_sick(train, word):
    (found,) = judged(run(train), "unnormalized-input")
    assert (found.severity, found.site) == ("warning", "0")
    assert word in found.message


@pytest.mark.parametrize(
    "train",
    [features(), features(0.3, 0.3), features(5, 6), features(0, [1, 0.01, 0.3, 1, 0, 0, 0, 1]), features(0.0, 0.05)],
)
def test_healthy(train):
    assert judged(run(train), "unnormalized-input") == []


def test_info_where_the_run_does_well_or_a_norm_comes_first():
    good = history(falling_loss(), points={"metric/val_acc": [0.5, 0.9, 0.95, 0.96, 0.97]}, **seen(features(100, 80)))
    assert judged(good, "unnormalized-input")[0].severity == "info"
    layers = [Layer("norm", "BatchNorm1d"), Layer("net", "Linear", parameters=("net.weight",))]
    made = history(falling_loss(), structure=layers, **seen(features(100, 80)))
    assert judged(made, "unnormalized-input")[0].severity == "info"


def test_a_warning_where_the_run_does_well_after_a_wild_start():
    call = {"site": "cross_entropy", "loss": "cross_entropy", "reduction": "mean", "weighted": False,
            "prediction_shape": [32, 10], "target_dtype": "torch.int64", "learns": True}  # fmt: skip
    for first, severity in ((200.0, "warning"), (2.4, "info")):
        made = history(
            falling_loss(), losses=[call], points={"metric/val_acc": [0.5, 0.9, 0.95, 0.96, 0.97]},
            **seen(features(100, 80)),
        )  # fmt: skip
        made.set_sites("loss_call", ["cross_entropy"])
        made.add_sample(0, 0, {"loss_call/value": [first]})
        assert judged(made, "unnormalized-input")[0].severity == severity


def test_absent():
    assert "no tensor" in unmeasured(history(falling_loss()), "unnormalized-input")
    assert "rows" in unmeasured(run(features(rows=8)), "unnormalized-input")
    mapped = run(features(100, 80), wiring={"callbacks": ["LatePreprocess", "Diagnostics"]})
    assert "Preprocess maps the inputs" in unmeasured(mapped, "unnormalized-input")


RECURRENT = [Layer("rnn", "GRU", units=8, parameters=("rnn.weight_ih_l0",))]  # is never above 1
LOOKED_UP = [
    Layer("kind", "Embedding", parameters=("kind.weight",)),
    Layer("net", "Linear", parameters=("net.weight",)),
]


@pytest.mark.parametrize("first", [RECURRENT, LOOKED_UP])
def test_a_first_layer_that_cannot_show_it_does_not_excuse_it(first):
    tables = {"activation/rms": lambda s, j: 0.9 if len(first) == 1 or j == 0 else 500.0}
    made = history(falling_loss(), structure=first, tables=tables, **seen(features(100, 80)))
    assert judged(made, "unnormalized-input")[0].severity == "warning"
