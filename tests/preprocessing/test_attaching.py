"""Preprocessings in a model that knows nothing of them: called, saved, copied, exported."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_diag.preprocessing import Preprocessing, TargetPreprocessing, attach, bundle, entry_of
from tests.preprocessing.fits import Net, data


def fitted() -> tuple[Net, Preprocessing, TargetPreprocessing]:
    x, y = data().tensors
    inputs, target = Preprocessing("channel").observe(x), TargetPreprocessing().observe(y)
    return Net(), inputs, target


def test_it_acts_whenever_the_model_is_called() -> None:
    net, inputs, target = fitted()
    x = data().tensors[0]
    wanted = target.inverse(net(inputs(x)))
    attach(net, inputs, target)
    torch.testing.assert_close(net(x), wanted)
    attach(net, Preprocessing("channel"), TargetPreprocessing())
    torch.testing.assert_close(net(x), wanted, msg="attaching again changes nothing")
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        torch.testing.assert_close(other(x), wanted)
    copied = copy.deepcopy(net)
    copied.input_preprocessing.offset.fill_(0.0)
    torch.testing.assert_close(net(x), wanted, msg="a copy has statistics of its own")
    assert {"input_preprocessing.offset", "target_preprocessing.scale"} <= set(net.state_dict())


class Plain(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_exports_take_raw_inputs() -> None:
    net, inputs, target = fitted()
    plain = attach(Plain(net.net), inputs, target).eval()
    x = data().tensors[0]
    wanted = plain(x)
    together = bundle(plain)
    torch.testing.assert_close(together(x), wanted)
    for exported in (
        torch.jit.trace(plain, x), torch.export.export(plain, (x,)).module(),
        torch.jit.script(together), torch.jit.trace(together, x), torch.export.export(together, (x,)).module(),
    ):  # fmt: skip
        torch.testing.assert_close(exported(x), wanted)
    assert plain(x).equal(wanted), "the model keeps its hooks"


def test_inputs_by_name_and_in_mappings() -> None:
    class Named(nn.Module):
        def forward(self, x: Any, scale: float = 1.0) -> Any:
            return (x["image"] if isinstance(x, dict) else x) * scale

    x = data().tensors[0]
    p = Preprocessing("channel").observe(x)
    torch.testing.assert_close(attach(Named(), p, input_key="x")(scale=2.0, x=x), 2 * p(x))
    torch.testing.assert_close(attach(Named(), p, input_key="image")({"image": x}), p(x))
    with pytest.raises(TypeError, match="must be a tensor, got list; pass input_key="):
        attach(Named(), p)([x])
    with pytest.raises(TypeError, match="called without an input"):
        attach(Named(), p)(image=x)


def test_what_takes_the_inputs() -> None:
    class Several(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder = nn.Linear(2, 2), nn.Linear(2, 2)

    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.loss = nn.Linear(2, 2), nn.MSELoss()

    assert entry_of(Net()) == ""
    assert entry_of(One()) == "net"
    with pytest.raises(ValueError, match=r"not clear: encoder, decoder; pass site="):
        entry_of(Several())
    with pytest.raises(ValueError, match="becomes one of its layers"):
        attach(nn.Sequential(nn.Linear(2, 2)), Preprocessing("mean"))
    with pytest.raises(AttributeError, match="head"):
        attach(One(), Preprocessing("mean"), site="head")


def test_only_tensors_come_back_in_their_units() -> None:
    class Pair(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return x, x

    with pytest.raises(TypeError, match="only a tensor can be brought back to the units of the targets, got tuple"):
        attach(Pair(), None, TargetPreprocessing().observe(torch.randn(9)))(torch.ones(2))
    with pytest.raises(ValueError, match="nothing to bundle"):
        bundle(Pair())
