from dataclasses import replace

import pytest

from tests.rules.histories import falling_loss, flat_loss, judged, layers, unmeasured
from tests.rules.wired import wired

RULE = "parameter-never-updated"


def still(names):
    return {"update/rms": lambda s, n: 0.0 if n.startswith(names) else 1e-3}


def test_sick_one_part_rests():
    (found,) = judged(wired(flat_loss(), readings=still(("net.0.", "net.2."))), RULE)
    assert (found.severity, found.site) == ("warning", "net.0")
    assert "learning rate of its group is 0.1" in found.message


def test_sick_nothing_moves():
    assert judged(wired(flat_loss(), readings=still(("net.",))), RULE)[0].severity == "error"


def test_sick_what_the_step_changed_is_taken_back():
    (found,) = judged(wired(flat_loss(), readings={"parameter/mean": lambda s, n: 0.01}), RULE)
    assert (found.severity, found.site) == ("error", "net.0")
    assert "back" in found.message


def test_healthy():
    assert judged(wired(flat_loss()), RULE) == []


def test_rests_on_purpose_in_a_good_fit():
    (found,) = judged(wired(falling_loss(scale=0.1), readings=still(("net.0.",))), RULE)
    assert found.severity == "info"


@pytest.mark.parametrize("gone", ["gradient/max", "gradient/nonfinite"])
def test_biases_transients_and_what_has_no_gradient_are_silent(gone):
    assert judged(wired(flat_loss(), readings=still(("net.0.bias",))), RULE) == []
    paused = {"update/rms": lambda s, n: 0.0 if s < 100 else 1e-3}
    assert judged(wired(flat_loss(), readings=paused), RULE) == []
    none = {"gradient/max": 0.0, "gradient/min": 0.0} if gone == "gradient/max" else {"gradient/nonfinite": 5.0}
    readings = {**still(("net.",)), **{k: (lambda s, n, v=v: v) for k, v in none.items()}}
    assert judged(wired(flat_loss(), readings=readings), RULE) == []


def test_absent():
    assert "no trained weight" in unmeasured(wired(flat_loss(), steps=(0, 1, 2)), RULE)


def test_sick_one_matrix_is_written_back_after_every_step():
    held = lambda value: lambda s, n: value if n == "net.2.weight" else value + 1e-4 * s  # noqa: E731
    stays = {f"parameter/{k}": held(0.1) for k in ("mean", "std", "rms")}
    (found,) = judged(wired(flat_loss(), readings=stays), RULE)
    assert found.site == "net.2"
    assert "back" in found.message


def test_sick_an_embedding_is_written_back_after_every_step():
    words = layers()
    words[0] = replace(words[0], type="Embedding")
    held = lambda value: lambda s, n: value if n == "net.0.weight" else value + 1e-4 * s  # noqa: E731
    stays = {f"parameter/{k}": held(0.1) for k in ("mean", "std", "rms")}
    (found,) = judged(wired(flat_loss(), structure=words, readings=stays), RULE)
    assert found.site == "net.0"
    rare = {**stays, "update/rms": lambda s, n: 1e-4}  # rows that are seldom asked for: too little to see
    assert judged(wired(flat_loss(), structure=words, readings=rare), RULE) == []


def two_optimizers(stepped, loss=None):
    known = {f"net.{i}.{k}": [[64, 64] if k == "weight" else [64], True, 0] for i in (0, 2) for k in ("weight", "bias")}
    rest = {
        f"net.{i}.{k}": [[64, 64] if k == "weight" else [64], True, 1] for i in (4, 6, 8) for k in ("weight", "bias")
    }
    made = wired(flat_loss() if loss is None else loss, known={**known, **rest})
    for name in stepped:
        made.add_points(f"learning_rate/{name}", range(400), [0.1] * 400)
    return made


def test_sick_an_optimizer_that_never_steps():
    (found,) = judged(two_optimizers(["1.AdamW"]), RULE)
    assert (found.severity, found.site) == ("error", "net.0")
    assert "Optimizer 0 never stepped" in found.message


@pytest.mark.parametrize("stepped", [["0.Adam", "1.Adam"], ["0.Adam.0", "0.Adam.1", "1.Adam"], []])
def test_optimizers_that_step_or_of_which_nothing_is_known(stepped):
    assert judged(two_optimizers(stepped), RULE) == []
