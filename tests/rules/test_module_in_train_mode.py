from tests.rules.histories import falling_loss, history, judged, unmeasured

BATCH_NORM = {"net.1": {"momentum": 0.1, "track": True, "eps": 1e-5}}


def run(modes, *, norms=None, dropout=("net.3",), names=("metric/val_loss",), **facts):
    wiring = {"parameters": {}, "norms": norms or {}, "dropout": dict.fromkeys(dropout, 0.5)}
    points = {name: [1.0] * 8 for name in names}
    return history(falling_loss(), points=points, wiring=wiring, modes={"validate": {"": 8, **modes}}, **facts)


def test_sick_batchnorm_learns_from_validation():
    (found,) = judged(run({"net.3": 8, "net.1": 8}, norms=BATCH_NORM), "module-in-train-mode")
    assert (found.severity, found.site) == ("warning", "net.1")
    assert "8 of 8" in found.message


def test_sick_dropout_is_on():
    (found,) = judged(run({"net.3": 8}), "module-in-train-mode")
    assert (found.severity, found.site, found.step) == ("warning", "net.3", 49)


def test_dropout_on_purpose_is_an_info():
    for made in (
        run({"net.3": 8}, norms=BATCH_NORM),
        run({"net.3": 8}, dropout=("net.3", "net.6")),
        run({"net.3": 8}, model="MCDropoutNet"),
        run({"net.3": 8}, names=("metric/val_loss", "metric/val_uncertainty")),
    ):
        (found,) = judged(made, "module-in-train-mode")
        assert found.severity == "info"


def test_healthy_and_transient():
    assert judged(run({}), "module-in-train-mode") == []
    assert judged(run({"net.3": 2}), "module-in-train-mode") == []


def test_absent():
    assert "no validation" in unmeasured(history(falling_loss()), "module-in-train-mode")
