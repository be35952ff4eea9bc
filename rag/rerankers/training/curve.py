"""Draws how the loss went down."""

from __future__ import annotations

from pathlib import Path

from rag.core.extras import require
from rag.rerankers.training.card import AdapterCard


def plot_losses(card: AdapterCard, folder: Path) -> None:
    """Draw the terms of the loss over the steps, as `loss.png` and `loss.svg`.

    Args:
        card: What to draw.
        folder: Where to; it is there.

    Raises:
        MissingExtra: The extra `analysis` is not installed.
    """
    require("matplotlib", extra="analysis", needed_for="plotting a training")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    # Told apart also by those who see few colours (Okabe and Ito's palette).
    for (name, losses), colour in zip(card.losses.items(), ("#0072B2", "#D55E00"), strict=False):
        axes.plot(range(1, card.steps + 1), losses, color=colour, label=name)
    axes.legend(frameon=False)
    axes.grid(alpha=0.25)
    axes.set(xlabel="step", ylabel="loss, mean over the lists of a step", ylim=(0, None))
    model = Path(card.model).name
    axes.set_title(f"{model} on {card.data}, {card.lists} lists", fontsize="medium")
    for ending in ("png", "svg"):
        figure.savefig(folder / f"loss.{ending}", dpi=150)
