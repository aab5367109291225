import pytest

from watchdog.foreign_logs.names import Field, meaning

KNOWN = {
    Field.STEP: "step global_step iter iteration current_steps trainer/global_step _step itr",
    Field.EPOCH: "epoch Epoch current_epoch",
    Field.LOSS: "loss train_loss train/loss Loss/train trainLoss total_loss train_loss_step "
    "train_loss_epoch mean_loss avg_loss nll train_mse ppl",
    Field.VAL_LOSS: "val_loss eval_loss valid_loss test_loss Loss/val validation/loss dev_loss "
    "val_loss_epoch val_nll loss_val valLoss",
    Field.LR: "lr learning_rate LR train/learning_rate lr-AdamW lr/pg0 base_lr learningRate",
    Field.GRAD_NORM: "grad_norm gradient_norm gnorm train/grad_norm norm grad_2.0_norm_total",
    Field.VAL_METRIC: "val_metric val_acc eval_accuracy val/mAP metrics/mAP50-95(B) bbox_mAP mIoU "
    "eval_wer val_perplexity test_error val_f1 macro_val_f1 FID",
    Field.LOSS_PART: "loss_cls loss_bbox train/box_loss kl_loss lm_loss",
    Field.VAL_LOSS_PART: "val/box_loss val_kl_loss",
}
MEANINGLESS = (
    "loss_scale loss_weight best_val_loss min_lr lr_scale accuracy train_acc time epoch_time "
    "num_epochs epochs iterations learning_rate_decay train_runtime eval_steps_per_second momentum "
    "grad_norm_layer1 wd total_flos 1 . train val loss_std"
)


@pytest.mark.parametrize(
    ("name", "field"), [(name, field) for field, names in KNOWN.items() for name in names.split()]
)
def test_name_stands_for_its_field(name: str, field: Field) -> None:
    known = meaning(name)
    assert known is not None
    assert known.field is field


@pytest.mark.parametrize("name", ["", *MEANINGLESS.split(), "x" * 300])
def test_name_of_something_else_means_nothing(name: str) -> None:
    assert meaning(name) is None


@pytest.mark.parametrize(
    "name", ["eval_wer", "val_mae", "val_rmse", "test_ppl", "val_error_rate", "FID"]
)
def test_metric_that_is_better_when_lower_is_turned_round(name: str) -> None:
    known = meaning(name)
    assert known is not None
    assert known.sign == -1.0


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ("loss", "train_loss"),
        ("train_loss", "train_loss_epoch"),
        ("loss", "ppl"),
        ("val_loss", "val_loss_epoch"),
        ("lr", "lr-AdamW"),
        ("metrics/mAP50-95(B)", "metrics/mAP50(B)"),
        ("val_acc", "val_wer"),
    ],
)
def test_name_that_serves_better_has_the_smaller_rank(better: str, worse: str) -> None:
    first, second = meaning(better), meaning(worse)
    assert first is not None
    assert second is not None
    assert first.field is second.field
    assert first.rank < second.rank
