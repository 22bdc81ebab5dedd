"""What modules can return: one float tensor is but the simplest case."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tests.zoo.task import Case, Task, of


class Wraps(nn.Module):
    """A layer with weights of its own that hands its result over in some wrapping."""

    def __init__(self, wrap: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 6) / 3)
        self.wrap = wrap

    def forward(self, x: Tensor) -> Any:
        return self.wrap(F.linear(x, self.weight))


class Through(nn.Module):
    """wrapping layer, unwrapping, a head."""

    def __init__(self, wrap: Callable[[Tensor], Any], unwrap: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.body, self.unwrap, self.act, self.head = Wraps(wrap), unwrap, nn.ReLU(), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.unwrap(self.body(x))))


@dataclass
class Record:
    hidden: Tensor
    note: str = "dataclass"


class Pair(NamedTuple):
    hidden: Tensor
    count: int


class Aside(nn.Module):
    """Returns None and leaves its result on itself."""

    def __init__(self) -> None:
        super().__init__()
        self.lin, self.head = nn.Linear(6, 6), nn.Linear(6, 3)
        self.quiet = Quiet(self)

    def forward(self, x: Tensor) -> Tensor:
        self.quiet(x)
        return self.head(self.kept.pop())


class Quiet(nn.Module):
    def __init__(self, owner: Aside) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(6))
        owner.kept: list[Tensor] = []  # type: ignore[misc]
        self.kept = owner.kept

    def forward(self, x: Tensor) -> None:
        self.kept.append(x * self.scale)


class Recurrent(nn.Module):
    """An LSTM or GRU over three steps of two numbers, packed if asked."""

    def __init__(self, cell: type[nn.RNNBase], *, packed: bool) -> None:
        super().__init__()
        self.cell, self.head, self.packed = cell(2, 5, batch_first=True), nn.Linear(5, 3), packed  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        x = x.view(-1, 3, 2)
        if not self.packed:
            return self.head(self.cell(x)[0][:, -1])
        lengths = torch.tensor([3, 2, 1, 3])[: len(x)]
        out, _ = self.cell(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
        return self.head(pad_packed_sequence(out, batch_first=True)[0].sum(1))


class Ragged(nn.Module):
    """Sequences of different length as one nested tensor, through a Linear."""

    def __init__(self, layout: torch.layout) -> None:
        super().__init__()
        self.layout, self.lin, self.head = layout, nn.Linear(2, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        parts = [row.view(3, 2)[: 1 + i % 3] for i, row in enumerate(x)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nested = torch.nested.as_nested_tensor(parts, layout=self.layout)
            return self.head(self.lin(nested).to_padded_tensor(0.0).sum(1))


class Tokens(nn.Module):
    """Numbers to integer tokens (no gradient), tokens to an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.embed, self.head = Wraps(lambda h: h.argmax(-1)), nn.Embedding(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.embed(self.body(x)) + x)


class Spectrum(nn.Module):
    """A complex weight, a complex output, a complex activation."""

    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(6, 6, dtype=torch.complex64)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.sigmoid(self.lin(x.to(torch.complex64))).abs())


def csr(h: Tensor) -> Tensor:
    """Return a sparse CSR tensor of it; no gradient flows back through that layout."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return h.detach().to_sparse_csr()


_WRAPPINGS: dict[str, tuple[Callable[[Tensor], Any], Callable[[Any], Tensor]]] = {
    "tuple": (lambda h: (h, 1), lambda v: v[0]),
    "list": (lambda h: [None, "text", h], lambda v: v[2]),
    "dict": (lambda h: {"n": 3, "hidden": h}, lambda v: v["hidden"]),
    "nested-containers": (lambda h: {"a": [({"b": (h,)},)]}, lambda v: v["a"][0][0]["b"][0]),
    "dataclass": (Record, lambda v: v.hidden),
    "named-tuple": (lambda h: Pair(h, 2), lambda v: v.hidden),
    "generator": (lambda h: (h * i for i in (1, 2)), sum),  # type: ignore[dict-item]
    "opaque": (lambda h: SimpleNamespace(hidden=h), lambda v: v.hidden),
    "complex": (lambda h: torch.complex(h, -h), torch.abs),
    "sparse-coo": (lambda h: h.to_sparse(), lambda v: v.to_dense()),
    "sparse-csr": (csr, lambda v: v.to_dense()),
    "zero-dimensional": (lambda h: h.mean(), lambda v: v.expand(4, 6)),
    "empty": (lambda h: (h[:0], h), lambda v: v[1]),
    "only-empty": (lambda h: h[:, :0], lambda v: v.sum(1, keepdim=True).expand(-1, 6)),
    "bool-and-float": (lambda h: (h > 0, h), lambda v: v[0] * v[1]),
    "integers": (lambda h: (h * 8).round().int(), lambda v: v.float()),
    "half": (lambda h: h.half(), lambda v: v.float()),
    "float8": (lambda h: h.detach().to(torch.float8_e4m3fn), lambda v: v.float()),
    "quantized": (
        lambda h: torch.quantize_per_tensor(h.detach(), 0.1, 10, torch.quint8), lambda v: v.dequantize(),
    ),
    "view": (lambda h: h.view(2, -1, 6), lambda v: v.flatten(0, 1)),
    "expanded": (lambda h: h[:, :1].expand(-1, 6), lambda v: v * 1),
    "mkldnn": (lambda h: h.detach().to_mkldnn(), lambda v: v.to_dense()),
}  # fmt: skip


class Table(nn.Module):
    """Returns its own parameter, a leaf of the graph."""

    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(6))

    def forward(self) -> Tensor:
        return self.positions


class Positions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = Table(), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x + self.table())


class DictBatch(Task):
    """Batches as a mapping, with text among the tensors."""

    def compute(self, batch: Any) -> Tensor:
        return F.cross_entropy(self(batch["x"]), batch["y"])


def mappings() -> Any:
    """The rows as dicts."""
    generator = torch.Generator().manual_seed(7)
    items = [{"x": torch.randn(6, generator=generator), "y": i % 3, "name": f"row {i}"} for i in range(16)]
    return torch.utils.data.DataLoader(items, batch_size=4)  # type: ignore[arg-type]


CASES = (
    *(of(f"returns-{name}", lambda w=w, u=u: Through(w, u)) for name, (w, u) in _WRAPPINGS.items()),  # type: ignore[misc]
    of("returns-none", Aside),
    of("returns-a-parameter", Positions),
    of("lstm", lambda: Recurrent(nn.LSTM, packed=False), layers=("net.cell", "net.head")),
    of("gru", lambda: Recurrent(nn.GRU, packed=False), layers=("net.cell", "net.head")),
    of("packed-lstm", lambda: Recurrent(nn.LSTM, packed=True), layers=("net.cell", "net.head")),
    of("packed-gru", lambda: Recurrent(nn.GRU, packed=True), layers=("net.cell", "net.head")),
    of("nested-strided", lambda: Ragged(torch.strided), layers=("net.lin", "net.head")),
    of("nested-jagged", lambda: Ragged(torch.jagged), layers=("net.lin", "net.head")),
    of("integer-tokens", Tokens),
    of("complex-weights", Spectrum),
    Case("dict-batch", lambda: DictBatch(nn.Linear(6, 3)), data=mappings),
)
