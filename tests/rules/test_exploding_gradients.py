import numpy as np

from lightning_diag.records import Layer
from tests.rules.histories import falling_loss, flat_loss, history, judged, layers, unmeasured


def run(norm, loss, *, gradient=None, depth=8):
    tables = {"total/gradient_norm": lambda s, j: norm(s)}
    if gradient:
        tables |= {"gradient/rms": gradient, "parameter/rms": lambda s, j: 0.1}
    return history(loss, structure=layers(depth), tables=tables)


def test_sick_growth_until_the_loss_breaks():
    loss = falling_loss()
    loss[40:] = np.nan
    norm = lambda s: np.nan if s > 40 else 10.0 ** (s / 8)  # noqa: E731
    (found,) = judged(run(norm, loss), "exploding-gradients")
    assert (found.severity.value, found.site) == ("error", "")
    assert found.step <= 32
    assert found.prescriptions[0].changes == {"gradient_clip_val": 1.0}


def test_sick_jump_that_loses_what_was_learned():
    loss = falling_loss()
    loss[205:] += 2.5
    (found,) = judged(run(lambda s: 1e4 if s == 200 else 1.0, loss), "exploding-gradients")
    assert (found.severity.value, found.step) == ("error", 200)
    assert "did not recover" in found.message


def test_transient_spike_is_silent():
    loss = falling_loss()
    loss[200:215] += 5
    assert judged(run(lambda s: 1e4 if s == 200 else 1.0, loss), "exploding-gradients") == []


def test_first_steps_large_and_scaled_losses_are_healthy():
    assert judged(run(lambda s: 1e4 if s < 3 else 1.0, falling_loss()), "exploding-gradients") == []
    made = run(lambda s: 1e9 * (1 + s / 400), falling_loss(scale=1e9))
    assert judged(made, "exploding-gradients") == []


def test_clipped_and_learning_is_healthy():
    assert judged(run(lambda s: 1e5 if s > 100 else 1.0, falling_loss()), "exploding-gradients") == []


def test_a_loss_that_breaks_without_growth_is_no_explosion():
    loss = falling_loss()
    loss[120:] = np.nan
    made = run(lambda s: 100.0 if s == 1 else 1.0 if s else 0.01, loss)
    assert judged(made, "exploding-gradients") == []


def test_sick_over_depth_only_if_the_loss_does_not_fall():
    grows = lambda s, j: 1e-3 * 10.0 ** ((16 - j) / 2)  # noqa: E731
    (found,) = judged(run(lambda s: 1.0, flat_loss(), gradient=grows), "exploding-gradients")
    assert found.site == "net.0.weight"
    assert found.value > 1e3
    assert judged(run(lambda s: 1.0, falling_loss(), gradient=grows), "exploding-gradients") == []


def test_absent():
    assert "gradient_norm" in unmeasured(history(falling_loss()), "exploding-gradients")
    short = history(falling_loss(3), steps=(0, 1, 2), tables={"total/gradient_norm": lambda s, j: 1.0})
    assert "fewer than 5" in unmeasured(short, "exploding-gradients")


def test_sick_hot_start_grows_forward_and_backward():
    grows = {
        "total/gradient_norm": lambda s, j: 1.0,
        "activation/std": lambda s, j: 10.0 ** (j / 6),
        "activation_gradient/rms": lambda s, j: 10.0 ** (-j / 6),
    }
    for loss, severity in ((falling_loss(), "warning"), (flat_loss(), "error")):
        (found,) = judged(history(loss, structure=layers(8), tables=grows), "exploding-gradients")
        assert found.severity == severity
        assert found.step == 0
    forward_only = {**grows, "activation_gradient/rms": lambda s, j: 1.0}
    assert judged(history(flat_loss(), structure=layers(8), tables=forward_only), "exploding-gradients") == []


RECURRENT = [
    Layer("cell", "RNN", units=32, parameters=("cell.weight_ih_l0", "cell.weight_hh_l0")),
    Layer("head", "Linear", role="output", units=10, parameters=("head.weight",)),
]
CALL = {"site": "cross_entropy", "loss": "cross_entropy", "reduction": "mean", "weighted": False,
        "prediction_shape": [32, 10], "target_dtype": "torch.int64"}  # fmt: skip


def recurrent(first, *, batch_std=0.4, kind="torch.float32", **facts):
    """A run of one recurrent layer with outputs of 20 whose loss comes down from ``first``."""
    loss = falling_loss() + (first - 2.3) * np.exp(-np.arange(400) / 5)
    tables = {"total/gradient_norm": lambda s, j: 1.0, "activation/std": lambda s, j: (20.0, 50.0)[j]}
    made = history(loss, structure=RECURRENT, tables=tables, losses=[CALL], batch={"0": {"dtype": kind}}, **facts)
    made.set_sites("batch", ["0"])
    for step in made.steps:
        made.add_sample(int(step), 0, {"batch/std": [batch_std]})
    return made


def test_sick_growth_over_the_steps_of_a_recurrent_layer():
    (found,) = judged(recurrent(74.0), "exploding-gradients")
    assert (found.severity.value, found.site, found.step) == ("warning", "cell", 0)
    assert "orthogonal" in found.prescriptions[0].text


def test_healthy_large_outputs_without_a_wild_loss_raw_inputs_indices_and_trained_models():
    assert judged(recurrent(5.0), "exploding-gradients") == []
    assert judged(recurrent(74.0, batch_std=96.0), "exploding-gradients") == []
    assert judged(recurrent(74.0, kind="torch.int64"), "exploding-gradients") == []
    assert judged(recurrent(74.0, frozen=["cell.weight_ih_l0"]), "exploding-gradients") == []


def test_sick_thrown_far_away_by_the_first_step_of_sgd():
    def thrown(ratio, late, kind="SGD"):
        tables = {
            "total/gradient_norm": lambda s, j: 1e4 if s == 0 else late,
            "update/ratio": lambda s, j: ratio if s == 0 else 1e-4,
            "parameter/rms": lambda s, j: 0.1,
        }
        optimizers = [{"type": kind, "groups": []}]
        made = history(falling_loss(), structure=layers(4), tables=tables, optimizers=optimizers)
        return judged(made, "exploding-gradients")

    (found,) = thrown(20.0, 1.0)
    assert (found.severity, found.step) == ("warning", 0)
    assert thrown(0.5, 1.0) == []  # a gradient that falls as the loss does
    assert thrown(20.0, 1e3) == []
    assert thrown(20.0, 1.0, "RMSprop") == []  # whose first steps say nothing of the gradient
