"""Small stored histories for the tests of what reads them: no torch."""

from __future__ import annotations

from pathlib import Path

from lightning_diag.records import History, Layer

NAN = float("nan")


def history(losses: list[float], **facts: object) -> History:
    """A history with one layer, one sample and these losses."""
    h = History({"samples": 1, "steps": len(losses), **facts})
    h.set_layers([Layer("net.0", "Linear", parameters=("net.0.weight",), source="model.py:12")])
    h.set_sites("activation", ["net.0"])
    h.add_sample(0, 0, {"activation/rms": [1.0], "activation/nonfinite": [0.0], "activation/input_nonfinite": [0.0]})
    h.add_points("loss", list(range(len(losses))), losses)
    return h


def healthy() -> History:
    """A run in which nothing is found."""
    return history([1.0, 0.5, 0.2], status="finished")


def sick() -> History:
    """A run whose loss became NaN: L001, an error of the whole model."""
    return history([1.0, NAN, NAN], status="finished", source="model.py:3")


def save(directory: Path, h: History, name: str = "history.jsonl") -> str:
    """Write a history into a directory, which is made; return the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{line}\n" for line in h.lines())
    (directory / name).write_text(text, encoding="utf-8", newline="\n")
    return str(directory)
