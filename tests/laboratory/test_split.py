from tests.models import ALL, SICK
from tests.programs.split import half


def test_a_twin_goes_with_its_sick_program() -> None:
    assert all(half(p) == half(f"{p.name}-mended") for p in SICK)


def test_the_halves_do_not_move() -> None:
    names = ("dead-by-bias", "dead-by-rate", "log-of-zero", "cold-sgd")
    assert [half(n) for n in names] == ["tuning", "reporting", "reporting", "tuning"]


def test_neither_half_is_small() -> None:
    shares = [sum(half(p) == "tuning" for p in x) / len(x) for x in (ALL, SICK)]
    assert all(0.3 < s < 0.7 for s in shares)
