"""Which fault explains which: one table, read from top to bottom."""

from __future__ import annotations

from typing import NamedTuple


class Cause(NamedTuple):
    """``cause`` explains ``consequence``, because ``reason``.

    A *timed* row holds only where the cause was seen no later than the consequence, in the order in which a
    training step does things: forward, loss, backward, update; a *strict* one only where it was seen steps before.
    A *grave* row holds only where the cause is an error.
    """

    cause: str
    consequence: str
    reason: str
    timed: bool = True
    grave: bool = False
    strict: bool = False


# What a run comes to, whatever went wrong before.
OUTCOMES = (
    "loss-not-decreasing", "loss-diverging", "loss-oscillating", "overfitting", "underfitting",
    "validation-better-than-training", "stopped-too-early", "plateau-at-constant-rate", "collapsed-output",
    "labels-independent-of-input",
)  # fmt: skip
NUMBERS = ("non-finite-loss", "non-finite-activation", "non-finite-gradient", "loss-scale-collapse")
STEPS = ("update-too-large", "exploding-gradients", "weight-growth", "activation-explosion", "noisy-gradient")
SIGNALS = (
    "dead-units", "saturated-units", "vanishing-gradients", "representation-collapse", "collapsed-output",
    "signed-inputs",
)  # fmt: skip
SMALL = ("update-too-small", "parameter-never-updated")
RATES = ("learning-rate-too-high", "learning-rate-too-low")
START = ("poor-initialization", "initial-loss-off")
RUNNING = ("running-statistics",)


class Row(NamedTuple):
    """Each of ``causes`` explains each of ``consequences``, because ``reason``."""

    causes: tuple[str, ...]
    consequences: tuple[str, ...]
    reason: str
    timed: bool = False
    grave: bool = False


# Read from top to bottom: the first row that fits names the cause. First what a person did, then what it led to.
TABLE: tuple[Row, ...] = (
    # the data
    Row(("non-finite-input",), (*NUMBERS, *STEPS, *OUTCOMES), "a number that is none spreads to all it touches"),
    Row(
        ("target-leak",),
        ("overfitting", "train-validation-input-shift", "loss-oscillating", "underfitting"),
        "the leaked feature is not there, or means nothing, in validation",
    ),
    Row(("train-validation-overlap",), ("validation-better-than-training",), "validation holds what was trained on"),
    Row(
        ("train-validation-input-shift",),
        ("overfitting", "running-statistics", "validation-better-than-training"),
        "validation sees other inputs than training did",
    ),
    Row(
        ("unnormalized-input",),
        (*NUMBERS, *STEPS, *SIGNALS, *START, *RATES, *SMALL, *OUTCOMES, "clipping-always-active"),
        "huge or offset inputs make huge activations, gradients and curvatures",
    ),
    Row(("constant-feature",), ("dead-units", *OUTCOMES, "repeated-samples"), "what never changes tells nothing"),
    Row(("repeated-samples",), (*OUTCOMES, "not-shuffled", "class-imbalance"), "the network sees few samples only"),
    Row(
        ("not-shuffled",),
        (
            "loss-oscillating",
            *OUTCOMES,
            *STEPS,
            *SIGNALS,
            "running-statistics",
            "class-imbalance",
            "learning-rate-too-high",
        ),
        "each batch pulls to its own class",
    ),
    # the loss and what it is given
    Row(
        ("wrong-sign", "negative-loss"),
        (*NUMBERS, *STEPS, *SIGNALS, *OUTCOMES, *RATES, "initial-loss-off"),
        "an objective that has no lower bound, or is climbed, drives the weights away",
    ),
    Row(("wrong-sign",), ("negative-loss",), "a maximized loss falls below zero"),
    Row(
        ("loss-target-mismatch",),
        ("output-range", "logits-for-probabilities", "target-broadcast"),
        "the targets are not what the loss is made for",
    ),
    Row(
        (
            "softmax-before-cross-entropy",
            "sigmoid-before-bce-with-logits",
            "logits-for-probabilities",
            "output-range",
            "loss-target-mismatch",
            "target-broadcast",
        ),
        (
            *NUMBERS,
            *STEPS,
            *SIGNALS,
            *START,
            *SMALL,
            *RATES,
            *OUTCOMES,
            "negative-loss",
            "class-imbalance",
            "target-scale",
        ),
        "the loss does not measure what should be learned",
    ),
    Row(
        ("loss-target-mismatch", "logits-for-probabilities"),
        ("wrong-sign",),
        "a loss that gets what it is not made for has no floor",
    ),
    Row(
        ("target-scale",),
        (*NUMBERS, *STEPS, *SIGNALS, *START, *RATES, *SMALL, *OUTCOMES),
        "the output must first grow to where the targets are",
    ),
    Row(
        ("loss-scale",),
        (*NUMBERS, *STEPS, *SIGNALS, *RATES, *SMALL, *OUTCOMES, "clipping-always-active"),
        "every gradient is multiplied with the loss",
    ),
    # how the run is wired
    Row(
        ("gradients-never-cleared",),
        (*NUMBERS, *STEPS, *SIGNALS, *RATES, *OUTCOMES),
        "each step adds the gradients of all steps before",
    ),
    Row(
        ("unregistered-parameters", "no-gradient", "parameter-not-in-optimizer"),
        (*SMALL, *SIGNALS, *OUTCOMES, "accidentally-frozen", "learning-rate-too-low", "poor-initialization"),
        "what is not trained stays random",
    ),
    Row(
        ("unregistered-parameters", "no-gradient", "parameter-not-in-optimizer", "symmetric-units", "samples-mixed"),
        (*STEPS, "learning-rate-too-high"),
        "where most of the model cannot learn, the loss stays, and every step looks too long",
        grave=True,
    ),
    Row(("no-gradient",), ("parameter-not-in-optimizer",), "no gradient arrives"),
    Row(
        ("parameter-never-updated", "accidentally-frozen"),
        ("update-too-small", *OUTCOMES),
        "what is not trained stays random",
    ),
    Row(
        ("symmetric-units",),
        (*SIGNALS, *SMALL, *START, *OUTCOMES, "no-gradient"),
        "clones learn the same: a layer of one unit",
    ),
    Row(("missing-nonlinearity",), (*OUTCOMES, *SIGNALS, *STEPS), "affine layers in a row are one affine layer"),
    Row(("samples-mixed",), (*OUTCOMES, *SIGNALS, "running-statistics"), "a sample's output depends on its neighbours"),
    Row(
        ("module-in-eval-mode", "module-in-train-mode", "batch-too-small-for-batchnorm"),
        (*RUNNING, *STEPS, *SIGNALS, "learning-rate-too-high", *OUTCOMES),
        "normalization and dropout work other than they should",
    ),
    Row(
        ("running-statistics",),
        ("overfitting", "loss-oscillating", "underfitting", "stopped-too-early"),
        "validation runs with statistics that are not those of the data",
    ),
    Row(
        ("over-regularization",),
        (*SMALL, *SIGNALS, *OUTCOMES, *STEPS, "learning-rate-too-high"),
        "the penalty outweighs the data",
    ),
    Row(
        ("clipping-always-active",),
        (*SMALL, *OUTCOMES, "learning-rate-too-low"),
        "the threshold sets the step, not the gradient",
    ),
    Row(
        ("replicas-differ",),
        (*NUMBERS, *STEPS, *SIGNALS, *RATES, *OUTCOMES),
        "the averaged gradient fits none of the models",
    ),
    Row(("class-imbalance",), OUTCOMES, "the majority alone makes the loss"),
    # where it starts, and how fast it goes
    Row(("schedule-mismatch",), (*RATES, *SMALL, *STEPS, *SIGNALS, *OUTCOMES), "the rate is not what was meant"),
    Row(
        ("poor-initialization",),
        ("initial-loss-off", *NUMBERS, *STEPS, *SIGNALS, *RATES, *SMALL, *OUTCOMES, "clipping-always-active"),
        "a signal that grows or shrinks through depth starts training in the wrong place",
    ),
    Row(("learning-rate-too-high",), (*NUMBERS, *STEPS, *SIGNALS, *OUTCOMES, "batch-size"), "every step overshoots"),
    Row(("learning-rate-too-low",), (*SMALL, *OUTCOMES), "the weights hardly move"),
    Row(
        ("batch-size",),
        (*OUTCOMES, *SMALL, "learning-rate-too-low", "noisy-gradient"),
        "too few, or too noisy, updates",
    ),
    Row(("loss-scale-collapse",), NUMBERS, "the scaler has given up"),
    Row(
        ("activation-explosion",),
        (*NUMBERS, "exploding-gradients", "update-too-large", "saturated-units"),
        "what grows from layer to layer overflows at last",
        timed=True,
    ),
    Row(
        ("weight-growth",),
        (*NUMBERS, "activation-explosion", "exploding-gradients", *SIGNALS),
        "weights without bound",
        timed=True,
    ),
)

# And among what is measured: nearest cause first. A timed row holds where the cause was seen no later.
MEASURED: tuple[Cause, ...] = (
    # numbers that break: what broke first is the cause of what broke after it
    Cause("non-finite-activation", "non-finite-loss", "the loss is computed from the activations"),
    Cause("non-finite-gradient", "non-finite-loss", "the step wrote non-finite numbers into the weights"),
    Cause("exploding-gradients", "non-finite-loss", "one huge step throws the weights far away; then it overflows"),
    Cause("update-too-large", "non-finite-loss", "steps larger than the weights grow without bound"),
    Cause("non-finite-loss", "non-finite-activation", "the weights were non-finite after that step"),
    Cause("non-finite-gradient", "non-finite-activation", "the step wrote non-finite numbers into the weights"),
    Cause("exploding-gradients", "non-finite-activation", "weights that grow without bound overflow the activations"),
    Cause("update-too-large", "non-finite-activation", "weights that grow without bound overflow the activations"),
    Cause("non-finite-loss", "non-finite-gradient", "every gradient is a derivative of the loss"),
    Cause("non-finite-activation", "non-finite-gradient", "gradients are computed from the activations"),
    Cause("exploding-gradients", "non-finite-gradient", "gradients that grow without bound overflow"),
    Cause("update-too-large", "non-finite-gradient", "weights that grow without bound overflow the gradients"),
    # steps that are too large
    Cause("exploding-gradients", "update-too-large", "a step is made of the gradient"),
    Cause("update-too-large", "exploding-gradients", "each step overshoots, so that the next gradient is larger"),
    Cause("exploding-gradients", "dead-units", "one huge step pushed the units to where they are never active"),
    Cause("update-too-large", "dead-units", "a huge step pushed the units to where they are never active"),
    Cause("exploding-gradients", "saturated-units", "one huge step made the inputs of the activation huge"),
    Cause("update-too-large", "saturated-units", "huge steps made the inputs of the activation huge"),
    # signals that do not come through
    Cause("dead-units", "vanishing-gradients", "no gradient passes a unit that is never active", grave=True),
    Cause("saturated-units", "vanishing-gradients", "the derivative of a saturated unit is about zero"),
    Cause("exploding-gradients", "vanishing-gradients", "one huge step threw the weights to where no gradient passes"),
    Cause("update-too-large", "vanishing-gradients", "huge steps threw the weights to where no gradient passes"),
    Cause("vanishing-gradients", "dead-units", "activations so small that the least step of a bias switches them off"),
    Cause("dead-units", "update-too-small", "no gradient passes a unit that is never active", timed=False),
    Cause("saturated-units", "update-too-small", "the derivative of a saturated unit is about zero", timed=False),
    Cause("vanishing-gradients", "update-too-small", "a step is made of the gradient", timed=False),
    # and what all of this comes to
    Cause("non-finite-loss", "loss-not-decreasing", "a loss that is no number cannot fall", timed=False),
    Cause("dead-units", "loss-not-decreasing", "what no signal passes cannot learn", timed=False),
    Cause("saturated-units", "loss-not-decreasing", "what no gradient passes cannot learn", timed=False),
    Cause("vanishing-gradients", "loss-not-decreasing", "the early layers do not learn", timed=False),
    Cause("update-too-small", "loss-not-decreasing", "the weights do not move", timed=False),
    Cause("exploding-gradients", "loss-not-decreasing", "huge steps undo what was learned", timed=False),
    Cause("update-too-large", "loss-not-decreasing", "every step overshoots", timed=False),
    Cause("exploding-gradients", "initial-loss-off", "what explodes backward was huge forward", timed=False),
    Cause("saturated-units", "initial-loss-off", "flat units put out extremes", timed=False),
    Cause("exploding-gradients", "clipping-always-active", "what explodes is clipped all the time", timed=False),
    Cause("dead-units", "learning-rate-too-low", "no gradient passes a unit that is never active", timed=False),
    Cause("vanishing-gradients", "learning-rate-too-low", "a step is made of the gradient", timed=False),
    Cause("loss-diverging", "loss-not-decreasing", "a loss that grows does not fall", timed=False),
    Cause("update-too-large", "loss-diverging", "every step overshoots", timed=False),
    Cause("exploding-gradients", "loss-diverging", "huge steps undo what was learned", timed=False),
    Cause("update-too-large", "loss-oscillating", "every step overshoots", timed=False),
    Cause("exploding-gradients", "loss-oscillating", "huge steps undo what was learned", timed=False),
    Cause("loss-oscillating", "loss-not-decreasing", "each rise undoes the fall before", timed=False),
    Cause("update-too-large", "collapsed-output", "huge steps threw the weights away", timed=False),
    Cause("exploding-gradients", "collapsed-output", "huge steps threw the weights away", timed=False),
    Cause("dead-units", "collapsed-output", "what no signal passes is the same for every sample", timed=False),
    Cause("saturated-units", "collapsed-output", "flat units give the same for every sample", timed=False),
    Cause("vanishing-gradients", "collapsed-output", "the early layers do not learn", timed=False),
    Cause(
        "representation-collapse",
        "collapsed-output",
        "features that do not differ make no different outputs",
        timed=False,
    ),
    Cause("collapsed-output", "loss-not-decreasing", "a constant cannot fit targets that differ", timed=False),
    Cause("collapsed-output", "labels-independent-of-input", "a constant output depends on nothing", timed=False),
    Cause("dead-units", "representation-collapse", "dead units add no direction"),
    Cause("collapsed-output", "update-too-small", "a constant output has no gradient", timed=False),
    Cause("representation-collapse", "dead-units", "features that shrink to nothing leave units silent", strict=True),
    Cause("vanishing-gradients", "underfitting", "the early layers do not learn", timed=False),
    Cause("dead-units", "underfitting", "dead units are missing capacity", timed=False),
    Cause("saturated-units", "underfitting", "flat units hardly learn", timed=False),
    Cause("update-too-small", "underfitting", "the weights do not move", timed=False),
    Cause("update-too-large", "underfitting", "every step overshoots", timed=False),
    Cause("labels-independent-of-input", "loss-not-decreasing", "there is nothing to learn", timed=False),
    Cause("labels-independent-of-input", "overfitting", "what cannot be learned can only be memorized", timed=False),
    Cause("loss-not-decreasing", "underfitting", "a loss that stays fits nothing", timed=False),
    Cause("stopped-too-early", "underfitting", "training goes on improving", timed=False),
)

CAUSES: tuple[Cause, ...] = (
    *dict.fromkeys(Cause(a, b, row.reason, row.timed, row.grave)
                   for row in TABLE for a in row.causes for b in row.consequences if a != b),
    *MEASURED,
)  # fmt: skip
