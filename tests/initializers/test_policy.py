"""A model is walked: every kind of layer, each once, by the activation that really follows it."""

from __future__ import annotations

import copy
from typing import Any

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from lightning_diag.initializers import (
    INITIALIZERS,
    init_report,
    initialize,
    initialized_by,
    left_out,
    mark_pretrained,
    plan,
)
from tests.initializers.models import MODELS, Recurrent, Residual, Transformer

NAMES = [row.name for row in INITIALIZERS]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("scheme", NAMES)
def test_every_scheme_on_every_kind_of_model(scheme: str, model: str) -> None:
    torch.manual_seed(0)
    make, inputs = MODELS[model]
    net, x = make(), inputs()
    before, modes = copy.deepcopy(net.state_dict()), [m.training for m in net.modules()]
    if scheme == "zero_gamma" and model in ("mlp", "cnn", "lstm"):
        with pytest.raises(ValueError, match="no residual branch was found"):
            initialize(net, scheme, example_inputs=x)
        assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items()), "refused, and yet changed"
        return
    random = torch.get_rng_state()
    plan(net, scheme, example_inputs=x)
    assert torch.equal(random, torch.get_rng_state())
    initialize(net, scheme, example_inputs=x)
    assert initialized_by(net) == scheme
    assert [m.training for m in net.modules()] == modes
    planned = plan(net, scheme, example_inputs=x)
    assert {a.scheme for a in planned} - {"keep", "normal", "orthogonal", "lecun_normal"} <= {scheme}
    for name, value in net.state_dict().items():
        assert torch.isfinite(value).all(), name
        if "running" in name or "num_batches" in name:
            assert torch.equal(value, before[name]), name
    changed = [a.name.split("[")[0] for a in planned]
    same = [n for n in changed if torch.equal(net.state_dict()[n], before[n])]
    assert same == []
    out = net(x)
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("model", ["mlp", "cnn", "residual"])
def test_lsuv_gives_every_layer_unit_variance(model: str) -> None:
    torch.manual_seed(0)
    make, inputs = MODELS[model]
    net, x, seen = make(), inputs(), list[float]()
    initialize(net, "lsuv", example_inputs=x)
    for layer in net.modules():
        if isinstance(layer, (nn.Linear, nn.modules.conv._ConvNd)):
            layer.register_forward_hook(lambda m, a, out: seen.append(float(out.detach().var(correction=0))))
    net.eval()(x)
    assert seen == [pytest.approx(1.0, abs=0.021)] * len(seen)


def test_the_activation_that_really_follows() -> None:
    found = {a.name: (a.activation, round(a.block.gain, 3)) for a in plan(Residual())}
    assert found["conv2.weight"] == ("relu", 1.414), "through a norm, an in-place sum and a functional activation"
    assert found["past.weight"] == ("relu", 1.414)
    assert found["head.weight"] == ("linear", 1.0)
    found = {a.name: (a.activation, round(a.block.gain, 4)) for a in plan(Transformer())}
    assert found["encoder.layers.0.linear1.weight"] == ("gelu", 1.5335)
    assert found["encoder.layers.0.linear2.weight"] == ("linear", 1.0)


class Loops(nn.Module):
    """Control flow that depends on data: torch.fx cannot trace it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x))) if float(x.sum().detach()) > 0 else self.second(self.first(x))


def test_what_cannot_be_traced_is_assumed_and_said_or_recorded() -> None:
    first = plan(Loops())[0]
    assert (first.activation, "relu is assumed" in first.why) == ("unknown", True)
    first = plan(Loops(), example_inputs=torch.ones(2, 4))[0]
    assert (first.activation, first.why, first.block.gain) == ("tanh", "", 1.0)


class NoForward(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def test_a_lightning_module_without_forward_is_known_by_its_child() -> None:
    assert [(a.name, a.activation) for a in plan(NoForward())] == [("net.0.weight", "relu"), ("net.2.weight", "linear")]
    initialize(NoForward(), "lsuv", example_inputs=torch.randn(64, 4))


def test_gates_are_drawn_each_for_itself_and_the_forget_gate_is_open() -> None:
    torch.manual_seed(0)
    model = Recurrent()
    names = [a.name for a in plan(model) if "l0" in a.name and "reverse" not in a.name]
    assert names == [f"lstm.weight_{k}_l0[{g}]" for k in ("ih", "hh") for g in "ifgo"]
    initialize(model, "xavier_normal")
    for gate in model.lstm.weight_hh_l0.detach().split(16):
        torch.testing.assert_close(gate @ gate.T, torch.eye(16), atol=1e-5, rtol=0)
    for gate in model.lstm.weight_ih_l0.detach().split(16):
        assert float(gate.std()) == pytest.approx((2 / (8 + 16)) ** 0.5, rel=0.2), "fans of one gate, not of four"
    total = (model.lstm.bias_ih_l1_reverse + model.lstm.bias_hh_l1_reverse).detach()
    assert total.tolist() == [0.0] * 16 + [1.0] * 16 + [0.0] * 32
    assert model.words.weight[0].abs().sum() == 0, "the row of the padding stays zero"
    assert float(model.words.weight[1:].detach().std()) == pytest.approx(1.0, rel=0.15)
    cell = nn.LSTMCell(3, 5)
    initialize(cell, "kaiming_normal", forget_bias=None)
    assert float(cell.bias_ih.detach().abs().sum()) == 0


def test_query_key_and_value_are_drawn_each_for_itself() -> None:
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(64, 4)
    initialize(attention, "xavier_uniform")
    for part in attention.in_proj_weight.detach().chunk(3):
        assert float(part.std()) == pytest.approx((2 / 128) ** 0.5, rel=0.05), "torch's own is 2 / (64 + 192)"
    apart = nn.MultiheadAttention(64, 4, kdim=32, vdim=16)
    initialize(apart, "lecun_normal")
    assert float(apart.k_proj_weight.detach().std()) == pytest.approx(32**-0.5, rel=0.05)


def test_tied_weights_are_filled_once_as_the_layer() -> None:
    model = Transformer()
    names = [a.name for a in plan(model)]
    assert "head.weight" in names and "words.weight" not in names
    torch.manual_seed(0)
    initialize(model, "lecun_normal")
    assert model.head.weight is model.words.weight
    assert float(model.head.weight.detach().std()) == pytest.approx(16**-0.5, rel=0.1)


def test_norms_stay_one_and_zero_and_unknown_parameters_are_told() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.PReLU())
    model.register_parameter("token", nn.Parameter(torch.full((2,), 7.0)))
    initialize(model, "normal")
    assert model[1].weight.tolist() == [1.0] * 4 and model[1].bias.tolist() == [0.0] * 4
    assert model[2].weight.tolist() == [0.25]
    assert model.token.tolist() == [7.0, 7.0] and left_out(model) == ["token"]


def test_marked_frozen_and_excluded_layers_stay() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3))
    mark_pretrained(model[0])
    model[1].requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    initialize(model, "constant", value=2.0, bias=5.0, exclude=["2"])
    changed = [k for k, v in model.state_dict().items() if not torch.equal(v, before[k])]
    assert changed == ["3.weight", "3.bias"]
    assert [a.why for a in plan(model, "zeros", exclude=["2"])] == ["marked as pretrained", "frozen", "excluded", ""]


def test_the_ends_of_residual_branches() -> None:
    model, x = Residual(), torch.randn(2, 3, 8, 8)
    initialize(model, "zero_gamma")
    assert [float(n.weight.detach().sum()) for n in (model.norm1, model.norm2, model.norm3, model.norm4)] == [
        8,
        0,
        16,
        0,
    ]
    model.eval()
    start = F.relu(model.stem(x))
    torch.testing.assert_close(model(x), model.head(F.relu(model.past(start)).mean((2, 3))))
    transformer, twin = Transformer(), Transformer()
    initialize(transformer, "lecun_normal", residual="scale", generator=torch.Generator().manual_seed(0))
    initialize(twin, "lecun_normal", generator=torch.Generator().manual_seed(0))
    for name, p in transformer.named_parameters():
        end = name.endswith(("out_proj.weight", "linear2.weight"))
        torch.testing.assert_close(p, dict(twin.named_parameters())[name] / (2.0 if end else 1.0))


def test_the_output_layer_small_or_zero() -> None:
    for choice, factor in (("small", 0.1), ("zeros", 0.0)):
        nets = [nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)) for _ in range(2)]
        initialize(nets[0], generator=torch.Generator().manual_seed(0))
        initialize(nets[1], output=choice, generator=torch.Generator().manual_seed(0))  # type: ignore[arg-type]
        torch.testing.assert_close(nets[1][2].weight, nets[0][2].weight * factor)
        torch.testing.assert_close(nets[1][0].weight, nets[0][0].weight)


@pytest.mark.parametrize("kind", [parametrizations.weight_norm, parametrizations.spectral_norm])
def test_parametrized_weights_are_set_through_their_parametrization(kind: Any) -> None:
    torch.manual_seed(0)
    layer = kind(nn.Linear(100, 100))
    initialize(nn.Sequential(layer), "lecun_normal")
    held = layer.weight if kind is parametrizations.weight_norm else layer.parametrizations.weight.original
    assert float(held.detach().std()) == pytest.approx(0.1, rel=0.06)


class Softened(nn.Module):
    def forward(self, w: Tensor) -> Tensor:
        return w.tanh()


def test_what_cannot_be_set_is_refused_with_the_reason() -> None:
    sealed = nn.Linear(3, 3)
    nn.utils.parametrize.register_parametrization(sealed, "weight", Softened())
    with pytest.raises(ValueError, match="parametrized by Softened, through which it cannot be set"):
        initialize(nn.Sequential(sealed))
    with pytest.raises(ValueError, match=r"0\.weight of a lazy module has no shape yet: run the model once"):
        initialize(nn.Sequential(nn.LazyLinear(3)))
    with pytest.raises(ValueError, match="on the meta device"):
        initialize(nn.Linear(2, 2, device="meta"))
    pruned = nn.Linear(3, 3)
    nn.utils.prune.random_unstructured(pruned, "weight", 0.5)  # type: ignore[no-untyped-call]
    with pytest.raises(ValueError, match=r"made by a hook from weight_orig .*exclude=\['0'\]"):
        initialize(nn.Sequential(pruned))
    initialize(nn.Sequential(pruned, nn.Linear(3, 3)), exclude=["0"])
    with pytest.raises(ValueError, match=r"weights of the recurrent layer .*LSTM are parametrized"):
        initialize(parametrizations.weight_norm(nn.LSTM(3, 4), "weight_hh_l0"))
    with pytest.raises(ValueError, match="has no layer that is known"):
        initialize(nn.ParameterList([nn.Parameter(torch.ones(2))]))
    with pytest.raises(ValueError, match=r"holds torch\.complex64, only real"):
        initialize(nn.Linear(2, 2, dtype=torch.complex64))


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_scripted_module_is_refused() -> None:
    with pytest.raises(ValueError, match="a ScriptModule cannot be looked into"):
        initialize(torch.jit.script(nn.Sequential(nn.Linear(2, 2))))


def test_a_layer_without_elements_stays() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    model[0].weight = nn.Parameter(torch.zeros(2, 0))
    assert plan(model)[0].why == "it has no elements"
    assert [a.activation for a in plan(nn.Sequential(nn.MultiheadAttention(8, 2)))] == ["linear"] * 4


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"scheme": "xavier"}, ValueError, "did you mean 'xavier_"),
        ({"scheme": None}, TypeError, "scheme must be the name of an initializer, got None"),
        ({"bias": "small"}, ValueError, "bias 'small' is none of zeros, small_positive, prior, keep; did you mean"),
        ({"bias": True}, TypeError, "got True"),
        ({"gain": 0}, ValueError, "gain must be a finite number above 0, got 0"),
        ({"output": "tiny"}, ValueError, "output 'tiny' is none of small, zeros"),
        ({"residual": "zeros"}, ValueError, "did you mean 'zero'"),
        ({"residual": "zero"}, ValueError, "no residual branch was found in Sequential"),
        ({"exclude": "0"}, TypeError, "exclude must be a sequence of names"),
        ({"scheme": "lsuv"}, ValueError, "give example_inputs"),
        ({"bias": "prior"}, ValueError, "belong together"),
        ({"prior": [1, 1]}, ValueError, "belong together"),
        ({"forget_bias": "one"}, TypeError, "forget_bias must be a finite number or None"),
        ({"example_inputs": torch.ones(2, 9)}, ValueError, "cannot run on the example inputs"),
    ],
)
def test_bad_arguments_are_told(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(error, match=message):
        initialize(net, **arguments)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items()), "refused, and yet changed"


def test_only_modules_are_initialized() -> None:
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module, got list"):
        initialize([nn.Linear(2, 2)])  # type: ignore[arg-type]


def test_a_constant_output_has_no_scale_that_gives_it_variance() -> None:
    with pytest.raises(ValueError, match="no scale gives the output of 0 variance 1"):
        initialize(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), "lsuv", example_inputs=torch.zeros(8, 2))


def test_a_report_needs_a_layer_to_draw() -> None:
    with pytest.raises(ValueError, match="no layer was seen"):
        init_report(nn.Sequential(nn.ReLU()), torch.ones(2, 2)).picture()


def test_a_lazy_module_is_refused_before_a_run_gives_it_a_shape() -> None:
    model = nn.Sequential(nn.LazyLinear(3), nn.ReLU(), nn.Linear(3, 2))
    with pytest.raises(ValueError, match=r"0\.weight of a lazy module"):
        initialize(model, "kaiming_normal", example_inputs=torch.zeros(2, 5))
    assert isinstance(model[0].weight, nn.parameter.UninitializedParameter)
