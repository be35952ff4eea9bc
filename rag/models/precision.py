"""Which number format a model runs in."""

from __future__ import annotations

import torch


def default_dtype(device: str) -> torch.dtype:
    """Return the fastest format that keeps a model's quality on a device.

    bfloat16 where the hardware multiplies it (AVX512-BF16, AMX, recent GPUs), float16 on older
    GPUs, float32 elsewhere.

    Args:
        device: A torch device, such as 'cpu' or 'cuda:0'.
    """
    if torch.device(device).type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(False) else torch.float16
    if torch.device(device).type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"):
            return torch.bfloat16
    return torch.float32
