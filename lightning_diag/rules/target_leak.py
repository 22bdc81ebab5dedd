"""D009 target-leak."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from lightning_diag.findings import Finding, Prescription, Severity
from lightning_diag.records import History
from lightning_diag.rules.curve import unexplained
from lightning_diag.rules.rule import Unmeasured, percent
from lightning_diag.rules.seen import data, loss_calls, seen_steps, target_path

_DROP = Prescription("Drop that feature, unless it is really known when a prediction is needed.")
_WINDOW = Prescription("End the window before the step to be predicted: x = series[i : i + n], y = series[i + n].")
_MASK = Prescription(
    "Mask what comes later: F.scaled_dot_product_attention(..., is_causal=True), "
    "nn.Transformer.generate_square_subsequent_mask(length) as mask; no bidirectional layer."
)
_EXACT = 1e-6  # of the variance: what smooth series do not reach from one step to the next

_RECURRENT = ("RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell")
_COPIED = 0.3  # of the loss of a guess: what is copied leaves little to guess
_OVER_TIME = ("RNN", "GRU", "LSTM", "Conv", "Embedding", "MultiheadAttention")


@final
@dataclass(frozen=True, kw_only=True)
class TargetLeak:
    """An input feature gives the target away.

    What it finds:
        One single feature of three or more that explains at least ``min_r2`` of the variance of a target
        column, or of a
        class, over ``min_rows`` rows: a copy of the target, or something made from it. Of a sequence: its last place,
        if it is a real-valued target to the sixth digit. And attention without a mask (or a bidirectional recurrent
        layer) and nothing that looks back only, where the targets are the inputs one place later and the loss came
        below 0.3 of that of a guess: an error.

    Why it matters:
        The network learns to read that feature. Where it is missing, or known only afterwards, it predicts nothing.

    When it is silent:
        Features that correlate, however strongly, but not perfectly; inputs of one or two features; autoencoders,
        whose target is the input.

    What to do:
        Drop the feature if it would not be known when the prediction is needed.

    Source:
        Kaufman, Rosset, Perlich, Leakage in Data Mining (KDD 2011).
    """

    code: ClassVar[str] = "D009"
    name: ClassVar[str] = "target-leak"
    severity: ClassVar[Severity] = Severity.WARNING
    needs: ClassVar[tuple[str, ...]] = ()
    min_r2: float = 0.99
    min_rows: int = 64

    def check(self, history: History) -> Iterator[Finding]:
        """Yield at most one finding."""
        ahead = _sees_next(history)
        if ahead:
            yield self._looks_ahead(history, ahead)
            return
        fit = data(history).get("fit") or {}
        if "best_r2" not in fit or fit["rows"] < self.min_rows:
            raise Unmeasured(f"inputs and targets were not found together, or fewer than {self.min_rows} rows")
        path = next((p for p in data(history)["train"] if p != target_path(history)), "")
        shape = (history.run.get("batch") or {}).get(path, {}).get("shape") or ()
        first = next((x for x in history.layers if x.parameters), None)
        symbols = bool((data(history)["train"].get(path) or {}).get("integers"))
        exact = fit["best_r2"] > 1 - _EXACT and _is_last(fit["best_feature"], shape) and _is_number(history)
        if not exact and (len(shape) != 2 or (symbols and first is not None and first.type.startswith(_OVER_TIME))):
            raise Unmeasured("asked of tables alone: in a sequence or image one place may rightly decide")
        compared = [*loss_calls(history), *(history.run.get("differences") or ())]
        if any(c.get("target") == path for c in compared):
            raise Unmeasured("the input is a target itself: a reconstruction may well read it off")
        targets = [list(c.get("target_shape") or ()) for c in compared]
        if any(len(t) == 2 and t[1:] == list(shape)[1:] for t in targets):
            raise Unmeasured("the target has the shape of the input: a reconstruction may well read it off")
        distinct = int((data(history)["train"].get(path) or {}).get("distinct") or 0)
        if distinct < max(self.min_rows, 2 * fit["features"]):
            raise Unmeasured(f"{distinct} different rows of {fit['features']} features: chance finds a telling one")
        if fit["features"] < 3 or fit["best_r2"] < self.min_r2:
            return
        message = (
            f"Feature {fit['best_feature']} of the input alone explains "
            f"{percent(fit['best_r2'])} of a target's variance over "
            f"{fit['rows']} rows: it is the target, or made from it. The network learns to read it, and nothing else."
        )
        step, last = seen_steps(history)
        value, limit = float(fit["best_r2"]), self.min_r2
        advice = (_WINDOW if len(shape) == 3 else _DROP,)
        if len(shape) == 3:
            message += " It is the last place of the window, which reaches one step too far."
        yield Finding(self.code, self.name, self.severity, "", step, value, limit, message, last, "", advice)

    def _looks_ahead(self, history: History, site: str) -> Finding:
        message = (
            f"The targets are the inputs one place later, and {site} lets a place see those behind it. The network "
            "copies the next symbol instead of predicting it; where it has to write a text, it has nothing to copy."
        )
        step, last = seen_steps(history)
        return Finding(self.code, self.name, Severity.ERROR, site, step, 1.0, 0.0, message, last, "", (_MASK,))


def _is_last(feature: int, shape: Sequence[int]) -> bool:
    """Tell whether a feature lies in the last place of a sequence, whichever of its axes is the time."""
    if len(shape) != 3:
        return False
    row, column = divmod(feature, shape[2])
    return (row == shape[1] - 1 and shape[1] > 2) or (column == shape[2] - 1 and shape[2] > 2)


def _is_number(history: History) -> bool:
    """Tell whether the target is one real number a sample."""
    target = data(history)["train"].get(target_path(history)) or {}
    return not target.get("integers", True) and len(target.get("mean") or ()) == 1


def _sees_next(history: History) -> str:
    """Return the layer that sees later places where the next ones are to be predicted, "" where there is none."""
    seen: dict[str, bool] = history.run.get("attends_ahead") or {}
    both = [x.site for x in history.layers if any("_reverse" in p for p in x.parameters)]
    ahead = both[:1] or [site or "attention" for site in seen][:1]
    back = any(x.type in _RECURRENT and x.site not in both for x in history.layers) or not all(seen.values())
    if not ahead or back or not _predicts_next(history):
        return ""  # what looks back may be a decoder, that gets what it needs from an encoder of the whole
    return ahead[0] if unexplained(history) < _COPIED else ""


def _predicts_next(history: History) -> bool:
    """Tell whether each place's target is the symbol of the next one: a tensor of its own, or the batch's only one."""
    batch, calls = history.run.get("batch") or {}, loss_calls(history)
    target = calls[0].get("target") if len(calls) == 1 else ""
    if not target or "cross_entropy" not in str(calls[0].get("loss")):
        return False
    if data(history).get("target", {}).get("shifted") == target:
        return True
    shape: list[int] = (batch.get(target) or {}).get("shape") or []
    alone = list(batch) == [target] and len(shape) == 2 and "int" in str(batch[target].get("dtype"))
    return alone and math.prod(calls[0].get("target_shape") or ()) == shape[0] * (shape[1] - 1)
