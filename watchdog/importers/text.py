"""Text logs and captured terminals: any line with a named loss, metric or gradient norm.

Known are nanoGPT and llm.c (`iter 10: loss 2.3, time 5ms`, `step 250: train loss 1.9, val loss
2.0`), Megatron, fairseq, mmcv and Detectron2, the examples of PyTorch (`Epoch: [0][10/391] Loss 6.9
(7.0)`), Keras' progress bars, tqdm, the dicts that Transformers prints, and `key=value` in general;
with or without a time in front, a rank or colours. Other lines are passed over.

Runs in: anywhere (reads files).
"""

from __future__ import annotations

import re
from pathlib import Path

from watchdog.foreign_logs.fit import Fit
from watchdog.foreign_logs.log import ForeignLog
from watchdog.foreign_logs.phrases import named_numbers
from watchdog.foreign_logs.text import TextLog, is_telling
from watchdog.log_files import decoded

IS_FOREIGN = True

_LINE_END = re.compile(r"[\r\n\b]+")


def recognises(head: bytes) -> Fit:
    """Whether one of the first lines holds a named number that can be judged."""
    if b"\0" in head and not head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return Fit.NO
    lines = _LINE_END.split(decoded(head))
    return Fit.FALLBACK if any(is_telling(named_numbers(line)) for line in lines) else Fit.NO


def read(path: Path) -> ForeignLog:
    """Return the records of the log, read while they are iterated over."""
    return ForeignLog(path, TextLog(path))
