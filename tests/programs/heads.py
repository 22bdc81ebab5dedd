"""Output heads, losses and targets: trainings with one fault each, their twins, and healthy ones."""

from __future__ import annotations

import torch

from .heads_checks import (
    all_same,
    answers,
    at_least,
    at_most,
    beyond_unit,
    distribution,
    end_loss,
    generalizes,
    inside_unit,
    not_distribution,
    outside_unit,
    start_loss,
)
from .heads_controls import blended_digits, daily_visits, hidden_points, summed_bound
from .heads_images import even_digits, noisy_masks, quiet_student, rounded_digit
from .heads_sequence import next_value, signal_kinds, text_generator, word_tags
from .heads_signs import honest_errors, missing_links
from .heads_tables import article_topics, curve_coder, leaving_customers, point_spread, warm_tomorrow
from .heads_tied import shared_embedding
from .program import Program, healthy, pair
from .verify import every

PROGRAMS: list[Program] = [
    *pair(
        "text-generator",
        text_generator,
        sick=every(answers(distribution), at_most(-2.05)),
        mended=every(answers(not_distribution), at_least(-1.2, gain=1.5), generalizes(0.1)),
        accepted=("H001",),
        sites=("to_vocab",),
    ),
    *pair(
        "quiet-student",
        quiet_student,
        sick=every(answers(distribution), end_loss(1.5, 5.0)),
        mended=every(answers(not_distribution), end_loss(0.0, 0.15), at_least(0.93, gain=0.7), generalizes(0.06)),
        accepted=("H001", "H004"),
        sites=("student",),
    ),
    *pair(
        "noisy-masks",
        noisy_masks,
        sick=every(answers(inside_unit), at_most(0.6), end_loss(0.45, 0.8)),
        mended=every(answers(beyond_unit), at_least(0.75, gain=0.3), generalizes(0.05)),
        accepted=("H002",),
        sites=("last", "mask"),
    ),
    *pair(
        "signal-kinds",
        signal_kinds,
        sick=every(answers(not_distribution), end_loss(-1e9, -1.0), at_most(0.85)),
        mended=every(answers(distribution), at_least(0.95, gain=0.5), generalizes(0.05)),
        accepted=("H003", "L005"),
    ),
    *pair(
        "leaving-customers",
        leaving_customers,
        sick=every(answers(outside_unit), end_loss(0.6, 1e3)),
        mended=every(answers(inside_unit), at_least(0.82, gain=0.1), end_loss(0, 0.4), generalizes(0.05)),
        accepted=("H003", "H004"),
    ),
    *pair(
        "curve-coder",
        curve_coder,
        sick=every(answers(inside_unit), at_most(0.6)),
        mended=every(answers(beyond_unit), at_least(0.9, gain=0.5), generalizes(0.05)),
        accepted=("H004",),
        sites=("decoder",),
    ),
    *pair(
        "article-topics",
        article_topics,
        sick=at_most(0.72),
        mended=every(at_least(0.79, gain=0.25), generalizes(0.05)),
        accepted=("H005",),
    ),
    *pair(
        "rounded-digit",
        rounded_digit,
        sick=at_most(0.8),
        mended=every(at_least(0.94, gain=0.7), generalizes(0.06)),
        accepted=("H005",),
    ),
    *pair(
        "next-value",
        next_value,
        sick=at_most(0.1),
        mended=every(at_least(0.85, gain=0.7), generalizes(0.08)),
        accepted=("H006",),
    ),
    *pair(
        "even-digits",
        even_digits,
        sick=every(end_loss(0.6, 0.8), at_most(0.85)),
        mended=every(at_least(0.95, gain=0.3), generalizes(0.05)),
        accepted=("H006",),
    ),
    *pair(
        "word-tags",
        word_tags,
        sick=at_most(0.6),
        mended=every(at_least(0.95, gain=0.6), generalizes(0.05)),
        accepted=("H007", "O002", "W002"),
    ),
    *pair(
        "shared-embedding",
        shared_embedding,
        sick=every(start_loss(10.0, 500.0), at_most(-1.0)),
        mended=every(start_loss(3.1, 3.4), at_least(-0.93, gain=2.0), generalizes(0.15)),
        accepted=("I002", "I001"),
        sites=("wte", "lm_head"),
    ),
    *pair(
        "missing-links",
        missing_links,
        sick=every(end_loss(-1e9, -0.5), at_most(-0.8)),
        mended=every(at_least(-0.48, gain=0.2), at_least(0.62, gain=0.1, name="f1"), generalizes(0.08)),
        accepted=("L005", "H005"),
    ),
    *pair(
        "honest-errors",
        honest_errors,
        sick=every(end_loss(-1e30, -20.0), at_most(-20.0)),
        mended=every(at_least(-0.6, gain=0.5), generalizes(0.15)),
        accepted=("L006", "L005"),
    ),
    *pair(
        "point-spread",
        point_spread,
        sick=every(answers(all_same), at_most(0.05)),
        mended=every(
            answers(lambda out, batch: bool(torch.std(out) > 0.5)), at_least(0.9, gain=0.7), generalizes(0.06)
        ),
        accepted=("A005",),
        sites=("rho",),
    ),
    *pair(
        "warm-tomorrow",
        warm_tomorrow,
        sick=at_most(0.3),
        mended=every(at_least(0.8, gain=0.7), generalizes(0.1)),
        accepted=("D004", "I002"),
    ),
    healthy("summed-bound", summed_bound, every(at_least(0.4, gain=0.5), end_loss(0.0, 25.0), generalizes(0.05))),
    healthy("blended-digits", blended_digits, every(at_least(0.96, gain=0.7), generalizes(0.04))),
    healthy("daily-visits", daily_visits, every(end_loss(-100.0, -0.5), at_least(0.8, gain=0.5), generalizes(0.05))),
    healthy("hidden-points", hidden_points, every(at_least(0.95, gain=0.8), generalizes(0.03))),
]
