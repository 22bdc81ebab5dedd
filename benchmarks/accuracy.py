"""How often the fault is named, where, when, and how often the healthy are accused; of peers too, side by side.

Limits are set on the tuning half of the programs (the default here); what is reported is measured on the reporting
half. Fits that are not recorded yet are recorded first. Usage: python benchmarks/accuracy.py [--half reporting]
[--peers] [--markdown] [--seeds N] [--stale] [NAME ...]
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the tests are no installed package

from tests.laboratory import judging, keys, record, tables
from tests.laboratory.scores import Pair, score
from tests.laboratory.store import Store

OURS = "lightning_diag"


def judged(cases: Sequence[record.Case], store: Store, *, workers: int, when: bool) -> tuple[list[Pair], float]:
    """Record what is missing and judge all of it; return program and verdict, and the seconds that judging took."""
    chosen = [(record.programs()[name], seed) for name, seed in cases]
    crashed = record.record(chosen, store, workers=workers, tell=report)
    tasks, verdicts = list[judging.Task](), dict[record.Case, judging.Verdict]()
    for p, seed in chosen:
        file = store.find(p.name, seed, keys.key(p))
        if file is None or (p.name, seed) in crashed:
            said = crashed.get((p.name, seed), "CRASHED")
            verdicts[p.name, seed] = judging.Verdict(p.name, seed, crash=said)
        else:
            tasks.append((p.name, seed, str(file), p.accepted, when))
    found, seconds = judging.judge(tasks, workers)
    verdicts |= {(v.program, v.seed): v for v in found}
    return [(p, verdicts[p.name, seed]) for p, seed in chosen], seconds


def report(text: str) -> None:
    """Tell progress beside the tables."""
    print(text, file=sys.stderr, flush=True)


def text(pairs: dict[str, list[Pair]], shown: Callable[[tables.Table], str], *, lists: bool) -> str:
    """Return all tables."""
    scores = {tool: score(x) for tool, x in pairs.items()}
    parts = [shown(tables.summary(scores)), shown(tables.faults(pairs))]
    parts += [shown(tables.alarms(scores, kind)) for kind in ("healthy", "twin")]
    for tool, x in pairs.items() if lists else ():
        s = scores[tool]
        parts += [f"{tool}: fits in which a rule found something", shown(tables.crossed(x))]
        named = {"missed": s.misses, "false alarms": s.accused}
        parts += [f"{tool}: {what}\n{shown(tables.listed(y))}" for what, y in named.items() if y]
        crashes = "\n".join(f"  {p.name} {v.seed}: {v.crash.strip().splitlines()[-1]}" for p, v in s.crashes)
        parts += [f"{tool}: crashed\n{crashes}"] if crashes else []
    return "\n\n".join(parts)


def heading(pairs: list[Pair], half: str) -> str:
    """Return what was judged, and with what."""
    kinds = {kind: len({p.name for p, _ in pairs if p.kind == kind}) for kind in ("sick", "twin", "healthy")}
    seeds = len({v.seed for _, v in pairs})
    which = {"all": "all programs", "tuning": "the tuning half", "reporting": "the reporting half"}[half]
    return (
        f"{which[0].upper()}{which[1:]}: {kinds['sick']} sick programs, {kinds['twin']} mended twins, "
        f"{kinds['healthy']} healthy controls; {seeds} seed(s) each.\n"
        "Shares are means over programs, in brackets their 95 % Wilson intervals with programs, not seeds, as trials.\n"
        f"Python {platform.python_version()}, "
        f"torch {version('torch').split('+')[0]}, lightning {version('lightning')}."
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables; 1 if a fit crashed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="only programs whose name holds one of these words")
    record.add_options(parser)
    parser.add_argument("--half", choices=("tuning", "reporting", "all"), default="tuning")
    parser.add_argument("--peers", action="store_true", help="judge by the peers too (pip install '.[peers]')")
    parser.add_argument("--markdown", action="store_true", help="print the tables of the README")
    parser.add_argument("--stale", action="store_true", help="judge what is there, although the recorder has changed")
    parser.add_argument("--no-latency", action="store_true", help="do not ask when a fault was named first")
    args = parser.parse_args(argv)

    from tests.programs.split import half

    chosen = record.choose(args.names, args.seeds, lambda p: args.half in ("all", half(p)))
    cases, store = [(p.name, seed) for p, seed in chosen], Store(args.histories, stale=args.stale)
    start = time.perf_counter()
    pairs = dict[str, list[Pair]]()
    pairs[OURS], seconds = judged(cases, store, workers=args.workers, when=not args.no_latency)
    report(f"{len(cases)} fits judged in {seconds:.1f} s, with recording {time.perf_counter() - start:.1f} s")
    if args.peers:
        from benchmarks import peers

        for peer in peers.installed(report):
            pairs[peer.name] = peers.verdicts(peer, chosen, store, workers=args.workers, tell=report)
    shown = tables.markdown if args.markdown else tables.plain
    print(f"{heading(pairs[OURS], args.half)}\n\n{text(pairs, shown, lists=not args.markdown)}")
    return int(any(v.crash for _, v in pairs[OURS]))


if __name__ == "__main__":
    raise SystemExit(main())
