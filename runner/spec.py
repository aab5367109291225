"""The job specification: what `job.yaml` may say, with units and the reason for each default.

Reading (strict, with the nearest name offered for an unknown key) is in `spec_reader`.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from runner.job_facts import LossTerm
from watchdog.config import WatchdogConfig
from watchdog.tiers import RecoveryConfig

#: A job is a folder and a package.
JOB_NAME = r"^[a-z][a-z0-9_]{0,39}$"

_COUNT = re.compile(r"[0-9]{1,9}")
_RANGE = re.compile(r"([0-9]{1,9})-([0-9]{1,9})")


class Config(BaseModel):
    """Base of every section: frozen, and a key it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def loss_formula(self) -> tuple[LossTerm, ...]:
        """Return the terms of the loss these settings make, for the configuration review.

        A job's own `Config` overrides it; () says nothing.
        """
        return ()


class DataConfig(Config):
    """Where the samples come from and how they are loaded."""

    path: str | None = Field(
        None, description="Data folder; null: data/<job> if it exists, else generated samples."
    )
    loader_workers: int = Field(
        0, ge=0, le=64, description="Loader processes a rank; 0 loads in the training process."
    )
    prefetch: int = Field(2, ge=1, le=64, description="Batches each loader process keeps ready.")


class ReduceOnPlateauConfig(Config):
    """What `schedule: reduce_on_plateau` does; the defaults are PyTorch's but for the patience."""

    factor: float = Field(
        0.5, gt=0, lt=1, description="What each reduction multiplies the learning rate by."
    )
    patience: int = Field(
        5, ge=0, description="Validations in a row without improvement that are let pass."
    )
    min_improvement_ratio: float = Field(
        1e-4,
        ge=0,
        lt=1,
        description="Improvement that counts, as a share of the best; early stopping uses it too.",
    )


class TrainConfig(Config):
    """The standard loop. All counts are optimizer steps of the whole run."""

    max_steps: int = Field(ge=1, description="Optimizer steps of the run.")
    batch_size: int = Field(
        ge=1,
        description="Samples of one step over all ranks, so that a change of the number of "
        "workers changes neither the learning rate's meaning nor the data order.",
    )
    micro_batch_size: int | None = Field(
        None,
        ge=1,
        description="Largest number of samples in one forward pass of a rank; null: all.",
    )
    lr: float = Field(gt=0, description="Peak learning rate.")
    min_lr: float = Field(
        0.0, ge=0, description="Learning rate at the end of the cosine; floor of the others."
    )
    warmup_steps: int = Field(0, ge=0, description="Steps of linear warm-up from 0.")
    schedule: Literal["cosine", "constant", "halving", "reduce_on_plateau"] = Field(
        "cosine",
        description="After the warm-up: down to min_lr along a cosine, constant, halved over every "
        "half_life_steps, or reduced when validations do not improve; never under min_lr.",
    )
    reduce_on_plateau: ReduceOnPlateauConfig = ReduceOnPlateauConfig()
    early_stopping: int | None = Field(
        None,
        ge=1,
        description="Validations in a row without improvement that end the run; null: never.",
    )
    half_life_steps: int = Field(
        1000, ge=1, description="Steps over which the halving schedule halves the rate."
    )
    ensemble_checkpoints: int = Field(
        0,
        ge=0,
        le=64,
        description="States whose mean output is validated once more at the end: the last one and "
        "the newest durable checkpoints; 0: none. The model must return a tensor.",
    )
    weight_decay: float = Field(0.01, ge=0, description="Decoupled weight decay of AdamW.")
    clip_norm: float | None = Field(1.0, gt=0, description="Global gradient norm; null: no limit.")
    skip_grad_norm: float | None = Field(
        None,
        gt=0,
        description="A step whose gradient norm (before clipping) exceeds this is not applied, and "
        "counts as skipped; null: only steps that are not finite. With fp16 the host waits for it.",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto: bf16 where the GPU has it, else fp16 on a GPU, fp32 on a CPU."
    )
    strategy: Literal["ddp", "fsdp"] = Field(
        "ddp",
        description="ddp: every rank holds the whole state. fsdp: parameters, gradients and "
        "optimizer state are shared out over the ranks, for models too large for one.",
    )
    ema_decay: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Decay a step of a moving average of the weights, which is saved beside them "
        "and used for validation; null: none.",
    )
    seed: int = Field(0, ge=0, lt=2**31)
    eval_every_steps: int = Field(100, ge=1, description="Steps between validations.")
    threads: int | None = Field(
        None, ge=1, description="CPU threads of a rank; null: the cores divided by the workers."
    )


class CheckpointConfig(Config):
    """Durable checkpoints on storage and memory checkpoints in RAM."""

    path: str | None = Field(
        None, description="Folder or URL (any pyarrow file system); null: inside the run's folder."
    )
    every_steps: int = Field(100, ge=1, description="Steps between durable checkpoints.")
    keep: int = Field(3, ge=1, description="Durable checkpoints kept besides the last trusted one.")
    memory_every_steps: int = Field(8, ge=1, description="Steps between memory checkpoints.")
    memory_keep: int = Field(
        6,
        ge=2,
        description="Memory checkpoints kept by each rank. memory_keep x memory_every_steps must "
        "cover the steps a verdict may take (32) and those a checkpoint needs to be trusted.",
    )
    memory_limit_gb: float | None = Field(
        None,
        ge=0,
        description="RAM of a node that the memory checkpoints of its ranks may take, in GB (10^9 "
        "bytes); fewer are kept where more are asked for, none where two do not fit. null: half of "
        "what is available when an attempt starts.",
    )


class RunSpec(Config):
    """A job file after overrides; `runs/<id>/job.yaml` holds it resolved."""

    name: str = Field(pattern=JOB_NAME, description="The folder under jobs/.")
    description: str = ""
    workers: int | str = Field(
        2, description="Number of workers, or an elastic range such as 1-4; 0: in this process."
    )
    gpus_per_worker: Annotated[int, Field(ge=0, le=1)] | None = Field(
        None, description="null: 1 where the cluster has GPUs, else 0."
    )
    cpus_per_worker: float = Field(1.0, gt=0)
    data: DataConfig = DataConfig()
    train: TrainConfig
    checkpoints: CheckpointConfig = CheckpointConfig()
    recovery: RecoveryConfig = RecoveryConfig()
    watchdog: WatchdogConfig = WatchdogConfig()
    task: dict[str, Any] = Field(
        default_factory=dict, description="The job's own settings; jobs/<name>/config.py has them."
    )
    drill: str | None = Field(None, description="Faults on purpose; see docs/DRILLS.md.")

    @field_validator("workers")
    @classmethod
    def _workers_are_possible(cls, value: int | str) -> int | str:
        low, high = worker_bounds(value)
        if low == high:
            return low
        return value

    @model_validator(mode="after")
    def _ensemble_is_kept(self) -> RunSpec:
        wanted, kept = self.train.ensemble_checkpoints, self.checkpoints.keep
        if wanted > kept + 1:
            raise ValueError(
                f"train.ensemble_checkpoints={wanted} wants more checkpoints than are kept, "
                f"checkpoints.keep={kept}; raise the latter to {wanted - 1} or lower the former"
            )
        return self

    @model_validator(mode="after")
    def _fsdp_goes_with_the_rest(self) -> RunSpec:
        if self.train.strategy == "fsdp" and self.train.ensemble_checkpoints:
            raise ValueError(
                "train.strategy=fsdp does not go with train.ensemble_checkpoints: no rank holds "
                "the whole of several models; set train.ensemble_checkpoints=0"
            )
        if self.train.strategy == "fsdp" and self.train.precision == "fp16":
            raise ValueError(
                "train.strategy=fsdp does not go with train.precision=fp16: the scale of the loss "
                "is found by each rank from its own part; use bf16 or fp32"
            )
        return self

    @model_validator(mode="after")
    def _every_worker_has_a_sample(self) -> RunSpec:
        _, high = worker_bounds(self.workers)
        if self.train.batch_size < high:
            raise ValueError(
                f"train.batch_size={self.train.batch_size} leaves some of workers={self.workers} "
                f"without a sample; raise train.batch_size to at least {high} or lower workers"
            )
        return self


def worker_bounds(workers: int | str) -> tuple[int, int]:
    """Return the least and the greatest number of workers; `(0, 0)` is this very process.

    Raises:
        ValueError: neither a count from 0 to 10000 nor a range such as 1-4.
    """
    if isinstance(workers, str) and (match := _RANGE.fullmatch(workers.strip())):
        low, high = int(match[1]), int(match[2])
    elif isinstance(workers, int) or _COUNT.fullmatch(workers.strip()):
        low = high = int(workers)
    else:
        raise ValueError(f"workers={workers!r} is neither a count nor a range such as 1-4")
    if low > high:
        raise ValueError(f"workers={workers} is an empty range; write the smaller number first")
    if high > 10_000 or low < 0 or (low == 0) != (high == 0):
        raise ValueError(f"workers={workers} is out of range; from 1 to 10000, or 0 for in-process")
    return low, high
