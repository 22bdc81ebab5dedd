from __future__ import annotations

import html
import re
import warnings

import pytest

from lightning_diag.findings import Report
from lightning_diag.sinks.markdown import escaped, markdown
from tests.sinks.reports import CRASHED, ERROR, HEALTHY, HOSTILE, SICK, UNJUDGED, finding

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of what tensorboard vendors
    from tensorboard.plugin_util import markdown_to_safe_html

SICK_MARKDOWN = """\
## Training health: sick

5 of 6 rules judged; 1 unmeasured; 64 of 91 steps sampled; 0.73 % of the time spent looking.

- **error** **A001 dead-units**, net.5, steps 0 to 90: 94 % of 64 units.
- **error** **A001 dead-units**, net.3, steps 0 to 90: 93 % of 64 units.
    - because of A001: **G001 vanishing-gradients**, net.0.weight, step 8: Tiny.
    - because of A001: **G001 vanishing-gradients**, net.2.weight, step 4: Tiny.
    - because of A001: **L002 loss-not-decreasing**, whole model, step 40: Flat.
- **warning** **V001 overfitting**, whole model, step 60: val\\_loss rises.

### What to do

- Initialize for ReLU. (A001 dead-units)
- Add BatchNorm. (A001 dead-units)
- Stop. (V001 overfitting)

### Not judged

| rule | verdict | reason |
| --- | --- | --- |
| saturated-units | unmeasured | the model has no bounded activation |
"""


def test_golden() -> None:
    assert markdown(SICK) == SICK_MARKDOWN


@pytest.mark.parametrize("report", [SICK, HEALTHY, UNJUDGED, CRASHED, HOSTILE], ids=lambda r: r.verdict)
def test_it_renders_in_tensorboard_with_every_item_in_place(report: Report) -> None:
    text = markdown(report)
    page = markdown_to_safe_html(text)
    rows = [line for line in text.splitlines() if line.startswith("|") and "---" not in line]
    assert page.count("<tr>") == len(rows)
    findings = page.split("<h3>")[0]
    assert findings.count("<li>") == len(report.findings)
    assert page.split("<h3>Not judged</h3>")[-1].count("<script") == 0


@pytest.mark.parametrize("text", ["a|b", "x_y_z", "*a*", "[l](u)", "# h", "a`b`", "<b>&amp;", "~~a~~", "\\", "$x$"])
def test_escaped_text_is_shown_as_written(text: str) -> None:
    page = markdown_to_safe_html(f"| a |\n| --- |\n| {escaped(text)} |")
    (cell,) = re.findall(r"<td>(.*?)</td>", page)
    assert html.unescape(cell) == text


def test_a_long_report_names_how_many_rows_are_left_out() -> None:
    report = Report(findings=tuple(finding("A001", "dead-units", ERROR, f"net.{i}", 0, "m") for i in range(100)))
    assert "40 more in health.json" in markdown(report)
