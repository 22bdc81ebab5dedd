import numpy as np

from lightning_diag.records import Layer
from tests.rules.histories import falling_loss, history, judged, layers, unmeasured

WIRING = {"parameters": {p: [[64, 64], True, 0] for x in layers() for p in x.parameters if p.endswith("weight")}}
STEPS = (*range(0, 400, 20), 399)


def run(rms, **facts):
    return history(falling_loss(), tables={"parameter/rms": lambda s, j: rms(s)}, steps=STEPS, wiring=WIRING, **facts)


def test_sick_linear_and_exponential():
    for rms in (lambda s: 0.1 + s / 100, lambda s: 0.1 * np.exp(s / 60)):
        (found,) = judged(run(rms), "weight-growth")
        assert found.severity == "warning"
        assert found.site.endswith("weight")


def test_healthy_growth_that_slows_down():
    for rms in (lambda s: 0.1 * (1 + 3 * np.log1p(s)), lambda s: 0.1 * (1 + np.sqrt(s)), lambda s: 0.1 + s / 1000):
        assert judged(run(rms), "weight-growth") == []


def test_healthy_growth_from_a_small_start():
    assert judged(run(lambda s: 1e-3 + s * 1e-4), "weight-growth") == []


def test_in_front_of_a_normalization_the_scale_has_no_effect():
    structure = []
    for i in range(3):
        structure.append(Layer(f"net.{2 * i}", "Linear", units=64, parameters=(f"net.{2 * i}.weight",)))
        structure.append(Layer(f"net.{2 * i + 1}", "BatchNorm1d", follows=f"net.{2 * i}", units=64))
    made = run(lambda s: 0.1 + s / 100, structure=structure)
    assert "0 weight matrices" in unmeasured(made, "weight-growth")


def test_steps_in_random_directions_are_no_growth_without_bound():
    rng = np.random.default_rng(0)
    for _ in range(100):
        noise = 1 + 0.01 * rng.standard_normal(400)
        assert judged(run(lambda s, n=noise: float(np.sqrt(0.01 + 4e-4 * s) * n[s])), "weight-growth") == []


def test_absent():
    assert "parameter" in unmeasured(history(falling_loss()), "weight-growth")
    short = history(falling_loss(50), tables={"parameter/rms": lambda s, j: 0.1}, steps=(0, 49), wiring=WIRING)
    assert "needed" in unmeasured(short, "weight-growth")


def test_embeddings_where_there_is_nothing_else():
    wiring = {"parameters": {"user.weight": [[50, 16], True, 0]}}
    structure = [Layer("user", "Embedding", units=16, parameters=("user.weight",))]
    for rms, said in ((lambda s: 0.3 + s / 50, 1), (lambda s: 0.3 * (1 + np.log1p(s)), 0)):
        tables = {"parameter/rms": lambda s, j, rms=rms: rms(s)}
        made = history(falling_loss(), tables=tables, steps=STEPS, structure=structure, wiring=wiring)
        assert len(judged(made, "weight-growth")) == said
