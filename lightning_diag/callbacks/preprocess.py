"""Preprocessing of inputs and targets for a LightningModule whose code stays as it is."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Literal, Union

import torch
from lightning.pytorch import Callback
from torch import nn

from lightning_diag import preprocessing as pre
from lightning_diag.callbacks.targets import MapTargets, transfer_owner
from lightning_diag.callbacks.turns import put_first
from lightning_diag.preprocessing import Preprocessing, TargetPreprocessing

_Kind = Literal["mean", "mean_image", "channel_mean", "channel", "feature", "minmax", "pca", "zca"]


class Preprocess(Callback):
    """Fits a preprocessing on the training data before the first step, and applies it from then on.

    The statistics are buffers of the module (``input_preprocessing``, ``target_preprocessing``): saved in its
    checkpoints, used alike in training, validation, test, prediction and in a plain ``module(x)``. Inputs are mapped
    whenever the module that takes them (``site``) is called. Targets are mapped in the batches of training, validation
    and test, whose losses and metrics are therefore in mapped units; outputs are mapped back to the units of the data
    in prediction and in a plain ``module(x)``.

    Fitting reads the training loader once (as far as ``limit_train_batches`` goes, as augmented as it is) and puts the
    random state back. It is done once: not on resuming, and not in a second fit of the same module.

    Args:
        kind: name of a row of ``PREPROCESSINGS``; None leaves inputs alone.
        target: "standardize" or "minmax" for the targets of a regression; None leaves them alone.
        input_key: index or key of the inputs in a batch; the name of the argument, where it is given by name.
        target_key: index or key of the targets in a batch.
        site: name of the module that takes the inputs; "" is the LightningModule itself; None: the LightningModule if
            it has a ``forward``, else its only child with layers.
        eps: under the root that is divided by; None: 1e-5 for whitening, else 0.
        channel_axis: the axis that holds the channels.
        missing: what is done with NaN: "refuse", "mean" or "keep".
        max_batches: fit on at most so many batches; needed for loaders that never end.

    Raises:
        ValueError: an unknown name, nothing to do, or a number out of range.
    """

    def __init__(
        self,
        kind: Union[_Kind, None] = "channel",
        *,
        target: Union[Literal["standardize", "minmax"], None] = None,
        input_key: Union[int, str] = 0,
        target_key: Union[int, str] = 1,
        site: Union[str, None] = None,
        eps: Union[float, None] = None,
        channel_axis: int = 1,
        missing: Literal["refuse", "mean", "keep"] = "refuse",
        max_batches: Union[int, None] = None,
    ) -> None:
        if kind is None and target is None:
            raise ValueError("Preprocess has nothing to do: give kind= for the inputs or target= for the targets")
        if max_batches is not None and max_batches < 1:
            raise ValueError(f"max_batches must be 1 or more, got {max_batches!r}")
        self._settings: dict[str, Any] = {
            "kind": kind, "target": target, "input_key": input_key, "target_key": target_key, "site": site, "eps": eps,
            "channel_axis": channel_axis, "missing": missing,
        }  # fmt: skip
        self.max_batches = max_batches
        _made(self._settings)  # wrong arguments are told now
        self._owner: Any = None

    # -- hooks ---------------------------------------------------------------------------------------------------

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        put_first(trainer, self)
        _attach(pl_module, self._settings)
        _share(trainer, pl_module, self._settings)
        if self._settings["target"] is not None and stage != "predict":
            self._take_targets(trainer, pl_module)

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        inputs, target = (getattr(pl_module, name, None) for name in (pre.INPUT, pre.TARGET))
        inputs, target = (None if p is None or p.fitted else p for p in (inputs, target))
        if inputs is not None or target is not None:
            trainer.fit_loop.setup_data()
            limit = trainer.num_training_batches
            most = [n for n in (self.max_batches, limit) if n is not None and n != float("inf")]
            keys = {name: self._settings[name] for name in ("input_key", "target_key")}
            shown = bool(trainer.is_global_zero)
            loader = _single(trainer.train_dataloader)
            pre.fit(loader, inputs, target, **keys, max_batches=int(min(most)) if most else None, progress=shown)
        _share(trainer, pl_module, self._settings)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        _forget_call(pl_module, batch_idx)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._check_called(pl_module, batch_idx)

    def on_predict_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        _forget_call(pl_module, batch_idx)

    def on_predict_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._check_called(pl_module, batch_idx)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self._give_targets_back(pl_module)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self._give_targets_back(pl_module)

    def state_dict(self) -> dict[str, Any]:
        return dict(self._settings)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name in ("kind", "target"):
            if state_dict.get(name) != self._settings[name]:
                raise ValueError(
                    f"the checkpoint was trained with Preprocess({name}={state_dict.get(name)!r}), this callback has "
                    f"{name}={self._settings[name]!r}; use the same"
                )

    # -- without a Trainer ---------------------------------------------------------------------------------------

    @staticmethod
    def restore(pl_module: nn.Module, checkpoint: Any) -> nn.Module:
        """Return the module with the preprocessing and all weights of a checkpoint that this callback was trained in.

        ``Net.load_from_checkpoint`` refuses such a checkpoint, for the class knows nothing of the statistics in it.
        Make the module, then ``Preprocess.restore(Net(), "last.ckpt")``.

        Args:
            pl_module: the module, as made by its class.
            checkpoint: path of the checkpoint, or what ``torch.load`` made of it.

        Raises:
            ValueError: the checkpoint was not trained with this callback.
        """
        if not isinstance(checkpoint, Mapping):
            checkpoint = torch.load(checkpoint, map_location="cpu", weights_only=True)
        states = checkpoint.get("callbacks", {})
        settings = next((s for key, s in states.items() if str(key).startswith("Preprocess")), None)
        if settings is None:
            raise ValueError("the checkpoint has no state of the callback Preprocess: it was trained without it")
        _attach(pl_module, settings)
        pl_module.load_state_dict(checkpoint["state_dict"])
        return pl_module

    # -- inside --------------------------------------------------------------------------------------------------

    def _take_targets(self, trainer: Any, pl_module: Any) -> None:
        """Map the targets of batches; the hook that does is the one that Lightning will call."""
        self._give_targets_back(pl_module)
        _, undo = pre.hooks_of(pl_module)
        if undo is not None:
            undo.paused = True
        self._owner = transfer_owner(pl_module, trainer.datamodule)
        mapping = MapTargets(self._owner.on_after_batch_transfer, pl_module, self._settings["target_key"])
        self._owner.on_after_batch_transfer = mapping.run

    def _give_targets_back(self, pl_module: Any) -> None:
        _, undo = pre.hooks_of(pl_module)
        if undo is not None:
            undo.paused = False
        if self._owner is not None:
            vars(self._owner).pop("on_after_batch_transfer", None)
            self._owner = None

    def _check_called(self, pl_module: Any, batch_idx: int) -> None:
        """Raise if the inputs of the first batch went past the preprocessing."""
        if batch_idx > 0:
            return
        apply, _ = pre.hooks_of(pl_module)
        if apply is not None and not apply.called:
            site = self._settings["site"] if self._settings["site"] is not None else pre.entry_of(pl_module)
            children = ", ".join(name for name, m in pl_module.named_children() if name not in (pre.INPUT, pre.TARGET))
            raise RuntimeError(
                f"the inputs were not preprocessed: {site or type(pl_module).__name__} was not called in this batch; "
                f"pass site= with the name of the module that your step calls with the inputs (there are {children})"
            )


def _made(settings: Mapping[str, Any]) -> tuple[Union[Preprocessing, None], Union[TargetPreprocessing, None]]:
    kind, target, missing = settings["kind"], settings["target"], settings["missing"]
    how = {name: settings[name] for name in ("eps", "channel_axis")}
    inputs = None if kind is None else Preprocessing(kind, missing=missing, **how)
    return inputs, None if target is None else TargetPreprocessing(target, missing=missing)


def _attach(module: Any, settings: Mapping[str, Any]) -> None:
    inputs, target = _made(settings)
    for name, new in ((pre.INPUT, inputs), (pre.TARGET, target)):
        held = getattr(module, name, None)
        if new is not None and held is not None and held.kind != new.kind:
            raise ValueError(
                f"{type(module).__name__} already has {name} of kind {held.kind!r}, this callback has {new.kind!r}; "
                "use the same, or make the module anew"
            )
    pre.attach(module, inputs, target, site=settings["site"], input_key=settings["input_key"])


def _share(trainer: Any, pl_module: Any, settings: Mapping[str, Any]) -> None:
    """Give the statistics to copies of the module that other callbacks hold, averaged weights for example."""
    for callback in trainer.callbacks:
        for held in vars(callback).values():
            for twin in held.modules() if isinstance(held, nn.Module) else ():
                if type(twin) is type(pl_module) and twin is not pl_module:
                    _attach(twin, settings)
                    for name in (pre.INPUT, pre.TARGET):
                        if hasattr(pl_module, name):
                            getattr(twin, name).load_state_dict(copy.deepcopy(getattr(pl_module, name).state_dict()))


def _forget_call(module: Any, batch_idx: int) -> None:
    apply, _ = pre.hooks_of(module) if batch_idx == 0 else (None, None)
    if apply is not None:
        apply.called = False


def _single(loader: Any) -> Any:
    """Return the training loader; raise where there are several."""
    if isinstance(loader, (list, tuple, Mapping)):
        raise ValueError(
            "there are several training loaders, and which one the statistics are of is not clear; fit the "
            "preprocessing before trainer.fit, with attach and fit of lightning_diag.preprocessing"
        )
    return loader
