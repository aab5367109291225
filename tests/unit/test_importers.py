"""Each format: recognised, read, and its broken files."""

import gzip
import json
import math
from pathlib import Path
from typing import TypeVar

import pytest

from tests.unit import foreign_files as made
from watchdog.errors import TraceError
from watchdog.foreign_logs.fit import Fit
from watchdog.importers import IMPORTERS, choose
from watchdog.records import AttemptStarted, EvalReport, Record, StepReport

R = TypeVar("R", bound=Record)
CALM = made.losses(60)


def records(path: Path, name: str = "auto") -> list[Record]:
    return list(choose(path, name).read(path))


def only(kind: type[R], found: list[Record]) -> list[R]:
    return [record for record in found if isinstance(record, kind)]


def steps(path: Path, name: str = "auto") -> list[StepReport]:
    return only(StepReport, records(path, name))


def evals(path: Path, name: str = "auto") -> list[EvalReport]:
    return only(EvalReport, records(path, name))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def test_every_format_of_the_contract_is_there() -> None:
    names = "jsonl csv hf lightning ultralytics openmmlab keras tensorboard text trace"
    assert set(IMPORTERS) == set(names.split())


@pytest.mark.parametrize("name", sorted(made.TEXTS))
def test_each_format_is_recognised_and_its_losses_are_read(log: Path, name: str) -> None:
    log.write_text(made.TEXTS[name](CALM))
    assert choose(log, "auto").name == name
    assert [s.loss for s in steps(log)] == pytest.approx(CALM, rel=1e-4)
    assert not only(AttemptStarted, records(log))[1:]
    assert choose(log, name).read(log).is_torn is False


@pytest.mark.parametrize("name", sorted(made.TEXTS))
def test_each_format_is_read_gzipped_alike(tmp_path: Path, name: str) -> None:
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    plain.write_text(made.TEXTS[name](CALM))
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert choose(packed, "auto").name == name
    assert [s.loss for s in steps(packed)] == [s.loss for s in steps(plain)]


@pytest.mark.parametrize("name", sorted(made.TEXTS))
def test_nan_is_read_as_a_value_in_each_format(log: Path, name: str) -> None:
    log.write_text(made.TEXTS[name](made.losses(40, bad_from=31)))
    bad = [s for s in steps(log) if not s.is_finite]
    assert len(bad) == 10
    assert all(s.loss is not None and math.isnan(s.loss) for s in bad)


def test_steps_rise_through_the_epochs_of_mmcv_and_validations_stand_where_training_was(
    log: Path,
) -> None:
    log.write_text(made.mmcv(CALM[:9]))
    assert [s.step for s in steps(log)] == [50 * n for n in range(1, 10)]
    assert [(e.step, e.val_metric) for e in evals(log)] == [(150, 0.4), (300, 0.4), (450, 0.4)]


def test_validation_of_mmengine_stands_where_training_was(log: Path) -> None:
    log.write_text(made.mmengine(CALM[:20]))
    assert choose(log, "auto").name == "openmmlab"
    assert [s.step for s in steps(log)] == [50 * n for n in range(1, 21)]
    assert [(e.step, e.val_metric) for e in evals(log)] == [(500, 0.4), (1000, 0.4)]


def test_trainer_state_keeps_rates_and_norms_and_leaves_the_summary_out(log: Path) -> None:
    log.write_text(made.trainer_state(CALM[:20]))
    found = steps(log)
    assert len(found) == 20
    assert (found[0].step, found[0].lr, found[0].grad_norm) == (10, 5e-5, CALM[0])
    assert [(e.step, e.val_loss, e.val_metric) for e in evals(log)] == [(200, 2.1, -0.3)]


def test_gradient_norm_tells_of_the_nan_that_the_trainer_filters_out_of_the_loss(log: Path) -> None:
    history = [{"step": n, "loss": 0.0, "grad_norm": math.nan} for n in range(1, 4)]
    log.write_text('{"log_history": ' + str(history).replace("'", '"').replace("nan", "NaN") + "}")
    assert [s.is_finite for s in steps(log)] == [False] * 3


def test_lightning_judges_the_step_and_ignores_the_mean_of_the_epoch(log: Path) -> None:
    log.write_text(made.lightning(CALM))
    assert [s.step for s in steps(log)][:3] == [49, 99, 149]
    assert {s.lr for s in steps(log)} == {1e-3}
    assert {e.val_loss for e in evals(log)} == {2.1}


def test_lightning_without_values_in_the_step_column_is_judged_by_epochs(log: Path) -> None:
    log.write_text(
        "epoch,step,train_loss_step,train_loss_epoch\n"
        + "".join(f"{n},{n * 7},,{x!r}\n" for n, x in enumerate(CALM))
    )
    assert [s.loss for s in steps(log)] == CALM


def test_ultralytics_sums_the_terms_and_takes_the_strictest_map(log: Path) -> None:
    log.write_text(made.ultralytics(CALM[:2]))
    (first, _) = evals(log)
    assert (first.step, first.val_metric) == (1, 0.4)
    assert first.val_loss == pytest.approx(2.1)
    assert steps(log)[0].lr == 0.01


def test_ultralytics_line_without_validation_is_left_out(log: Path) -> None:
    log.write_text(made.ultralytics(CALM[:3]) + "4,1,1,1,0.01,0.02\n")
    assert [s.step for s in steps(log)] == [1, 2, 3]


def test_keras_counts_epochs_and_reads_na_as_not_logged(log: Path) -> None:
    log.write_text(made.keras(CALM[:4]))
    assert [s.step for s in steps(log)] == [0, 1, 2, 3]
    assert [e.val_metric for e in evals(log)] == [0.4, None, 0.4, None]


def test_tensorboard_files_are_read_as_tensorboard_reads_them(log: Path) -> None:
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    made.tensorboard(log, made.losses(30, bad_from=28))
    assert choose(log, "auto").name == "tensorboard"
    theirs = [
        (event.step, value.tensor.float_val[0])
        for event in EventFileLoader(str(log)).Load()
        for value in event.summary.value
        if value.tag == "train/loss"
    ]
    assert repr([(s.step, s.loss) for s in steps(log)]) == repr(theirs)
    assert steps(log)[0].lr == pytest.approx(1e-3)
    assert [e.step for e in evals(log)] == [100, 200, 300]


def test_tensors_of_one_number_are_scalars_too(log: Path) -> None:
    from tensorboard.compat.proto.event_pb2 import Event

    event = Event(step=7)
    value = event.summary.value.add(tag="train/loss")
    value.tensor.dtype = 2  # double
    value.tensor.double_val.append(2.5)
    log.write_bytes(
        made.framed(Event(file_version="brain.Event:2").SerializeToString())
        + made.framed(event.SerializeToString())
    )
    assert [(s.step, s.loss) for s in steps(log)] == [(7, 2.5)]


def test_keras_validation_in_a_folder_of_its_own_counts_as_one(tmp_path: Path) -> None:
    path = tmp_path / "validation" / "events"
    path.parent.mkdir()
    made.tensorboard(path, CALM[:5])
    assert [e.val_loss for e in evals(path)] == pytest.approx(CALM[:5])
    assert steps(path) == []


def test_half_written_event_is_torn_and_a_changed_byte_is_an_error(log: Path) -> None:
    made.tensorboard(log, CALM)
    whole = log.read_bytes()
    log.write_bytes(whole[:-5])
    source = choose(log, "auto").read(log)
    assert list(source)
    assert source.is_torn
    log.write_bytes(whole[:300] + bytes([whole[300] ^ 1]) + whole[301:])
    with pytest.raises(TraceError, match=r"event \d+ of .* checksum"):
        records(log)


@pytest.mark.parametrize("name", ["jsonl", "csv", "lightning", "ultralytics", "keras", "openmmlab"])
def test_half_written_last_line_is_left_out_and_noted(log: Path, name: str) -> None:
    cut = 30 if name == "ultralytics" else 9  # characters: its cells are padded to 23
    log.write_text(made.TEXTS[name](CALM)[:-cut])
    source = choose(log, name).read(log)
    assert len(only(StepReport, list(source))) >= 58
    assert source.is_torn


def test_cut_text_line_is_torn_but_a_last_line_without_an_end_is_not(log: Path) -> None:
    text = "".join(f"step: {n}, loss: {x:.4f}\n" for n, x in enumerate(CALM))
    for ending, is_torn, count in (("step: 60, lo", True, 60), ("step: 60, loss: 2.0", False, 61)):
        log.write_text(text + ending)
        source = choose(log, "auto").read(log)
        assert len(only(StepReport, list(source))) == count
        assert source.is_torn is is_torn


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("csv", "step,loss\n1,2.0\n2,high\n3,1\n", r"line 3 of .* has loss='high'"),
        ("csv", "step,loss\n1,2.0\n2\n3,1\n", r"line 3 of .* has 1 values for 2 names"),
        ("csv", "step,loss\nnan,2.0\n", "the step nan"),
        ("csv", "a,b\n1,2\n", "no column of"),
        ("csv", '{"step": 1}\n', "no column of"),
        ("hf", "[1, 2]", "no list called log_history"),
        ("hf", '{"log_history": [\n3]}', "entry 1 of"),
        ("hf", '{"log_history": [\n{"loss": 1}', r"line 2 of .* is not JSON"),
        ("hf", "step,loss\n", "not JSON"),
        ("jsonl", "step,loss\n1,2\n", "line 1 of"),
        ("jsonl", '{"step": 1, "loss": [1, 2]}\n', "no number"),
        ("tensorboard", "step,loss\n1,2\n3,4\n", "event 1 of"),
        ("trace", '{"step": 1, "loss": 2}\n', "line 1 of"),
        ("openmmlab", '{"mode": "train", "epoch": 1, "iter": 1, "loss": "x"}\n', "loss='x'"),
    ],
)
def test_malformed_file_says_where_and_what(
    log: Path, name: str, content: str, message: str
) -> None:
    log.write_text(content)
    with pytest.raises(TraceError, match=message):
        records(log, name)


def test_line_longer_than_any_log_has_is_an_error(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watchdog.log_files.MAX_LINE_BYTES", 1000)
    monkeypatch.setattr("watchdog.json_lines.MAX_LINE_BYTES", 1000)
    log.write_text('{"step": 1, "loss": 2.0, "note": "' + "x" * 2000 + '"}\n')
    for name in ("jsonl", "csv", "text"):
        with pytest.raises(TraceError, match=r"line 1 of .* is longer than 1000 bytes"):
            records(log, name)


def test_line_longer_than_the_head_is_recognised(log: Path) -> None:
    log.write_text(f'{{"step": 1, "loss": 2.0, "note": "{"x" * 100_000}"}}\n')
    assert [s.loss for s in steps(log)] == [2.0]


def test_utf16_of_a_windows_shell_is_read(log: Path) -> None:
    log.write_text("step: 1, loss: 2.5\r\nstep: 2, loss: 2.4\r\n", encoding="utf-16")
    assert [s.loss for s in steps(log)] == [2.5, 2.4]
    log.write_text("step,loss\r\n1,2.5\r\n", encoding="utf-8-sig")
    assert [(s.step, s.loss) for s in steps(log)] == [(1, 2.5)]


def test_table_of_experiments_is_no_log(log: Path) -> None:
    log.write_text("hidden_size,batch_size,learning_rate,total_time\n100,32,0.01,13.8\n" * 3)
    with pytest.raises(TraceError, match="none of the known formats"):
        choose(log, "auto")


def test_ordinals_are_steps(log: Path) -> None:
    log.write_text("current step: 101st step\nloss:4.03\ncurrent step: 102nd\nloss:3.9\n")
    assert [(s.step, s.loss) for s in steps(log)] == [(101, 4.03), (102, 3.9)]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("name", sorted(made.TEXTS))
def test_each_format_is_read_alike_in_any_encoding(log: Path, name: str, encoding: str) -> None:
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    log.write_bytes((mark + made.TEXTS[name](CALM).replace("\n", "\r\n")).encode(encoding))
    assert choose(log, "auto").name == name
    assert [s.loss for s in steps(log)] == pytest.approx(CALM, rel=1e-4)


@pytest.mark.parametrize("indent", [None, 2])
def test_list_of_objects_is_read_as_lines_are(log: Path, indent: int | None) -> None:
    rows = [{"step": n, "loss": x} for n, x in enumerate(CALM, start=1)]
    log.write_text(json.dumps(rows, indent=indent))
    assert [s.loss for s in steps(log)] == CALM
    log.write_text(json.dumps(rows, indent=indent)[:-30])
    with pytest.raises(TraceError, match="starts a list and is not JSON"):
        steps(log)


def test_table_of_a_resumed_run_may_name_its_columns_again(log: Path) -> None:
    log.write_text("# seed 3\nstep,loss\n1,2.0\n2,1.9\nstep,loss,lr\n2,1.8,0.1\n")
    assert [(s.step, s.loss, s.lr) for s in steps(log)] == [
        (1, 2.0, None),
        (2, 1.9, None),
        (2, 1.8, 0.1),
    ]


def test_semicolons_go_with_decimal_commas(log: Path) -> None:
    log.write_text("epoch;loss;val_acc\n1;0,35;51\n2;1,5e-3;52,5\n")
    assert [s.loss for s in steps(log)] == [0.35, 0.0015]
    assert [e.val_metric for e in evals(log)] == [51.0, 52.5]


def test_step_and_epoch_on_lines_of_their_own_count_for_the_lines_after(log: Path) -> None:
    log.write_text("Epoch 1/2\nloss: 2.0 - val_loss: 2.1\nEpoch 2/2\nloss: 1.9 - val_loss: 2.0\n")
    assert [(s.step, s.loss) for s in steps(log)] == [(1, 2.0), (2, 1.9)]
    log.write_text("Step 100/1000\nloss: 2.0\nStep 200/1000\nloss: 1.9\n")
    assert [(s.step, s.loss) for s in steps(log)] == [(100, 2.0), (200, 1.9)]


@pytest.mark.parametrize("content", ["", "\n\n", "hello\n", "\x00\x01\x02" * 50, "1,2,3\n4,5,6\n"])
def test_what_no_format_knows_is_refused(log: Path, content: str) -> None:
    log.write_text(content)
    with pytest.raises(TraceError, match="none of the known formats"):
        choose(log, "auto")


def test_folder_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="cannot read"):
        choose(tmp_path, "auto")


def test_fits_are_ordered_from_none_to_exact() -> None:
    assert Fit.NO < Fit.FALLBACK < Fit.GENERAL < Fit.EXACT
