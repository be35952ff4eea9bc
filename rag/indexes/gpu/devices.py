"""The GPUs that FAISS can use here, and what `device` names of them."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import re
from typing import Any, NamedTuple

from rag.core.errors import InputError, Unsupported

_DEVICE = re.compile(r"cuda(?::(\d+(?:,\d+)*))?")
_INSTALL = "pip uninstall faiss-cpu, then pip install --force-reinstall 'ragmeter[gpu]'"


class Gpu(NamedTuple):
    """A GPU that FAISS can use.

    Args:
        number: Its number, as in 'cuda:0'.
        free: Its free memory in bytes.
    """

    number: int
    free: int


class Gpus(NamedTuple):
    """What FAISS can use.

    Args:
        free: The GPUs; empty where there are none.
        missing: Why there are none, for people; '' where there are.
        instead: What to do about it.
        cuvs: Whether FAISS was built with cuVS, which brings CAGRA.
    """

    free: tuple[Gpu, ...]
    missing: str = ""
    instead: str = ""
    cuvs: bool = False


def is_gpu(device: str) -> bool:
    """Say whether a device is one or more GPUs, and not the CPU.

    Raises:
        InputError: It is neither.
    """
    if device != "cpu" and not _DEVICE.fullmatch(device):
        raise InputError(f"no device '{device}'; there are cpu, cuda, and cuda:N")
    return device != "cpu"


def gpu_numbers(device: str) -> tuple[int, ...]:
    """Return the numbers of the GPUs that a device names; none for 'cuda', which means all."""
    match = _DEVICE.fullmatch(device)
    named = match and match.group(1)
    return tuple(sorted({int(each) for each in named.split(",")})) if named else ()


def device_name(gpus: tuple[Gpu, ...]) -> str:
    """Return the device that names some GPUs, as in 'cuda:0,1'."""
    return "cuda:" + ",".join(str(each.number) for each in gpus)


def find_gpus() -> Gpus:
    """Look which GPUs FAISS can use; this starts CUDA."""
    try:
        faiss = importlib.import_module("faiss")
    except ImportError:
        return Gpus((), "FAISS does not import", "`rag doctor` says more")
    # Without a GPU `StandardGpuResources()` works all the same, so only the count tells.
    if not hasattr(faiss, "StandardGpuResources"):
        return Gpus((), "the FAISS installed here is built for CPUs", _INSTALL)
    count = faiss.get_num_gpus()
    if not count:
        return Gpus((), "FAISS sees no GPU", "`nvidia-smi` shows the GPUs and their driver")
    free = tuple(Gpu(number, _free_memory(number)) for number in range(count))
    return Gpus(free, cuvs=hasattr(faiss, "GpuIndexCagra"))


def chosen(device: str, gpus: Gpus) -> tuple[Gpu, ...]:
    """Return the GPUs that a device names.

    Raises:
        Unsupported: They cannot be had.
    """
    if not gpus.free:
        raise Unsupported("FAISS", f"device '{device}': {gpus.missing}", gpus.instead)
    numbers = gpu_numbers(device) or tuple(each.number for each in gpus.free)
    here = tuple(each for each in gpus.free if each.number in numbers)
    if len(here) < len(numbers):
        raise Unsupported("FAISS", f"device '{device}'", f"it sees {len(gpus.free)} GPUs")
    return here


def _free_memory(number: int) -> int:
    """Ask the CUDA runtime that FAISS has loaded; FAISS itself does not say."""
    runtime = _cuda_runtime()
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    before = ctypes.c_int()
    runtime.cudaGetDevice(ctypes.byref(before))
    runtime.cudaSetDevice(number)
    failed = runtime.cudaMemGetInfo(ctypes.byref(free), ctypes.byref(total))
    runtime.cudaSetDevice(before)
    return 0 if failed else free.value


def _cuda_runtime() -> Any:
    # faiss-gpu is built for CUDA 12, faiss-gpu-cuvs for 13; torch may have loaded the other.
    cuvs = importlib.util.find_spec("faiss._cuvs_build") is not None
    return ctypes.CDLL(f"libcudart.so.{13 if cuvs else 12}")
