import numpy as np

from lightning_diag.records import Layer
from tests.rules.histories import falling_loss, history, judged, unmeasured
from tests.rules.surroundings import cross_entropy


def run(loss, *, width=64, bent=True, **facts):
    structure = [Layer("net.0", "Linear", units=width, parameters=("net.0.weight",))]
    structure += [Layer("net.1", "ReLU", activation="relu", units=width)] if bent else []
    structure += [Layer("net.2", "Linear", role="output", units=10, parameters=("net.2.weight",))]
    return history(loss, structure=structure, losses=cross_entropy(), **facts)


POOR = 1.5 + 0.8 * np.exp(-np.arange(400) / 30) + 0.03 * np.random.default_rng(0).standard_normal(400)


def test_sick_a_bottleneck():
    (found,) = judged(run(POOR, width=2), "underfitting")
    assert (found.severity, found.site) == ("warning", "net.0")


def test_sick_no_nonlinearity():
    assert "nonlinearity" in judged(run(POOR, bent=False), "underfitting")[0].message


def test_silent():
    assert judged(run(POOR), "underfitting") == []  # wide: something else, or noise
    assert judged(run(falling_loss(), width=2), "underfitting") == []  # fits
    assert judged(run(2.3 - 0.002 * np.arange(400), width=2), "underfitting") == []  # still falling


def test_a_layer_that_scores_what_passes_by_is_no_bottleneck():
    wide = run(POOR).layers
    score = Layer("look", "Linear", units=1, parameters=("look.weight",))
    softmax = Layer("look:softmax", "softmax", activation="softmax", units=1, follows="look")
    made = history(POOR, structure=[score, softmax, *wide], losses=cross_entropy())
    assert judged(made, "underfitting") == []
    relu = Layer("look:relu", "relu", activation="relu", units=1, follows="look")
    made = history(POOR, structure=[score, relu, *wide], losses=cross_entropy())
    assert judged(made, "underfitting")[0].site == "look"


def test_absent():
    assert "constant" in unmeasured(history(POOR), "underfitting")


def test_a_bottleneck_of_a_quarter_of_the_classes_may_fall_a_little_still():
    still = 2.3 - 0.8 * (1 - np.exp(-np.arange(400) / 200)) + 0.03 * np.random.default_rng(0).standard_normal(400)
    for width, epochs, said in ((2, 12, 1), (3, 12, 0), (2, 5, 0)):
        made = run(still, width=width)
        made.set_sites("total", [""])
        for step in range(0, 400, 10):
            made.add_sample(step, step * epochs // 400, {"total/gradient_norm": [1.0]})
        assert len(judged(made, "underfitting")) == said


def test_products_of_embeddings_are_no_affine_map():
    structure = [Layer(n, "Embedding", units=16, parameters=(f"{n}.weight",)) for n in ("user", "item")]
    made = history(POOR, structure=structure, losses=cross_entropy())
    assert "embeddings alone" in unmeasured(made, "underfitting")
