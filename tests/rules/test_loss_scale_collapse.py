from tests.rules.histories import falling_loss, history, judged, unmeasured


def run(scale, bad=lambda s, j: 0.0, **facts):
    return history(
        falling_loss(), tables={"total/gradient_scale": scale, "gradient/nonfinite": bad}, scaler=True, **facts
    )


def test_sick_scale_below_one():
    (found,) = judged(run(lambda s, j: 65536.0 * 0.5 ** (s // 8)), "loss-scale-collapse")
    assert (found.severity, found.step) == ("error", 150)


def test_sick_every_step_skipped():
    (found,) = judged(run(lambda s, j: 64.0, lambda s, j: float(s >= 150)), "loss-scale-collapse")
    assert found.step == 150


def test_healthy_and_transient():
    assert judged(run(lambda s, j: 65536.0), "loss-scale-collapse") == []
    assert judged(run(lambda s, j: 65536.0 / 2 ** min(s, 6), lambda s, j: float(s < 6)), "loss-scale-collapse") == []
    assert judged(run(lambda s, j: 0.5 if 50 < s < 300 else 8.0), "loss-scale-collapse") == []


def test_absent():
    assert "scaler" in unmeasured(history(falling_loss()), "loss-scale-collapse")
