"""Trainings whose pace, schedule, duration or size is wrong."""

from __future__ import annotations

from . import pace_tab as tab, pace_text as words, pace_time as signals, pace_vision as vision
from .pace_checks import (
    calm,
    gap,
    improving,
    loss,
    mean_picture,
    rate,
    rising,
    score,
    shifted,
    steps,
    swings,
    updates,
    val_loss,
)
from .pace_fine import CONTROLS
from .program import Program, pair
from .verify import every, learns, overfits

PROGRAMS: list[Program] = [
    *pair(
        "char-gpt-step",
        words.char_gpt,
        sick=every(rate(0.1, 0.1), loss(low=2.0), score(low=6.0)),
        mended=every(learns(0.5), loss(high=0.5), score(high=1.6), gap(1.1)),
        accepted=("O001", "W001", "L002"),
    ),
    *pair(
        "stroke-mask",
        vision.stroke_mask,
        sick=every(rate(high=1e-3), score(high=0.5), loss(low=0.6)),
        mended=every(learns(0.6), score(low=0.78), gap(1.1)),
        accepted=("O002", "W002", "L002"),
    ),
    *pair(
        "paper-tagger",
        words.paper_tagger,
        sick=every(rate(high=2e-4), score(high=0.6)),
        mended=every(learns(0.3), score(low=0.97), gap(1.1)),
        accepted=("O004", "O002", "W002"),
    ),
    *pair(
        "tone-labels",
        signals.tone_labels,
        sick=every(updates(60, 60), score(high=0.93), val_loss(low=0.3)),
        mended=every(updates(480, 480), score(low=0.98), gap(1.1)),
        accepted=("O005", "L007"),
    ),
    *pair(
        "digit-vae",
        vision.digit_vae,
        sick=mean_picture(0.97),
        mended=every(learns(0.6), score(high=0.03), gap(1.05)),
        accepted=("O009", "H007", "A005"),
    ),
    *pair(
        "half-match",
        vision.half_match,
        sick=every(loss(low=4.1), score(high=0.3)),
        mended=every(learns(0.5), loss(high=1.6), score(low=0.7), gap(1.15)),
        accepted=("L002", "D008"),
    ),
    *pair(
        "pendulum-value",
        signals.pendulum_value,
        sick=rising(10),
        mended=every(learns(0.3), loss(high=0.05), score(2.5, 4.5)),
        accepted=("L003", "W007"),
    ),
    *pair(
        "load-forecast",
        signals.load_forecast,
        sick=every(swings(2.0, 4), loss(low=0.1)),
        mended=every(calm(2.0, 2), val_loss(high=0.03), gap(1.25)),
        accepted=("L004", "O001", "O004", "W001"),
    ),
    *pair(
        "row-reader",
        vision.row_reader,
        sick=every(steps(60, 160), score(high=0.88), improving(0.1)),
        mended=every(steps(300), score(low=0.93), gap(1.3)),
        accepted=("L007", "V002"),
    ),
    *pair(
        "customer-churn",
        tab.customer_churn,
        sick=every(overfits(1.5), score(high=0.8)),
        mended=every(learns(0.85), score(low=0.85), gap(1.05)),
        accepted=("V001",),
    ),
    *pair(
        "mark-order",
        words.mark_order,
        sick=every(loss(low=0.6), score(high=0.65)),
        mended=every(loss(high=0.1), score(low=0.97), gap(1.2)),
        accepted=("V002", "L002"),
    ),
    *pair(
        "film-ratings",
        tab.film_ratings,
        sick=every(shifted("user", low=3.0), shifted("item", low=3.0), val_loss(low=0.2)),
        mended=every(learns(0.2), val_loss(high=0.08), gap(1.1)),
        accepted=("W001", "O001", "L003"),
        sites=("user", "item"),
    ),
    *pair(
        "point-outlines",
        signals.point_outlines,
        sick=every(shifted("encoder", high=1e-3), score(high=0.85)),
        mended=every(shifted("encoder", low=0.05), score(low=0.96), loss(high=0.15)),
        accepted=("W002", "O002", "O008"),
        sites=("encoder",),
    ),
    *CONTROLS,
]
