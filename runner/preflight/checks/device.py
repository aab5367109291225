"""The accelerator: what the job asks for, what is here, and whether driver and build fit.

Runs in: preflight's own process.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from runner.preflight.bench import Bench
from runner.preflight.findings import Finding, failed, passed, warned

ORDER = 11
TITLE = "device"

_DRIVER = Path("/proc/driver/nvidia/version")


def check(bench: Bench) -> Iterator[Finding]:
    """Compare the wanted device with the one that torch can use."""
    wants_gpu = bool(bench.spec.gpus_per_worker)
    if not torch.cuda.is_available():
        yield _without_gpu(wants_gpu, has_driver=_DRIVER.exists())
        return
    name = torch.cuda.get_device_name(0)
    major, minor = torch.cuda.get_device_capability(0)
    built_for = torch.cuda.get_arch_list()
    # A build runs on later minor versions of the same major, and by PTX on later majors.
    majors = {int(arch.split("_")[1].rstrip("af")) // 10 for arch in built_for if "_" in arch}
    if majors and major not in majors and not any(a.startswith("compute_") for a in built_for):
        yield failed(
            f"{name} has compute capability {major}.{minor}; this torch is built for "
            f"{', '.join(built_for)}",
            "install a torch build for this GPU",
        )
        return
    if wants_gpu and torch.cuda.device_count() < bench.ranks:
        yield warned(
            f"{bench.ranks} workers want a GPU each, this machine has {torch.cuda.device_count()}",
            "fewer WORKERS, or a cluster that has them (ADDRESS)",
        )
    yield passed(
        f"{torch.cuda.device_count()} x {name}, CUDA {torch.version.cuda}, "
        f"precision {_precision(bench)}"
    )


def _without_gpu(wants_gpu: bool, *, has_driver: bool) -> Finding:
    build = torch.version.cuda
    if has_driver and build is None:
        return warned(
            f"an NVIDIA driver is here, but torch {torch.__version__} is built for CPUs only",
            "install a CUDA build of torch to train on the GPU",
        )
    if has_driver:
        return warned(
            f"an NVIDIA driver is here, but torch (CUDA {build}) cannot use it; it is probably "
            "older than that CUDA needs, or no GPU is visible",
            "update the driver, or check CUDA_VISIBLE_DEVICES",
        )
    if wants_gpu:
        return warned(
            "gpus_per_worker asks for GPUs and this machine has none",
            "set gpus_per_worker=null, or submit to a cluster that has them (ADDRESS)",
        )
    if torch.backends.mps.is_available():
        return warned(
            "Apple's MPS is here and not used: training runs on the CPU",
            "nothing to do; MPS kernels have given NaN where the CPU gives numbers",
        )
    return passed("no GPU: training runs on the CPU, in fp32")


def _precision(bench: Bench) -> str:
    return "fp32" if bench.autocast is None else str(bench.autocast).removeprefix("torch.")
