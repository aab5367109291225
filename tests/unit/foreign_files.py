"""Small logs in the layout of each program, made up: NaN from `bad_from` on where it is given."""

from __future__ import annotations

import json
import math
import random
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from watchdog.foreign_logs.events import masked_crc


def losses(count: int, bad_from: int | None = None) -> list[float]:
    """Return a calm loss about 2, NaN from the number `bad_from` (from 1) on."""
    rng = random.Random(7)
    calm = [2.0 * math.exp(rng.gauss(0.0, 0.01)) for _ in range(count)]
    return [
        math.nan if bad_from is not None and n >= bad_from else x
        for n, x in enumerate(calm, start=1)
    ]


def jsonl(values: Sequence[float]) -> str:
    """The plain format."""
    return lines_of_json({"step": n, "loss": x} for n, x in enumerate(values, start=1))


def lines_of_json(objects: Iterable[Mapping[str, object]]) -> str:
    """JSON lines, NaN as Python's json writes it."""
    return "".join(json.dumps(found) + "\n" for found in objects)


def pandas_csv(values: Sequence[float]) -> str:
    """What `DataFrame.to_csv(na_rep="nan")` writes, its index in front."""
    rows = (f"{n - 1},{n},{x!r},0.001\n" for n, x in enumerate(values, start=1))
    return ",step,train_loss,learning_rate\n" + "".join(rows)


def trainer_state(values: Sequence[float]) -> str:
    """Transformers: indented by two, keys sorted, a validation now and then, a summary last."""
    history: list[dict[str, float]] = []
    for n, x in enumerate(values, start=1):
        at = {"epoch": n / 40, "step": 10 * n}
        history.append({**at, "grad_norm": x, "learning_rate": 5e-5, "loss": x})
        if n % 20 == 0:
            history.append({**at, "eval_loss": 2.1, "eval_runtime": 3.2, "eval_wer": 0.3})
    history.append({"step": 10 * len(values), "train_loss": 2.0, "train_runtime": 99.0})
    state = {"best_metric": None, "global_step": 10 * len(values), "log_history": history}
    return json.dumps(state, indent=2, sort_keys=True)


def lightning(values: Sequence[float]) -> str:
    """Sparse lines: a step every 50, a validation and the mean of the epoch every tenth of them."""
    lines = ["epoch,step,train_loss_step,lr-AdamW,val_loss,train_loss_epoch"]
    for n, x in enumerate(values, start=1):
        step = 50 * n - 1
        lines.append(f"{n // 10},{step},{x!r},0.001,,")
        if n % 10 == 9:
            lines += [f"{n // 10},{step},,,2.1,", f"{n // 10},{step},,,,2.0"]
    return "\n".join(lines) + "\n"


def ultralytics(values: Sequence[float]) -> str:
    """Padded to 23 characters, as before 8.3; three terms a loss."""
    names = ["epoch", "train/box_loss", "train/cls_loss", "train/dfl_loss"]
    names += ["metrics/precision(B)", "metrics/mAP50(B)", "metrics/mAP50-95(B)"]
    names += ["val/box_loss", "val/cls_loss", "val/dfl_loss", "lr/pg0", "lr/pg1"]
    after = ["0.5", "0.6", "0.4", "1.1", "0.5", "0.5", "0.01", "0.02"]
    terms = [(f"{x / 2:.5g}", f"{x / 4:.5g}", f"{x / 4:.5g}") for x in values]
    rows = [[str(n), *found, *after] for n, found in enumerate(terms, start=1)]
    return "".join(",".join(f"{cell:>23}" for cell in row) + "\n" for row in [names, *rows])


def mmcv(values: Sequence[float]) -> str:
    """Three lines an epoch of 150 iterations, and a validation."""
    found: list[dict[str, object]] = [{"env_info": "sys.platform: linux", "seed": 0}]
    for n, x in enumerate(values):
        place = {"epoch": n // 3 + 1, "iter": 50 * (n % 3 + 1)}
        found.append({"mode": "train", **place, "lr": 0.02, "memory": 3825, "loss": x, "time": 0.5})
        if n % 3 == 2:
            found.append({"mode": "val", "epoch": n // 3 + 1, "iter": 20, "lr": 0.02, "mAP": 0.4})
    return lines_of_json(found)


def mmengine(values: Sequence[float]) -> str:
    """`vis_data/scalars.json`: the step is that of the run, and the epoch in a validation."""
    found: list[dict[str, object]] = []
    for n, x in enumerate(values, start=1):
        clocks = {"data_time": 0.01, "time": 0.5, "memory": 3825}
        found.append({"base_lr": 0.02, "lr": 0.02, **clocks, "loss": x, "epoch": 1, "step": 50 * n})
        if n % 10 == 0:
            found.append({"coco/bbox_mAP": 0.4, "data_time": 0.01, "time": 0.5, "step": n // 10})
    return lines_of_json(found)


def keras(values: Sequence[float]) -> str:
    """CSVLogger: epochs from 0, names sorted, NA where nothing was logged."""
    rows = (f"{n},0.5,{x!r},{'NA' if n % 2 else 0.4},2.1\n" for n, x in enumerate(values))
    return "epoch,accuracy,loss,val_accuracy,val_loss\n" + "".join(rows)


def nanogpt(values: Sequence[float]) -> str:
    """A validation every 20 lines, under the same step as the line after it."""
    lines = ["number of parameters: 10.65M", "num decayed parameter tensors: 26, with 10,740,096"]
    for n, x in enumerate(values, start=1):
        if n % 20 == 1:
            lines.append(f"step {10 * n}: train loss 1.9000, val loss 2.0000")
        lines.append(f"iter {10 * n}: loss {x:.4f}, time 51.23ms, mfu 7.35%")
    return "\n".join(lines) + "\n"


def framed(data: bytes) -> bytes:
    """One TFRecord."""
    length = struct.pack("<Q", len(data))
    sums = (struct.pack("<I", masked_crc(part)) for part in (length, data))
    return length + next(sums) + data + next(sums)


def tensorboard(path: Path, values: Sequence[float]) -> None:
    """Write what tensorboardX writes, under the usual tags, with a NaN where there is one."""
    from tensorboardX import SummaryWriter

    with SummaryWriter(str(path.parent / "parts")) as writer:
        for n, x in enumerate(values, start=1):
            writer.add_scalar("train/loss", x, 10 * n, walltime=float(n))
            writer.add_scalar("lr-AdamW", 1e-3, 10 * n, walltime=float(n))
            if n % 10 == 0:
                writer.add_scalar("val/loss", 2.1, 10 * n, walltime=float(n))
    (written,) = (path.parent / "parts").glob("events.out.tfevents.*")
    path.write_bytes(written.read_bytes())


#: The text formats by the name of their importer.
TEXTS: Mapping[str, Callable[[Sequence[float]], str]] = {
    "jsonl": jsonl,
    "csv": pandas_csv,
    "hf": trainer_state,
    "lightning": lightning,
    "ultralytics": ultralytics,
    "openmmlab": mmcv,
    "keras": keras,
    "text": nanogpt,
}
