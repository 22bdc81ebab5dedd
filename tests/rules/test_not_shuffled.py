import numpy as np
import pytest

from tests.rules.histories import falling_loss, history, judged, unmeasured
from tests.rules.surroundings import seen


def run(within, whole=0.1, **facts):
    target = {"path": "1", "same_class_in_batch": within, "same_class": whole}
    made = history(falling_loss(), **{**seen(target=target), **facts})
    made.run["wiring"]["train_loader"]["sampler"] = "SequentialSampler"
    return made


def test_sick_one_class_a_batch():
    (found,) = judged(run(0.95), "not-shuffled")
    assert found.severity == "warning"
    assert "SequentialSampler" in found.message


def test_info_where_batches_differ_somewhat():
    assert [f.severity for f in judged(run(0.3), "not-shuffled")] == ["info"]


def test_healthy_random_order_without_shuffling():
    assert judged(run(0.102), "not-shuffled") == []
    assert judged(run(0.095), "not-shuffled") == []


def test_a_random_sampler_is_believed():
    made = run(0.95)
    made.run["wiring"]["train_loader"]["sampler"] = "RandomSampler"
    assert judged(made, "not-shuffled") == []


@pytest.mark.parametrize(("sorted_", "found"), [(True, ["warning"]), (False, [])])
def test_numbers(sorted_, found):
    y = np.random.default_rng(0).standard_normal(64 * 32)
    y = (np.sort(y) if sorted_ else y).reshape(64, 32)
    made = history(falling_loss(), structure=[], **seen())
    made.run["wiring"]["train_loader"]["sampler"] = "SequentialSampler"
    made.set_sites("target", ["mse_loss"])
    for i, batch in enumerate(y):
        made.add_sample(i, 0, {"target/mean": [batch.mean()], "target/std": [batch.std()]})
    assert [f.severity for f in judged(made, "not-shuffled")] == found


def test_absent():
    assert "needed" in unmeasured(run(0.95, batch_size=2), "not-shuffled")
    assert "target" in unmeasured(history(falling_loss(), **seen()), "not-shuffled")
