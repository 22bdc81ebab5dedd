"""Draws a picture for every rule: a sick program of the collection against its mended twin.

``python docs/pictures.py [CODE ...]`` records the fits that are missing (seed 0, see tests/laboratory), writes
``docs/rules/images/CODE-name.svg`` and lists the rules without a picture; ``--stale`` records nothing and takes the
fits that lie there, whatever made them. Fits differ a little from machine to machine, and so do the pictures.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # neither tests nor docs are an installed package

from docs.drawing import draw
from docs.views import VIEWS, loss_panel, statistic_panel
from lightning_diag.findings import Finding
from lightning_diag.records import History
from lightning_diag.rules import RULES, Rule, check, resolve

if TYPE_CHECKING:
    from tests.laboratory.store import Store
    from tests.programs.program import Program

IMAGES = Path(__file__).resolve().parent / "rules" / "images"
Rows = Mapping[str, Mapping[str, str]]  # seed -> code -> severity, with a star where it is named first
Load = Callable[[str], "History | None"]  # name of a program -> its recorded fit
Choice = Callable[[str], "Sequence[Program]"]  # code of a rule -> the programs for it, the most telling first


def candidates(code: str, table: Mapping[str, Rows], faults: Mapping[str, str]) -> list[str]:
    """Return the sick programs in whose fit of seed 0 a rule found something, the most telling first.

    That is the one that the rule's view names, then those of which it is the first finding and the fault, then those
    with the fewest other findings. A program whose twin has the finding too does not count.

    Args:
        code: of the rule.
        table: program -> its rows, as ``tests/contracts/confusion.json`` holds them.
        faults: sick program -> code of its fault.
    """

    def found(name: str) -> Mapping[str, str]:
        return table.get(name, {}).get("0", {})

    names = [n for n in faults if code in found(n) and code not in found(f"{n}-mended")]
    names.sort(key=lambda n: (not found(n)[code].endswith("*"), faults[n] != code, len(found(n))))
    named = VIEWS[code].program if code in VIEWS else ""
    return [n for n in (named,) if n in faults] + [n for n in names if n != named]


def picture(rule: type[Rule], program: str, fault: str, sick: History, mended: History) -> str:
    """Return the SVG of a rule.

    Args:
        rule: the rule.
        program: name of the sick program.
        fault: what is wrong with it, a sentence.
        sick: its recorded fit.
        mended: that of its twin.

    Raises:
        ValueError: the rule finds nothing in the sick fit, or the same in the mended one.
    """
    found, also = _first(rule.code, sick), _first(rule.code, mended)
    if found is None:
        raise ValueError(f"{rule.code} {rule.name} finds nothing in the fit of {program}")
    if also is not None and also.severity.rank >= found.severity.rank:
        raise ValueError(f"{rule.code} {rule.name} is found in {program}-mended as well as in {program}")
    return draw(
        f"{rule.code} {rule.name}",
        [*loss_panel(found, sick, mended), *statistic_panel(rule, found, sick, mended)],
        program=program,
        subtitle=fault,
        sentence=found.message,
        about=f"The sick program `{program}` of the collection ({fault.rstrip('.')}) "
        f"against its mended twin, `{program}-mended`.",
    )


def _first(code: str, history: History) -> Finding | None:
    """Return what a rule found first in a history, None if nothing."""
    return next((f for f in _findings(history) if f.code == code), None)


@lru_cache(maxsize=64)
def _findings(history: History) -> tuple[Finding, ...]:
    return check(history).findings


def redraw(codes: Iterable[str], load: Load, chosen: Choice, folder: Path) -> dict[str, str]:
    """Draw the pictures of some rules; remove those of which no fit can be a picture, and those of no rule.

    Args:
        codes: of the rules.
        load: gives the recorded fit of a program, None if there is none.
        chosen: gives the programs for a rule, the most telling first.
        folder: where the pictures lie.

    Returns:
        Code -> why, of the rules whose picture could not be drawn.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths, without = {r.code: folder / f"{r.code}-{r.name}.svg" for r in RULES}, dict[str, str]()
    for rule in [r for r in RULES if r.code in set(codes)]:
        why, unknown = list[str](), False
        for program in chosen(rule.code):
            sick, mended = load(program.name), load(f"{program.name}-mended")
            if sick is None or mended is None:
                why, unknown = [*why, f"{program.name} or its twin is not recorded"], True
                continue
            try:
                drawn = picture(rule, program.name, fault_of(program), sick, mended)
            except ValueError as error:
                why.append(str(error))
                continue
            paths[rule.code].write_text(drawn, encoding="utf-8", newline="\n")
            break
        else:
            without[rule.code] = next(iter(why), "no program of the collection has it")
            if not unknown:  # what might still hold is kept
                paths[rule.code].unlink(missing_ok=True)
    for orphan in set(folder.glob("*.svg")) - set(paths.values()):
        orphan.unlink()
    return without


def fault_of(program: Program) -> str:
    """Return what is wrong with a program: the docstring of what builds it, on one line."""
    build: Callable[..., object] = program.build
    while isinstance(build, partial):
        build = build.func
    return " ".join((inspect.getdoc(build) or "").split())


def collection() -> Choice:
    """Return a function that gives the programs for a rule, the most telling first."""
    from tests.contracts import confusion
    from tests.models import SICK

    table, sick = confusion.load(), {p.name: p for p in SICK}
    faults = {p.name: p.fault for p in SICK}
    return lambda code: [sick[name] for name in candidates(code, table, faults)]


def loader(store: Store, *, record_missing: bool) -> Load:
    """Return a function that gives the recorded fit of a program, with seed 0."""
    from tests.laboratory import keys, record
    from tests.laboratory.store import load

    @lru_cache(maxsize=16)
    def recorded(name: str) -> History | None:
        program = record.programs()[name]
        if record_missing:
            record.record([(program, 0)], store, workers=1)
        path = store.find(name, 0, keys.key(program))
        return load(path) if path else None

    return recorded


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    from tests.laboratory import record
    from tests.laboratory.store import DIRECTORY, Store

    parser = argparse.ArgumentParser(description="Draw the pictures of the rules.")
    parser.add_argument("codes", nargs="*", help="only these rules: codes, prefixes of codes or names")
    parser.add_argument("--stale", action="store_true", help="record nothing, take the fits that lie there")
    parser.add_argument("--workers", type=int, default=0, help="processes that record (default: one a core)")
    parser.add_argument("--histories", type=Path, default=DIRECTORY, metavar="DIR", help="where recorded fits lie")
    args = parser.parse_args(argv)
    try:
        codes = resolve(args.codes) or tuple(r.code for r in RULES)
    except ValueError as error:
        parser.error(str(error))
    store, chosen = Store(args.histories, stale=args.stale), collection()
    if not args.stale:
        names = dict.fromkeys(p.name for code in codes for p in chosen(code)[:1])
        both = [record.programs()[x] for n in names for x in (n, f"{n}-mended")]
        record.record([(p, 0) for p in both], store, workers=args.workers)
    without = redraw(codes, loader(store, record_missing=not args.stale), chosen, IMAGES)
    print(
        f"{len(codes) - len(without)} pictures drawn"
        + "".join(f"\n  {c} is not drawn: {w}" for c, w in without.items())
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
