"""The machine that a study runs on, as far as its results may hang on it; without imports that would cost time."""

import os
import platform
import resource
import sys
from collections.abc import Mapping
from pathlib import Path

BLAS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_CBWR", "OPENBLAS_CORETYPE")
"""Variables of the environment that decide in which order a matrix product adds."""


def machine() -> dict[str, str]:
    """What is recorded in a study: equal machines give equal mappings."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "processors": str(processors()),
        "gpu": ", ".join(_gpu_names()) or "none",
        "blas": " ".join(f"{name}={os.environ[name]}" for name in BLAS if name in os.environ) or "defaults",
        "python": platform.python_version(),
    }


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What differs, as `processor: A → B`; empty if nothing does."""
    names = sorted({*before, *now})
    return ", ".join(
        f"{n}: {before.get(n, 'unknown')} → {now.get(n, 'unknown')}" for n in names if before.get(n) != now.get(n)
    )


def processors() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> list[str]:
    """Names under which CUDA knows the GPUs that this process may use."""
    if (given := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in given.split(",") if name not in ("", "-1")]
    return [str(i) for i in range(len(_gpu_names()))]


def peak_memory() -> int:
    """Bytes that the largest of this process and its ended children has used at most; on a GPU, those of its own."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return int(torch.cuda.max_memory_allocated())
    unit = 1 if sys.platform == "darwin" else 1024
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return unit * max(resource.getrusage(w).ru_maxrss for w in who)


def memory_kills() -> int:
    """How many processes the kernel has killed for want of memory since it started; 0 where it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def _gpu_names() -> list[str]:
    """As NVIDIA's driver lists them: asking CUDA would open a context on every GPU."""
    files = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    lines = (line for file in files for line in file.read_text().splitlines())
    return [line.partition(":")[2].strip() for line in lines if line.startswith("Model")]
