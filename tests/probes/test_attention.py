"""Which attention sees later places of its own sequence."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightning_diag.probes.functions import FunctionProbe
from lightning_diag.probes.readings import Readings

T = 6
CAUSAL = nn.Transformer.generate_square_subsequent_mask(T)


class ByHand(nn.Module):
    def __init__(self, mask):
        super().__init__()
        self.mask = mask

    def forward(self, x):
        scores = x @ x.transpose(1, 2)
        return (scores if self.mask is None else scores + self.mask).softmax(-1) @ x


class Scaled(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.options = options

    def forward(self, x):
        return F.scaled_dot_product_attention(x, x, x, **self.options)


class Named(Scaled):
    def forward(self, x):
        return F.scaled_dot_product_attention(query=x, key=x, value=x, **self.options)


class Placed(nn.Module):
    def forward(self, x):
        return F.scaled_dot_product_attention(x, x, x, None, 0.0, True)


class Multi(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.attention, self.options = nn.MultiheadAttention(8, 2, batch_first=True), options

    def forward(self, x):
        return self.attention(x, x, x, **self.options)[0]


class Cross(Multi):
    def forward(self, x):
        return self.attention(x, x + 1, x + 1)[0]


def seen(module, first=True):
    root = nn.Sequential(module)
    probe = FunctionProbe(root, Readings(), lambda *_: None, lambda *_: None, lambda e: pytest.fail(repr(e)))
    probe.first = first
    probe.open()
    root(torch.randn(3, T, 8, requires_grad=True))
    probe.close()
    return probe.ahead


@pytest.mark.parametrize(
    "module",
    [
        ByHand(None),
        Named(),
        Scaled(),
        Multi(),
        Scaled(attn_mask=torch.ones(T, T, dtype=torch.bool)),
        Multi(need_weights=False),
    ],
)
def test_looks_ahead(module):
    assert list(seen(module).values()) == [True]


@pytest.mark.parametrize(
    "module",
    [
        ByHand(CAUSAL),
        Scaled(is_causal=True),
        Named(is_causal=True),
        Placed(),
        Scaled(attn_mask=torch.ones(T, T, dtype=torch.bool).tril()),
        Scaled(attn_mask=CAUSAL),
        Multi(attn_mask=CAUSAL),
        Multi(attn_mask=torch.ones(T, T, dtype=torch.bool).triu(1), is_causal=True),
        Multi(attn_mask=torch.ones(T, T, dtype=torch.bool).triu(1)),
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).requires_grad_(True),
    ],
)
def test_looks_back_only(module):
    if isinstance(module, nn.TransformerEncoderLayer):
        inner, module = module, nn.Module()
        module.inner = inner
        module.forward = lambda x: inner(x, src_mask=CAUSAL)
    assert list(seen(module).values()) == [False]


def test_across_sequences_and_later_samples_nothing_is_told():
    assert seen(Cross()) == {}
    assert seen(Multi(), first=False) == {}
