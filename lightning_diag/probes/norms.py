"""Normalization by batch: what the layer saw in this batch against the running statistics that evaluation will use."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from lightning_diag.probes.readings import Readings

_MOST = 1 << 16  # elements looked at


def take_batch_norm(site: str, module: nn.Module, x: Tensor, readings: Readings) -> None:
    """Take ``norm/values`` (values per channel), ``norm/mean_gap`` and ``norm/log_variance_ratio`` of a BatchNorm.

    The gap is the root mean square over channels of (running mean - mean of the batch) in running standard
    deviations; the ratio is the median over channels of log(running variance / variance of the batch).
    """
    if not isinstance(module, nn.modules.batchnorm._BatchNorm) or x.dim() < 2:
        return
    readings.site("norm", site)
    channels = x.shape[1]
    readings.scalar("norm/values", site, torch.tensor(float(x.numel() // channels), device=x.device))
    if module.running_mean is None or module.running_var is None or x.numel() // channels < 2:
        return
    flat = x.reshape(x.shape[0], channels, -1)
    step = max(1, flat.numel() // _MOST)
    part = (flat if step == 1 or flat.shape[2] == 1 else flat[:, :, :: min(step, flat.shape[2])]).float()
    var, mean = torch.var_mean(part, dim=(0, 2), correction=0)
    running = module.running_var.float() + module.eps
    gap = ((module.running_mean.float() - mean).square() / running).mean().sqrt()
    readings.scalar("norm/mean_gap", site, gap)
    readings.scalar("norm/log_variance_ratio", site, (running.log() - (var + module.eps).log()).median())


MODAL: Final = (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd)


def in_wrong_mode(root: nn.Module, *, training: bool, frozen: bool = False) -> list[str]:
    """Return the names of modules whose mode matters (normalization by batch, dropout) and is not ``training``.

    Args:
        root: the LightningModule.
        training: the mode they should be in.
        frozen: whether those without a trainable parameter near them count, too: a frozen backbone rests on purpose.
    """
    found = []
    for name, module in root.named_modules():
        if not isinstance(module, MODAL) or module.training == training:
            continue
        if isinstance(module, nn.modules.dropout._DropoutNd):
            matters = module.p > 0
        else:
            own = list(module.parameters(recurse=False))
            matters = module.track_running_stats and (frozen or not own or any(p.requires_grad for p in own))
        if matters:
            found.append(name)
    return found


def unfed(root: nn.Module) -> list[str]:
    """Return the names of BatchNorms in eval mode whose running statistics are still those of their making, 0 and 1."""
    kinds = nn.modules.batchnorm._BatchNorm
    norms = [(n, m) for n, m in root.named_modules() if isinstance(m, kinds) and not m.training]
    return [n for n, m in norms if isinstance(m.num_batches_tracked, Tensor) and int(m.num_batches_tracked) == 0]
