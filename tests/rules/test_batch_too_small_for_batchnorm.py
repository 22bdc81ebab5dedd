import pytest

from tests.rules.histories import falling_loss, flat_loss, history, judged, unmeasured

STEPS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 399)


def run(values, *, loss=None, val=(0.5, 0.4, 0.35, 0.33), **facts):
    made = history(falling_loss() if loss is None else loss, points={"metric/val_loss": list(val)}, **facts)
    made.set_sites("norm", ["net.1"])
    for i, s in enumerate(STEPS):
        made.add_sample(s, 0, {"norm/values": [values(i)]})
    return made


@pytest.mark.parametrize(("values", "severity"), [(2, "warning"), (4, "warning"), (6, "info")])
def test_sick(values, severity):
    (found,) = judged(run(lambda i: values), "batch-too-small-for-batchnorm")
    assert (found.severity, found.site, found.value) == (severity, "net.1", values)


def test_pairs_that_learn_nothing_are_an_error():
    (found,) = judged(run(lambda i: 2, loss=flat_loss()), "batch-too-small-for-batchnorm")
    assert found.severity == "error"


def test_six_values_with_harm_are_a_warning():
    (found,) = judged(run(lambda i: 6, val=(2.0, 2.1, 2.0, 2.2)), "batch-too-small-for-batchnorm")
    assert found.severity == "warning"


def test_healthy_and_a_small_last_batch():
    assert judged(run(lambda i: 8), "batch-too-small-for-batchnorm") == []
    assert judged(run(lambda i: 2 if i % 4 == 0 else 32), "batch-too-small-for-batchnorm") == []


def test_a_frozen_one_is_silent():
    assert judged(run(lambda i: 2, modes={"train": {"": 9, "net.1": 9}}), "batch-too-small-for-batchnorm") == []


def test_absent():
    assert "norm/values" in unmeasured(history(falling_loss()), "batch-too-small-for-batchnorm")
