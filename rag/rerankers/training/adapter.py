"""Adapters: changes to a model's weights, in a folder of their own or merged into it."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

from rag.core.errors import InputError, ModelError
from rag.core.extras import require
from rag.models.lanes import on_lane
from rag.rerankers.training.base import Base
from rag.rerankers.training.card import AdapterCard
from rag.rerankers.training.new_folder import new_folder
from rag.rerankers.training.recipe import Recipe

_WEIGHTS = "adapter_model.safetensors"


def adapted(model: Any, recipe: Recipe) -> Any:
    """Return a model with a new adapter on all projections of its attention and MLPs.

    The model itself stays as it is, and so does what it computes until the adapter is trained.
    Source: LoRA, arXiv 2106.09685.

    Raises:
        MissingExtra: The extra `train` is not installed.
    """
    peft = _peft()
    config = peft.LoraConfig(
        r=recipe.lora_rank,
        lora_alpha=recipe.lora_alpha,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        # peft asks for what transformers has renamed.
        warnings.simplefilter("ignore", FutureWarning)
        return peft.get_peft_model(model, config)


def save_adapter(model: Any, card: AdapterCard, folder: Path) -> None:
    """Write a model's adapter, in peft's format, and its card into a folder that is there."""
    from safetensors.torch import save_file

    tensors = _peft().get_peft_model_state_dict(model, save_embedding_layers=False)
    save_file({name: each.contiguous() for name, each in tensors.items()}, folder / _WEIGHTS)
    config = model.peft_config["default"]
    config.base_model_name_or_path = card.model  # not where it is on this machine
    config.save_pretrained(str(folder))
    card.save(folder)


def merged(
    adapter: str | Path, folder: str | Path, *, model: str = "", offline: bool | None = None
) -> None:
    """Write a model folder in which an adapter is part of the weights, for `load_llm`.

    The weights have the number format that the adapter was trained with.

    Args:
        adapter: The adapter's folder, which `train` wrote.
        folder: The folder to write; there is nothing yet.
        model: The model that the adapter belongs to, where it is no longer found by the name that
            it was trained under.
        offline: Whether to stay off the network; by default as RAG_OFFLINE says.

    Raises:
        InputError: There is no adapter, or something is at `folder` already.
        ModelNotFound: The model is not at hand.
        ModelError: The model is another version than the one that the adapter was trained on, or
            the adapter does not fit it.
        MissingExtra: The extra `local` or `train` is not installed.
    """
    for package in ("torch", "transformers"):
        require(package, extra="local", needed_for="merging an adapter")
    card = AdapterCard.load(Path(adapter))
    base = Base.find(model or card.model, offline)
    if base.fingerprint != card.fingerprint:
        raise ModelError(
            f"{adapter} was trained on '{card.model}' with fingerprint {card.fingerprint}, but "
            f"'{base.name}' has {base.fingerprint}; name the model that it was trained on"
        )
    with new_folder(Path(folder)) as scratch:
        on_lane("cpu", _merge, base, card, Path(adapter), scratch)


def _merge(base: Base, card: AdapterCard, adapter: Path, folder: Path) -> None:
    from rag.models.quiet import quiet

    model, tokenizer = base.load("cpu", card.dtype)
    model = adapted(model, card.recipe)
    _put_in(model, adapter)
    with quiet():
        model.merge_and_unload().save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _put_in(model: Any, adapter: Path) -> None:
    """Give a model's adapter the weights in a folder."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(adapter / _WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{adapter / _WEIGHTS}: {error}") from error
    expected = _peft().get_peft_model_state_dict(model, save_embedding_layers=False)
    shapes, own = ({name: t.shape for name, t in each.items()} for each in (expected, tensors))
    if shapes != own:
        raise ModelError(f"{adapter}: its weights are not those of an adapter of this model")
    _peft().set_peft_model_state_dict(model, tensors)


def _peft() -> ModuleType:
    return require("peft", extra="train", needed_for="training a reranker or merging an adapter")
