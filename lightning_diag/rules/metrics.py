"""Logged metrics: which way is better, which training metric belongs to which validation metric."""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

import numpy as np

from lightning_diag.records import Floats, History, Series, Stage
from lightning_diag.trends import concordance, descent, noise

Direction: TypeAlias = Literal["higher", "lower", ""]

_STAGE_WORDS = {"train", "training", "val", "valid", "validation", "dev", "eval", "epoch", "step", "dataloader", "idx"}
_LOWER = {
    "loss", "error", "err", "mse", "rmse", "mae", "mape", "nll", "ce", "bce", "perplexity", "ppl", "wer", "cer",
    "crossentropy", "entropy", "fid", "brier", "kl", "elbo_loss", "logloss", "bpc", "bpd", "msle", "smape", "rmsle",
}  # fmt: skip
_HIGHER = {
    "acc", "accuracy", "top1", "top5", "f1", "fbeta", "auc", "auroc", "auprc", "ap", "map", "precision", "recall",
    "iou", "miou", "dice", "jaccard", "bleu", "rouge", "r2", "psnr", "ssim", "mcc", "kappa", "ndcg", "mrr", "em",
    "reward", "return", "specificity", "sensitivity", "pearson", "spearman", "hits", "elbo", "rougel", "meteor",
    "similarity", "cosine", "correlation", "corr",
}  # fmt: skip
_BOUNDED = {"acc", "accuracy", "top1", "f1", "auc", "auroc", "auprc", "ap", "r2", "dice", "iou", "miou", "precision"}


def words(name: str) -> list[str]:
    """Return the words of a metric's name, without those that only name the stage.

    Example:
        >>> words("metric/val_Loss_epoch"), words("valAcc"), words("train/top1")
        (['loss'], ['acc'], ['top1'])
    """
    split = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.removeprefix("metric/"))
    found = [w for w in re.split(r"[^a-z0-9]+", split.lower()) if w]
    kept = [w for w in found if w not in _STAGE_WORDS]
    return kept[:-1] if "dataloader" in found and kept and kept[-1].isdigit() else kept


def direction(history: History, name: str) -> Direction:
    """Return which way a metric gets better: as its torchmetrics object says, else by its name, "" if unknown."""
    plain = name.removeprefix("metric/")
    told = history.run.get("metric_direction") or {}
    if told.get(plain) in ("higher", "lower"):
        return "higher" if told[plain] == "higher" else "lower"
    found = words(name)
    if any(w in _LOWER or w.endswith("loss") for w in found):
        return "lower"
    return "higher" if any(w in _HIGHER for w in found) else ""


def signed(history: History, name: str, series: Series) -> Floats:
    """Return the values such that lower is better."""
    return -series.values if direction(history, name) == "higher" else series.values


def pairs(history: History) -> list[tuple[str, str]]:
    """Return (training series, validation series) that measure the same, by name.

    Of several training series of that name the one with the most points is taken: the reader aligns it.
    """
    train: dict[tuple[str, ...], list[str]] = {}
    for name in history.series_names("train"):
        if name == "loss" or name.startswith("metric/"):
            train.setdefault(tuple(words(name)), []).append(name)
    found = []
    for name in history.series_names("validate"):
        candidates = train.get(tuple(words(name)), []) if name.startswith("metric/") else []
        if candidates and direction(history, name):
            logged = [c for c in candidates if c != "loss"] or candidates
            found.append((max(logged, key=lambda c: len(history.series(c))), name))
    return found


def aligned(train: Series, validate: Series) -> tuple[Floats, Floats, Floats]:
    """Return (steps, training values, validation values): medians of training between validation runs."""
    ends = np.searchsorted(train.steps, validate.steps, side="right")
    starts = np.concatenate([[0], ends[:-1]])
    rows = [(s, train.values[i:j], v) for s, i, j, v in zip(validate.steps, starts, ends, validate.values, strict=True)]
    kept = [(s, np.median(t[np.isfinite(t)]), v) for s, t, v in rows if np.isfinite(t).any() and np.isfinite(v)]
    columns = np.array(kept, dtype=np.float64).reshape(-1, 3)
    return columns[:, 0], columns[:, 1], columns[:, 2]


def is_improving(history: History) -> bool:
    """Tell whether any logged metric but the training loss gets better beyond its noise."""
    for stage, name in _named(history):
        series = history.series(name, stage)
        way = direction(history, name)
        known = way == "higher" or (way == "lower" and stage == "validate")
        if known and improves(signed(history, name, series)):
            return True
    return False


def improves(values: Floats) -> bool:
    """Tell whether a series where lower is better ends better than it began, beyond its noise."""
    v = values[np.isfinite(values)]
    if len(v) >= 12:
        return descent(v).kind == "falling"
    if len(v) < 4:
        return False
    gain = float(v[0] - np.median(v[-2:]))
    return gain > max(3 * noise(v), 0.02 * abs(float(v[0]))) and concordance(v) <= -0.4


def bounded(name: str) -> bool:
    """Tell whether a metric is a score whose best is 1, by its name."""
    return any(w in _BOUNDED for w in words(name))


def already_good(history: History) -> str:
    """Return a metric that says the model is good as it is (0.9 or more of a score whose best is 1), else ""."""
    for stage, name in _named(history):
        v = history.series(name, stage).values
        if direction(history, name) == "higher" and bounded(name) and len(v) and 0.9 <= float(np.median(v[-5:])) <= 1.0:
            return name.removeprefix("metric/")
    return ""


def _named(history: History) -> list[tuple[Stage, str]]:
    stages: tuple[Stage, ...] = ("train", "validate")
    return [(s, n) for s in stages for n in history.series_names(s) if n.startswith("metric/")]
