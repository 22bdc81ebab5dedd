import numpy as np
import pytest

from lightning_diag.records import Layer
from tests.rules.histories import falling_loss, judged, unmeasured
from tests.rules.loss_histories import by_hand, called

NAME = "wrong-sign"
CLIMBING = 2.3 + np.arange(400) ** 1.5 / 100


def returned(total, value=CLIMBING, loss="cross_entropy", **facts):
    seen = {"prediction/min": 0.0, "loss_call/value": lambda s: float(value[s])}
    return called(loss, seen, total, **facts)


@pytest.mark.parametrize("loss", ["cross_entropy", "mse_loss", "nll_loss", "binary_cross_entropy"])
def test_sick_negative_of_the_call(loss):
    (found,) = judged(returned(-CLIMBING, loss=loss), NAME)
    assert found.severity == "error"
    assert "negative of" in found.message


def test_sick_with_a_factor_and_a_penalty():
    assert judged(returned(-0.5 * CLIMBING - 0.01), NAME)


def test_sick_maximize():
    run = {"optimizers": [{"type": "SGD", "groups": [{"maximize": True}]}]}
    assert judged(returned(CLIMBING, run=run), NAME)
    assert judged(returned(-CLIMBING, run=run), NAME) == []


def test_sick_squared_error_by_hand():
    stats = {"batch/rms": 1.0, "activation/rms": lambda s: 0.1 + s / 20}
    error = (0.1 + np.arange(400) / 20) ** 2 + 1
    assert judged(by_hand(stats, -error), NAME)
    assert judged(by_hand(stats, error), NAME) == []


def likelihood(loss, units=4):
    counts = {str(k): 50 for k in range(4)}
    structure = [
        Layer("net.0", "Linear", units=units),
        Layer(":log_softmax", "log_softmax", "hidden", "log_softmax", "", units),
    ]
    return called("", {}, loss, structure=structure, run={"data": {"target": {"path": "1", "counts": counts}}})


def test_sick_likelihood_by_hand():
    climbing = np.log(4) + np.arange(400) / 50
    assert judged(likelihood(-climbing), NAME)
    assert judged(likelihood(climbing[::-1]), NAME) == []
    assert judged(likelihood(-climbing + 1.0), NAME) == []  # rewards: not where a likelihood starts
    assert judged(likelihood(-climbing, units=8), NAME) == []


def hand(loss, quality, name="metric/train_acc"):
    made = called("", {}, loss)
    made.add_points(name, range(0, 400, 20), quality)
    return made


def test_sick_quality_sinks_while_the_loss_falls_below_zero():
    sinking = list(0.1 * np.exp(-np.arange(20) / 4))
    assert judged(hand(-CLIMBING, sinking), NAME)
    assert judged(hand(-CLIMBING, list(np.arange(20.0)), "metric/train_mae"), NAME)


def test_healthy():
    falling = falling_loss()
    assert judged(returned(falling, falling), NAME) == []
    assert judged(returned(0.1 * falling, falling), NAME) == []
    assert judged(returned(falling - 3, falling), NAME) == []  # a bonus is subtracted
    assert judged(hand(falling - 3, list(np.linspace(0.1, 0.9, 20))), NAME) == []
    assert judged(hand(falling, list(np.linspace(0.9, 0.5, 20))), NAME) == []  # overfitting
    assert judged(hand(falling - 3, list(np.linspace(9, 1, 20)), "metric/train_reward"), NAME) == []


def test_noise_is_no_sinking():
    rng = np.random.default_rng(0)
    for _ in range(50):
        assert judged(hand(falling_loss() - 3, list(0.5 + 0.1 * rng.standard_normal(20))), NAME) == []


def test_opponents():
    run = {"optimizers": [{"type": "Adam"}, {"type": "Adam"}]}
    assert "opponents" in unmeasured(returned(-CLIMBING, run=run), NAME)


@pytest.mark.parametrize("kind", ["binary_cross_entropy_with_logits", ""])
def test_sick_without_a_floor(kind):
    seen = {"prediction/min": 0.0, "loss_call/value": 30.0} if kind else {}
    (found,) = judged(called(kind, seen, 30.0 - np.geomspace(1.0, 1e9, 400)), NAME)
    assert found.severity == "error"
    assert "no floor" in found.message


def test_negative_objectives_that_have_a_floor_are_healthy():
    for end in (-2.0, -40.0, -900.0):  # a mixture density, a summed likelihood, rewards
        assert judged(called("", {}, falling_loss(scale=1.0) + np.linspace(0.0, end, 400)), NAME) == []


def test_sick_worse_than_guessing():
    counts = {"data": {"target": {"path": "1", "counts": {str(k): 50 for k in range(10)}}}}
    for accuracy, said in ((0.0, 1), (0.1, 0), (0.9, 0)):
        made = called("", {}, falling_loss(), run=counts)
        made.add_points("metric/val_acc", range(0, 400, 100), [accuracy] * 4, stage="validate")
        assert len(judged(made, NAME)) == said


def aligned_with(scores, losses=None, name="metric/val_similarity"):
    """A loss by hand that falls from 0.1 to -0.9, as a cosine does that is minimized."""
    made = called("", {}, 0.1 - 1.0 * (1 - np.exp(-np.arange(400) / 60)))
    steps = [57 * (i + 1) for i in range(len(scores))]
    made.add_points(name, steps, list(scores), stage="validate")
    if losses is not None:
        made.add_points("metric/val_loss", steps, list(losses), stage="validate")
    return made


FALLS = [0.0, -0.4, -0.6, -0.8, -0.85, -0.9]


@pytest.mark.parametrize("losses", [None, FALLS])
def test_sick_a_similarity_that_is_minimized(losses):
    (found,) = judged(aligned_with(FALLS, losses), NAME)
    assert "val_similarity" in found.message


def test_scores_that_fall_for_other_reasons():
    assert judged(aligned_with(FALLS, [0.0, 0.3, 0.5, 0.9, 1.2, 2.0]), NAME) == []  # overfits
    assert judged(aligned_with([0.9, 0.8, 0.6, 0.5, 0.4, 0.3]), NAME) == []  # above chance to the end
    assert judged(aligned_with([0.1, -0.1, 0.0, 0.05, -0.1, -0.05]), NAME) == []  # about chance
    assert judged(aligned_with(FALLS, name="metric/val_bias"), NAME) == []  # of which nobody knows what is better


@pytest.mark.parametrize(("ends", "said"), [(0.2, 1), (0.85, 0)])
def test_sick_a_reward_that_sinks_all_the_time(ends, said):
    rng = np.random.default_rng(0)
    made = by_hand({}, 0.1 * rng.standard_normal(400))
    reward = np.linspace(0.9, ends, 400) + 0.1 * rng.standard_normal(400)
    made.add_points("metric/train_reward", range(400), reward.tolist())
    assert len(judged(made, NAME)) == said


def test_sick_an_overlap_made_smaller():
    for overlap, said in (("less", 1), ("more", 0), ("", 0)):
        made = called("", {}, falling_loss(scale=0.1, noise=0.0), run={"overlap": overlap})
        assert len(judged(made, NAME)) == said


def test_a_loss_by_hand_is_named_as_such():
    (found,) = judged(returned(-CLIMBING, loss="nll_loss", by_hand=True), NAME)
    assert "nll_loss (written by hand)" in found.message
