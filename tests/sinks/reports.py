"""Reports made by hand, for the tests of sinks."""

from __future__ import annotations

from lightning_diag.findings import Finding, Outcome, Prescription, Report, Severity

ERROR, WARNING = Severity.ERROR, Severity.WARNING
_CURE = (Prescription("Initialize for ReLU.", {"init": "kaiming_normal"}), Prescription("Add BatchNorm."))


def finding(code: str, name: str, severity: Severity, site: str, step: int, message: str, **more: object) -> Finding:
    return Finding(code, name, severity, site, step, 0.9, 0.5, message, **more)  # type: ignore[arg-type]


SICK = Report(
    findings=(
        finding("A001", "dead-units", ERROR, "net.5", 0, "94 % of 64 units.", last_step=90, prescriptions=_CURE),
        finding("A001", "dead-units", ERROR, "net.3", 0, "93 % of 64 units.", last_step=90, prescriptions=_CURE[:1]),
        finding("G001", "vanishing-gradients", ERROR, "net.0.weight", 8, "Tiny.", because="A001"),
        finding("G001", "vanishing-gradients", ERROR, "net.2.weight", 4, "Tiny.", because="A001"),
        finding("L002", "loss-not-decreasing", WARNING, "", 40, "Flat.", because="G001"),
        finding("V001", "overfitting", WARNING, "", 60, "val_loss rises.", prescriptions=(Prescription("Stop."),)),
    ),
    outcomes={
        "dead-units": Outcome("found"),
        "vanishing-gradients": Outcome("found"),
        "overfitting": Outcome("found"),
        "loss-not-decreasing": Outcome("found"),
        "exploding-gradients": Outcome("clean"),
        "saturated-units": Outcome("unmeasured", "the model has no bounded activation"),
    },
    run={"samples": 64, "steps": 91, "overhead_fraction": 0.0073, "log_dir": "logs/version_3", "status": "finished"},
)
HEALTHY = Report(outcomes={"dead-units": Outcome("clean")}, run={"samples": 5, "steps": 9, "status": "interrupted"})
UNJUDGED = Report(outcomes={"dead-units": Outcome("unmeasured", "no sample")})
CRASHED = Report(outcomes={"dead-units": Outcome("crashed", "Traceback ...\nZeroDivisionError: division by zero")})
EVIL = "x\x1b[2J\x07[bold red]a|b`c`\n# h <script>\u202e\ud800é→ :boom:"
HOSTILE = Report(
    findings=(
        finding(
            "A001", "dead-units", ERROR, EVIL, 3, f"{EVIL} message {EVIL}", prescriptions=(Prescription(f"Do {EVIL}"),)
        ),
        finding("A001", "dead-units", ERROR, "a" * 500, 3, "b" * 5000),
        finding("G001", EVIL, WARNING, EVIL, 3, EVIL, because="A001"),
    ),
    outcomes={"dead-units": Outcome("found"), EVIL: Outcome("crashed", EVIL)},
    run={"log_dir": EVIL, "status": f"failed: {EVIL}", "samples": 1, "steps": 2, "overhead_fraction": float("nan")},
)
