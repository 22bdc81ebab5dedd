"""A learning rate over a run, drawn in characters."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning_diag.schedules.schedule import Schedule

_EIGHTHS = " ▁▂▃▄▅▆▇█"


def samples(schedule: Schedule, points: int) -> list[tuple[int, float]]:
    """Return (step, factor) at up to ``points`` steps, evenly spread over the run, its first and last among them."""
    total = drawn_steps(schedule)
    if total <= points:
        return [(t, schedule(t)) for t in range(total)]
    return [(t, schedule(t)) for t in (round(i * (total - 1) / (points - 1)) for i in range(points))]


def drawn_steps(schedule: Schedule) -> int:
    """Return how many steps to draw: the run, or 1000 where it has no end."""
    length = schedule.length
    steps = length.steps or (length.epochs or 0) * (length.steps_per_epoch or 0)
    return steps or max(1000, 4 * schedule.warmup_steps)


def sparkline(schedule: Callable[[float], float], total: int, width: int = 32) -> str:
    """Return one line of ``width`` bars, the highest rate full.

    Example:
        >>> sparkline(lambda t: 1 - t / 8, 8, 8)
        '█▇▆▅▄▃▂▁'
    """
    heights = [schedule(i * total / width) for i in range(width)]
    top = max(heights) or 1.0
    return "".join(_EIGHTHS[max(1, round(8 * h / top))] if h > 0 else "▁" for h in heights)


def text_plot(schedule: Schedule, lr: float, *, width: int = 72, height: int = 10) -> str:
    """Return the rate as columns of blocks, with the axis of rates on the left and of steps below.

    Raises:
        ValueError: fewer than 10 columns or 2 lines.
    """
    if width < 10 or height < 2:
        raise ValueError(f"a drawing needs a width of at least 10 and a height of at least 2, got {width} x {height}")
    points = samples(schedule, width)
    top = max(f for _, f in samples(schedule, 4000)) or 1.0
    columns = [points[min(i * len(points) // width, len(points) - 1)][1] / top for i in range(width)]
    lines = [caption(schedule, lr)]
    for line in range(height, 0, -1):
        filled = "".join(_block(c * height - (line - 1)) for c in columns).rstrip()
        label = f"{lr * top:9.3g}" if line == height else f"{lr * top / 2:9.3g}" if line == (height + 1) // 2 else ""
        lines.append(f"{label:>9} ┤{filled}" if label else f"{'':>9} │{filled}")
    last = points[-1][0]
    lines.append(f"{0:>9} └" + "─" * width)
    lines.append(f"{'':>9}  0{'step ' + str(last):>{width - 1}}")
    return "\n".join(lines)


def caption(schedule: Schedule, lr: float) -> str:
    """Return what is drawn in one line: name, options, warmup, first, highest and last rate."""
    keywords = getattr(schedule.factor, "keywords", {})
    options = ", ".join(f"{k}={_short(v)}" for k, v in keywords.items())
    text = schedule.name + (f"({options})" if options else "") + (" at its fastest" if schedule.fastest else "")
    if schedule.interval == "epoch":
        text += " by epochs"
    if schedule.warmup_steps:
        text += f", {schedule.warmup_kind} warmup of {schedule.warmup_steps} steps"
    points = [f for _, f in samples(schedule, 4000)]
    return f"{text}: lr {lr * points[0]:.3g}, at most {lr * max(points):.3g}, at last {lr * points[-1]:.3g}"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _block(level: float) -> str:
    """Return the character for a column that fills ``level`` of its cell (below 0: nothing, above 1: all)."""
    return _EIGHTHS[min(8, max(0, round(8 * level)))]
