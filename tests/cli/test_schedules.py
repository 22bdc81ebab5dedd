"""``lightning-diag schedules`` draws, lists, writes, and says what is wrong."""

from pathlib import Path

import pytest

from lightning_diag import cli
from lightning_diag.schedules import SCHEDULES


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = cli.main(["schedules", *argv])
    seen = capsys.readouterr()
    return code, seen.out, seen.err


def test_without_a_name_all_are_listed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    code, out, err = run(capsys)
    lines = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert (code, err) == (0, "")
    assert all(row.robbins_monro in lines[row.name] and f"{row.interval}s" in lines[row.name] for row in SCHEDULES)


def test_one_is_drawn_with_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "cosine", "--lr", "3e-4", "--warmup", "0.05", "--set", "final=0.1", "--steps", "200")
    assert (code, err) == (0, "")
    assert out.startswith("cosine(final=0.1, total_steps=190), linear warmup of 10 steps: lr 2.73e-05, at most 0.0003")
    assert "step 199" in out
    assert out.count("█") > 100


def test_a_recipe_in_a_file_is_drawn(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    text = "{optimizer: sgd, lr: 0.1, schedule: milestones, schedule_options: {milestones: [3, 6]}, init: lsuv}"
    for content in (text, f"recipe: {text}", f"model: {{recipe: {text}}}", f"model: {{init_args: {{recipe: {text}}}}}"):
        file.write_text(content)
        assert run(capsys, "--recipe", str(file))[1].startswith("milestones(milestones=[3, 6]) by epochs: lr 0.1")
    assert "lr 0.5" in run(capsys, "--recipe", str(file), "--lr", "0.5", "--set", "factor=0.5")[1]


@pytest.mark.parametrize("name", ["a.png", "a.svg"])
def test_a_picture_is_written(capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str) -> None:
    assert run(capsys, "linear", "plateau", "--output", str(tmp_path / name))[:2] == (0, f"wrote {tmp_path / name}\n")
    assert (tmp_path / name).read_bytes()[:4] in (b"\x89PNG", b"<svg")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("cosin",), "did you mean 'cosine'"),
        (("cosine", "--set", "fina=1"), "did you mean 'final'"),
        (("cosine", "--set", "final"), "--set takes OPTION=VALUE"),
        (("cosine", "--lr", "-1"), "Recipe.lr must be a number in (0, inf), got -1"),
        (("cosine", "--warmup", "1.5"), "a whole number of steps or a share"),
        (("one_cycle", "--warmup", "5"), "has a warmup of its own"),
        (("cosine", "--steps", "0"), "at least one step"),
        (("cosine", "--output", "a.gif"), "a picture is a .png or a .svg"),
        (("cosine", "--output", "/nowhere/at/all/a.png"), "cannot write /nowhere/at/all/a.png: No such file"),
        (("--recipe", "/nowhere.yaml"), "cannot read /nowhere.yaml"),
    ],
)
def test_what_cannot_be_is_refused_with_2(
    capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], message: str
) -> None:
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err


def test_an_untouched_recipe_has_nothing_to_draw(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("{optimizer: null, lr: null, schedule: null, init: null, bias_init: null}")
    assert "no schedule and no warmup" in run(capsys, "--recipe", str(file))[2]
    file.write_text("- 1")
    assert "holds no recipe" in run(capsys, "--recipe", str(file))[2]
