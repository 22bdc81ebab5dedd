from tests.rules.histories import falling_loss, history, judged, unmeasured


def run(train, val):
    return history(falling_loss(), points={"metric/train_loss": train, "metric/val_loss": val})


def test_info():
    (found,) = judged(
        run([2.0, 1.5, 1.2, 1.0, 0.9, 0.8], [1.4, 1.0, 0.8, 0.7, 0.6, 0.5]), "validation-better-than-training"
    )
    assert found.severity == "info"


def test_silent():
    assert (
        judged(run([2.0, 1.5, 1.2, 1.0, 0.9, 0.8], [2.0, 1.5, 1.25, 1.1, 0.95, 0.9]), "validation-better-than-training")
        == []
    )


def test_absent():
    assert "same name" in unmeasured(history(falling_loss()), "validation-better-than-training")
