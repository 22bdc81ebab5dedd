"""The programs of this topic."""

from __future__ import annotations

from typing import Any

import torch

from .parts import Fit
from .program import Program, healthy, pair
from .tabular_checks import (
    broken,
    constant_columns,
    distinct,
    falls,
    far_targets,
    image_tells_mask,
    last,
    missing_classes,
    mixed_order,
    not_worse,
    offset_inputs,
    overlap,
    rare_tags,
    rows,
    score_gap,
    shifted,
    some_not_finite,
    uneven_inputs,
)
from .tabular_controls import rare_defects, reservoir_levels, stateful_text, word_counts
from .tabular_images import cell_masks, sorted_scans, split_twice
from .tabular_parts import cut, real, whole
from .tabular_posters import normalize, poster_patterns
from .tabular_sets import molecule_energies, reviews_by_length, topic_folders
from .tabular_signals import barometer_tendency, ectopic_beats, load_windows, vibration_windows
from .tabular_tables import bike_rentals, loan_desk, postcode_rates, postcodes
from .verify import every


def leaks(fit: Fit, module: Any) -> None:
    """The rate tells the label, and with last year's rates the network is far worse than it looks."""
    pairs = [(batch[0][:, 6], batch[2].float()) for batch in fit.train]
    rate, claim = (torch.cat([p[i] for p in pairs]) for i in (0, 1))
    assert float(torch.corrcoef(torch.stack([rate, claim]))[0, 1]) > 0.7
    x, car, y = postcodes(False)
    honest = cut([real(x), whole(car), whole(y)], 2400, seed=3)[1].tensors
    assert fit.val is not None and torch.equal(honest[2], rows(fit.val, lambda batch: batch[2]))
    module.eval()
    with torch.no_grad():
        hits = float((module(honest[0], honest[1]).argmax(1) == honest[2]).float().mean())
    assert hits < module.history["hits_val"][-1] - 0.1, f"{hits:.3f} without the leak"


def better_on_known(fit: Fit, module: Any) -> None:
    """Of the validation rows, the loss of those that were trained on is lower."""
    data: Any = fit.train.dataset
    known = {x.numpy().tobytes() for x, _ in data}
    x, y = rows(fit.val), rows(fit.val, lambda batch: batch[1])
    seen = torch.tensor([row.numpy().tobytes() in known for row in x])
    module.eval()
    with torch.no_grad():
        losses = torch.nn.functional.cross_entropy(module(x), y, reduction="none")
    assert losses[seen].mean() < losses[~seen].mean()


def good_when_normalized(fit: Fit, module: Any) -> None:
    """The network itself is good: with the transform of the training set it sees the patterns."""
    module.eval()
    with torch.no_grad():
        x, y = rows(fit.val), rows(fit.val, lambda batch: batch[1])
        assert (module(normalize(x)).argmax(1) == y).float().mean() > 0.95


SICK_AND_TWIN: list[tuple[Program, Program]] = [
    pair(
        "vibration-windows",
        vibration_windows,
        sick=every(some_not_finite(0.05), broken("train/loss"), broken("val/loss"), last("val/acc", high=0.6)),
        mended=every(falls("train/loss", 0.4), last("val/acc", low=0.93), not_worse("val/loss", 1.5)),
        accepted=("D001", "L001", "A003", "G003"),
    ),
    pair(
        "loan-desk",
        loan_desk,
        sick=every(uneven_inputs, last("val_accuracy", high=0.82)),
        mended=every(falls("train_bce", 0.5), last("val_accuracy", low=0.88), not_worse("val_bce")),
        accepted=("D002",),
    ),
    pair(
        "barometer-tendency",
        barometer_tendency,
        sick=every(offset_inputs, last("val_r2", high=0.15)),
        mended=every(falls("huber", 0.6), last("val_r2", low=0.5), not_worse("val_huber")),
        accepted=("D002", "A002"),
    ),
    pair(
        "bike-rentals",
        bike_rentals,
        sick=every(constant_columns(2), last("valid_mse", low=0.4)),
        mended=every(constant_columns(0), falls("train_mse", 0.1), last("valid_mse", high=0.05)),
        accepted=("D003",),
    ),
    pair(
        "molecule-energies",
        molecule_energies,
        sick=every(far_targets, last("val_mae_ev", low=1000)),
        mended=every(falls("train_loss", 0.1), last("val_mae_ev", high=300), not_worse("val_loss", 1.3)),
        accepted=("D004", "I002"),
    ),
    pair(
        "ectopic-beats",
        ectopic_beats,
        sick=every(rare_tags, last("val_recall", high=0.1), last("val_specificity", low=0.99)),
        mended=every(falls("loss", 0.75), last("val_recall", low=0.65), last("val_specificity", low=0.75)),
        accepted=("D005",),
    ),
    pair(
        "sorted-scans",
        sorted_scans,
        sick=every(missing_classes, falls("train_ce", 0.1), last("val_acc", high=0.3)),
        mended=every(falls("train_ce", 0.1), last("val_acc", low=0.93), not_worse("val_ce")),
        accepted=("D005",),
    ),
    pair(
        "topic-folders",
        topic_folders,
        sick=every(mixed_order(0.0, 0.01), last("accuracy/val", high=0.78)),
        mended=every(mixed_order(0.6, 0.9), falls("loss/train", 0.3), last("accuracy/val", low=0.85)),
        accepted=("D006",),
    ),
    pair(
        "load-windows",
        load_windows,
        sick=every(distinct(2, 60), last("mse/val", low=0.4)),
        mended=every(distinct(900, 1100), falls("mse", 0.5), last("mse/val", high=0.3), not_worse("mse/val")),
        accepted=("D007", "V001"),
    ),
    pair(
        "cell-masks",
        cell_masks,
        sick=every(image_tells_mask(-0.05, 0.1), last("val_iou", high=0.1)),
        mended=every(image_tells_mask(0.5, 1.0), falls("train_loss", 0.4), last("val_iou", low=0.75)),
        accepted=("D008", "L002", "V002"),
    ),
    pair(
        "postcode-rates",
        postcode_rates,
        sick=leaks,
        mended=every(falls("nll", 0.6), last("hits_val", low=0.83), not_worse("nll_val")),
        accepted=("D009",),
    ),
    pair(
        "split-twice",
        split_twice,
        sick=every(overlap(0.6, 1.0), better_on_known),
        mended=every(overlap(0.0, 0.0), falls("train_loss", 0.3), last("val_accuracy", low=0.93)),
        accepted=("V004",),
    ),
    pair(
        "poster-patterns",
        poster_patterns,
        sick=every(shifted(0.3, 9.0), last("top1/val", high=0.93), good_when_normalized),
        mended=every(shifted(0.0, 0.1), falls("ce/train", 0.1), last("top1/val", low=0.97)),
        accepted=("V006",),
    ),
    pair(
        "reviews-by-length",
        reviews_by_length,
        sick=every(score_gap("val_acc", "train_acc", 0.05, 1.0), score_gap("train_loss", "val_loss", 0.1, 9.0)),
        mended=every(score_gap("val_acc", "train_acc", -0.04, 0.04), falls("train_loss", 0.75), not_worse("val_loss")),
        accepted=("V003", "V006"),
    ),
]

CONTROLS = [
    healthy(
        "rare-defects",
        rare_defects,
        every(falls("train_loss", 0.6), last("val_recall", low=0.85), last("val_specificity", low=0.85)),
    ),
    healthy("word-counts", word_counts, every(falls("bce", 0.3), last("val_f1", low=0.9), not_worse("val_bce"))),
    healthy(
        "reservoir-levels",
        reservoir_levels,
        every(falls("train_mse", 0.4), last("val_skill", low=0.8), not_worse("val_mse")),
    ),
    healthy("stateful-text", stateful_text, every(falls("train_nats", 0.75), not_worse("val_nats", 1.05))),
]

PROGRAMS: list[Program] = [*(p for both in SICK_AND_TWIN for p in both), *CONTROLS]
