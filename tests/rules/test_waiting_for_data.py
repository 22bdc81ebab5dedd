from tests.rules.histories import falling_loss, history, judged, unmeasured


def test_found_as_an_info():
    made = history(falling_loss(), waiting_fraction=0.8, seconds=60.0, wiring={"train_loader": {"workers": 0}})
    (found,) = judged(made, "waiting-for-data")
    assert found.severity == "info"
    assert "80 %" in found.message
    assert "0 worker" in found.message


def test_healthy():
    assert judged(history(falling_loss(), waiting_fraction=0.3, seconds=60.0), "waiting-for-data") == []


def test_absent():
    assert "not recorded" in unmeasured(history(falling_loss()), "waiting-for-data")
    assert "needed" in unmeasured(history(falling_loss(), waiting_fraction=0.9, seconds=1.0), "waiting-for-data")
