import numpy as np

from tests.rules.histories import falling_loss, flat_loss, history, judged, unmeasured
from tests.rules.surroundings import cross_entropy, seen


def run(loss, val, r2=0.01, ratio=1e-3, **facts):
    fit = {"rows": 2000, "features": 8, "best_feature": 0, "best_r2": r2, "linear_r2": r2}
    tables = {"update/ratio": lambda s, j: ratio}
    points = {"metric/val_loss": val} if val else {}
    return history(loss, tables=tables, points=points, losses=cross_entropy(), **{**seen(fit=fit), **facts})


TRIVIAL = float(np.log(10))


def test_sick_learned_by_heart():
    (found,) = judged(run(falling_loss(), [2.32, 2.4, 2.5, 2.7]), "labels-independent-of-input")
    assert found.severity == "warning"


def test_sick_never_below_the_trivial_loss():
    assert judged(run(flat_loss(level=TRIVIAL), None), "labels-independent-of-input")[0].value > 2.2


def test_healthy():
    assert judged(run(falling_loss(), [2.2, 1.5, 0.9, 0.8]), "labels-independent-of-input") == []
    assert (
        judged(run(falling_loss(), [2.32, 2.4, 2.5, 2.7], r2=0.3), "labels-independent-of-input") == []
    )  # overfitting, but there is something
    assert judged(run(flat_loss(level=TRIVIAL), None, ratio=1e-9), "labels-independent-of-input") == []  # does not move


def test_absent():
    assert "constant" in unmeasured(history(falling_loss(), **seen()), "labels-independent-of-input")
    assert "end" in unmeasured(run(falling_loss(), None, status="running"), "labels-independent-of-input")


def test_the_best_of_many_noisy_losses_is_better_by_chance():
    rng = np.random.default_rng(0)
    noisy = TRIVIAL * (1 + 0.02 * rng.standard_normal(20))
    assert min(noisy) < 0.97 * TRIVIAL
    assert judged(run(falling_loss(), list(noisy)), "labels-independent-of-input")
    assert judged(run(falling_loss(), list(0.9 * noisy)), "labels-independent-of-input") == []
