import os
from pathlib import Path

from tests.laboratory import pool


def work(task: tuple[int, str]) -> int:
    n, place = task
    if n == 1:
        raise ValueError("one")
    if n == 2:
        os._exit(3)
    Path(place, str(n)).touch()
    return 10 * n


def test_nothing_is_lost_when_a_task_fails_or_takes_its_process_with_it(tmp_path: Path) -> None:
    told = {}
    pool.run(work, [(n, str(tmp_path)) for n in range(4)], 2, lambda task, outcome: told.update({task[0]: outcome}))
    assert (told[0], told[3]) == (0, 30)
    assert repr(told[1]) == "ValueError('one')"
    assert repr(told[2]) == f"RuntimeError('{pool.DIED}')"
    assert os.environ["OMP_NUM_THREADS"] == "1"
