"""A recipe's rate in a run: options that follow its length, warmup before each, pictures."""

import inspect
import pickle
from pathlib import Path
from typing import get_args

import pytest
from PIL import Image

from lightning_diag.recipe import Recipe, ScheduleName
from lightning_diag.recipe.options import SCHEDULE_OPTIONS
from lightning_diag.schedules import SCHEDULES, Length, Schedule, scheduled
from lightning_diag.schedules.drawing import sparkline
from lightning_diag.schedules.pictures import svg, write_picture
from lightning_diag.schedules.schedule import row

RUN = Length(steps=1000, epochs=10, steps_per_epoch=100)
NAMES = [r.name for r in SCHEDULES]


def made(length: Length = RUN, **fields: object) -> Schedule:
    found = scheduled(Recipe(**fields), length)  # type: ignore[arg-type]
    assert found is not None
    return found


def test_the_names_are_those_of_the_recipe() -> None:
    assert tuple(NAMES) == get_args(ScheduleName)


@pytest.mark.parametrize("one", [r for r in SCHEDULES if r.function], ids=lambda r: r.name)
def test_the_options_are_the_arguments(one) -> None:  # type: ignore[no-untyped-def]
    assert set(SCHEDULE_OPTIONS[one.name]) == set(inspect.signature(one.function).parameters) - {"step"}
    assert "Source:" in (one.function.__doc__ or "")
    assert "Formula:" in (one.function.__doc__ or "")


@pytest.mark.parametrize("kind", ["linear", "exponential"])
@pytest.mark.parametrize("name", [n for n in NAMES if n != "one_cycle"])
def test_warmup_comes_before_any(name: str, kind: str) -> None:
    bare, warm = made(schedule=name), made(schedule=name, warmup=0.05, warmup_kind=kind)
    assert warm.warmup_steps == 50
    assert warm.updates == "step"
    rise = [warm(t) for t in range(50)]
    assert 0 < rise[0] < 0.03
    assert rise == sorted(rise)
    assert warm(50) == pytest.approx(bare(0))
    assert pickle.loads(pickle.dumps(warm))(70) == warm(70)


def test_epochs_stay_epochs_under_warmup() -> None:
    warm = made(schedule="milestones", schedule_options={"milestones": [3, 6]}, warmup=20)
    assert [warm(t) for t in (20, 299, 300, 599, 600)] == pytest.approx([1, 1, 0.1, 0.1, 0.01])
    bare = made(schedule="milestones", schedule_options={"milestones": [3, 6]})
    assert bare.updates == "epoch"
    assert [bare.factor(e) for e in (2, 3, 6)] == pytest.approx([1, 0.1, 0.01])


def test_the_interval_can_be_told() -> None:
    assert made(schedule="step", interval="step", schedule_options={"every": 10})(10) == pytest.approx(0.1)
    by_epoch = made(schedule="cosine", interval="epoch")
    assert (by_epoch.updates, by_epoch(499), by_epoch(500)) == ("epoch", by_epoch(400), pytest.approx(0.5))


def test_inverse_sqrt_goes_on_from_its_warmup() -> None:
    f = made(schedule="inverse_sqrt", warmup=100)
    assert [f(t) for t in (100, 400, 900)] == pytest.approx([1, 0.5, 1 / 3])


def test_unset_options_follow_the_run() -> None:
    assert made(schedule="cosine", warmup=100)(550) == pytest.approx(0.5)
    assert made(schedule="cosine", schedule_options={"total_steps": 500})(500) == 0
    assert made(schedule="milestones").factor.keywords == {"milestones": (5, 7)}  # type: ignore[attr-defined]
    assert made(schedule="natural_exponential").factor(10) == pytest.approx(0.01)
    assert made(schedule="inverse_time")(1000) == pytest.approx(0.1)
    restarts = made(schedule="cosine_restarts")
    assert [t for t in range(1, 1000) if restarts(t) > restarts(t - 1)] == [143, 429]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"schedule": "cosine"},
            r"needs 'total_steps'.*steps of the run.*Trainer\(max_steps=\.\.\.\).*'total_steps': ...",
        ),
        ({"schedule": "step"}, "needs 'every', which follows the number of epochs"),
        ({"schedule": "constant", "warmup": 0.1}, r"warmup=0.1\) is a share of all steps, and nobody knows"),
    ],
)
def test_a_run_without_end_says_what_to_pass(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(Length(), **fields)


def test_what_needs_no_end_asks_for_none() -> None:
    assert made(Length(), schedule="cosine", schedule_options={"total_steps": 10})(5) == pytest.approx(0.5)
    assert made(Length(), schedule="exponential").factor(1) == 0.95
    assert made(Length(), schedule="inverse_sqrt", warmup=16)(64) == pytest.approx(0.5)
    assert scheduled(Recipe(schedule=None), RUN) is None
    assert made(schedule=None, warmup=4)(0) == pytest.approx(0.2)


def test_a_run_shorter_than_its_warmup_only_warms_up() -> None:
    f = made(Length(3, 1, 3), schedule="cosine", warmup=500)
    assert [f(t) for t in range(3)] == pytest.approx([1 / 501, 2 / 501, 3 / 501])


def test_an_unknown_name_lists_the_rows() -> None:
    with pytest.raises(ValueError, match=r"schedule 'cosin' is none of constant, .*did you mean 'cosine'"):
        row("cosin")


@pytest.mark.parametrize("name", NAMES)
def test_it_is_drawn(name: str, tmp_path: Path) -> None:
    f = made(schedule=name)
    text = f.plot(3e-4, width=40, height=5)
    lines = text.splitlines()
    assert len(lines) == 8
    assert lines[0].startswith(name)
    top = "0.000268" if name == "exp_range" else "0.0003"  # its first top comes late
    assert f"at most {top}" in lines[0]
    assert lines[1].startswith(f"{top:>9} ┤")
    assert lines[-1].endswith("step 999")
    assert any("█" in line for line in lines[1:6])
    assert len(sparkline(f, 1000)) == 32


def test_a_picture_shows_the_curve(tmp_path: Path) -> None:
    f = made(schedule="linear", warmup=100)
    with Image.open(f.picture(tmp_path / "a.png", 0.1)) as image:
        assert image.size == (800, 368)
        assert image.getpixel((80 + 350, 16 + 150 + 17)) != (255, 255, 255) or len(image.getcolors(10**6)) > 3
    text = svg([(f, 0.1), (made(schedule="cosine"), 0.2)])
    assert text.count("<polyline") == 2
    assert "linear warmup of 100 steps" in text
    points = [tuple(map(float, p.split(","))) for p in text.split('points="')[1].split('"')[0].split()]
    assert points[-1][1] == pytest.approx(16 + 300, abs=0.5)
    assert min(y for _, y in points) == pytest.approx(16 + 150, abs=0.5)  # 0.1 of at most 0.2
    with pytest.raises(ValueError, match=r"a picture is a \.png or a \.svg, got '.*x.jpg'"):
        write_picture([(f, 0.1)], tmp_path / "x.jpg")
    with pytest.raises(ValueError, match="nothing to draw"):
        write_picture([], tmp_path / "x.png")
    with pytest.raises(ValueError, match="width of at least 10"):
        f.plot(width=3)
