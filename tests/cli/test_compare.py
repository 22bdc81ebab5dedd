"""``lightning-diag compare`` and ``lightning-diag report``."""

from __future__ import annotations

import base64
import html.parser
import json
import re
from pathlib import Path

import pytest

from lightning_diag.records import History
from lightning_diag.rules import RULES
from tests.cli.command import run
from tests.histories import NAN, healthy, history, save, sick

CAPTURE = pytest.CaptureFixture[str]
EVIL = '"><script>alert(1)</script>\x1b[2J\n&amp;<img src=x onerror=alert(1)>\u202e'


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "good", healthy())
    save(tmp_path / "bad", sick())
    return tmp_path


@pytest.mark.parametrize(
    ("a", "b", "code"),
    [
        ("good", "bad", 1),
        ("good", "good", 0),
        ("bad", "bad", 0),
        ("bad", "good", 0),
        ("good", "nowhere", 2),
        ("x", "bad", 2),
    ],
)
def test_exit_codes(capsys: CAPTURE, a: str, b: str, code: int) -> None:
    assert run(capsys, "compare", a, b)[0] == code


def test_what_is_new_and_what_is_gone(capsys: CAPTURE) -> None:
    out = run(capsys, "compare", "good", "bad", "--format", "concise")[1]
    assert out.startswith("model.py:3: L001 non-finite-loss [error]")
    assert "bad/history.jsonl against good/history.jsonl: sick: 1 error" in out
    out = run(capsys, "compare", "bad", "good", "--format", "json")[1]
    (found,) = json.loads(out)["runs"][0]["findings"]
    assert (found["code"], found["severity"]) == ("C003", "info")


def test_compare_follows_settings(capsys: CAPTURE, alone: Path) -> None:
    assert run(capsys, "compare", "good", "bad", "--ignore", "L001")[0] == 0
    assert run(capsys, "compare", "good", "bad", "--require", "A001", "--ignore", "L001")[0] == 1
    run(capsys, "check", "bad", "--baseline", "known.json", "--write-baseline")
    assert run(capsys, "compare", "good", "bad", "--baseline", "known.json")[0] == 0
    assert run(capsys, "compare", "bad", "good", "--fail-on", "info")[0] == 1


# -- the page ----------------------------------------------------------------------------------------------------------


class Page(html.parser.HTMLParser):
    """Collects the tags, attributes and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "img", "br", "line", "circle", "polyline"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.words += data


def hostile() -> History:
    h = History({"status": EVIL, "model": EVIL, "source": f"{EVIL}:3", "versions": {EVIL: EVIL}})
    h.set_sites("activation", [EVIL, "b"])
    h.set_sites("update", [EVIL])
    h.set_sites("total", [""])
    for step in range(12):
        values = {
            "activation/rms": [1.0, 2.0],
            "activation/nonfinite": [2.0, 0.0],
            "activation/zero_fraction": [0.1, 0.9],
        }
        values |= {"activation/input_nonfinite": [0.0, 0.0], "update/ratio": [1e-3], "total/gradient_norm": [1.0]}
        h.add_sample(step, 0, values)
    h.add_points("loss", list(range(12)), [1.0, NAN, float("inf"), 1e308, -1e308, 0.0, 1, 2, 3, 4, 5, 6])
    h.add_points(f"metric/{EVIL}", [3], [1.0], stage="validate")
    return h


def test_the_page_is_whole_and_needs_no_network(capsys: CAPTURE, alone: Path) -> None:
    save(alone / "evil", hostile())
    code, out, _ = run(capsys, "report", "evil", "--html", "out/page.html")
    assert code == 1
    assert out.startswith("out/page.html: sick")
    text = (alone / "out/page.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert not {"script", "link", "iframe", "object", "form"} & set(page.tags)
    assert [name for name, _ in page.attributes if name.startswith("on")] == []
    assert all(v and v.startswith("data:image/png;base64,") for k, v in page.attributes if k in ("src", "href"))
    assert "http" not in re.sub(r'aria-label="[^"]*"', "", text.replace("http-equiv", ""))
    assert "<script>alert(1)</script>" in page.words  # as text
    assert "\x1b" not in text


def test_the_page_has_curves_and_heatmaps(capsys: CAPTURE, alone: Path) -> None:
    save(alone / "evil", hostile())
    run(capsys, "report", "evil", "--html", "page.html")
    page = Page((alone / "page.html").read_text(encoding="utf-8"))
    images = [v or "" for k, v in page.attributes if k == "src"]
    assert len(images) == 2  # of two statistics that are drawn
    assert all(base64.b64decode(i.split(",")[1]).startswith(b"\x89PNG") for i in images)
    assert page.tags.count("svg") == 3  # loss, gradient norm, the metric
    assert "2 not finite" in page.words
    assert "Not judged" in page.words


def test_a_page_on_a_healthy_run(capsys: CAPTURE, alone: Path) -> None:
    assert run(capsys, "report", "good", "--html", "page.html")[0] == 0
    words = Page((alone / "page.html").read_text(encoding="utf-8")).words
    assert "Nothing found." in words
    assert f"{len(RULES) - 3} of {len(RULES)} rules" in words


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("nowhere", "--html", "page.html"), "cannot read nowhere"),
        (("good", "--html", "good"), "cannot write good"),
        (("good", "--html", "page.html", "--select", "nope"), "no rule 'nope'"),
    ],
)
def test_what_cannot_be_shown_is_2(capsys: CAPTURE, alone: Path, argv: tuple[str, ...], words: str) -> None:
    code, _, err = run(capsys, "report", *argv)
    assert code == 2
    assert err.startswith(f"error: {words}")
    assert not (alone / "page.html").exists()


def test_ten_thousand_findings_make_a_page_of_bounded_size(alone: Path) -> None:
    from lightning_diag.sinks.html import page
    from tests.sinks.decisions import many

    text = page(many(10_000), history([1.0, 0.5]))
    assert len(text) < 1_000_000
    assert "9800 more findings are not shown." in text
