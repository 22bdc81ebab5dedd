import pytest

from tests.rules.histories import falling_loss, history, judged, unmeasured
from tests.rules.surroundings import features, seen


def run(train, validate):
    return history(falling_loss(), **seen(train, validate))


@pytest.mark.parametrize("validate", [features(100, 80), features(0, 1 / 255), features(5, 1)])
def test_sick(validate):
    (found,) = judged(run(features(), validate), "train-validation-input-shift")
    assert found.severity == "warning"


@pytest.mark.parametrize("validate", [features(0.3, 1.2), features(0.1, 0.7), features([9, 0, 0, 0, 0, 0, 0, 0], 1)])
def test_healthy(validate):
    assert judged(run(features(), validate), "train-validation-input-shift") == []


def test_constant_features_do_not_count():
    assert (
        judged(
            run(features(1, [0, 0, 0, 0, 0, 1, 1, 1]), features(1, [0, 0, 0, 0, 0, 1, 1, 1])),
            "train-validation-input-shift",
        )
        == []
    )


def test_absent():
    assert "both" in unmeasured(run(features(), None), "train-validation-input-shift")


def test_a_single_feature_that_is_nowhere_near():
    (found,) = judged(run(features(), features([14, 0, 0, 0, 0, 0, 0, 0], 0.1)), "train-validation-input-shift")
    assert "Feature 0" in found.message
