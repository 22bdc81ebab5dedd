"""Tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from .parts import Fit
from .tabular_parts import Noted, cut, feed, held, real, whole

# -- loans -----------------------------------------------------------------------------------------------


class Applications(Dataset[dict[str, Tensor]]):
    """Rows as dictionaries."""

    def __init__(self, numeric: Tensor, region: Tensor, job: Tensor, approved: Tensor) -> None:
        self.columns = {"numeric": numeric, "region": region, "job": job, "approved": approved}

    def __len__(self) -> int:
        return len(self.columns["approved"])

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {name: column[index] for name, column in self.columns.items()}


def applications(count: int = 2400) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(21)
    income = np.exp(rng.normal(10.6, 0.5, count))
    age, years = rng.uniform(20, 70, count), rng.gamma(2.0, 4.0, count)
    loan, debt = np.exp(rng.normal(9.8, 0.6, count)), rng.beta(2, 5, count)
    region, job = rng.integers(0, 12, count), rng.integers(0, 9, count)
    effect = rng.normal(0, 1.2, 12)[region] + rng.normal(0, 1.2, 9)[job]
    score = 2 * (np.log(income / loan) - 0.8) - 9 * (debt - 0.28) + 0.1 * (years - 8) + effect
    score += np.sin((age - 20) / 8)
    approved = score + rng.logistic(0, 0.5, count) > 0
    return np.stack([income, age, years, loan, debt], 1), region, job, approved


class LoanModel(Noted):
    def __init__(self) -> None:
        super().__init__()
        self.embed_region, self.embed_job = nn.Embedding(12, 4), nn.Embedding(9, 4)
        self.fc1, self.fc2, self.fc3 = nn.Linear(13, 48), nn.Linear(48, 24), nn.Linear(24, 1)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        parts = [batch["numeric"], self.embed_region(batch["region"]), self.embed_job(batch["job"])]
        h = F.elu(self.fc1(torch.cat(parts, dim=1)))
        result: Tensor = self.fc3(F.elu(self.fc2(h)))[:, 0]
        return result

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        loss = F.binary_cross_entropy_with_logits(self(batch), batch["approved"])
        self.note("train_bce", loss)
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        z = self(batch)
        self.note("val_bce", F.binary_cross_entropy_with_logits(z, batch["approved"]))
        self.note("val_accuracy", ((z > 0).float() == batch["approved"]).float().mean())

    def configure_optimizers(self) -> Any:
        embeddings = [*self.embed_region.parameters(), *self.embed_job.parameters()]
        dense = [*self.fc1.parameters(), *self.fc2.parameters(), *self.fc3.parameters()]
        groups: list[dict[str, Any]] = [{"params": embeddings, "weight_decay": 0.0}, {"params": dense}]
        optimizer = torch.optim.AdamW(groups, lr=6e-3)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 14)]


def loan_desk(seed: int, *, sick: bool) -> Fit:
    """Income, age and debt ratio are joined to the embeddings in dollars, years and fractions."""
    numeric, *rest = applications()
    if not sick:
        numeric = (numeric - numeric[:1900].mean(0)) / numeric[:1900].std(0)
    columns = [real(numeric), whole(rest[0]), whole(rest[1]), real(rest[2])]
    train, val = Applications(*[c[:1900] for c in columns]), Applications(*[c[1900:] for c in columns])
    return Fit(LoanModel(), feed(train, 64, seed), held(val), {"max_epochs": 14})


# -- bikes -----------------------------------------------------------------------------------------------


def bikes(truncated: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(33)
    stamps = np.datetime64("2021-03-01T00", "h") + np.arange(2400).astype("timedelta64[h]")
    hour, day = np.arange(2400) % 24, np.arange(2400) // 24
    weekend = (day % 7 >= 5).astype(float)
    warm = 12 + 6 * np.sin((hour - 9) / 24 * 2 * np.pi) + 5 * np.sin(day / 15) + rng.normal(0, 3, 2400)
    humid, wind = rng.uniform(20, 95, 2400), rng.gamma(2, 2, 2400)
    rush = np.exp(-(((hour - 8) / 2) ** 2)) + 1.3 * np.exp(-(((hour - 17.5) / 2.5) ** 2))
    leisure = 0.9 * np.exp(-(((hour - 14) / 4) ** 2))
    rentals = 2.2 * np.where(weekend > 0, leisure, rush) + 0.06 * warm - 0.01 * humid - 0.06 * wind
    rentals += rng.normal(0, 0.15, 2400)
    if truncated:
        stamps = stamps.astype("datetime64[D]")
    clock = (stamps - stamps.astype("datetime64[D]")) / np.timedelta64(24, "h") * 2 * np.pi
    numeric = np.stack([warm, humid, wind], 1)
    numeric = (numeric - numeric.mean(0)) / numeric.std(0)
    x = np.column_stack([numeric, np.sin(clock), np.cos(clock), weekend])
    return x, (rentals - rentals.mean()) / rentals.std()


class Gate(nn.Module):
    """Residual gated linear unit."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.down(F.glu(self.up(self.norm(x))))
        return result


class BikeRentals(Noted):
    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Linear(6, 32), Gate(32), Gate(32), nn.LayerNorm(32), nn.Linear(32, 1))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = F.mse_loss(self.model(batch[0]).squeeze(1), batch[1])
        self.note("train_mse", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.note("valid_mse", F.mse_loss(self.model(batch[0]).squeeze(1), batch[1]))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-2)
        steps = int(self.trainer.estimated_stepping_batches)
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}


def bike_rentals(seed: int, *, sick: bool) -> Fit:
    """The hour of the day is taken from time stamps that were cut to the day before."""
    x, y = bikes(sick)
    train, val = cut([real(x), real(y)], 1920, seed=2)
    return Fit(BikeRentals(), feed(train, 64, seed), held(val), {"max_epochs": 15})


# -- postcodes -------------------------------------------------------------------------------------------


def postcodes(leaky: bool, count: int = 3000) -> tuple[np.ndarray, ...]:
    """Policies with a claim or without, and the rate of claims of their postcode: of these rows, or of last year's."""
    rng = np.random.default_rng(44)
    risk = rng.normal(0, 1, 4000)

    def year(rows: int) -> tuple[np.ndarray, ...]:
        numeric, car, code = rng.normal(0, 1, (rows, 6)), rng.integers(0, 10, rows), rng.integers(0, 4000, rows)
        z = 1.6 * numeric[:, 0] - 1.4 * numeric[:, 1] * numeric[:, 2] + 1.2 * numeric[:, 3] + 0.25 * (car - 4.5)
        return numeric, car, code, (z + risk[code] + rng.logistic(0, 0.5, rows) > 0).astype(float)

    numeric, car, code, claim = year(count)
    _, _, old_code, old_claim = year(16000)
    source, target, prior = (code, claim, 0.0) if leaky else (old_code, old_claim, 2.0)
    total = np.bincount(source, target, 4000) + 0.5 * prior
    rate = (total / np.maximum(np.bincount(source, minlength=4000) + prior, 1))[code]
    return np.column_stack([numeric, (rate - rate.mean()) / rate.std()]), car, claim


class CrossNet(Noted):
    """Deep and cross network, loss and score by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.car = nn.Embedding(10, 3)
        self.cross = nn.ModuleList([nn.Linear(10, 10) for _ in range(2)])
        self.deep = nn.Sequential(nn.Linear(10, 32), nn.SiLU(), nn.Linear(32, 16), nn.SiLU())
        self.head = nn.Linear(26, 2)

    def forward(self, x: Tensor, car: Tensor) -> Tensor:
        start = torch.cat([x, self.car(car)], 1)
        crossed = start
        for layer in self.cross:
            crossed = start * layer(crossed) + crossed
        result: Tensor = self.head(torch.cat([crossed, self.deep(start)], 1))
        return result

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        x, car, y = batch
        loss = -F.log_softmax(self(x, car), 1).gather(1, y[:, None]).mean()
        self.note("nll", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        x, car, y = batch
        logp = F.log_softmax(self(x, car), 1)
        self.note("nll_val", -logp.gather(1, y[:, None]).mean())
        self.note("hits_val", (logp.argmax(1) == y).float().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.RMSprop(self.parameters(), lr=2e-3)


def postcode_rates(seed: int, *, sick: bool) -> Fit:
    """Each postcode is encoded by the mean label of its rows, and most postcodes have one or two rows."""
    x, car, claim = postcodes(sick)
    train, val = cut([real(x), whole(car), whole(claim)], 2400, seed=3)
    return Fit(CrossNet(), feed(train, 48, seed), held(val), {"max_epochs": 9})
