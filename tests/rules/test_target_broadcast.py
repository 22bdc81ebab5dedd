import pytest

from tests.rules.histories import judged, unmeasured
from tests.rules.loss_histories import by_hand, called

NAME = "target-broadcast"
STATS = {"prediction/min": -1.0}
CROSSED = [((32, 1), (32,)), ((32,), (32, 1)), ((8, 1, 16, 16), (8, 16, 16)), ((32, 1), (32, 1, 1))]
FINE = [((32, 1), (32, 1)), ((32,), (32,)), ((32, 3), (3,)), ((1, 1), (1,)), ((32, 5), (32, 1)), ((8, 1, 3), (1, 8, 3))]


@pytest.mark.parametrize(("prediction", "target"), CROSSED)
@pytest.mark.parametrize("loss", ["mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "poisson_nll_loss"])
def test_sick_calls(loss, prediction, target):
    made = called(loss, STATS, prediction_shape=list(prediction), target_shape=list(target))
    (found,) = judged(made, NAME)
    assert found.severity == "error"
    assert "view_as" in found.prescriptions[0].text


@pytest.mark.parametrize("shapes", CROSSED)
def test_sick_by_hand(shapes):
    (found,) = judged(by_hand({}, shapes=shapes), NAME)
    assert found.severity == "error"


@pytest.mark.parametrize("shapes", FINE)
def test_healthy(shapes):
    assert judged(by_hand({}, shapes=shapes), NAME) == []
    made = called("mse_loss", STATS, prediction_shape=list(shapes[0]), target_shape=list(shapes[1]))
    assert judged(made, NAME) == []


def test_borderline_what_may_be_meant_is_info():
    assert judged(by_hand({}, shapes=((8, 1, 3), (8, 3))), NAME)[0].severity == "info"
    made = called("mse_loss", STATS, prediction_shape=[32, 1], target_shape=[32, 4])
    assert judged(made, NAME)[0].severity == "info"


def test_a_difference_beside_a_loss_call_is_info():
    made = called("mse_loss", STATS, prediction_shape=[32], target_shape=[32])
    made.update_run(differences=[{"target": "1", "prediction_shape": [32, 1], "target_shape": [32]}])
    assert judged(made, NAME)[0].severity == "info"


def test_a_product_by_hand_with_the_target():
    made = called("", {}, run={"data": {"train": {"1": {}}, "target": {"path": "1"}}})
    fact = {"prediction_shape": [32, 1], "target_shape": [32]}
    made.update_run(products=[{"target": "1", **fact}])
    assert [f.severity for f in judged(made, NAME)] == ["error"]
    made.update_run(products=[{"target": "0", **fact}])  # an input is scaled
    assert "element" in unmeasured(made, NAME)


def test_absent():
    assert "no call" in unmeasured(called("", {}), NAME)
    assert "element" in unmeasured(called("cross_entropy", STATS), NAME)
