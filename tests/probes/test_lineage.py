import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightning_diag.probes.lineage import Lineage, made_by

X = torch.randn(4, 6, requires_grad=True)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda x: torch.softmax(x, 1), "softmax"),
        (lambda x: nn.Softmax(dim=-1)(x).view(2, 12), "softmax"),
        (lambda x: x.sigmoid().squeeze(), "sigmoid"),
        (lambda x: F.log_softmax(x, 1).transpose(0, 1), "log_softmax"),
        (lambda x: F.relu(x)[:, 0], "relu"),
        (lambda x: torch.tanh(x).float(), "tanh"),
        (lambda x: x.clamp(0, 1), "clamp"),
        (lambda x: F.linear(x, torch.ones(3, 6)), "linear"),
        (lambda x: F.linear(x, torch.ones(3, 6), torch.ones(3)).unsqueeze(1), "linear"),
        (lambda x: F.softmax(x, 1) + 1, ""),  # arithmetic is no view
        (lambda x: x.detach(), ""),
    ],
)
def test_what_made_a_tensor(make, kind):
    assert made_by(make(X)) == kind


def straight(between, second=None):
    first, second = nn.Linear(6, 6), second or nn.Linear(6, 2)
    lineage = Lineage()
    h = first(torch.randn(8, 6))
    lineage.note("first", h)
    return lineage.straight(between(h))


@pytest.mark.parametrize(
    "between",
    [
        lambda h: h,
        lambda h: F.dropout(h, 0.5).view(8, 6),
        lambda h: nn.BatchNorm1d(6)(h),
        lambda h: 2 * h + 1,
        lambda h: h.unsqueeze(1).mean(1),
        lambda h: h.to(torch.bfloat16),
    ],
)
def test_affine_operations_are_looked_through(between):
    assert straight(between) == "first"


@pytest.mark.parametrize(
    "between",
    [
        torch.relu,
        lambda h: h * h,
        lambda h: h + torch.tanh(h),
        lambda h: nn.LayerNorm(6)(h),
        lambda h: h * torch.sigmoid(h),
        lambda h: h.amax(1, keepdim=True),
        lambda h: h.detach(),
    ],
)
def test_a_nonlinearity_ends_the_line(between):
    assert straight(between) == ""
