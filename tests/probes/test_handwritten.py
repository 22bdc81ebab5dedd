"""A loss that a step writes out of tensor operations is told by its value."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightning_diag.probes.batch import batch_tensors
from lightning_diag.probes.functions import FunctionProbe
from lightning_diag.probes.handwritten import HandWritten, Pair
from lightning_diag.probes.readings import Readings

N, C = 16, 5


def seen(loss_of, batch, *, steps=1, out=C, written=None):
    """Run ``loss_of(prediction, *batch)`` under the probe; return the loss calls of every step."""
    torch.manual_seed(0)
    net, x = nn.Linear(8, out), torch.randn(steps, N, 8)
    written, calls = written or HandWritten(), []
    for i in range(steps):
        probe = FunctionProbe(net, Readings(), lambda *_: None, lambda _: None, pytest.fail)
        probe.losses.written = written
        probe.losses.batch = {t.untyped_storage().data_ptr(): str(j) for j, t in enumerate(batch)}
        probe.open()
        loss = loss_of(net(x[i]), *batch)
        probe.close()
        probe.settle(loss)
        calls.append(probe.losses.calls)
    return calls if steps > 1 else calls[0]


def told(loss_of, batch, **given):
    """Return (loss, reduction, negative) of what was found, None if nothing was."""
    calls = seen(loss_of, batch, **given)
    return (calls[0]["loss"], calls[0]["reduction"]) if calls else None


CLASSES = (torch.arange(N) % C,)
NUMBERS = (torch.linspace(-1, 2, N * C).view(N, C),)
MARKS = ((torch.arange(N * C) % 3 == 0).float().view(N, C),)
PARTS = (torch.softmax(torch.arange(N * C).sin().view(N, C), 1),)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (lambda z, y: -z.log_softmax(1).gather(1, y[:, None]).mean(), ("nll_loss", "mean")),
        (lambda z, y: -z.log_softmax(1)[torch.arange(N), y].mean(), ("nll_loss", "mean")),
        (lambda z, y: -z.log_softmax(1)[range(N), y].sum(), ("nll_loss", "sum")),
        (lambda z, y: -z.log_softmax(-1).take_along_dim(y[:, None], dim=-1).mean(), ("nll_loss", "mean")),
        (lambda z, y: (z.logsumexp(1) - z.gather(1, y.unsqueeze(1)).squeeze(1)).mean(), ("cross_entropy", "mean")),
        (lambda z, y: -z.softmax(1).gather(1, y[:, None]).log().mean(), ("nll_loss", "mean")),
        (lambda z, y: -(F.one_hot(y, C) * z.log_softmax(1)).sum(1).mean(), ("nll_loss", "mean")),
        (lambda z, y: -(torch.eye(C)[y] * z.log_softmax(1)).sum(1).mean(), ("nll_loss", "mean")),
        (lambda z, y: -(F.one_hot(y, C).float() * torch.log(z.softmax(1) + 1e-8)).sum(1).mean(), ("nll_loss", "mean")),
    ],
)
def test_likelihoods_of_classes(loss, expected):
    assert told(loss, CLASSES) == expected


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (lambda z, y: ((z - y) ** 2).mean(), ("mse_loss", "mean")),
        (lambda z, y: (y - z).pow(2).sum(), ("mse_loss", "sum")),
        (lambda z, y: 0.5 * (z - y).square().sum(1).mean(), ("mse_loss", "half batchmean")),
        (lambda z, y: (z - y).abs().mean(), ("l1_loss", "mean")),
        (lambda z, y: ((z - (y - 0.5) / 0.9) ** 2).mean(), ("mse_loss", "mean")),
    ],
)
def test_errors_of_numbers(loss, expected):
    assert told(loss, NUMBERS) == expected


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (
            lambda z, y: (z.clamp(min=0) - z * y + torch.log1p(torch.exp(-z.abs()))).mean(),
            ("binary_cross_entropy_with_logits", "mean"),
        ),
        (
            lambda z, y: -(y * z.sigmoid().log() + (1 - y) * (1 - z.sigmoid()).log()).mean(),
            ("binary_cross_entropy", "mean"),
        ),
        (
            lambda z, y: -(y * F.logsigmoid(z) + (1 - y) * F.logsigmoid(-z)).sum(1).mean(),
            ("binary_cross_entropy", "batchmean"),
        ),
    ],
)
def test_likelihoods_of_marks(loss, expected):
    assert told(loss, MARKS) == expected


@pytest.mark.parametrize(
    "loss",
    [
        lambda z, p: (torch.xlogy(p, p) - p * z.log_softmax(1)).sum(1).mean(),
        lambda z, p: (p * (p.log() - z.log_softmax(1))).sum(1).mean(),
    ],
)
def test_divergences(loss):
    assert told(loss, PARTS) == ("kl_div", "mean")


def test_the_sign_shows():
    (call,) = seen(lambda z, y: z.log_softmax(1).gather(1, y[:, None]).mean(), CLASSES)
    assert call["by_hand"] and call["made_by"] == "log_softmax" and call["target"] == "0"
    (call,) = seen(lambda z, y: -((z - y) ** 2).mean(), NUMBERS)
    assert call["loss"] == "mse_loss"


def test_classes_behind_places():
    def tagged(z, y):
        return -z.view(4, 4, C).log_softmax(-1).gather(-1, y.view(4, 4, 1)).mean()

    (call,) = seen(tagged, CLASSES)
    assert (call["prediction_shape"], call["target_shape"]) == ([4, C, 4], [4, 4])


@pytest.mark.parametrize(
    "loss",
    [
        lambda z, y: (z.log_softmax(1).gather(1, y[:, None])[:, 0] * torch.linspace(-1, 1, N)).mean(),  # a policy's
        lambda z, y: -(1 - z.softmax(1).gather(1, y[:, None])).log().mean(),  # unlikelihood
        lambda z, y: F.relu(1 + z - z.gather(1, y[:, None])).mean(),  # a margin
        lambda z, y: -z.log_softmax(1).gather(1, y[:, None]).mean() + 0.01 * z.square().mean(),  # two terms
        lambda z, y: z.square().mean(),  # no target
    ],
)
def test_others_are_not_taken_for_one_of_them(loss):
    assert told(loss, CLASSES) is None


@pytest.mark.parametrize(
    "loss",
    [
        lambda z, p: (p * (z.log_softmax(1) - p.log())).sum(1).mean(),  # a divergence, negative
        lambda z, p: -(p * z).mean() + z.logsumexp(1).mean() * 2,
        lambda z, p: (z * p).sum(1).mean(),  # an energy
        lambda z, p: -(z.softmax(1) * p.sqrt()).sum(1).mean(),  # an expected reward
        lambda z, p: -(z * p.sqrt()).sum(1).mean(),
    ],
)
def test_sums_of_products_are_no_likelihoods(loss):
    assert told(loss, PARTS) in (None, ("kl_div", "mean"))


def test_places_to_be_ignored_do_no_harm():
    y = torch.where(torch.arange(N) % 4 == 0, -100, torch.arange(N) % C)

    def masked(z, y):
        keep = y >= 0
        return -(z.log_softmax(1).gather(1, y.clamp(min=0)[:, None])[:, 0] * keep).sum() / keep.sum()

    assert told(masked, (y,)) is None


def test_a_chance_hit_is_dropped():
    hits = [True, False, False]
    written = HandWritten()
    calls = seen(lambda z, y: (z - y).abs().mean() if hits.pop(0) else z.mean(), NUMBERS, steps=3, written=written)
    assert [len(c) for c in calls] == [1, 0, 0]
    assert written.refuted


@pytest.mark.parametrize("loss", [lambda z, y: -z.softmax(1)[range(N), y].mean(), lambda z, y: -z[range(N), y].mean()])
def test_likelihoods_below_zero_stay_known(loss):
    assert [len(c) for c in seen(loss, CLASSES, steps=5)] == [1] * 5


def test_a_constant_prediction_tells_nothing():
    def hinge(z, y):
        return torch.relu(1 - (0 * z) * y).mean()

    assert told(hinge, (MARKS[0] * 2 - 1,)) is None


def test_two_classes_are_classes():
    two = (torch.eye(2)[torch.arange(N) % 2],)
    (call,) = seen(lambda z, y: -(y * z.log_softmax(1)).sum(1).mean(), two, out=2)
    assert (call["loss"], call["made_by"]) == ("nll_loss", "log_softmax")


def test_another_number_of_pairs_in_a_step_leads_to_no_other_pair():
    turns = iter([0, 3, 1, 2])

    def loss(z, y):
        for _ in range(next(turns)):
            z * y[:, :1]
        return ((z - y) ** 2).mean() + 0 * sum((z * y[:, :2].mean(1, keepdim=True)).mean() for _ in range(2))

    assert [c[0]["loss"] for c in seen(loss, NUMBERS, steps=4)] == ["mse_loss"] * 4


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("kind", [torch.complex64, torch.sparse, "nested", "empty"])
def test_unusual_targets_do_no_harm(kind):
    target = torch.ones(N, C)
    if kind is torch.complex64:
        target = target.to(kind)
    elif kind is torch.sparse:
        target = target.to_sparse()
    elif kind == "nested":
        target = torch.nested.nested_tensor([torch.ones(C)] * N)
    else:
        target = target[:0]
    z = torch.randn(target.shape if kind == "empty" else (N, C), requires_grad=True)
    assert HandWritten().find([Pair(z, target, "0"), Pair(z, target, "0", 1)], torch.tensor(0.5)) is None


def test_overlaps_made_smaller():
    def dice(z, y):
        p, size = z.sigmoid(), z.sigmoid().sum() + y.sum()
        return (2 * (p * y).sum() + 1) / (size + 1)

    for sign, expected in ((1, "less"), (-1, "more")):
        written = HandWritten()
        for _ in range(3):
            torch.manual_seed(0)
            probe = FunctionProbe(nn.Identity(), Readings(), lambda *_: None, lambda _: None, pytest.fail)
            probe.losses.written = written
            probe.losses.batch = {MARKS[0].untyped_storage().data_ptr(): "0"}
            z = (torch.randn(N, C) - 3).requires_grad_()
            probe.open()
            loss = dice(z, MARKS[0])
            loss = loss if sign > 0 else 1 - loss
            probe.close()
            probe.settle(loss)
        assert written.overlap == expected


def test_a_focal_loss_near_an_overlap_is_none():
    written = HandWritten()
    for _ in range(3):
        z = (0.1 * torch.randn(64, 50)).requires_grad_()
        y = (torch.arange(64 * 50) % 8 == 0).float().view(64, 50)
        p = z.sigmoid()
        right = p * y + (1 - p) * (1 - y)
        written.find([Pair(p, y, "0")], (-((1 - right) ** 2) * right.log()).mean().detach())
    assert written.overlap == ""


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_nested_tensor_of_the_batch_has_no_shape_to_tell():
    nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    assert [path for path, _ in batch_tensors({"x": torch.ones(2), "y": nested})] == ["x"]


def test_samples_without_a_label_are_samples():
    labels = MARKS[0].clone()
    labels[3] = 0
    assert told(lambda z, y: -(y * z.log_softmax(1)).sum(1).mean(), (labels,)) == ("nll_loss", "mean")
