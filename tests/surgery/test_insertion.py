"""Normalization is inserted where it belongs, nowhere else, or refused with a reason."""

from __future__ import annotations

import copy
import warnings
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_diag.surgery import NORMALIZATIONS, insert_normalization, normalization_places
from lightning_diag.surgery.normalizations import ChannelLayerNorm, ChannelRMSNorm
from tests.order import models as m
from tests.surgery.contract import examine, fingerprint, outputs, train

KINDS = [row.name for row in NORMALIZATIONS]


def insert(kind: str, model: nn.Module, x: Any) -> nn.Module:
    return insert_normalization(model, kind, example_inputs=x, batch_size=32)


INSERT = {kind: partial(insert, kind) for kind in KINDS}
MODELS: dict[str, tuple[Any, tuple[int, ...], list[str]]] = {
    "mlp": (lambda: m.mlp(5, 8, 8, 4), m.ROWS, ["0", "2"]),
    "functions": (m.Functional, m.IMAGES, ["conv1", "conv2", "fc1"]),
    "residual": (m.Residual, m.IMAGES, ["stem", "a1", "a2", "b1", "b2"]),
    "transformer": (m.Transformer, m.TOKENS, ["up"]),
    "unet": (m.Unet, m.IMAGES, ["down", "middle", "up", "join"]),
    "lstm": (m.Recurrent, m.TOKENS, ["before", "after"]),
    "gated": (m.Gated, m.IMAGES, ["conv"]),
    "branching": (m.Branching, m.ROWS, ["fc1", "fc2"]),
    "untraceable": (m.Untraceable, m.ROWS, ["fc1"]),
}


def inserted(model: nn.Module) -> list[str]:
    return [name.removesuffix(".norm") for name, _ in model.named_modules() if name.endswith(".norm")]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MODELS)
def test_changed_and_trains_or_refused_untouched(name: str, kind: str) -> None:
    torch.manual_seed(0)
    build, shape, expected = MODELS[name]
    model, inputs = build(), torch.randn(shape).abs()
    outcome = examine(model, inputs, INSERT[kind])
    if kind == "instance":  # needs positions: no linear layer that puts out one row per sample
        expected = [
            n for n in expected if isinstance(model.get_submodule(n), nn.modules.conv._ConvNd) or len(shape) == 3
        ]
        expected = [n for n in expected if n != "after"]
    assert inserted(model) == expected
    assert (outcome == "changed") == bool(expected), outcome


@pytest.mark.parametrize("kind", KINDS)
def test_the_result_of_a_row_is_normalized(kind: str) -> None:
    """The law of each row: shape kept, and spread 1 over what it normalizes."""
    row = next(r for r in NORMALIZATIONS if r.name == kind)
    for layer, shape in [
        (nn.Linear(5, 32), (16, 5)), (nn.Linear(5, 32), (16, 7, 5)), (nn.Conv1d(5, 32, 3), (16, 5, 9)),
        (nn.Conv2d(5, 32, 3), (16, 5, 9, 9)), (nn.Conv3d(5, 32, 2), (8, 5, 4, 4, 4)),
        (nn.ConvTranspose2d(5, 32, 2), (16, 5, 6, 6)),
    ]:  # fmt: skip
        if kind == "instance" and shape == (16, 5):
            continue
        model, inputs = nn.Sequential(layer, nn.ReLU(), nn.LazyLinear(2)), torch.randn(shape)
        plain = layer(inputs)
        model(inputs)
        insert_normalization(model, kind, example_inputs=inputs, batch_size=32)
        out = layer(inputs).detach()
        assert out.shape == plain.shape
        assert out.is_contiguous() == plain.is_contiguous()
        channel = out.dim() - 1 if isinstance(layer, nn.Linear) else 1
        over = {
            "batch": [d for d in range(out.dim()) if d != channel],
            "layer": [channel], "rms": [channel],
            "instance": [d for d in range(1, out.dim()) if d != channel],
            "group": list(range(1, out.dim())) if channel == 1 else [channel],
        }[kind]  # fmt: skip
        assert out.detach().square().mean(over).mean() == pytest.approx(1, abs=0.02)
        if kind != "rms":
            assert out.mean(over).abs().max() < 1e-4
        assert (layer.bias is None) == row.cancels_bias


def test_a_removed_bias_cancelled_exactly() -> None:
    for kind, drops in [("batch", True), ("instance", True), ("layer", False), ("group", False), ("rms", False)]:
        torch.manual_seed(0)
        model, x = (
            nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 1)).double(),
            torch.randn(16, 3, 8, 8).double(),
        )
        nn.init.normal_(model[0].bias)
        kept = copy.deepcopy(model)
        insert_normalization(model, kind, example_inputs=x)
        bias = kept[0].bias
        insert_normalization(kept, kind, example_inputs=x)
        kept[0]._parameters["bias"] = bias
        assert (model[0].bias is None) == drops
        torch.testing.assert_close(model(x), kept(x), rtol=1e-9, atol=1e-9)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 1))
    insert_normalization(model, "batch", "post")
    assert model[0].bias is not None


def test_a_bias_that_somebody_else_needs_stays() -> None:
    class Reading(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.head = nn.Linear(5, 8), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.relu(self.fc(x) + self.fc.bias.abs() + self.fc.weight.sum()))

    class Doubled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, self.weight) * self.bias.exp()

    model = Reading()
    assert examine(model, torch.randn(m.ROWS), INSERT["batch"], picklable=False) == "changed"
    assert model.fc.bias is not None
    mine = nn.Sequential(Doubled(5, 8), nn.ReLU(), nn.Linear(8, 2))
    assert examine(mine, torch.randn(m.ROWS), INSERT["batch"], picklable=False) == "changed"
    assert mine[0].bias is not None
    assert isinstance(mine[0], Doubled)


def test_post_stands_behind_the_activation() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(8, 4, 1))
    x = torch.randn(16, 3, 8, 8)
    plain = nn.functional.batch_norm(model[:3](x), None, None, training=True)
    post = partial(insert_normalization, kind="batch", position="post", batch_size=32)
    assert examine(copy.deepcopy(model), x, lambda mod, x: post(mod, example_inputs=x)) == "changed"
    keys = list(model.state_dict())
    post(model)
    torch.testing.assert_close(model[:3](x), plain)
    assert next(k for k in model.state_dict() if k not in keys) == "2.norm.weight"
    assert isinstance(model[2].activation, nn.ReLU)


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (m.Functional, "conv1: its activation is a function \\(relu\\)"),
        (m.Residual, "stem: its activation is one module that is called several times"),
        (lambda: nn.Sequential(nn.Linear(5, 8), nn.Linear(8, 2)), "0: no activation follows it"),
        (lambda: nn.Sequential(nn.Linear(5, 8), nn.GLU(), nn.Linear(4, 2)), "0: its activation is a GLU"),
    ],
)
def test_post_is_refused_where_nothing_can_stand_behind(build: Any, reason: str) -> None:
    model = build()
    before = fingerprint(model)
    with pytest.raises(ValueError, match=reason):
        insert_normalization(model, "layer", "post")
    assert fingerprint(model) == before


def test_post_never_on_the_residual_sum() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.a, self.b, self.head = nn.Linear(5, 8), nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 2)
            self.act0, self.act1, self.act2 = nn.ReLU(), nn.ReLU(), nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            x = self.act0(self.stem(x))
            return self.head(self.act2(self.b(self.act1(self.a(x))) + x))

    places = {p.name: (p.verdict, p.reason) for p in normalization_places(Block(), "layer", "post")}
    assert places["a"] == ("insert", "")
    assert places["b"][1].startswith("its activation stands on a residual sum")
    model = Block()
    insert_normalization(model, "layer", "post")
    assert inserted(model) == ["act0", "act1"]


def test_parents_that_read_the_weight_still_can() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encode, self.decode_bias = nn.Linear(5, 8), nn.Parameter(torch.zeros(5))

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(torch.relu(self.encode(x)), self.encode.weight.t(), self.decode_bias)

    model = Tied()
    weight = model.encode.weight
    assert examine(model, torch.randn(m.ROWS), INSERT["batch"], picklable=False) == "changed"
    assert model.encode.weight is weight
    assert isinstance(model.encode, nn.Linear)


def test_keys_of_a_sequential_stay() -> None:
    model = m.mlp(5, 8, 8, 4)
    keys = set(model.state_dict())
    insert_normalization(model, "layer")
    assert keys <= set(model.state_dict())
    assert set(model.state_dict()) - keys == {f"{i}.norm.{k}" for i in (0, 2) for k in ("weight", "bias")}


@pytest.mark.parametrize("kind", KINDS)
def test_tied_modules(kind: str) -> None:
    class Siamese(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left = nn.Conv1d(2, 8, 1)
            self.right, self.head = self.left, nn.Linear(16, 2)

        def forward(self, x: Tensor) -> Tensor:
            sides = torch.relu(self.left(x)), torch.relu(self.right(-x))
            return self.head(torch.cat(sides, 1).mean(2))

    model = Siamese()
    outcome = examine(model, torch.randn(4, 2, 6), INSERT[kind], picklable=False)
    assert model.left is model.right
    if kind == "batch":
        assert "left: it is called 2 times in a pass" in outcome
    else:
        assert outcome == "changed"
        assert model.left.norm is model.right.norm


def test_a_custom_cell_stays_and_a_named_one_too() -> None:
    places = {p.name: p.reason for p in normalization_places(m.Cell(), "layer")}
    assert places["inner"] == "it is part of a recurrent cell: called on its own result"

    class MyGRUCell(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gates = nn.Linear(5, 8)

        def forward(self, x: Tensor) -> Tensor:
            return torch.tanh(self.gates(x))

    model = nn.Sequential(MyGRUCell(), nn.Linear(8, 2))
    assert {p.name: p.reason for p in normalization_places(model)}["0.gates"].startswith("it is part of a recurrent")


def test_a_transformer_of_torch_is_left_alone() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = nn.Sequential(nn.Linear(5, 8), nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(8, 4))
    outcome = examine(model, torch.randn(4, 6, 5), INSERT["layer"])
    assert outcome == "changed"
    assert inserted(model) == ["0"]


def test_nothing_to_insert_into_is_refused_and_all_normalized_is_not() -> None:
    with pytest.raises(ValueError, match=r"no place for batch normalization in Linear: .*output layer"):
        insert_normalization(nn.Linear(3, 2))
    with pytest.raises(ValueError, match="no linear layer and no convolution"):
        insert_normalization(nn.LSTM(3, 2), names=[""])
    model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    before = fingerprint(model)
    assert insert_normalization(model) is model
    assert fingerprint(model) == before


def test_channels_of_one_would_be_constant() -> None:
    model = nn.Sequential(nn.Conv2d(3, 1, 3), nn.ReLU(), nn.Conv2d(1, 2, 1))
    with pytest.raises(ValueError, match="layer normalization over that many is constant"):
        insert_normalization(model, "layer")
    assert examine(model, torch.randn(4, 3, 8, 8), INSERT["batch"]) == "changed"


def test_a_batch_that_is_too_small_is_told() -> None:
    x = torch.randn(m.ROWS)
    with pytest.warns(UserWarning, match="a batch of 4 is small for batch normalization"):
        insert_normalization(m.mlp(5, 8, 2), example_inputs=x)
    with pytest.warns(UserWarning, match="a batch of 8"):
        insert_normalization(m.mlp(5, 8, 2), batch_size=8)
    insert_normalization(m.mlp(5, 8, 2), "group", example_inputs=x)
    insert_normalization(m.mlp(5, 8, 2), example_inputs=x, batch_size=32)


def test_what_cannot_be_operated_on_is_refused() -> None:
    net = m.mlp(5, 8, 2)
    with pytest.raises(ValueError, match=r"under torch.compile"):
        insert_normalization(torch.compile(net, backend="eager"))
    inplace = m.mlp(5, 8, 2)
    inplace.compile(backend="eager")
    with pytest.raises(ValueError, match=r"under torch.compile"):
        insert_normalization(inplace)
    with pytest.raises(ValueError, match="wrapped by DataParallel"):
        insert_normalization(nn.Sequential(nn.DataParallel(net)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.trace(net, torch.randn(m.ROWS))
    with pytest.raises(ValueError, match="TorchScript"):
        insert_normalization(scripted)
    with pytest.raises(TypeError, match="got str"):
        insert_normalization("net")
    with pytest.raises(ValueError, match=r"'bach'; there are .*did you mean 'batch'"):
        insert_normalization(net, "bach")
    with pytest.raises(ValueError, match="position must be 'pre'"):
        insert_normalization(net, position="before")


def test_a_state_from_before_is_refused_in_plain_words() -> None:
    old = m.mlp(5, 8, 2)
    model = insert_normalization(copy.deepcopy(old), "layer")
    with pytest.raises(RuntimeError, match=r"0\.norm \(this state is from before the insertion of norm\)"):
        model.load_state_dict(old.state_dict())
    model.load_state_dict(old.state_dict(), strict=False)
    model.load_state_dict(insert_normalization(old, "layer").state_dict())


def test_parametrizations_stay_and_come_off_as_usual() -> None:
    for wrap in (nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm):
        model = nn.Sequential(wrap(nn.Linear(5, 8)), nn.ReLU(), nn.Linear(8, 2))
        assert examine(model, torch.randn(m.ROWS), INSERT["batch"], picklable=False) == "changed"
        nn.utils.parametrize.remove_parametrizations(model[0], "weight")
        assert inserted(model) == ["0"]
        assert model.train()(torch.randn(64, 5)).shape == (64, 2)
        hidden = model[0](torch.randn(512, 5)).detach()
        assert hidden.std(0).mean() == pytest.approx(1, abs=0.05)


def test_what_fails_after_surgery_is_undone() -> None:
    class Picky(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.act, self.head = nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            h = self.fc(x)
            torch._assert(h.shape[0] > 99 or not hasattr(self.fc, "norm"), "no norm, please")
            return self.head(self.act(h)) if h.sum() < 1e9 else h

    model, x = Picky(), torch.randn(m.ROWS)
    before = fingerprint(model)
    with pytest.raises(ValueError, match=r"would not train on example_inputs: .*no norm, please"):
        insert_normalization(model, "batch", example_inputs=x, batch_size=32)
    assert fingerprint(model) == before


def test_an_example_of_one_sample_is_enough() -> None:
    """Such as the example_input_array of many LightningModules; the trial of a training pass doubles it."""
    for build, shape in [(lambda: m.mlp(5, 8, 2), (1, 5)), (m.Branching, (1, 5)), (m.Unet, (1, 3, 8, 8))]:
        model, x = build(), torch.randn(shape)
        insert_normalization(model, "batch", example_inputs=x)
        before = fingerprint(model)
        insert_normalization(model, "batch", example_inputs=x)
        assert fingerprint(model) == before
        assert len(inserted(model)) >= 1


def test_names_lead_where_nothing_else_does() -> None:
    model = m.Branching()
    assert inserted(insert_normalization(model, "batch", names=["fc1", "act", "fc2", "head"])) == ["fc1", "fc2"]
    assert model.fc1.bias is not None  # who else reads it is not known
    assert train(model, torch.randn(m.ROWS)) < 1e9


def test_channel_norms_equal_those_of_torch_over_the_last_axis() -> None:
    x = torch.randn(3, 8, 4, 5)
    last = x.permute(0, 2, 3, 1)
    torch.testing.assert_close(ChannelLayerNorm(8)(x).permute(0, 2, 3, 1), nn.LayerNorm(8)(last))
    torch.testing.assert_close(ChannelRMSNorm(8)(x).permute(0, 2, 3, 1), nn.RMSNorm(8, eps=1e-6)(last))
    channels_last = x.to(memory_format=torch.channels_last)
    assert ChannelLayerNorm(8)(channels_last).is_contiguous(memory_format=torch.channels_last)


def test_a_changed_model_can_still_be_traced_and_exported() -> None:
    model = insert_normalization(nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2)), "group")
    x = torch.randn(4, 6, 5)
    expected = outputs(model, x)[0]
    torch.testing.assert_close(torch.fx.symbolic_trace(model)(x), expected)
    torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), expected)


def test_norms_are_made_where_the_layer_is() -> None:
    with torch.device("meta"):
        model = m.mlp(5, 8, 2)
    assert insert_normalization(model)[0].norm.weight.device.type == "meta"
    half = insert_normalization(m.mlp(5, 8, 2).bfloat16().eval(), "rms")
    assert half[0].norm.weight.dtype == torch.bfloat16
    assert not half[0].norm.training
