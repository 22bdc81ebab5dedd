"""Independent proof of the faults in data_faults.py: the rows themselves, counted with plain torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from .parts import Batch, Fit
from .verify import Check, weights_of_start

Data = Callable[[], Sequence[Tensor]]


def columns(batch: Any) -> tuple[Tensor, Tensor]:
    """Return inputs and targets of a batch, be it a list or a dictionary."""
    first, second = list(batch.values() if isinstance(batch, dict) else batch)
    return first, second


def rows(loader: Any) -> tuple[Tensor, Tensor]:
    """Return all inputs (flat) and targets of a loader."""
    pairs = [columns(batch) for batch in loader]
    return torch.cat([x.flatten(1).double() for x, _ in pairs]), torch.cat([y for _, y in pairs])


def answers(module: Any, loader: Iterable[Any]) -> tuple[Tensor, Tensor]:
    """Return what the trained module says in eval mode, and the targets."""
    module.eval()
    with torch.no_grad():
        pairs = [(module(x), y) for x, y in map(columns, loader)]
    return torch.cat([p[0] for p in pairs]), torch.cat([p[1] for p in pairs])


def broken_rows(low: int, high: int) -> Check:
    """A few training inputs are not finite; at the start only their batches have no finite loss; no weight survives."""

    def check(fit: Fit, module: Any) -> None:
        count = 0
        module.train()
        with weights_of_start(fit, module), torch.no_grad():
            for batch in fit.train:
                bad = int((~columns(batch)[0].flatten(1).isfinite().all(1)).sum())
                assert bool(module.compute(batch).isfinite()) == (bad == 0)
                count += bad
        assert low <= count <= high, f"{count} broken rows"
        assert all(y.isfinite().all() for _, y in map(columns, fit.train))
        assert not all(p.isfinite().all() for p in module.parameters()), "the weights survived"

    return check


def scales(*, uneven: float = 0.0, offset: float = 0.0) -> Check:
    """The largest feature is ``uneven`` times the smallest (rms), or the mean ``offset`` times the deviation."""

    def check(fit: Fit, module: Any) -> None:
        x = rows(fit.train)[0]
        rms = x.square().mean(0).sqrt()
        assert rms.max() >= uneven * rms.min(), f"{float(rms.min()):.3g} to {float(rms.max()):.3g}"
        far = float((x.mean(0).abs() / x.std(0)).min())
        assert far >= offset, f"offset {far:.3g}"

    return check


def constant_share(low: float, high: float = 1.0) -> Check:
    """A share of the input columns has one single value over the training set."""

    def check(fit: Fit, module: Any) -> None:
        x = rows(fit.train)[0]
        share = float((x == x[0]).all(0).double().mean())
        assert low <= share <= high, f"{share:.2f} of the columns constant"

    return check


def huge_in_validation(column: int, value: float) -> Check:
    """The column is constant in the training set and beyond ``value`` in some validation rows; without it all fits."""

    def check(fit: Fit, module: Any) -> None:
        x, z = rows(fit.train)[0][:, column], rows(fit.val)[0][:, column]
        assert (x == x[0]).all() and z.abs().max() > value, f"{float(x.std()):.2g}, {float(z.abs().max()):.2g}"
        hits = torch.cat(
            [module(torch.where(b.abs() > value, 0.0, b)).argmax(1) == y for b, y in map(columns, fit.val or ())]
        )
        assert hits.double().mean() > 0.8, f"accuracy without it {float(hits.double().mean()):.2f}"

    return check


def never_reached(most: float, offset: float) -> Check:
    """The mean target, ``offset`` times its deviation, is not reached: at most ``most``; the mean would do better."""

    def check(fit: Fit, module: Any) -> None:
        said, y = answers(module, fit.train)
        ratio = float(said.mean() / y.mean())
        assert y.mean().abs() > offset * y.std() and ratio <= most, f"{ratio:.3f} of the target {float(y.mean()):.3g}"
        assert (said - y).square().mean() > 2 * y.var()

    return check


def recall(low: float, high: float = 1.0, *, rare: float = 0.03) -> Check:
    """Of the rare class, less than ``rare`` of the rows, a share between ``low`` and ``high`` is found."""

    def check(fit: Fit, module: Any) -> None:
        said, y = answers(module, fit.val or ())
        positive = y == 1
        assert positive.double().mean() < rare and positive.sum() >= 40, int(positive.sum())
        found, alarms = (float((said[part] > 0).double().mean()) for part in (positive, ~positive))
        assert low <= found <= high, f"recall {found:.2f}"
        assert alarms <= 0.3, f"false alarms {alarms:.2f}"

    return check


def classes_in_batch(most: float) -> Check:
    """On average a training batch holds at most ``most`` classes; the order is the same every time."""

    def check(fit: Fit, module: Any) -> None:
        first, again = ([columns(b)[1] for b in fit.train] for _ in range(2))
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        mean = sum(len(y.unique()) for y in first) / len(first)
        assert mean <= most, f"{mean:.1f} classes a batch"

    return check


def distinct(most: int, of: int) -> Check:
    """The training loader gives at least ``of`` rows of which at most ``most`` are different."""

    def check(fit: Fit, module: Any) -> None:
        x = rows(fit.train)[0]
        assert len(x) >= of and len(x.unique(dim=0)) <= most, f"{len(x.unique(dim=0))} different of {len(x)}"

    return check


def neighbours_disagree(most: float) -> Check:
    """The nearest other training row has the same label in a share of at most ``most``; the order is fixed."""

    def check(fit: Fit, module: Any) -> None:
        x, y = rows(fit.train)
        away = torch.cdist(x, x).fill_diagonal_(float("inf"))
        share = float((y[away.argmin(1)] == y).double().mean())
        assert share <= most, f"{share:.2f} of the nearest neighbours agree"

    return check


def true_accuracy(low: float, high: float, data: Data) -> Check:
    """The accuracy on these rightly labelled rows lies between ``low`` and ``high``."""

    def check(fit: Fit, module: Any) -> None:
        said, y = answers(module, [list(data())])
        found = float((said.argmax(1) == y).double().mean())
        assert low <= found <= high, f"accuracy {found:.2f}"

    return check


def leaks(column: int, loss: float) -> Check:
    """The column is the target in the training set and 0 in the validation set; the training loss ends below."""

    def check(fit: Fit, module: Any) -> None:
        (x, y), (z, _) = rows(fit.train), rows(fit.val)
        both = torch.corrcoef(torch.stack([x[:, column], y.double()]))[0, 1]
        assert both > 0.99 and not z[:, column].any(), f"correlation {float(both):.2f}"
        end = sum(module.losses[-20:]) / 20
        assert end < loss, f"training loss {end:.3g}"

    return check


def overlap(low: float, high: float = 1.0) -> Check:
    """A share of the validation rows is in the training set as well."""

    def check(fit: Fit, module: Any) -> None:
        known = {tuple(row.tolist()) for batch in fit.train for row in columns(batch)[0]}
        seen = [tuple(row.tolist()) in known for row in columns(next(iter(fit.val or ())))[0]]
        share = sum(seen) / len(seen)
        assert low <= share <= high, f"{share:.2f} of the validation rows are known"

    return check


def unseen(low: float, high: float, data: Data) -> Check:
    """The loss on rows of neither set is between ``low`` and ``high`` times the reported validation loss."""

    def check(fit: Fit, module: Any) -> None:
        module.eval()
        with torch.no_grad():
            ratio = float(module.compute(list(data()))) / module.val_losses[-1]
        assert low <= ratio <= high, f"{ratio:.2f} times the validation loss"

    return check


def shifted(scale: float) -> Check:
    """The validation inputs spread less than ``scale`` of the training inputs."""

    def check(fit: Fit, module: Any) -> None:
        x, z = rows(fit.train)[0], rows(fit.val)[0]
        assert z.std() < scale * x.std(), f"{float(z.std() / x.std()):.3f}"

    return check


def confused(first: int, second: int, least: float) -> Check:
    """After the augmentation the means of two classes are alike, while they differ before it; the loss stays above."""

    def between(batches: list[Batch]) -> float:
        x, y = torch.cat([b[0] for b in batches]), torch.cat([b[1] for b in batches])
        a, b = x[y == first].mean(0), x[y == second].mean(0)
        return float((a - b).square().mean().sqrt())

    def check(fit: Fit, module: Any) -> None:
        plain = [list(columns(b)) for b in fit.train]
        shown = [[module.augment(x), y] for x, y in plain for _ in range(4)]
        assert between(shown) < 0.25 * between(plain), f"{between(plain):.2f} -> {between(shown):.2f}"
        end = sum(module.losses[-20:]) / 20
        assert end > least, f"training loss {end:.3g}"

    return check
