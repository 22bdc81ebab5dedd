import numpy as np

from tests.rules.histories import falling_loss, flat_loss, judged, unmeasured
from tests.rules.wired import wired

RULE = "clipping-always-active"
SLOW = {"update/ratio": lambda s, n: 1e-5}


def test_sick():
    made = wired(flat_loss(), readings=SLOW, gradient_clip_val=0.01)
    (found,) = judged(made, RULE)
    assert found.severity == "warning"
    assert found.value > 50


def test_sick_where_a_hard_threshold_makes_the_loss_a_straight_line():
    line = 2.3 - 0.8 * np.linspace(0, 1, 400) + 0.01 * np.random.default_rng(0).standard_normal(400)
    assert judged(wired(line, gradient_clip_val=0.01), RULE)
    assert judged(wired(line, gradient_clip_val=0.1), RULE) == []  # clipped to a tenth
    bent = 1.5 + 0.8 * np.exp(-np.arange(400) / 50)
    assert judged(wired(bent, gradient_clip_val=0.01), RULE) == []


def test_sick_by_hand():
    same = {**SLOW, "total/gradient_norm": lambda s, n: 0.01}
    assert "same number" in judged(wired(flat_loss(), readings=same), RULE)[0].message


def test_healthy_clips_that_do_no_harm():
    assert judged(wired(flat_loss(), gradient_clip_val=0.01), RULE) == []
    assert judged(wired(falling_loss(scale=0.1), readings=SLOW, gradient_clip_val=0.01), RULE) == []
    assert judged(wired(flat_loss(), readings=SLOW, gradient_clip_val=1.0), RULE) == []
    assert judged(wired(flat_loss(), readings=SLOW), RULE) == []


def test_optimizers_that_divide_the_scale_out_are_silent():
    adam = [{"type": "AdamW", "groups": []}]
    assert judged(wired(flat_loss(), readings=SLOW, gradient_clip_val=0.01, optimizers=adam), RULE) == []


def test_absent():
    assert "needed" in unmeasured(wired(flat_loss(), status="running"), RULE)


def test_by_value():
    wiring = {"gradient_clip_algorithm": "value"}
    all_of_it = wired(flat_loss(), readings=SLOW, gradient_clip_val=1e-5, wiring=wiring)
    assert judged(all_of_it, RULE)
    assert judged(wired(flat_loss(), readings=SLOW, gradient_clip_val=0.1, wiring=wiring), RULE) == []


def test_sick_by_hand_where_the_loss_is_a_straight_line():
    line = 2.3 - 0.8 * np.linspace(0, 1, 400) + 0.01 * np.random.default_rng(0).standard_normal(400)
    for norm, said in ((lambda s, n: 0.01, 1), (lambda s, n: 0.01 * (1 + 0.1 * np.sin(s)), 0)):
        assert len(judged(wired(line, readings={"total/gradient_norm": norm}), RULE)) == said
