"""The pictures of the rules: what is chosen and drawn of recorded fits; those that are committed are well-formed."""

from __future__ import annotations

import math
import re
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from docs import pictures
from docs.axes import Axis
from docs.drawing import MENDED, SICK, Curve, Panel, draw, thinned
from docs.views import VIEWS
from lightning_diag import History
from lightning_diag.rules import RULES

NON_FINITE = next(r for r in RULES if r.code == "A003")
HOSTILE = 'net.<script>alert("&")</script>]]>\x00\x1b'
WORDS = {"program": "p", "subtitle": "s", "sentence": "m", "about": "a"}


def history(broken_from: int, steps: int = 300, site: str = HOSTILE) -> History:
    """A layer whose output is not finite from some step on, and the loss with it."""
    h = History({"status": "finished", "steps": steps})
    h.set_sites("activation", [site, "net.1"])
    for i in range(0, steps, 2):
        h.add_sample(i, 0, {"activation/nonfinite": [float(i >= broken_from), 0.0], "activation/rms": [1.0, 1.0]})
    h.add_points("loss", range(steps), [math.nan if i >= broken_from else 2.0 - i / steps for i in range(steps)])
    return h


def drawn(*panels: Panel) -> ElementTree.Element:
    """The parsed picture of some panels; no coordinate in it may be other than a plain number."""
    svg = draw("X001 title", panels, **WORDS)
    assert not re.search(r'="[^"]*\b(nan|inf)', svg), svg
    return ElementTree.fromstring(svg)


def paths(root: ElementTree.Element, colour: str) -> list[str]:
    return [
        x.get("d", "") for x in root.iterfind(".//{*}path") if x.get("stroke") == colour and x.get("fill") == "none"
    ]


def texts(root: ElementTree.Element) -> list[str]:
    return [x.text or "" for x in root.iterfind(".//{*}text")]


def curve(*values: float) -> Curve:
    return Curve(np.arange(float(len(values))), np.array(values))


def test_a_rule_is_drawn_from_two_histories() -> None:
    svg = pictures.picture(NON_FINITE, "p<q>", "A fault & more.", history(100), history(1000))
    root = ElementTree.fromstring(svg)
    assert len(paths(root, SICK)) == len(paths(root, MENDED)) == 2  # the loss, and what the rule judges
    assert len(svg) < 12_000
    words = texts(root)
    assert {"A003 non-finite-activation", "A fault & more.", "sick: p<q>", "mended", "training loss", "step"} <= set(
        words
    )
    assert "found at step 100" in words and "× NaN or infinite" in words
    assert any(w.startswith("NaN and Inf among outputs at ...") for w in words)
    about = root.findtext("{*}desc")
    assert about == "The sick program `p<q>` of the collection (A fault & more) against its mended twin, `p<q>-mended`."
    assert not root.findall(".//{*}script") and svg == pictures.picture(
        NON_FINITE, "p<q>", "A fault & more.", history(100), history(1000)
    )


def test_what_is_not_found_or_not_mended_is_not_drawn() -> None:
    with pytest.raises(ValueError, match="A003 non-finite-activation finds nothing in the fit of p"):
        pictures.picture(NON_FINITE, "p", "", history(1000), history(1000))
    with pytest.raises(ValueError, match="in p-mended as well"):
        pictures.picture(NON_FINITE, "p", "", history(100), history(50))


def test_numbers_that_are_none_break_the_line_and_are_marked() -> None:
    sick = curve(3, 2, math.nan, math.inf, 1, 2, -math.inf)
    root = drawn(Panel("loss", sick, curve(*7 * [math.nan])))
    (line,) = paths(root, SICK)
    assert line.count("M") == 2 and not paths(root, MENDED)
    assert "× NaN or infinite" in texts(root)


@pytest.mark.parametrize(
    "values",
    [(), (0.0,), (5.0, 5.0), (0.0, 0.0), (1e-320, 1.0), (1e-300, 1e299), (-1e299, 1e299), (1.7e308,), (-3.0, -3.0)],
    ids=str,
)
def test_any_values_can_be_drawn(values: tuple[float, ...]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        root = drawn(Panel("odd", curve(*values), curve(), mark=0))
    for path in paths(root, SICK):
        x, y = np.array(re.findall(r"(\d[\d.]*) (\d[\d.]*)", path), dtype=float).T
        assert (x >= 62).all() and (x <= 742).all() and (y >= 96).all() and (y <= 252).all()


def test_an_axis_is_logarithmic_only_where_it_says_more() -> None:
    def log(*values: float, log: bool = True) -> bool:
        return Axis.over(np.array(values), 100, 0, log=log).log

    assert log(0.01, 1.0) and log(1e-8, 1e8)
    assert not (log(0.02, 1.0) or log(-1.0, 1e6) or log(0.0, 0.0) or log(0.01, 1.0, log=False))
    axis = Axis.over(np.array([0.0, 1e-3, 1.0]), 100, 0, log=True)
    assert axis.place(0.0) == 100 and axis.place(1.0) == 0 and 0 < axis.place(1e-3) < 100
    assert [axis.text(t) for t in axis.ticks()] == ["0", "0.001", "0.01", "0.1", "1"]
    assert [Axis.over(np.array([0.0, 199.0]), 0, 1, tight=True).ticks(whole=True)] == [[0, 50, 100, 150]]


def test_many_points_become_few_and_no_extreme_is_lost() -> None:
    y = np.sin(np.arange(5000.0))
    y[1234], y[4000:4200] = 50.0, np.nan
    x, middle, low, high = thinned(Curve(np.arange(5000.0), y))
    assert len(x) == len(middle) <= 120
    assert np.nanmax(high) == 50 and np.nanmax(middle) < 1 and np.nanmin(low) < -0.99
    assert 1 <= np.isnan(middle).sum() <= 3


def test_no_panel_and_three_panels_are_errors() -> None:
    for n in (0, 3):
        with pytest.raises(ValueError, match=f"one or two panels, got {n}"):
            draw("t", n * [Panel("a", curve(1), curve(2))], **WORDS)


def test_the_most_telling_program_comes_first() -> None:
    table: Any = {
        "beside": {"0": {"L002": "warning", "A001": "warning*"}},
        "among-many": {"0": {"L002": "error*", "W002": "error", "A001": "warning"}},
        "alone": {"0": {"L002": "error*"}},
        "found-too": {"0": {"L002": "error*"}},
        "found-too-mended": {"0": {"L002": "warning"}},
        "other-seed": {"0": {}, "1": {"L002": "error*"}},
    }
    faults = {n: "L002" for n in table if not n.endswith("-mended")} | {"never-judged": "L002"}
    assert pictures.candidates("L002", table, faults) == ["alone", "among-many", "beside"]
    faults["alone"] = "O001"
    assert pictures.candidates("L002", table, faults) == ["among-many", "alone", "beside"]


def test_pictures_are_drawn_listed_as_missing_and_removed(tmp_path: Path) -> None:
    fits = {"p": history(100), "p-mended": history(1000), "q": history(1000), "q-mended": history(1000)}
    programs = {"A003": [SimpleNamespace(name=n, build=test_any_values_can_be_drawn) for n in ("none", "q", "p")]}
    for name in ("A001-dead-units.svg", "X999-gone.svg"):
        (tmp_path / name).touch()
    without = pictures.redraw(("A001", "A003"), fits.get, lambda code: programs.get(code, []), tmp_path)  # type: ignore[arg-type,return-value]
    assert without == {"A001": "no program of the collection has it"}
    assert [f.name for f in tmp_path.iterdir()] == ["A003-non-finite-activation.svg"]
    without = pictures.redraw(("A003",), {}.get, lambda code: programs.get(code, []), tmp_path)  # type: ignore[arg-type,return-value]
    assert without == {"A003": "none or its twin is not recorded"} and len(list(tmp_path.iterdir())) == 1
    fits["p"] = fits["none"] = fits["none-mended"] = fits["q"]
    without = pictures.redraw(("A003",), fits.get, lambda code: programs.get(code, []), tmp_path)  # type: ignore[arg-type,return-value]
    assert without == {"A003": "A003 non-finite-activation finds nothing in the fit of none"}
    assert not list(tmp_path.iterdir())


def test_every_view_is_of_a_rule_and_names_a_sick_program() -> None:
    from tests.models import SICK

    assert set(VIEWS) <= {r.code for r in RULES}
    assert {v.program for v in VIEWS.values()} <= {"", *(p.name for p in SICK)}
    assert all(pictures.fault_of(p) for p in SICK)


@pytest.mark.parametrize("path", sorted(pictures.IMAGES.glob("*")), ids=lambda p: p.stem)
def test_the_committed_pictures_are_small_and_of_programs_that_exist(path: Path) -> None:
    from tests.models import SICK, TWINS

    root = ElementTree.parse(path).getroot()
    named = re.findall(r"`([^`]+)`", root.findtext("{*}desc") or "")
    assert path.stat().st_size < 12_000
    assert (root.findtext("{*}title") or "").replace(" ", "-") == path.stem
    assert named[0] in {p.name for p in SICK} and named[1] in {p.name for p in TWINS}
