"""Other tools that judge PyTorch trainings, each run on the same programs as its own documentation recommends.

Each peer watches a fit of its own, under Lightning, through a small callback. What it finds is translated to the codes
of lightning_diag by the tables below, generously: a finding that could mean several faults counts for all of them, and
advice on speed and style accuses nobody. ``pip install '.[peers]'`` installs them; ``benchmarks/accuracy.py --peers``
runs them. Run by itself this file prints the tables.
"""

from __future__ import annotations

import ast
import atexit
import inspect
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the tests are no installed package

import lightning as L

from tests.laboratory import keys, record
from tests.laboratory.judging import Said, Verdict
from tests.laboratory.store import Store
from tests.programs.program import Program

# A word of a finding's title -> what it may mean. The first word that the title holds decides.
TORCHMORTEM: Mapping[str, tuple[str, ...]] = {
    "Vanishing gradients": ("G001",),
    "Exploding gradients": ("G002", "W001", "O001", "I001", "I002"),
    "Gradient stalling": ("G001", "A001", "A002", "W002", "W003", "W004", "G004"),
    "Dead units": ("A001",),
    "Activation saturation": ("A002",),
    "Update ratio too low": ("W002", "W003", "O002", "O004"),
    "Update ratio too high": ("W001", "O001"),
    "divergence": ("L003", "L002", "L001", "W001", "G002", "O001"),
    "Loss plateau": ("L002", "W002", "O002"),
    "Rank collapse": ("A001", "A002", "A004", "A005"),
    "Weight norm explosion": ("W001", "G002", "O001"),
    "Stagnant weight norms": ("W002", "W003", "W004", "W005", "O002", "O004", "L002"),
    "weight norm imbalance": ("I001", "I002"),
    "High gradient noise": ("W001", "O001", "O005", "L004"),
    # insights that join several findings
    "Gradient starvation": ("G001", "A001"),
    "nstability": ("G002", "W001"),
    "bottleneck": ("A001", "A002", "L002"),
}
# Rule -> what it may mean.
TORCH_AUDIT: Mapping[str, tuple[str, ...]] = {
    "TA100": ("L001", "G003", "A003"),  # NaN or Inf in parameters or gradients
    "TA102": ("G002", "W001", "O001"),  # global gradient norm above 100
    "TA103": ("A001", "A002", "G001", "W002", "W003", "W004", "G004"),  # a gradient exactly zero
    "TA104": ("W002", "W003", "W004", "G004", "L002"),  # no gradients at all
    "TA105": ("A001",),  # more than 90 % of a layer's outputs zero
    "TA300": (),  # input on another device
    "TA301": ("A002",),  # inputs above 50
    "TA302": (),  # input without variance
    "TA303": (),  # NHWC for NCHW
    "TA304": ("O005", "O006", "V005"),  # batch below 8 with BatchNorm
    "TA305": (),  # negative integers
    "TA405": ("A001",),  # filters that are zero
    "TA500": ("W003", "W004", "G004"),  # a layer that is never called
    "TA501": (),  # BatchNorm called twice in a pass
}
ADVICE = ("TA200", "TA201", "TA202", "TA203", "TA400", "TA401", "TA402", "TA403", "TA404")  # speed and style


class Mortem(L.Callback):
    """torchmortem's quick start as a callback: attach, ``step(loss=...)`` after each batch, detach at the end."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        from torchmortem import Autopsy

        self.autopsy = Autopsy(pl_module, optimizer=trainer.optimizers[0])
        self.autopsy.attach()
        self.steps = 0

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        self.autopsy.step(**({} if loss is None else {"loss": float(loss)}))
        self.steps += 1

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self.autopsy.detach()
        atexit.unregister(self.autopsy._atexit_handler)  # it would keep every model until the process ends

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        if hasattr(self, "autopsy"):
            self.autopsy.detach(is_complete=False)

    def said(self) -> list[Said]:
        """Return its insights, which join findings to a cause, then its findings from warning up."""
        got = self.autopsy.get_report()
        insights = [
            (i.title, "warning", [x for f in i.contributing_findings for x in f.affected_layers]) for i in got.insights
        ]
        found = [
            (f.title, "error" if f.severity.name == "CRITICAL" else "warning", list(f.affected_layers))
            for f in got.findings
            if f.severity.name != "INFO"
        ]
        return [
            Said(next((x for x in TORCHMORTEM if x in title), title), (), severity, tuple(dict.fromkeys(sites)))
            for title, severity, sites in (*insights, *found)
        ]


class Audit(L.Callback):
    """torch-audit as in its Lightning demo: every phase of every step, data checks before the forward pass."""

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        from torch_audit import Auditor

        optimizer = trainer.optimizers[0] if trainer.optimizers else None
        self.auditor, self.batch, self.steps = Auditor(pl_module, optimizer=optimizer, every_n_steps=1), None, 0
        self.auditor.attach()
        self.auditor.audit_static()
        self.auditor.audit_init()

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.batch, self.auditor.step = batch, trainer.global_step
        self.auditor._call_phase_start(self._context("FORWARD"))  # as auditor.forward does: forget validation passes
        self.auditor.audit_data(batch, step=trainer.global_step)

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
        from torch_audit.validators.builtin.data import DataValidator

        others = [v for v in self.auditor.validators if not isinstance(v, DataValidator)]
        self._run("FORWARD", validators=others)

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        self._run("BACKWARD")

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._run("OPTIMIZER")
        self.steps = max(self.steps, trainer.global_step)

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        self.auditor.finish()
        self.auditor.detach()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self.auditor.detach()

    def _context(self, phase: str) -> Any:
        from torch_audit.core import Phase

        return self.auditor._make_context(Phase[phase], step=self.auditor.step, batch=self.batch)

    def _run(self, phase: str, **options: Any) -> None:
        self.auditor.runner.run_step(self._context(phase), **options)

    def said(self) -> list[Said]:
        """Return its findings from WARN up, worst first, once per rule and place; it names no causes."""
        first: dict[tuple[str, str], Said] = {}
        for f in self.auditor.findings:
            if f.severity.name == "INFO" or f.rule_id in ADVICE:
                continue
            site = "" if f.module_path in (None, "global") else str(f.module_path)
            severity = "warning" if f.severity.name == "WARN" else "error"
            said = Said(f.rule_id, (), severity, (site,), step=int(f.step or 0))
            first.setdefault((f.rule_id, site), said)
        return sorted(first.values(), key=lambda s: (s.severity != "error", s.step))


@dataclass(frozen=True)
class Peer:
    """A tool: its package, its callback, what its labels mean, whether it speaks while the training runs."""

    name: str
    callback: type[Any]
    codes: Mapping[str, tuple[str, ...]]
    live: bool


PEERS = (Peer("torchmortem", Mortem, TORCHMORTEM, False), Peer("torch-audit", Audit, TORCH_AUDIT, True))


def installed(tell: Callable[[str], object]) -> list[Peer]:
    """Return the peers that are installed; tell which are not."""
    found = []
    for peer in PEERS:
        try:
            version(peer.name)
            found.append(peer)
        except PackageNotFoundError:
            tell(f"{peer.name} is not installed; pip install '.[peers]'")
    return found


def key(peer: Peer, program: Program) -> str:
    """Return what a recorded verdict of a peer depends on: the program, its callback here, the versions."""
    callback = ast.dump(ast.parse(inspect.getsource(peer.callback)))
    return keys.digest([keys.program_key(program), callback, *keys.versions(peer.name, "torch", "lightning")])


def work(tool: str, task: record.Task) -> str:
    """Fit one program under one peer and store what it said, or what crashed."""
    name, seed, stamp, directory = task
    peer = next(p for p in PEERS if p.name == tool)
    trace, text = record.attempt(lambda root: _watched(peer, record.programs()[name], seed, root))
    crash = trace.strip().splitlines()[-1] if trace else ""
    store = Store(directory)
    store.write(store.path(name, seed, stamp, f"{tool}.json"), text or json.dumps({"crash": crash}))
    return f"CRASHED {crash}" if trace else "ok"


def verdicts(
    peer: Peer, cases: Sequence[tuple[Program, int]], store: Store, *, workers: int, tell: Callable[[str], object]
) -> list[tuple[Program, Verdict]]:
    """Return what a peer says of fits; those not recorded yet are recorded first."""
    kind = f"{peer.name}.json"
    worker, stamp = partial(work, peer.name), partial(key, peer)
    died = record.record(cases, store, workers=workers, tell=tell, worker=worker, key=stamp, kind=kind)
    found = []
    for p, seed in cases:
        file = store.find(p.name, seed, stamp(p), kind)
        data = json.loads(file.read_text()) if file else {"crash": died.get((p.name, seed), "CRASHED")}
        found.append((p, verdict(peer, p, seed, data)))
    return found


def verdict(peer: Peer, program: Program, seed: int, data: Mapping[str, Any]) -> Verdict:
    """Return the verdict that a file holds, its labels translated to codes."""
    said = [
        Said(**{**x, "codes": peer.codes.get(x["label"], ()), "sites": tuple(x["sites"])}) for x in data.get("said", ())
    ]
    steps = int(data.get("steps", 0))
    right = [s.step + 1 if peer.live else steps for s in said if set(s.codes) & set(program.accepted)]
    return Verdict(program.name, seed, tuple(said), steps, min(right, default=-1), str(data.get("crash", "")))


def _watched(peer: Peer, program: Program, seed: int, root: str) -> str:
    callback = peer.callback()
    program.fit(seed, [callback], default_root_dir=root)
    return json.dumps({"said": [asdict(s) for s in callback.said()], "steps": callback.steps})


def main() -> None:
    """Print what the findings of the peers are taken for."""
    for peer in PEERS:
        print(f"{peer.name}:")
        for label, codes in peer.codes.items():
            print(f"  {label:24}{' '.join(codes) or '-'}")
    print(f"advice that accuses nobody: {' '.join(ADVICE)}")


if __name__ == "__main__":
    main()
