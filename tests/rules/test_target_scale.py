import numpy as np

from lightning_diag.records import Layer
from tests.rules.histories import falling_loss, flat_loss, history, judged, unmeasured
from tests.rules.surroundings import cross_entropy, seen, squared_error


def run(target, prediction, loss, end=None):
    """``target`` and ``prediction`` are (mean, std); ``end`` is the loss call's last value."""
    made = history(loss, structure=[], losses=squared_error(), **seen())
    for family in ("target", "prediction", "loss_call"):
        made.set_sites(family, ["mse_loss"])
    for i, step in enumerate(range(0, 400, 20)):
        row = {"loss_call/value": [float(end if end is not None and i > 10 else loss[step])]}
        for family, (mean, std) in (("target", target), ("prediction", prediction)):
            row |= {f"{family}/mean": [mean], f"{family}/rms": [float(np.hypot(mean, std))]}
        made.add_sample(step, 0, row)
    return made


def test_sick_house_prices():
    (found,) = judged(run((2e5, 5e4), (0.0, 0.2), flat_loss(level=4e10, noise=1e8)), "target-scale")
    assert found.severity == "warning"
    assert "2e+05" in found.message


def test_sick_targets_far_below_the_output():
    assert (
        judged(run((0.0, 1e-3), (0.1, 0.3), flat_loss(level=0.01, noise=1e-4)), "target-scale")[0].severity == "warning"
    )


def test_info_where_it_fits_nevertheless():
    assert (
        judged(run((200.0, 100.0), (0.0, 0.2), falling_loss(scale=1e4), end=100.0), "target-scale")[0].severity
        == "info"
    )


def test_healthy():
    assert judged(run((0.0, 1.0), (0.0, 0.1), falling_loss()), "target-scale") == []
    assert judged(run((0.0, 20.0), (0.0, 0.1), falling_loss()), "target-scale") == []
    assert judged(run((2e5, 5e4), (2e5, 3e4), falling_loss()), "target-scale") == []  # bias and scale were set


def test_absent():
    made = run((0.0, 1.0), (0.0, 0.1), falling_loss())
    made.run["losses"] = cross_entropy()
    assert "squared" in unmeasured(made, "target-scale")


def test_outputs_out_of_scale_are_no_matter_of_the_targets():
    assert judged(run((0.0, 1.0), (1000.0, 700.0), falling_loss(scale=1e6)), "target-scale") == []


def test_a_target_that_the_model_computes_is_that_of_the_first_step():
    made = run((2e5, 5e4), (0.0, 0.2), flat_loss(level=4e10, noise=1e8))
    made.run["losses"][0]["target"] = ""
    assert judged(made, "target-scale")  # so from the start
    grows = history(flat_loss(), structure=[], losses=squared_error(target=""), **seen())
    for family in ("target", "prediction"):
        grows.set_sites(family, ["mse_loss"])
    for step in range(0, 400, 20):
        size = 0.2 * 1.1**step
        row = {f"{family}/{s}": [size] for family in ("target", "prediction") for s in ("mean", "rms")}
        grows.add_sample(step, 0, row)
    assert judged(grows, "target-scale") == []


def by_hand(target, loss):
    """A squared error written out: the batch's target and the output layer's activations are what is known."""
    fact = {"target": "batch[1]", "prediction_shape": [32, 1], "target_shape": [32, 1], "made_by": "linear"}
    made = history(
        loss, structure=[Layer("net.2", "Linear", parameters=("weight", "bias"))], differences=[fact], **seen()
    )
    made.set_sites("batch", ["batch[1]"])
    made.set_sites("activation", ["net.2"])
    for step in range(0, 400, 20):
        row = {"batch/mean": [target[0]], "batch/rms": [float(np.hypot(*target))], "activation/rms": [0.3]}
        made.add_sample(step, 0, row)
    return made


def test_losses_written_by_hand():
    (found,) = judged(by_hand((2e5, 5e4), flat_loss(level=4e10, noise=1e8)), "target-scale")
    assert (found.severity, "batch[1]" in found.message) == ("warning", True)
    fitted = by_hand((200.0, 100.0), falling_loss(scale=1.6e4))
    assert judged(fitted, "target-scale")[0].severity == "info"


def test_healthy_losses_written_by_hand():
    assert judged(by_hand((0.0, 1.0), falling_loss()), "target-scale") == []
    assert (
        judged(by_hand((2e5, 5e4), falling_loss()), "target-scale") == []
    )  # divided by the scale before it is squared
