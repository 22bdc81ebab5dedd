"""Sick wiring: parameters that no optimizer holds, gradients that do not arrive, updates that are undone."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn

from .parts import Fit, digits, loaders, mlp
from .program import pair
from .verify import every, fails, moved, stuck
from .wiring_checks import (
    affine,
    alike,
    clipped,
    constant,
    ends_above,
    forgotten,
    frozen,
    no_gradient,
    piled_up,
    settled,
    unregistered,
)
from .wiring_graph import GratingNet, GRUClassifier, Listener, Manual, PickOne, Renormed, Tanh, TwoTowers
from .wiring_modules import Averaged, BasketModel, Delayed, FieldRegressor, GlyphNet, OwnLayers, Reader
from .wiring_parts import baskets, blobs, fields, friedman, gratings, marked, rows_of, two_sources, waves


def only_the_head(seed: int, sick: bool) -> Fit:
    """Only the classifier's parameters are given to the optimizer; the encoder stays random."""
    return Fit(GlyphNet(head_only=sick), **loaders(digits(image=True), seed), trainer={"max_epochs": 14})


def made_in_forward(seed: int, sick: bool) -> Fit:
    """The embedding is made in the first forward, when the optimizer already exists."""
    sets: Any = baskets()
    return Fit(BasketModel(lazy=sick), **loaders(sets, seed), trainer={"max_epochs": 12})


def tables_in_dict(seed: int, sick: bool) -> Fit:
    """The embeddings of the columns are kept in a python dict."""
    sets: Any = fields()
    return Fit(FieldRegressor(registered=not sick), **loaders(sets, seed), trainer={"max_epochs": 12})


def parameters_in_list(seed: int, sick: bool) -> Fit:
    """The weights of hand-written layers are parameters in a python list."""
    return Fit(OwnLayers(registered=not sick), **loaders(digits(), seed), trainer={"max_epochs": 15})


def divided_rates(seed: int, sick: bool) -> Fit:
    """The rates of the parameter groups come of an integer division: the one of the LSTM is zero."""
    sets = loaders(rows_of(digits()), seed)
    return Fit(Reader(whole=sick), **sets, trainer={"max_epochs": 14})


def synchronized_backwards(seed: int, sick: bool) -> Fit:
    """After every step the delayed copy is copied onto the trained network instead of the other way round."""
    return Fit(Delayed(backwards=sick), **loaders(friedman(), seed), trainer={"max_epochs": 14})


def average_written_back(seed: int, sick: bool) -> Fit:
    """The moving average of the weights is copied back onto the weights after every step."""
    return Fit(Averaged(overwrite=sick), **loaders(digits(), seed), trainer={"max_epochs": 12})


def through_numpy(seed: int, sick: bool) -> Fit:
    """The state of the GRU goes through numpy on its way to the head."""
    return Fit(Listener(numpy=sick), **loaders(waves(), seed), trainer={"max_epochs": 16})


def picked_by_argmax(seed: int, sick: bool) -> Fit:
    """The element is picked by the argmax of its score, which has no gradient."""
    return Fit(PickOne(hard=sick), **loaders(marked(), seed), trainer={"max_epochs": 10})


def overwritten_tower(seed: int, sick: bool) -> Fit:
    """The code of the first tower is overwritten by that of the second instead of added to it."""
    sets: Any = two_sources()
    return Fit(TwoTowers(overwrite=sick), **loaders(sets, seed), trainer={"max_epochs": 12})


def never_cleared(seed: int, sick: bool) -> Fit:
    """Manual optimization without zero_grad: every step goes along the sum of all gradients so far."""
    order = "backward step" if sick else "clear backward step"
    task = Manual(mlp(64, 48, 48, 10), partial(torch.optim.SGD, lr=0.05, momentum=0.9), order=order)
    return Fit(task, **loaders(digits(), seed), trainer={"max_epochs": 15})


def cleared_before_step(seed: int, sick: bool) -> Fit:
    """Manual optimization that clears the gradients between backward and step."""
    order = "backward clear step" if sick else "backward step clear"
    task = Manual(mlp(10, 32, 8, act=nn.ELU), partial(torch.optim.Adam, lr=5e-3), order=order)
    return Fit(task, **loaders(blobs(), seed, 48), trainer={"max_epochs": 8})


def frozen_with_its_norms(seed: int, sick: bool) -> Fit:
    """All parameters of a random backbone are frozen where only its norm layers were to be exchanged."""
    return Fit(Renormed(freeze=sick), **loaders(digits(image=True), seed), trainer={"max_epochs": 14})


def clipped_to_a_hundredth(seed: int, sick: bool) -> Fit:
    """The norm of the gradient is clipped to 0.01 under SGD."""
    trainer = {"max_epochs": 12, "gradient_clip_val": 0.01 if sick else 5.0}
    return Fit(GRUClassifier(), **loaders(rows_of(digits()), seed), trainer=trainer)


def convolutions_in_a_row(seed: int, sick: bool) -> Fit:
    """Three convolutions and a linear head without any activation between them."""
    return Fit(GratingNet(activations=not sick), **loaders(gratings(), seed), trainer={"max_epochs": 10})


def constant_start(seed: int, sick: bool) -> Fit:
    """All weights start at the same constant: the units of a layer stay copies of each other."""
    return Fit(Tanh(constant=sick), **loaders(digits(), seed), trainer={"max_epochs": 12})


PAIRS = (
    pair("only-the-head", only_the_head, accepted=("W004",), sites=("encoder",),
         sick=every(constant("encoder."), forgotten("encoder."), fails(0.85)), mended=settled(accuracy=0.94)),
    pair("made-in-forward", made_in_forward, accepted=("W004",), sites=("embedding",),
         sick=every(forgotten("embedding."), fails(0.8)), mended=settled(accuracy=0.93)),
    pair("tables-in-dict", tables_in_dict, accepted=("W005",), sites=("encoder",),
         sick=every(unregistered(lambda m: [t.weight for t in m.encoder.tables.values()]), ends_above(0.25)),
         mended=settled(below=0.12)),
    pair("parameters-in-list", parameters_in_list, accepted=("W005",), sites=("hidden",),
         sick=every(unregistered(lambda m: m.hidden.weights), fails(0.8)), mended=settled(accuracy=0.93)),
    pair("divided-rates", divided_rates, accepted=("W003", "O002"), sites=("lstm",),
         sick=every(constant("lstm."), fails(0.8)), mended=settled(accuracy=0.93)),
    pair("synchronized-backwards", synchronized_backwards, accepted=("W003",), sites=("online",),
         sick=every(constant("online.", "target."), stuck()), mended=settled(below=0.06)),
    pair("average-written-back", average_written_back, accepted=("W002", "W003"), sites=("model",),
         sick=every(moved(1e-9, 1e-2), fails(0.5)), mended=settled(accuracy=0.94)),
    pair("through-numpy", through_numpy, accepted=("G004",), sites=("gru",),
         sick=every(no_gradient("gru."), fails(0.8)), mended=settled(accuracy=0.93)),
    pair("picked-by-argmax", picked_by_argmax, accepted=("G004",), sites=("attention",),
         sick=every(no_gradient("attention."), fails(0.6)), mended=settled(accuracy=0.95)),
    pair("overwritten-tower", overwritten_tower, accepted=("G004",), sites=("left",),
         sick=every(no_gradient("left."), fails(0.6)), mended=settled(accuracy=0.93)),
    pair("never-cleared", never_cleared, accepted=("O003",),
         sick=every(piled_up(3), fails(0.8)), mended=settled(accuracy=0.94)),
    pair("cleared-before-step", cleared_before_step, accepted=("W003", "G004"),
         sick=every(constant("net.", others_move=False), stuck()), mended=settled(accuracy=0.85)),
    pair("frozen-with-its-norms", frozen_with_its_norms, accepted=("O008",), sites=("backbone",),
         sick=every(frozen("backbone.", 0.8), fails(0.85)), mended=settled(accuracy=0.93)),
    pair("clipped-to-a-hundredth", clipped_to_a_hundredth, accepted=("G005",),
         sick=every(clipped(0.01, 10), fails(0.6)), mended=settled(accuracy=0.93)),
    pair("convolutions-in-a-row", convolutions_in_a_row, accepted=("A007",), sites=("conv", "head"),
         sick=every(affine, fails(0.5)), mended=settled(accuracy=0.95)),
    pair("constant-start", constant_start, accepted=("W006",), sites=("layers",),
         sick=every(alike("layers.0.weight", "layers.2.weight"), fails(0.6)), mended=settled(accuracy=0.93)),
)  # fmt: skip
