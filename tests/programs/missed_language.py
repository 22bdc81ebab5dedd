"""The programs of the models of letters and their proofs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .missed_checks import ends, falls
from .missed_letters import blanks, both_ways, chain, peeking, tagger, unmasked
from .parts import Fit
from .program import healthy, pair
from .verify import Check, every


def letters_of(fit: Fit) -> Tensor:
    """Return the rows of letters of the validation set, with the last letter to be predicted."""
    assert fit.val is not None
    batch = next(iter(fit.val))
    return batch if isinstance(batch, Tensor) else torch.cat([batch[0], batch[1][:, -1:]], 1)


def loss_at(module: Any, x: Tensor, place: int) -> float:
    """Return the loss of the letter after ``place``."""
    module.eval()
    with torch.no_grad():
        return float(F.cross_entropy(module(x[:, :-1])[:, place], x[:, place + 1]))


def looks_ahead(order: int, kinds: int, length: int) -> Check:
    """The loss is far below what the letters before allow, and far above it with other letters to come."""

    def check(fit: Fit, module: Any) -> None:
        x, place, allowed = letters_of(fit), length // 2, chain(order, kinds, length)[1]
        other = x.clone()
        other[:, place + 1 :] = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0)), place + 1 :]
        module.eval()
        with torch.no_grad():
            blind = float(F.cross_entropy(module(other[:, :-1])[:, place], x[:, place + 1]))
        seen = loss_at(module, x, place)
        assert seen < allowed - 0.5 and blind > allowed + 0.5, f"{seen:.3f}, {blind:.3f}, allowed {allowed:.3f}"
        assert module.seen["val_loss"][-1] < allowed - 0.4, f"{module.seen['val_loss'][-1]:.3f} of {allowed:.3f}"

    return check


def looks_back(order: int, kinds: int, length: int, *, near: float = 0.15) -> Check:
    """The last letter changes nothing before it, and the loss comes near to what the letters before allow."""

    def check(fit: Fit, module: Any) -> None:
        x, allowed = letters_of(fit)[:, :-1], chain(order, kinds, length)[1]
        other = x.clone()
        other[:, -1] = (x[:, -1] + 1) % kinds
        module.eval()
        with torch.no_grad():
            assert torch.allclose(module(x)[:, :-1], module(other)[:, :-1], atol=1e-5)
        loss, place = np.mean([loss_at(module, letters_of(fit), i) for i in range(order, length - 1)]), length // 2
        assert abs(loss - allowed) < near, f"{loss:.3f}, allowed {allowed:.3f}"
        counts = torch.bincount(letters_of(fit)[:, place], minlength=kinds).double()
        alone = float(-(counts / counts.sum() * (counts / counts.sum()).clamp(min=1e-12).log()).sum())
        assert loss < alone - 0.5, f"{loss:.3f}, of the letter alone {alone:.3f}"

    return check


LANGUAGE = [
    *pair(
        "unmasked-letters", unmasked, sick=looks_ahead(2, 8, 17), mended=looks_back(2, 8, 17), accepted=("D009",),
        sites=("body.0.attention", "body.1.attention"),
    ),
    *pair(
        "peeking-transformer", peeking, sick=looks_ahead(1, 16, 16), mended=looks_back(1, 16, 16), accepted=("D009",),
        sites=("body.layers",),
    ),
    *pair(
        "both-way-letters", both_ways, sick=looks_ahead(1, 16, 16), mended=looks_back(1, 16, 16), accepted=("D009",),
        sites=("lstm",),
    ),
    healthy("whole-sentence-tagger", tagger, every(falls("train_loss", 0.2), ends("val_tag_acc", above=0.93))),
    healthy("blanked-letters", blanks, every(falls("mlm_loss", 0.4), ends("val_filled", above=0.75))),
]  # fmt: skip
