from tests.rules.histories import falling_loss, flat_loss, history, judged, unmeasured

ADAM = [{"type": "Adam", "groups": [{"betas": [0.9, 0.999]}]}]


def run(share, loss, optimizers=ADAM):
    return history(loss, tables={"gradient/signal_share": lambda s, j: share}, optimizers=optimizers)


def test_found_as_an_info():
    (found,) = judged(run(0.05, flat_loss()), "noisy-gradient")
    assert found.severity == "info"


def test_healthy():
    assert judged(run(0.05, falling_loss()), "noisy-gradient") == []
    assert judged(run(0.4, flat_loss()), "noisy-gradient") == []


def test_absent():
    assert "Adam" in unmeasured(run(0.05, flat_loss(), optimizers=[{"type": "SGD", "groups": [{}]}]), "noisy-gradient")
    assert "Adam" in unmeasured(history(flat_loss()), "noisy-gradient")
