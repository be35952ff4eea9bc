"""Which machine this is, as far as times depend on it."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path


def machine() -> str:
    """Return processor, cores and accelerator, such as 'AMD EPYC, 2 cores'; nobody's name."""
    parts = [_processor(), f"{os.cpu_count()} cores"]
    # Not imported for this: a model that runs on an accelerator of torch has done so.
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join(parts)


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
