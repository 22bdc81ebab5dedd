"""Every trainable parameter is in exactly one group, with the decay and the rate that the recipe says."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from lightning_diag.optim import (
    OPTIMIZERS,
    add_l1_gradient,
    build_optimizer,
    check_once,
    l1_of,
    layers,
    parameter_groups,
    penalized,
)
from lightning_diag.optim.rows import row
from lightning_diag.recipe import OptimizerName, Recipe

ADAMW = Recipe(optimizer="adamw", lr=0.01, weight_decay=0.1)


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.PReLU(),
                                  nn.Conv2d(width, width, 3, padding=1))  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


class Mixed(nn.Module):
    """A bit of everything: a token, an embedding tied to the output, convolutions, attention, a recurrent layer."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.embed = nn.Embedding(12, 8)
        self.stem = nn.Conv2d(3, 8, 3, bias=False)
        self.norm = nn.GroupNorm(2, 8)
        self.blocks = nn.Sequential(Block(8), Block(8))
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)
        self.lstm = nn.LSTM(8, 8)
        self.frozen = nn.Linear(8, 8).requires_grad_(False)
        self.head = nn.Linear(8, 12)
        self.head.weight = self.embed.weight


def by_name(groups: list[dict[str, Any]], model: nn.Module) -> dict[str, dict[str, Any]]:
    """Return parameter name -> its group."""
    names = {id(p): n for n, p in model.named_parameters()}
    return {names[id(p)]: g for g in groups for p in g["params"]}


def test_norms_biases_and_slopes_do_not_decay() -> None:
    model = Mixed()
    groups = by_name(parameter_groups(model, ADAMW), model)
    assert {n for n, g in groups.items() if g["weight_decay"] == 0.1} == {
        "token", "embed.weight", "stem.weight",
        *(f"blocks.{i}.body.{j}.weight" for i in (0, 1) for j in (0, 3)),
        *(f"encoder.layers.{i}.{n}.weight" for i in (0, 1) for n in ("self_attn.out_proj", "linear1", "linear2")),
        *(f"encoder.layers.{i}.self_attn.in_proj_weight" for i in (0, 1)),
        "lstm.weight_ih_l0", "lstm.weight_hh_l0",
    }  # fmt: skip
    assert set(groups) == {n for n, p in model.named_parameters() if p.requires_grad}


def test_embeddings_need_not_decay_and_what_is_tied_to_them_neither() -> None:
    model = Mixed()
    groups = parameter_groups(model, replace(ADAMW, decay_embeddings=False))
    assert by_name(groups, model)["embed.weight"]["weight_decay"] == 0
    assert sum(p is model.head.weight for g in groups for p in g["params"]) == 1


def test_a_norm_of_ones_own_is_told_by_its_name() -> None:
    class MyRMSNorm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1, 8, 1, 1))

    assert parameter_groups(nn.Sequential(MyRMSNorm()), ADAMW)[0]["name"] == "no_decay"


def test_layers_are_blocks_in_order() -> None:
    positions = layers(Mixed())
    names = ("embed", "stem", "norm", "blocks.0", "blocks.0.body.3", "blocks.1")
    names += ("encoder.layers.0.linear1", "encoder.layers.1", "lstm", "frozen", "head")
    where = [positions[n] for n in names]
    assert where == [0, 1, 1, 2, 2, 3, 4, 5, 6, 7, 8]
    mlp = layers(
        nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.ReLU(), nn.Linear(2, 2), nn.PReLU(), nn.Linear(2, 1))
    )
    assert [mlp[n] for n in "01345"] == [0, 0, 1, 1, 2]


def test_rates_fall_from_the_output_by_the_layer_decay() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2), nn.Linear(2, 1))
    groups = by_name(parameter_groups(model, replace(ADAMW, layer_decay=0.5)), model)
    assert {n: g["lr"] for n, g in groups.items()} == pytest.approx({
        "0.weight": 0.0025, "0.bias": 0.0025, "1.weight": 0.0025, "1.bias": 0.0025, "2.weight": 0.005, "2.bias": 0.005,
        "3.weight": 0.01, "3.bias": 0.01,
    })  # fmt: skip
    assert groups["0.weight"]["name"] == "layer0.weights"
    assert len({g["name"] for g in groups.values()}) == 6


def test_overrides_say_more_of_what_their_glob_matches() -> None:
    model = Mixed()
    overrides = {
        "head.bias": {"lr": 1.0, "weight_decay": 0.7},
        "head.*": {"lr": "x10"},
        "lstm.*": {"betas": [0.5, 0.6]},
    }
    groups = by_name(parameter_groups(model, replace(ADAMW, overrides=overrides)), model)
    assert (groups["head.bias"]["lr"], groups["head.bias"]["weight_decay"]) == (1.0, 0.7)
    assert groups["embed.weight"]["lr"] == pytest.approx(0.1)  # it is head.weight too
    assert groups["lstm.bias_ih_l0"]["betas"] == [0.5, 0.6]
    assert groups["lstm.bias_ih_l0"]["weight_decay"] == 0
    assert groups["stem.weight"]["lr"] == 0.01
    optimizer = build_optimizer(model, replace(ADAMW, overrides=overrides))
    assert sum(len(g["params"]) for g in optimizer.param_groups) == len(groups)


@pytest.mark.parametrize(
    ("model", "recipe", "message"),
    [
        (nn.Linear(2, 2), replace(ADAMW, overrides={"hed.*": {"lr": 1.0}}),
         r"'hed\.\*' matches no trainable parameter"),
        (nn.Linear(2, 2).requires_grad_(False), ADAMW, "no trainable parameter"),
        (nn.Sequential(nn.LazyLinear(3)), ADAMW, "0.weight has no shape yet: run one batch"),
        (nn.Linear(2, 2), Recipe.untouched(), "names no optimizer"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_what_cannot_be_is_refused(model: nn.Module, recipe: Recipe, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_optimizer(model, recipe)


def test_a_parameter_left_out_or_twice_is_found() -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="bias is in 0 parameter groups"):
        check_once(model, [{"params": [model.weight]}])
    with pytest.raises(ValueError, match="weight is in 2 parameter groups"):
        check_once(model, [{"params": [model.weight, model.bias]}, {"params": [model.weight]}])


def test_unknown_and_missing_optimizers_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"optimizer 'adamm' is none of sgd, .*did you mean 'adam'"):
        row("adamm")
    monkeypatch.delattr(torch.optim, "NAdam")
    with pytest.raises(ImportError, match=r"torch .* has no optim\.NAdam; it has sgd, .*radam"):
        row("nadam")


@pytest.mark.parametrize("name", [r.name for r in OPTIMIZERS])
def test_every_row_learns(name: OptimizerName) -> None:
    if not row_available(name):
        pytest.skip(f"torch {torch.__version__} has no {name}")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.LayerNorm(16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1))
    x = torch.randn(64, 4)
    y = x[:, :1] * x[:, 1:2]
    recipe = Recipe(optimizer=name, lr={"adadelta": 1.0, "asgd": 0.1}.get(name, 0.01))
    optimizer, losses = build_optimizer(model, recipe), []
    for _ in range(60):
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]
    assert all(torch.isfinite(p).all() for p in model.parameters())


def row_available(name: str) -> bool:
    return next(r.available for r in OPTIMIZERS if r.name == name)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has no Muon")
class TestMuon:
    def made(self) -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(1)
        model = nn.Sequential(nn.Embedding(5, 6), nn.Linear(6, 6), nn.Conv1d(3, 3, 1), nn.Linear(6, 6), nn.Linear(6, 2))
        return model, build_optimizer(model, Recipe(optimizer="muon", lr=0.02, weight_decay=0.0))

    def stepped(self, model: nn.Module, optimizer: torch.optim.Optimizer, n: int) -> None:
        for i in range(n):
            for j, p in enumerate(model.parameters()):
                p.grad = torch.sin(torch.arange(p.numel(), dtype=p.dtype) + i + j).view_as(p)
            optimizer.step()

    def test_hidden_matrices_go_to_muon_the_rest_to_adamw(self) -> None:
        model, optimizer = self.made()
        groups = by_name(optimizer.param_groups, model)
        assert {n for n, g in groups.items() if g["name"].startswith("muon")} == {"1.weight", "3.weight"}
        assert len(groups) == len(list(model.parameters()))

    def test_it_steps_as_its_parts_and_resumes_exactly(self) -> None:
        model, optimizer = self.made()
        twin, _ = self.made()
        matrices = [p for n, p in twin.named_parameters() if n in ("1.weight", "3.weight")]
        others = [p for n, p in twin.named_parameters() if n not in ("1.weight", "3.weight")]
        pair = (torch.optim.Muon(matrices, lr=0.02, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
                torch.optim.AdamW(others, lr=0.02, weight_decay=0.0))  # fmt: skip
        self.stepped(model, optimizer, 3)
        for i in range(3):
            for j, p in enumerate(twin.parameters()):
                p.grad = torch.sin(torch.arange(p.numel(), dtype=p.dtype) + i + j).view_as(p)
            [o.step() for o in pair]
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))
        again, restored = copy.deepcopy(model), None
        restored = build_optimizer(again, Recipe(optimizer="muon", lr=0.5))
        restored.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        self.stepped(model, optimizer, 2)
        self.stepped(again, restored, 2)
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))

    def test_a_scheduler_moves_both(self) -> None:
        model, optimizer = self.made()
        optimizer.param_groups[0]["lr"] = 0.0
        optimizer.param_groups[-1]["lr"] = 0.0
        before = [p.detach().clone() for p in model.parameters()]
        self.stepped(model, optimizer, 1)
        still = {n for (n, p), b in zip(model.named_parameters(), before, strict=True) if torch.equal(p, b)}
        assert {"1.weight", "3.weight"} <= still
        assert "4.weight" in still or "0.weight" not in still

    def test_the_closure_is_called_once_with_gradients(self) -> None:
        model, optimizer = self.made()
        calls = []

        def closure() -> torch.Tensor:
            calls.append(torch.is_grad_enabled())
            loss = sum((p**2).sum() for p in model.parameters())
            loss.backward()  # type: ignore[union-attr]
            return loss.detach()  # type: ignore[union-attr]

        assert float(optimizer.step(closure)) > 0  # type: ignore[arg-type]
        assert calls == [True]


def test_l1_holds_for_weights_and_is_its_gradient() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 1))
    x = torch.randn(8, 3)
    parameters = penalized(model, Recipe(l1=0.1))
    assert [p.shape for p in parameters] == [(4, 3), (1, 4)]
    (model(x).square().mean() + 0.1 * l1_of(parameters)).backward()
    expected = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    model(x).square().mean().backward()
    add_l1_gradient(parameters, 0.1)
    assert all(
        torch.allclose(p.grad, e, atol=1e-7)
        for p, e in zip(model.parameters(), expected, strict=True)
        if p.grad is not None
    )
    model[0].weight.data[0, 0] = 0.0
    model.zero_grad(set_to_none=False)
    add_l1_gradient(parameters, 0.1)
    assert model[0].weight.grad is not None
    assert float(model[0].weight.grad[0, 0]) == 0
