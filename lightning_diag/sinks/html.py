"""One self-contained HTML page on a run: findings, curves, heatmaps, what was not judged. No script, no network."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator

from lightning_diag.findings import Finding
from lightning_diag.gate import Decision, Judged
from lightning_diag.records import History
from lightning_diag.sinks.curves import charts
from lightning_diag.sinks.heatmap import HEATMAPS, draw, encode
from lightning_diag.sinks.tally import counted, remarks, tally
from lightning_diag.sinks.wording import Group, grouped, printable, unjudged, when

_MOST_FINDINGS = 200  # shown one by one; a page of ten thousand helps nobody
_STYLE = """
:root{--ink:#1c2330;--dim:#667085;--line:#d9dee7;--paper:#fff;--soft:#f6f8fb;--error:#b42318;--warning:#b54708;--info:#175cd3;--healthy:#067647;--cure:#067647}
@media
(prefers-color-scheme:dark){:root{--ink:#e6e9ef;--dim:#98a2b3;--line:#344054;--paper:#161b26;--soft:#1f2633;--error:#f97066;--warning:#fdb022;--info:#84caff;--healthy:#47cd89;--cure:#47cd89}
}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:1080px;margin:0 auto;padding:24px 20px 60px}
h1{font-size:24px;margin:0}
h2{font-size:18px;margin:34px 0 10px;border-bottom:1px solid var(--line);padding-bottom:4px}
.dim{color:var(--dim)}
code{font-family:ui-monospace,monospace;overflow-wrap:anywhere}
.verdict{display:inline-block;padding:1px 10px;border-radius:12px;color:#fff;font-weight:600}
.verdict.error{background:#b42318}
.verdict.warning{background:#b54708}
.verdict.healthy{background:#067647}
.verdict.unknown{background:#667085}
.finding{border:1px solid var(--line);border-left:5px solid var(--dim);border-radius:6px;padding:10px 14px;margin:10px
0;background:var(--soft);overflow-wrap:anywhere}
.finding.error{border-left-color:var(--error)}
.finding.warning{border-left-color:var(--warning)}
.finding.info{border-left-color:var(--info)}
.finding p{margin:4px 0}
.cure{color:var(--cure)}
.below{margin-left:18px;color:var(--dim)}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(320px,1fr));gap:16px}
figure{margin:0}
figcaption{font-weight:600;overflow-wrap:anywhere}
figcaption span{font-weight:400;color:var(--dim)}
svg{width:100%;height:auto;display:block}
.heatmap{margin:14px 0;overflow-x:auto}
.heatmap img{max-width:100%;height:auto;border-radius:4px}
table{border-collapse:collapse;width:100%}
td,th{text-align:left;padding:4px 10px 4px 0;border-bottom:1px solid
var(--line);vertical-align:top;overflow-wrap:anywhere}
"""


def page(decision: Decision, history: History | None) -> str:
    """Return the page on the first run of a decision; pictures are inside, whatever is shown is escaped."""
    run = decision.runs[0]
    parts = [*_head(run, decision), *_findings(run)]
    if history is not None:
        parts += [*_curves(history), *_heatmaps(history)]
    parts += _not_judged(run)
    title = f"Training health: {run.verdict(decision.fail_on)}"
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{_e(title)}</title><style>{_STYLE}</style></head><body><main>\n"
        + "\n".join(parts)
        + "\n</main></body></html>\n"
    )


def _e(text: object, limit: int = 2000) -> str:
    return html.escape(printable(text, limit=limit))


def _head(run: Judged, decision: Decision) -> Iterator[str]:
    worst = max((f.severity.rank for f in run.report.findings), default=0)
    verdict = run.verdict(decision.fail_on)
    kind = "healthy" if verdict == "healthy" else ("unknown", "warning", "error")[worst]
    yield f'<h1>Training health <span class="verdict {kind}">{_e(verdict)}</span></h1>'
    yield f'<p class="dim"><code>{_e(run.run)}</code><br>{_e(tally(run, decision))}</p>'
    for text in remarks(run):
        yield f"<p><b>{_e(text[0].upper() + text[1:])}</b></p>"
    facts = run.report.run
    shown = [
        (label, facts.get(key))
        for label, key in (
            ("model", "model"), ("steps", "steps"), ("batch size", "batch_size"), ("precision", "precision"),
            ("world size", "world_size"), ("versions", "versions"),
        )
    ]  # fmt: skip
    rows = [(label, _fact(value)) for label, value in shown if value not in (None, "")]
    yield '<p class="dim">' + " · ".join(f"{_e(label)}: {_e(value)}" for label, value in rows) + "</p>"


def _fact(value: object) -> str:
    return ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)


def _findings(run: Judged) -> Iterator[str]:
    yield f"<h2>Findings: {_e(counted(run.report.findings))}</h2>"
    if not run.report.findings:
        nothing = run.report.count("clean") == 0
        yield f"<p>{'Nothing was judged, so nothing is known.' if nothing else 'Nothing found.'}</p>"
    left = len(run.report.findings) - _MOST_FINDINGS
    for group in grouped(run.report.findings[:_MOST_FINDINGS]):
        yield from _group(run, group)
    if left > 0:
        yield f"<p>{left} more findings are not shown.</p>"
    if run.known:
        yield f'<p class="dim">{_e(counted(run.known))} known to the baseline, not shown.</p>'


def _group(run: Judged, group: Group) -> Iterator[str]:
    head = group.head
    yield f'<div class="finding {head.severity.value}"><b>{_e(head.code)} {_e(head.name)}</b>'
    yield f' <span class="dim">{_e(head.severity)}</span>'
    for f in group.findings:
        yield f"<p>{_where(run, f)}: {_e(f.message)}</p>"
    for advice in group.advice():
        yield f'<p class="cure">→ {_e(advice)}</p>'
    for some in group.consequences.values():
        for f in some[:5]:
            line = f"explains {_e(f.code)} {_e(f.name)}, {_where(run, f)}: {_e(f.message)}"
            yield f'<p class="below">╰ {line}</p>'
        if len(some) > 5:
            yield f'<p class="below">╰ and {len(some) - 5} more of {_e(some[0].code)}</p>'
    yield "</div>"


def _where(run: Judged, f: Finding) -> str:
    place = run.place(f.site)
    source = f' <span class="dim">({_e(place)})</span>' if place else ""
    return f"<code>{_e(f.site or 'whole model', 300)}</code>{source}, {when(f)}"


def _curves(history: History) -> Iterator[str]:
    figures = [*charts(history)]
    if figures:
        yield "<h2>Curves</h2>"
        yield f'<div class="grid">{"".join(figures)}</div>'


def _heatmaps(history: History) -> Iterator[str]:
    shown = False
    for statistic, heatmap in HEATMAPS.items():
        pixels = draw(history.table(statistic), heatmap)
        if pixels is None:
            continue
        if not shown:
            yield "<h2>Layers against steps</h2>"
            shown = True
        data = base64.b64encode(encode(pixels)).decode("ascii")
        title = html.escape(heatmap.title)
        yield f'<figure class="heatmap"><img alt="{title}" src="data:image/png;base64,{data}"></figure>'


def _not_judged(run: Judged) -> Iterator[str]:
    rows = unjudged(run.report)
    if rows:
        yield f"<h2>Not judged: {len(rows)} of {len(run.report.outcomes)} rules</h2><table>"
        yield "<tr><th>rule</th><th>verdict</th><th>reason</th></tr>"
        for row in rows:
            yield "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        yield "</table>"
