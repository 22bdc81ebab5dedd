from dataclasses import replace

import pytest

from tests.rules.histories import falling_loss, flat_loss, judged, unmeasured
from tests.rules.wired import chain, wired

RULE = "missing-nonlinearity"
DEEP = [(64, 64), (64, 64), (64, 64), (64, 64), (10, 64)]


def run(shapes, loss=None, *, broken=(), type_="Linear", rename=str):
    made, known = chain(shapes, broken=broken, type_=type_)
    made = [replace(x, site=rename(x.site), straight=rename(x.straight)) for x in made]
    return wired(flat_loss() if loss is None else loss, structure=made, known=known)


def test_sick_all_affine():
    (found,) = judged(run(DEEP), RULE)
    assert (found.severity, found.site) == ("error", "net.0")
    assert judged(run(DEEP, falling_loss(scale=0.1)), RULE)[0].severity == "info"


def test_sick_three_in_a_row():
    (found,) = judged(run(DEEP, broken=(1,)), RULE)
    assert (found.severity, found.site) == ("warning", "net.1")


def test_sick_every_second_one():
    assert judged(run([*DEEP[:4], *DEEP], broken=(1, 3, 5, 7)), RULE)[0].severity == "warning"


def test_one_pair_is_an_info():
    assert [f.severity for f in judged(run(DEEP, broken=(1, 2, 4)), RULE)] == ["info"]


def test_healthy():
    assert judged(run(DEEP, broken=range(len(DEEP))), RULE) == []


@pytest.mark.parametrize(
    "shapes",
    [
        [(64, 64), (8, 64), (64, 8), (64, 64), (10, 64)],  # low rank
        [(64, 32, 3, 3), (64, 1, 3, 3), (64, 64, 1, 1), (64, 64, 3, 3), (10, 64, 3, 3)],  # separable
        [(64, 64, 3, 1), (64, 64, 1, 3), (64, 64, 3, 1), (64, 64, 1, 3), (10, 64, 3, 1)],  # factorized
    ],
)
def test_factorizations_are_silent(shapes):
    assert [f for f in judged(run(shapes, broken=(1, 3, 4)), RULE) if f.severity != "info"] == []
    assert judged(run(shapes[1:4], broken=(2,)), RULE) == []


def test_projections_in_attention_are_silent():
    rename = lambda s: s.replace("net.", "block.attn.") if s else s  # noqa: E731
    assert judged(run(DEEP, broken=(1,), rename=rename), RULE) == []


def test_absent():
    assert "fewer than two" in unmeasured(run(DEEP[:1]), RULE)


def test_linear_layers_that_widen_to_narrow_again_serve_no_end():
    block = [(64, 64), (64, 64), (256, 64), (64, 256), (64, 64), (10, 64)]
    (found,) = judged(run(block, falling_loss(scale=0.1), broken=(1, 2, 4, 5)), RULE)
    assert (found.severity, found.site) == ("warning", "net.2")
    head = [(64, 64), (256, 64), (10, 256)]
    assert [f.severity for f in judged(run(head, falling_loss(scale=0.1), broken=(1,)), RULE)] == ["info"]
