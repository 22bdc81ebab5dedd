# mypy: disable-error-code="no-any-return"
"""A small causal transformer."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .heads_parts import batches, chain, cosine
from .parts import Fit, loader


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.shape
        q, k, v = (z.view(b, t, self.heads, -1).transpose(1, 2) for z in self.qkv(self.ln1(x)).chunk(3, -1))
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(a.transpose(1, 2).reshape(b, t, c))
        return x + self.mlp(self.ln2(x))


class TinyGPT(L.LightningModule):
    def __init__(self, vocabulary: int, length: int, small: bool, width: int = 48) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(Block(width, 3), Block(width, 3))
        self.ln = nn.LayerNorm(width)
        self.lm_head = nn.Linear(width, vocabulary, bias=False)
        self.lm_head.weight = self.wte.weight
        if small:
            nn.init.normal_(self.wte.weight, std=0.05)
            nn.init.normal_(self.wpe.weight, std=0.05)

    def forward(self, idx: Tensor) -> Tensor:
        x = self.wte(idx) + self.wpe.weight[: idx.shape[1]]
        return self.lm_head(self.ln(self.blocks(x)))

    def objective(self, batch: Any) -> Tensor:
        logits = self(batch[0])
        return F.cross_entropy(logits.flatten(0, 1), batch[1].flatten())

    def score(self, batch: Any) -> Tensor:
        return -self.objective(batch)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.objective(batch)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/loss", self.objective(batch))

    def configure_optimizers(self) -> Any:
        decay = [p for p in self.parameters() if p.ndim > 1]
        rest = [p for p in self.parameters() if p.ndim < 2]
        groups = [{"params": decay, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}]
        return cosine(self, torch.optim.AdamW(groups, lr=3e-3, betas=(0.9, 0.95)))


def shared_embedding(seed: int, sick: bool) -> Fit:
    """The output layer of the language model shares the embedding's weights, which stay as nn.Embedding makes them."""
    train, val = chain(24, 16, 4352, 4096)
    module = TinyGPT(24, 16, small=not sick)
    return Fit(module, batches(train, seed), loader(val, 256, shuffle=False), {"max_epochs": 5})
