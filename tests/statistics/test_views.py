"""Every kind of value that a module may return is read or left alone, never changed or consumed."""

from __future__ import annotations

import warnings
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_diag.statistics.views import flat, main_tensor, plain, tensors

A, B, C = torch.ones(2, 3), torch.zeros(4), torch.arange(3)
Pair = namedtuple("Pair", ["first", "second"])


@dataclass
class Output:
    hidden: Tensor
    attention: Any = None


VALUES: list[tuple[str, Any, list[Tensor]]] = [
    ("tensor", A, [A]),
    ("tuple", (A, B), [A, B]),
    ("list", [A, [B]], [A, B]),
    ("dict", {"x": A, "y": {"z": B}}, [A, B]),
    ("ordered dict", OrderedDict(a=A), [A]),
    ("named tuple", Pair(A, B), [A, B]),
    ("dataclass", Output(A, (B,)), [A, B]),
    ("dataclass type", Output, []),
    ("mixed", (None, "text", 3, A, object()), [A]),
    ("integers", (C, A), [C, A]),
    ("nothing", None, []),
    ("text", "text", []),
    ("set", {1, 2}, []),
    ("too deep", [[[[[A]]]]], []),
    ("deep", [[[[A]]]], [A]),
    ("long", [A] * 1000, [A] * 64),
]


@pytest.mark.parametrize(("value", "expected"), [v[1:] for v in VALUES], ids=[v[0] for v in VALUES])
def test_tensors_in_a_value(value: Any, expected: list[Tensor]) -> None:
    found = list(tensors(value))
    assert len(found) == len(expected)
    assert all(a is b for a, b in zip(found, expected, strict=True))


def test_a_packed_sequence_gives_its_data() -> None:
    packed = nn.utils.rnn.pack_sequence([torch.ones(3, 2), torch.ones(1, 2)])
    assert main_tensor(packed) is packed.data
    assert main_tensor(nn.LSTM(2, 4)(packed)).shape == (4, 4)  # type: ignore[union-attr]


def test_a_generator_is_not_consumed() -> None:
    generator = (x for x in [A])
    assert main_tensor(generator) is None
    assert next(generator) is A


def test_a_value_that_holds_itself_ends() -> None:
    loop: list[Any] = [A]
    loop.append(loop)
    assert next(tensors(loop)) is A
    assert len(list(tensors(loop))) < 64


def test_the_main_tensor_is_the_first_with_real_numbers() -> None:
    assert main_tensor((C, {"x": A})) is A
    assert main_tensor((C,)) is None
    z = torch.zeros(2, dtype=torch.complex64)
    assert main_tensor([C, z]) is z


def test_a_plain_tensor_is_itself_without_gradient() -> None:
    x = torch.randn(3, requires_grad=True)
    found = plain(x)
    assert found is not None
    assert not found.requires_grad
    assert found.data_ptr() == x.data_ptr()


def quietly(make: Any) -> Any:
    """Some layouts warn, once, that they are in beta."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


READABLE: dict[str, tuple[Any, list[float]]] = {
    "integers": (lambda: torch.tensor([1, 2]), [1, 2]),
    "booleans": (lambda: torch.tensor([True, False]), [1, 0]),
    "half": (lambda: torch.tensor([0.5], dtype=torch.float16), [0.5]),
    "bfloat16": (lambda: torch.tensor([0.5], dtype=torch.bfloat16), [0.5]),
    "double": (lambda: torch.tensor([0.5], dtype=torch.float64), [0.5]),
    "float8": (lambda: torch.tensor([0.5, -2.0]).to(torch.float8_e4m3fn), [0.5, -2.0]),
    "complex": (lambda: torch.tensor([1 + 2j]), [1, 2]),
    "conjugate": (lambda: torch.tensor([1 + 2j]).conj(), [1, -2]),
    "negative view": (lambda: torch.tensor([1 + 2j]).conj().imag, [-2]),
    "sparse": (lambda: torch.eye(2).to_sparse(), [1, 1]),
    "sparse with duplicates": (lambda: torch.sparse_coo_tensor([[0, 0]], [1.0, 2.0], (3,)), [3]),
    "sparse rows": (lambda: torch.eye(2).to_sparse_csr(), [1, 1]),
    "nested": (lambda: torch.nested.nested_tensor([torch.ones(2), torch.zeros(1)]), [1, 1, 0]),
    "jagged": (lambda: torch.nested.nested_tensor([torch.ones(2), torch.zeros(1)], layout=torch.jagged), [1, 1, 0]),
    "parameter": (lambda: nn.Parameter(torch.ones(2)), [1, 1]),
    "scalar": (lambda: torch.tensor(2.0), [2]),
    "inference": (lambda: torch.inference_mode()(lambda: torch.ones(2) * 3)(), [3, 3]),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.full] if n == "jagged" else []) for n in READABLE]
)  # torch loads a compiler for jagged tensors, which takes long
def test_readable(name: str) -> None:
    make, expected = READABLE[name]
    found = quietly(lambda: plain(make()))
    assert found is not None
    assert found.layout == torch.strided
    assert found.is_floating_point()
    assert found.dtype.itemsize >= 2
    assert found.double().reshape(-1).tolist() == expected


UNREADABLE = {
    "empty": lambda: torch.empty(0, 3),
    "meta": lambda: torch.empty(3, device="meta"),
    "quantized": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    "empty sparse": lambda: torch.zeros(3).to_sparse(),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_is_none(name: str) -> None:
    assert quietly(lambda: plain(UNREADABLE[name]())) is None


@pytest.mark.full  # the same
def test_inside_a_functorch_transform_nothing_is_read() -> None:
    seen = []

    def f(x: Tensor) -> Tensor:
        seen.append(plain(x))
        return x.square().sum()

    torch.func.grad(f)(torch.ones(3))
    torch.func.vmap(f)(torch.ones(2, 3))
    assert seen == [None, None]


def test_a_flat_view_holds_every_element_once() -> None:
    x = torch.arange(24.0).view(2, 3, 4)
    for y in (x, x.transpose(0, 2), x[:, ::2], x[..., 1], x.expand(5, 2, 3, 4), x.permute(2, 0, 1)):
        assert torch.equal(flat(y).sort()[0], y.reshape(-1).sort()[0])


@pytest.mark.parametrize("order", [(0, 2, 3, 1), (3, 1, 0, 2)])
def test_a_dense_tensor_is_not_copied(order: tuple[int, ...]) -> None:
    x = torch.randn(2, 3, 4, 5).permute(order)
    assert flat(x).data_ptr() == x.data_ptr()
