"""One pass over a loader that leaves no trace in it, and what may be a loader."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from lightning_diag.preprocessing import Preprocessing, TargetPreprocessing, fit
from tests.preprocessing.fits import data, loader


class Noisy(Dataset[Any]):
    """Augmented by every source of random numbers there is."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, i: int) -> Any:
        noise = torch.randn(3) + float(np.random.normal()) + random.gauss(0, 1)
        return noise + i, torch.tensor([float(i)])


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("own", [False, True], ids=["global", "generator"])
def test_the_random_state_is_as_before(own: bool, workers: int) -> None:
    generator = torch.Generator().manual_seed(5) if own else None
    batches = DataLoader(
        Noisy(), 8, shuffle=True, generator=generator, num_workers=workers, persistent_workers=workers > 0
    )
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # type: ignore[index,union-attr]
    own_state = generator.get_state() if generator is not None else None
    assert fit(batches, Preprocessing("channel")) == 5
    assert torch.equal(states[0], torch.get_rng_state())
    assert np.array_equal(states[1], np.random.get_state()[1])  # type: ignore[index,arg-type]
    assert states[2] == random.getstate()
    if generator is not None and own_state is not None:
        assert torch.equal(own_state, generator.get_state())
    assert batches._iterator is None, "workers that persist are those of the training"


def test_statistics_are_those_of_all_batches() -> None:
    inputs, target = Preprocessing("channel"), TargetPreprocessing()
    assert fit(loader(shuffle=True), inputs, target) == 6
    x, y = data().tensors
    torch.testing.assert_close(inputs.offset, x.mean(0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(target.offset, y.mean(0), rtol=1e-5, atol=1e-5)


def test_at_most_so_many_batches() -> None:
    p = Preprocessing("channel")
    assert fit(loader(), p, max_batches=2) == 2
    torch.testing.assert_close(p.offset, data().tensors[0][:32].mean(0), rtol=1e-5, atol=1e-5)


def test_a_long_pass_is_shown_and_a_short_one_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(loader(), Preprocessing("channel"))
    assert "statistics" not in capsys.readouterr().out
    monkeypatch.setattr("lightning_diag.preprocessing.fitting._LONG", -1.0)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    fit(loader(), Preprocessing("channel"))
    assert "statistics of the training data" in capsys.readouterr().out
    fit(loader(), Preprocessing("channel"), progress=False)
    assert "statistics" not in capsys.readouterr().out


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Tensor]:
        while True:
            yield torch.randn(3)


def test_a_loader_without_end_is_read_as_far_as_asked() -> None:
    p = Preprocessing("channel")
    assert fit(DataLoader(Endless(), 4), p, max_batches=3) == 3
    assert p.fitted


def test_batches_of_every_form() -> None:
    x = torch.randn(6, 3)
    forms: list[tuple[Any, dict[str, Any]]] = [
        (x, {}), ((x, 0), {}), ([0, x], {"input_key": 1}), ({"image": x}, {"input_key": "image"}),
    ]  # fmt: skip
    for batch, keys in forms:
        p = Preprocessing("channel")
        fit([batch], p, **keys)
        torch.testing.assert_close(p.offset, x.mean(0))


@pytest.mark.parametrize(
    ("batches", "keys", "error", "message"),
    [
        (iter([torch.ones(2, 2)]), {}, ValueError, "an iterator can be read only once"),
        ([], {}, ValueError, "no data was seen"),
        ([{"image": torch.ones(2, 2)}], {}, TypeError, "no input at 0, it is keys image; pass input_key="),
        ([("a", "b")], {}, TypeError, "the input of a batch must be a tensor, at 0 there is a str"),
        ([(torch.ones(2, 2),)], {"target": TargetPreprocessing()}, TypeError, "no target at 1, it is a tuple"),
        (
            [(torch.ones(2, 2), torch.ones(2).long())],
            {"target": TargetPreprocessing()},
            TypeError,
            "classes or counts, only floats are standardized",
        ),
    ],
)
def test_what_is_no_loader_is_told(batches: Any, keys: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fit(batches, Preprocessing("channel"), **keys)
