"""Ways to the order of execution, what each needs, and that none leaves a trace in the model."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightning_diag.order import Untraceable, trace
from lightning_diag.order.tracing import output_shapes
from tests.order import models as m


def test_data_dependent_control_flow_is_recorded_as_it_ran() -> None:
    model = m.Branching()
    with pytest.raises(Untraceable, match="give example_inputs="):
        trace(model)
    order = trace(model, torch.randn(m.ROWS))
    assert order.how == "recorded"
    assert [c.site for c in order.calls if c.kind == "layer"] == ["fc1", "fc2", "head"]
    assert [c.what for c in order.calls if c.kind == "activation"] == ["relu", "silu"]


def test_recording_leaves_nothing_behind() -> None:
    model = m.Untraceable().eval()
    before = copy.deepcopy(model.state_dict())
    seen = model.seen
    order = trace(model, torch.randn(m.ROWS))
    assert order.how == "recorded"
    assert (model.calls, model.seen, model.training) == (0, [], False)
    assert model.seen is seen
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in before.items())
    assert not any(x._forward_hooks or x._forward_pre_hooks for x in model.modules())


def test_random_numbers_and_running_statistics_are_put_back() -> None:
    model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))
    inputs = torch.randn(m.ROWS)
    before, random = copy.deepcopy(model.state_dict()), torch.random.get_rng_state()
    shapes = output_shapes(model, inputs)
    assert torch.equal(random, torch.random.get_rng_state())
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in before.items())
    assert shapes[model[0]] == (4, 8)


def test_a_failing_forward_pass_is_a_reason() -> None:
    model = m.Untraceable()
    with pytest.raises(Untraceable, match=r"and running Untraceable on example_inputs failed: RuntimeError: .*mat1"):
        trace(model, torch.randn(4, 7))
    assert model.calls == 0
    with pytest.raises(Untraceable, match="holds no tensor, got str"):
        trace(model, "x")


def test_a_forward_that_differentiates_is_recorded_with_gradients() -> None:
    class Slope(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.fc2 = nn.Linear(5, 8), nn.Linear(8, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x.requires_grad_()
            u = self.fc2(torch.tanh(self.fc1(x)))
            return u + torch.autograd.grad(u.sum(), x, create_graph=True)[0].sum(1, keepdim=True)

    order = trace(Slope(), torch.randn(m.ROWS))
    assert [c.site for c in order.calls if c.kind == "layer"] == ["fc1", "fc2"]


def test_named_and_positional_arguments() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(5, 2)

        def forward(self, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
            return self.fc(x) * scale if x.sum() < 1e9 else x

    x = torch.randn(m.ROWS)
    for inputs in ((x, torch.ones(1)), {"x": x, "scale": torch.ones(1)}):
        order = trace(Two(), inputs)
        assert [c.kind for c in order.calls if c.kind not in ("other", "pool")] == [
            "input", "input", "layer", "product",
        ]  # fmt: skip


def test_names_make_a_chain() -> None:
    model = m.Branching()
    order = trace(model, names=["fc1", "act", "head"])
    assert order.how == "names"
    assert [(c.kind, c.site) for c in order.calls[1:]] == [("layer", "fc1"), ("activation", "act"), ("layer", "head")]
    with pytest.raises(ValueError, match="'fc9', which is no module; there are fc1"):
        trace(model, names=["fc9"])
    with pytest.raises(ValueError, match="empty"):
        trace(model, names=[])


def test_a_lazy_module_is_asked_to_run_first() -> None:
    model = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.Linear(8, 2))
    with pytest.raises(Untraceable, match=r"0\.weight of a lazy module"):
        trace(model, torch.randn(m.ROWS))


@pytest.mark.parametrize("branch", [False, True], ids=["fx", "recorded"])
def test_who_else_reads_a_weight(branch: bool) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.fc = nn.Embedding(7, 8), nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = torch.relu(self.fc(self.embed(x)))
            return F.linear(h, self.embed.weight) if not branch or h.sum() >= 0 else h

    order = trace(Tied(), torch.tensor([[1, 2]]))
    assert order.how == ("recorded" if branch else "fx")
    assert order.read == {"embed.weight"}
    assert [c.kind for c in order.calls if c.kind in ("affine", "layer", "embedding")] == [
        "embedding", "layer", "affine",
    ]  # fmt: skip


def test_shapes_of_tensors_are_no_data() -> None:
    class Reshaping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(5, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            places = torch.ones(1, 6) + torch.zeros_like(x).sum()
            return (self.fc(x) + places).view(x.shape[0], 2, x.size(0) // x.size(0) * 3)

    kinds = [c.kind for c in trace(Reshaping()).calls]
    assert kinds == ["input", "layer", "scale", "shape"]
