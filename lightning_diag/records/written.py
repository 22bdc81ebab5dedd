"""A sample as a file has it: its numbers stay text until somebody asks for them.

A judgement reads fewer than half of the statistics, and parsing numbers is what reading a history costs most.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from lightning_diag.records.parts import Floats, HistoryError

LARGEST = float(np.finfo(np.float64).max)  # stands for infinity, which strict JSON does not have

_HEAD = re.compile(r'\{"step":(-?\d{1,18}),"epoch":(-?\d{1,18}),"stage":"(\w+)","values":\{')
_ROW = re.compile(r'"([^"\\]*)":\[([-+0-9.eE,nul]*)\][,}]')


class Written(Mapping[str, Floats]):
    """Statistic -> values of one sample, parsed at every access (a history keeps the tables made of them).

    Args:
        texts: statistic -> its numbers as written, separated by commas.
        head: step, epoch and stage of the sample.
        where: file and line, for messages.

    Example:
        >>> line = '{"step":5,"epoch":0,"stage":"train","values":{"loss_call/value":[1.5,null]}}'
        >>> row = written_sample(line, "line 2")
        >>> row.step, row.count("loss_call/value"), row["loss_call/value"].tolist()
        (5, 2, [1.5, nan])
    """

    def __init__(self, texts: dict[str, str], head: tuple[int, int, str], where: str) -> None:
        self._texts, self._where = texts, where
        self.step, self.epoch, self.stage = head

    def __getitem__(self, statistic: str) -> Floats:
        """Return the values, shape (sites,).

        Raises:
            KeyError: there is no such statistic.
            HistoryError: what stands there is no list of numbers.
        """
        text = self._texts[statistic]
        try:
            return _parsed(text)
        except (ValueError, TypeError, OverflowError) as error:
            raise HistoryError(f"{self._where}: {statistic}: {error}") from error

    def count(self, statistic: str) -> int:
        """Return how many values a statistic has."""
        text = self._texts[statistic]
        return text.count(",") + 1 if text else 0

    def text(self, statistic: str) -> str:
        """Return the values as they are written."""
        return self._texts[statistic]

    def __contains__(self, statistic: object) -> bool:
        return statistic in self._texts

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what the numbers are: who pickles a history wants to read it quickly."""
        return dict, (dict(self),)


def written_sample(line: str, where: str) -> Written | None:
    """Return the sample that a line states; None if it is none, or is not written as :func:`dump` writes."""
    head = _HEAD.match(line)
    if head is None:
        return None
    rows = _ROW.findall(line, head.end())
    texts = dict(rows)
    read = head.end() + sum(map(len, texts)) + sum(map(len, texts.values())) + 6 * len(texts)
    if not rows or line[read - 1 :].rstrip() != "}}":  # something between the rows, a name twice, or a torn end
        return None
    return Written(texts, (int(head[1]), int(head[2]), head[3]), where)


def numbers_of(values: Any) -> Floats:
    """Return what strict JSON holds as numbers: null is NaN, the largest double infinity."""
    numbers = np.array(values, dtype=np.float64)  # None becomes NaN
    if not (np.abs(numbers) < LARGEST).all():
        numbers = np.where(np.abs(numbers) >= LARGEST, np.copysign(np.inf, numbers), numbers)
    return numbers


def matrix_of(samples: Sequence[Mapping[str, Floats]], statistic: str) -> Floats:
    """Return a statistic of samples with the same sites, shape (samples, sites); written ones are parsed in one go."""
    texts = [s.text(statistic) for s in samples if isinstance(s, Written)]
    changing = len(set(texts[-16:])) > 8  # then to look for equal ones costs more than it saves
    distinct = {} if changing else {text: i for i, text in enumerate(dict.fromkeys(texts))}
    if len(texts) == len(samples):
        try:
            numbers = numbers_of(json.loads(f"[[{'],['.join(texts if changing else distinct)}]]"))
        except (ValueError, TypeError, OverflowError):
            pass  # row by row it shows which line is damaged
        else:
            return numbers if changing else numbers[[distinct[text] for text in texts]]
    return np.array([s[statistic] for s in samples])


@lru_cache(maxsize=64)  # counts of NaN, say, are the same at every step
def _parsed(text: str) -> Floats:
    numbers = numbers_of(json.loads(f"[{text}]"))
    numbers.flags.writeable = False
    return numbers
