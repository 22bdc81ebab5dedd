import numpy as np
import pytest

from tests.rules.histories import falling_loss, history, judged, unmeasured

CLASSES = {"loss": "cross_entropy", "made_by": "linear", "prediction_shape": [32, 10], "target_dtype": "torch.int64"}
BINARY = {"loss": "binary_cross_entropy_with_logits", "made_by": "linear", "target_dtype": "torch.float32"}
SQUARES = {"loss": "mse_loss", "made_by": "linear", "target_dtype": "torch.float32"}


def run(first, *, loss=None, call=CLASSES, target=1.0, **facts):
    call = {"site": "call", "reduction": "mean", "learns": True, "target_shape": [32], **call}
    made = history(falling_loss() if loss is None else loss, losses=[call], **facts)
    made.set_sites("loss_call", ["call"])
    made.set_sites("target", ["call"])
    made.add_sample(0, 0, {"loss_call/value": [first], "target/rms": [target]})
    return made


def slow(n=400):
    return 0.2 + 20 * np.exp(-np.arange(n) / 60) + 0.02 * np.random.default_rng(0).standard_normal(n)


@pytest.mark.parametrize("call", [CLASSES, BINARY, SQUARES])
def test_found_as_an_info(call):
    (found,) = judged(run(30.0, call=call), "initial-loss-off")
    assert found.severity == "info"


def test_sick_where_it_takes_long_to_come_down():
    (found,) = judged(run(20.2, loss=slow()), "initial-loss-off")
    assert found.severity == "warning"
    assert "steps to come down" in found.message


@pytest.mark.parametrize(
    ("first", "call"),
    [
        (2.3, CLASSES),
        (0.01, CLASSES),
        (2.3 * 32, CLASSES | {"reduction": "sum"}),
        (2.3, CLASSES | {"weighted": True, "label_smoothing": 0.1}),
        (0.69, BINARY),
        (1.1, SQUARES),
    ],
)
def test_healthy(first, call):
    assert judged(run(first, call=call), "initial-loss-off") == []


def test_absent():
    assert "single loss call" in unmeasured(history(falling_loss()), "initial-loss-off")
    for call in (BINARY | {"weighted": True}, {"loss": "l1_loss"}, CLASSES | {"made_by": "softmax"}):
        assert "single loss call" in unmeasured(run(30.0, call=call), "initial-loss-off")
    assert "single loss call" in unmeasured(run(30.0, continues={"at_step": 9}), "initial-loss-off")


def test_sick_where_it_never_comes_down():
    (found,) = judged(run(3000.0, loss=3000 * np.exp(-np.arange(400) / 100) + 10), "initial-loss-off")
    assert found.severity == "warning"
    assert "did not come down" in found.message
