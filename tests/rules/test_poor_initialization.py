import pytest

from lightning_diag.records import Layer
from tests.rules.histories import falling_loss, flat_loss, history, judged, layers, unmeasured

WIRING = {"parameters": {p: [[64, 64], True, 0] for x in layers() for p in x.parameters if p.endswith("weight")}}
CALL = {"site": "cross_entropy", "loss": "cross_entropy", "reduction": "mean", "learns": True, "made_by": "linear"}
CALL |= {"prediction_shape": [32, 10], "target_dtype": "torch.int64", "target_shape": [32]}


def run(gain, loss, *, out=lambda j: 1.0, std=lambda j: 1.0, first=2.3, structure=None, bias=0.0, **facts):
    structure = layers() if structure is None else structure
    names = [p for x in structure for p in x.parameters]
    made = history(loss, structure=structure, wiring=WIRING, losses=[CALL], **facts)
    sites = [x.site for x in structure]
    for family, of in (("parameter", names), ("activation", sites), ("loss_call", ["cross_entropy"]), ("batch", ["0"])):
        made.set_sites(family, of)
    for step in (0, 1, 2, 4, 100, 399):
        weights = [gain(n) / 8 if n.endswith("weight") else bias for n in names]
        row = {"parameter/rms": weights, "loss_call/value": [first], "batch/rms": [1.0], "batch/std": [1.0]}
        row |= {"activation/rms": [out(j) for j in range(len(sites))]}
        row |= {"activation/sample_std": [std(j) for j in range(len(sites))]}
        made.add_sample(step, 0, row)
    return made


def test_sick_large():
    made = run(lambda n: 8.0, falling_loss(), out=lambda j: 8.0 ** (j // 2 + 1), first=600.0)
    (found,) = judged(made, "poor-initialization")
    assert (found.severity, found.site, found.step) == ("warning", "net.0", 0)


def test_sick_head():
    made = run(
        lambda n: 8.0 if n.startswith("net.8") else 1.4,
        falling_loss(),
        out=lambda j: 9.0 if j == 8 else 1.0,
        first=12.0,
    )
    assert judged(made, "poor-initialization")[0].site == "net.8"


def test_sick_bias_of_the_head():
    made = run(lambda n: 0.6, falling_loss(), bias=5.0, first=12.0)
    assert judged(made, "poor-initialization")[0].site == "net.8"


def test_sick_small():
    (found,) = judged(run(lambda n: 0.08, flat_loss(), std=lambda j: 10.0**-j), "poor-initialization")
    assert found.site == "net.0"
    assert "small" in found.message


@pytest.mark.parametrize("gain", [0.1, 0.58, 1.0, 1.41, 1.67, 2.4])
def test_healthy_gains(gain):
    assert judged(run(lambda n: gain, falling_loss(), out=lambda j: gain ** (j // 2)), "poor-initialization") == []


def test_large_without_harm_is_silent():
    assert judged(run(lambda n: 8.0, falling_loss(), out=lambda j: 8.0), "poor-initialization") == []


def test_a_start_that_a_few_steps_mend_is_silent():
    made = run(lambda n: 6.0 if n.startswith("net.8") else 1.4, falling_loss(), out=lambda j: 4.0, first=5.0)
    assert judged(made, "poor-initialization") == []


def test_small_without_harm_is_silent():
    assert judged(run(lambda n: 0.08, falling_loss(), std=lambda j: 10.0**-j), "poor-initialization") == []


def test_a_normalization_brings_any_scale_back():
    structure = []
    for i in range(3):
        structure.append(Layer(f"net.{2 * i}", "Linear", units=64, parameters=(f"net.{2 * i}.weight",)))
        structure.append(Layer(f"net.{2 * i + 1}", "LayerNorm", follows=f"net.{2 * i}", units=64))
    made = run(lambda n: 8.0, flat_loss(), out=lambda j: 8.0, first=9.0, structure=structure)
    assert judged(made, "poor-initialization") == []


def test_absent():
    assert "parameter" in unmeasured(history(flat_loss()), "poor-initialization")
    made = run(lambda n: 8.0, flat_loss(), continues={"at_step": 0})
    assert "no longer" in unmeasured(made, "poor-initialization")
