from tests.rules.histories import falling_loss, flat_loss, judged, unmeasured
from tests.rules.wired import wired

RULE = "accidentally-frozen"
NAMES = ["net.0.weight", "net.2.weight", "net.4.weight"]


def frozen(loss, names=NAMES, fresh=NAMES, known=None):
    rest = {n: [[64, 64], False, -1] for n in names}
    return wired(loss, known={**rest, **(known or {})}, wiring={"fresh_frozen": list(fresh)})


def test_sick():
    (found,) = judged(frozen(flat_loss()), RULE)
    assert (found.severity, found.site) == ("error", "net.0")


def test_random_features_that_fit_are_an_info():
    assert [f.severity for f in judged(frozen(falling_loss(scale=0.1)), RULE)] == ["info"]
    assert [f.severity for f in judged(frozen(flat_loss(), NAMES[1:2], NAMES[1:2]), RULE)] == ["info"]  # a small part


def test_the_first_layer_is_no_small_part():
    assert [f.severity for f in judged(frozen(flat_loss(), NAMES[:1], NAMES[:1]), RULE)] == ["warning"]


def test_pretrained_and_unused_are_silent():
    assert judged(frozen(flat_loss(), fresh=[]), RULE) == []
    assert judged(frozen(flat_loss(), ["old.0.weight"], ["old.0.weight"]), RULE) == []


def test_copies_of_trained_layers_are_silent():
    trained = {n.replace("net.", "online."): [[64, 64], True, 0] for n in NAMES}
    assert judged(frozen(flat_loss(), known=trained), RULE) == []


def test_absent():
    made = frozen(flat_loss())
    del made.run["wiring"]["fresh_frozen"]
    assert "not recorded" in unmeasured(made, RULE)
