"""Networks of the programs that researchers write: attention by hand, encoders, recurrent cells by hand."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .parts import Batch, Task


class Rated(Task):
    """Keeps the rate of the first parameter group at every step; ``predicted`` is what a batch is judged by."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.rates: list[float] = []

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        self.rates.append(float(self.trainer.optimizers[0].param_groups[0]["lr"]))

    def predicted(self, x: Tensor) -> Tensor:
        return self.net(x)


class Attention(nn.Module):
    """Self-attention by hand, two heads; ``keep`` (batch, time) says which keys count."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix, self.out, self.soft = nn.Linear(width, 3 * width), nn.Linear(width, width), nn.Softmax(dim=-1)

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        b, t, w = x.shape
        q, k, v = self.mix(x).reshape(b, t, 3, 2, w // 2).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) / (w // 2) ** 0.5
        weight = self.soft(scores.masked_fill(~keep[:, None, None, :], -torch.inf))
        return self.out((weight @ v).transpose(1, 2).reshape(b, t, w))


class Block(nn.Module):
    """Attention and two dense layers, normalized before the branch or after the sum."""

    def __init__(self, width: int, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.attention, self.norm1, self.norm2 = Attention(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.dense = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        if self.first:
            x = x + self.attention(self.norm1(x), keep)
            return x + self.dense(self.norm2(x))
        x = self.norm1(x + self.attention(x, keep))
        return self.norm2(x + self.dense(x))


class Reader(nn.Module):
    """Embedding, places, blocks, the mean over what is no padding, head; ``keep`` tokens as the mask says."""

    def __init__(self, *, width: int = 32, depth: int = 2, first: bool = True, inverted: bool = False) -> None:
        super().__init__()
        self.inverted = inverted
        self.embedding = nn.Embedding(25, width)
        nn.init.normal_(self.embedding.weight, std=0.3)
        self.places = nn.Parameter(0.05 * torch.randn(16, width))
        self.blocks = nn.ModuleList(Block(width, first=first) for _ in range(depth))
        self.norm = nn.LayerNorm(width) if first else nn.Identity()
        self.head = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        real = x != 0
        keep = ~real if self.inverted else real
        z = self.embedding(x) + self.places[: x.shape[1]]
        for block in self.blocks:
            z = block(z, keep)
        z = self.norm(z) * real[..., None]
        return self.head(z.sum(1) / real.sum(1, keepdim=True))


class Mingled(nn.Module):
    """nn.MultiheadAttention over the rows of an image; without ``batch_first`` it attends to other images."""

    def __init__(self, *, batch_first: bool) -> None:
        super().__init__()
        self.into, self.places = nn.Linear(8, 32), nn.Parameter(0.1 * torch.randn(8, 32))
        self.attention = nn.MultiheadAttention(32, 4, batch_first=batch_first)
        self.dense = nn.Sequential(nn.LayerNorm(256), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, x: Tensor) -> Tensor:
        z = self.into(x) + self.places
        return self.dense(self.attention(z, z, z, need_weights=False)[0].flatten(1))


class Translator(nn.Module):
    """A GRU reads; its last state, detached or not, is the context of a dense decoder for every next place."""

    def __init__(self, *, detached: bool) -> None:
        super().__init__()
        self.detached = detached
        self.encoder = nn.GRU(3, 24, batch_first=True)
        self.decoder = nn.Sequential(nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 3))

    def forward(self, x: Tensor) -> Tensor:
        state = self.encoder(x)[1][0]
        return self.decoder(state.detach() if self.detached else state)


class Gated(nn.Module):
    """A minimal gated unit by hand: h = (1 - z) h + z c; ``shut`` is the bias of z."""

    def __init__(self, inputs: int, width: int, outputs: int, *, bias: float) -> None:
        super().__init__()
        self.open, self.gate = nn.Linear(inputs + width, width), nn.Sigmoid()
        self.candidate, self.tanh = nn.Linear(inputs + width, width), nn.Tanh()
        self.head = nn.Linear(width, outputs)
        nn.init.constant_(self.open.bias, bias)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(len(x), self.head.in_features)
        for step in x.unbind(1):
            both = torch.cat([step, h], 1)
            z = self.gate(self.open(both))
            h = (1 - z) * h + z * self.tanh(self.candidate(both))
        return self.head(h)


class Tagger(nn.Module):
    """Embeddings of a token and its neighbours, one convolution, a tag for every token."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.conv = nn.Embedding(12, 16), nn.Conv1d(16, 48, 3, padding=1)
        self.act, self.head = nn.ReLU(), nn.Conv1d(48, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.conv(self.embedding(x).transpose(1, 2))))


class Words(nn.Module):
    """Pretrained vectors, their mean, a dense layer; ``from_pretrained`` freezes unless told otherwise."""

    def __init__(self, table: Tensor, *, freeze: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(table.clone(), freeze=freeze)
        self.head = nn.Sequential(nn.Linear(table.shape[1], 24), nn.ReLU(), nn.Linear(24, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.embedding(x).mean(1))


class Speaker(nn.Module):
    """A one-block language model; without ``causal`` every place sees all others."""

    def __init__(self, *, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.embedding, self.places = nn.Embedding(16, 32), nn.Parameter(0.1 * torch.randn(12, 32))
        self.layer = nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=True, norm_first=True)
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 16)

    def forward(self, x: Tensor) -> Tensor:
        t = x.shape[1]
        future = torch.ones(t, t, dtype=torch.bool).triu(1) if self.causal else None
        z = self.layer(self.embedding(x) + self.places[:t], src_mask=future)
        return self.head(self.norm(z)).transpose(1, 2)


class Prototypes(nn.Module):
    """exp(scale cos) over the sum of all, by hand, in half precision or not."""

    def __init__(self, *, half: bool) -> None:
        super().__init__()
        self.half_precision = half
        self.directions = nn.Parameter(torch.randn(10, 12))

    def forward(self, z: Tensor) -> Tensor:
        cosine = F.normalize(z, dim=1) @ F.normalize(self.directions, dim=1).T
        raised = (32.0 * cosine).half().exp() if self.half_precision else (32.0 * cosine).exp()
        return (raised / raised.sum(1, keepdim=True)).float()
