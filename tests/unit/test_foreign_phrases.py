import math

import pytest

from watchdog.foreign_logs.phrases import named_numbers

LINES = {
    "iter 10: loss 2.3456, time 51.23ms, mfu 7.35%": {"step": 10, "loss": 2.3456},
    "step 250: train loss 1.9, val loss 2.0": {"step": 250, "train_loss": 1.9, "val_loss": 2.0},
    "step: 10, loss: 2.3": {"step": 10, "loss": 2.3},
    "2024-03-01 12:00:01,123 INFO [rank0] step=10 loss=-2.3 lr=1e-4": {
        "step": 10,
        "loss": -2.3,
        "lr": 1e-4,
    },
    "Epoch 3/50 - 4s 2ms/step - loss: 0.4 - val_loss: 0.5": {
        "epoch": 3,
        "loss": 0.4,
        "val_loss": 0.5,
    },
    "Epoch [3/50], Step [10/100], Loss: 0.5": {
        "epoch": 3,
        "step": 10,
        "epoch_steps": 100,
        "Loss": 0.5,
    },
    "Epoch: [2][ 10/391]\tTime 0.2 ( 0.3)\tLoss 6.8e+00 (6.9e+00)\tAcc@1 0.1 (0.2)": {
        "epoch": 2,
        "step": 10,
        "epoch_steps": 391,
        "Loss": 6.8,
    },
    "Train Epoch: 1 [640/60000 (1%)]\tLoss: 1.36": {
        "epoch": 1,
        "step": 640,
        "epoch_steps": 60000,
        "Loss": 1.36,
    },
    "Test set: Average loss: 0.0285, Accuracy: 9913/10000 (99%)": {
        "Test_set_Average_loss": 0.0285,
        "val_Accuracy": 0.9913,
    },
    "step    3/19560 | loss 10.85 (+nanz)| norm 14.84 (+nanz)| lr 3.00e-06 | 3113.90 ms": {
        "step": 3,
        "epoch_steps": 19560,
        "loss": 10.85,
        "norm": 14.84,
        "lr": 3e-06,
    },
    " iteration 4/ 1000 | elapsed time per iteration (ms): 3.1 | learning rate: 7.5E-05 | "
    "lm loss: 4.8E+01 | loss scale: 1.0 | grad norm: 62.3 | number of nan iterations: 0 |": {
        "step": 4,
        "epoch_steps": 1000,
        "learning_rate": 7.5e-05,
        "loss": 48.0,
        "grad_norm": 62.3,
    },
    "{'loss': '2.3', 'grad_norm': 1.5, 'learning_rate': 4.9e-05, 'epoch': 0.02}": {
        "loss": 2.3,
        "grad_norm": 1.5,
        "learning_rate": 4.9e-05,
        "epoch": 0.02,
    },
    "Epoch 1:  45%|####5     | 450/1000 [00:10<00:12, 44.1it/s, loss=2.31, v_num=0]": {
        "epoch": 1,
        "step": 450,
        "epoch_steps": 1000,
        "loss": 2.31,
    },
    "| end of epoch   1 | time: 60.20s | valid loss  5.83 | valid ppl   340.1": {
        "epoch": 1,
        "valid_loss": 5.83,
        "valid_ppl": 340.1,
    },
    "Loss at step 10: 2.3": {"step": 10, "Loss": 2.3},
    "Loss on the validation set: 2.3": {"val_Loss": 2.3},
    "val | loss 2.4 acc 0.5 | train | loss 2.1": {"val_loss": 2.4, "val_acc": 0.5, "loss": 2.1},
    "cls loss 0.1, loss 2.0": {"loss": 2.0},
    "best val loss: 0.3 (epoch 7)": {"epoch": 7},
    "Epoch 3: val_loss improved from 0.31 to 0.30, saving model": {"epoch": 3},
    "Test: [ 3/10] Loss 5.0 (5.1)": {},
    "torch 2.13.0 at 12:30:00 on 10.0.0.1, loss_scale=65536": {},
    "": {},
}


@pytest.mark.parametrize(("line", "expected"), LINES.items())
def test_numbers_are_named_by_the_words_before_them(line: str, expected: dict[str, float]) -> None:
    assert named_numbers(line) == expected


@pytest.mark.parametrize("spelling", ["nan", "NaN", "-nan"])
def test_nan_in_a_line_is_a_number(spelling: str) -> None:
    assert math.isnan(named_numbers(f"step 3 loss {spelling}")["loss"])


def test_infinity_in_a_line_keeps_its_sign() -> None:
    assert named_numbers("loss: -inf, grad norm: Infinity") == {
        "loss": -math.inf,
        "grad_norm": math.inf,
    }


def test_line_without_end_is_read_as_far_as_a_line_goes() -> None:
    assert named_numbers("loss 1.5 " + "x " * 100_000 + "grad_norm 3") == {"loss": 1.5}
