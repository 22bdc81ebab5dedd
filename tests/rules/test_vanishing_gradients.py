import numpy as np
import pytest

from lightning_diag.records import Layer
from tests.rules.histories import falling_loss, flat_loss, history, judged, layers, unmeasured


def run(gradient, loss=None, *, weight=lambda s, j: 0.1, update=None, depth=8, extra=None, **facts):
    tables = {"gradient/rms": gradient, "parameter/rms": weight, **(extra or {})}
    if update:
        tables["update/rms"] = update
    return history(flat_loss() if loss is None else loss, structure=layers(depth), tables=tables, **facts)


def fading(s, j):
    return 1e-2 * 10.0 ** (-(16 - j // 2 * 2) / 2.5)


def test_sick_over_depth():
    (found,) = judged(run(fading), "vanishing-gradients")
    assert (found.site, found.severity.value, found.step) == ("net.0.weight", "error", 1)
    assert found.value < 1e-3
    assert "net.16.weight" in found.message


def test_exactly_zero_gradients_count():
    assert judged(run(lambda s, j: 0.0 if j < 8 else 1e-2), "vanishing-gradients")[0].value == 0.0


@pytest.mark.parametrize("last", [8, 399])
def test_sick_tiny_start_where_all_weight_gradients_are_equal(last):
    small = lambda rate: lambda s, j: 10.0 ** (rate * j / 2) if s <= last else 1.0  # noqa: E731
    extra = {"activation/std": small(-1), "activation_gradient/rms": lambda s, j: 1e-3 * small(1)(s, j - 16)}
    (found,) = judged(run(lambda s, j: 1e-12, extra=extra), "vanishing-gradients")
    assert found.severity == "error"
    assert found.step == 0
    assert found.value < 1e-4
    assert "too small" in found.message
    assert found.prescriptions[0].changes["init"] == "kaiming_normal"
    assert judged(run(lambda s, j: 1e-12, falling_loss(), extra=extra), "vanishing-gradients") == []


def test_learning_with_even_updates_is_healthy():
    assert judged(run(fading, falling_loss(), update=lambda s, j: 1e-4), "vanishing-gradients") == []


def test_learning_by_the_late_layers_alone_is_a_warning():
    (found,) = judged(run(fading, falling_loss(), update=fading), "vanishing-gradients")
    assert found.severity == "warning"
    assert "late layers do the work" in found.message


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e6])
def test_small_or_scaled_gradients_are_healthy(scale):
    made = run(lambda s, j: scale * (1 + j / 10), flat_loss(level=0.01 * scale, noise=1e-4 * scale))
    assert judged(made, "vanishing-gradients") == []


def test_layers_of_other_scale_are_healthy():
    made = run(lambda s, j: 1e-2 * 10.0**-j, weight=lambda s, j: 10.0**-j)
    assert judged(made, "vanishing-gradients") == []


def test_transient_zero_head_at_the_first_step_is_silent():
    made = run(lambda s, j: 0.0 if s < 2 and j < 16 else 1e-2, weight=lambda s, j: 0.0 if s < 1 and j > 15 else 0.1)
    assert judged(made, "vanishing-gradients") == []


def test_absent():
    assert "from 3 on" in unmeasured(run(fading, depth=1), "vanishing-gradients")
    assert "5 of 100 are needed" in unmeasured(_early(), "vanishing-gradients")
    assert "order of the layers" in unmeasured(_without_layers(), "vanishing-gradients")
    assert "gradient/rms" in unmeasured(history(flat_loss()), "vanishing-gradients")


def _early():
    tables = {"gradient/rms": fading, "parameter/rms": lambda s, j: 0.1}
    return history(flat_loss(65), structure=layers(8), steps=(1, 2, 4, 8, 16, 32, 64), tables=tables, status="running")


def _without_layers():
    made = run(fading)
    made.layers = ()
    return made


def test_norms_and_embeddings_are_no_matrices():
    made = run(lambda s, j: np.nan if j > 15 else 1e-9)
    made.set_layers(list(layers(8, type_="BatchNorm1d")[:-1]))
    assert "0 weight matrices" in unmeasured(made, "vanishing-gradients")


MEMORY = [
    Layer("cell", "RNN", units=32, parameters=("cell.weight_ih_l0", "cell.weight_hh_l0")),
    Layer("head", "Linear", role="output", units=10, parameters=("head.weight",)),
]


def sequences(decades, loss, *, ratio=1e-2):
    tables = {
        "gradient/rms": lambda s, j: 1.0,
        "parameter/rms": lambda s, j: 1.0,
        "update/ratio": lambda s, j: ratio,
        "activation/gradient_over_time": lambda s, j: decades if j == 0 else np.nan,
    }
    return history(loss, structure=MEMORY, tables=tables)


def test_sick_over_time():
    (found,) = judged(sequences(-12.0, flat_loss()), "vanishing-gradients")
    assert (found.site, found.severity.value) == ("cell", "error")
    assert "10^-12" in found.message
    assert "forget" in found.prescriptions[0].text


def test_healthy_over_time():
    assert judged(sequences(-12.0, falling_loss()), "vanishing-gradients") == []  # needs no long memory
    assert judged(sequences(-1.0, flat_loss()), "vanishing-gradients") == []  # stays for another reason
    assert judged(sequences(-12.0, flat_loss(), ratio=1e-6), "vanishing-gradients") == []  # hardly moves
    assert judged(sequences(12.0, flat_loss()), "vanishing-gradients") == []


def test_exploding_over_time():
    def made(decades, loss):
        m = sequences(decades, loss)
        m.set_sites("total", [""])
        for step in m.steps:
            m.add_sample(int(step), 0, {"total/gradient_norm": [1.0]})
        return m

    (found,) = judged(made(9.0, flat_loss()), "exploding-gradients")
    assert (found.site, found.severity.value) == ("cell", "error")
    assert judged(made(9.0, falling_loss()), "exploding-gradients") == []
    assert judged(made(-9.0, flat_loss()), "exploding-gradients") == []
