import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from rag.core.errors import InputError, MissingExtra, ModelError, ModelNotFound
from rag.models.registry import load_llm
from rag.rerankers.first_token import FirstTokenRanker
from rag.rerankers.sliding import FullRanking
from rag.rerankers.training import AdapterCard, Recipe, TrainingList, merged, train
from rag.rerankers.training.base import Base
from rag.rerankers.training.trainer import Trainer
from tests.rerankers.training.conftest import make_list

LIST = make_list((1, 3, 0, 2))
OTHER = replace(make_list((0, 1, 2)), query="where do herons nest")
SHORT = Recipe(epochs=2, batch=1, learning_rate=0.02, warm_up=0.0, noise=0.0)


def learn(
    model: Path, folder: Path, recipe: Recipe, lists: tuple[TrainingList, ...] = (LIST,)
) -> AdapterCard:
    return train(str(model), lists, folder, data="herons", recipe=recipe, device="cpu")


def order(model: Path, each: TrainingList) -> list[str]:
    ranking = FullRanking(FirstTokenRanker(load_llm(str(model)))).rerank(each.query, each.hits)
    return [hit.passage.id for hit in ranking.hits]


@pytest.fixture(scope="module")
def adapter(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that was trained for a moment."""
    folder = tmp_path_factory.mktemp("trained") / "adapter"
    learn(tiny, folder, SHORT)
    return folder


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_the_ranking_loss_falls_and_the_merged_model_ranks_right(
    tiny: Path, tmp_path: Path, device: str
) -> None:
    wanted = [LIST.hits[place].passage.id for place in LIST.order]
    assert order(tiny, LIST) != wanted
    recipe = Recipe(epochs=15, batch=1, learning_rate=0.02, noise=1.0)
    folder = tmp_path / "adapter"
    card = train(str(tiny), [LIST], folder, data="herons", recipe=recipe, device=device)
    ranking = card.losses["ranking"]
    assert len(ranking) == card.steps == 15
    assert ranking[-1] < ranking[0] / 4
    merged(folder, tmp_path / "merged")
    assert order(tmp_path / "merged", LIST) == wanted


@pytest.mark.slow
def test_a_real_model_of_a_gguf_file_learns(tmp_path: Path) -> None:
    recipe = Recipe(epochs=4, batch=1, learning_rate=1e-3, warm_up=0.0, noise=0.0)
    folder = tmp_path / "adapter"
    card = train("SmolLM2-135M-Instruct", [LIST], folder, data="herons", recipe=recipe)
    assert card.losses["ranking"][-1] < card.losses["ranking"][0]
    merged(folder, tmp_path / "merged")
    assert order(tmp_path / "merged", LIST) == [LIST.hits[place].passage.id for place in LIST.order]


def test_a_model_learns_to_write_rankings(tiny: Path, tmp_path: Path) -> None:
    recipe = replace(SHORT, objective="permutation", epochs=8)
    losses = learn(tiny, tmp_path / "adapter", recipe).losses
    assert list(losses) == ["permutation"]
    assert losses["permutation"][-1] < losses["permutation"][0] / 2


def test_an_adapter_is_weights_a_card_and_a_plot(tiny: Path, adapter: Path) -> None:
    assert sorted(each.name for each in adapter.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "loss.png",
        "loss.svg",
        "training.json",
    ]
    assert not list(adapter.parent.glob("partial-*"))
    names = {name.split(".")[-3] for name in load_file(adapter / "adapter_model.safetensors")}
    attention = {"q_proj", "k_proj", "v_proj", "o_proj"}
    assert names == attention | {"gate_proj", "up_proj", "down_proj"}
    card = AdapterCard.load(adapter)
    assert (card.model, card.data, card.lists, card.steps) == (str(tiny), "herons", 1, 2)
    assert card.recipe == SHORT
    assert card.seconds > 0
    assert json.loads((adapter / "adapter_config.json").read_text())["r"] == SHORT.lora_rank


def test_the_loss_of_a_step_is_the_mean_of_its_lists(tiny: Path, tmp_path: Path) -> None:
    once = replace(SHORT, epochs=1)
    first, second = (
        learn(tiny, tmp_path / str(number), once, (each,))
        for number, each in enumerate((LIST, OTHER))
    )
    both = learn(tiny, tmp_path / "both", replace(once, batch=8), (LIST, OTHER))
    assert both.steps == 1
    for name, (loss,) in both.losses.items():
        mean = (first.losses[name][0] + second.losses[name][0]) / 2
        assert loss == pytest.approx(mean, rel=1e-5)


def test_a_gradient_is_the_mean_of_its_lists_and_of_no_step_before(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    norms: list[float] = []

    def record(weights: list[torch.Tensor], longest: float) -> torch.Tensor:
        norms.append(clip(weights, longest).item())
        return torch.tensor(norms[-1])

    clip = torch.nn.utils.clip_grad_norm_
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", record)
    still = replace(SHORT, learning_rate=1e-12)
    trainer = Trainer(Base.find(str(tiny), None), [LIST], still, 3, "cpu", "float32")
    for rows in ([0], [0, 0], [0]):
        trainer.step(rows)
    assert norms == pytest.approx([norms[0]] * 3, rel=1e-4)


def test_a_seed_makes_a_training_repeatable(tiny: Path, tmp_path: Path) -> None:
    noisy = replace(SHORT, noise=5.0)
    for name, recipe in {"a": noisy, "b": noisy, "c": replace(noisy, seed=1)}.items():
        state = torch.get_rng_state()
        learn(tiny, tmp_path / name, recipe)
        assert torch.equal(torch.get_rng_state(), state)  # nobody else's numbers are drawn
        torch.rand(1)
    a, b, c = (
        (tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("a", "b", "c")
    )
    assert a == b
    assert a != c


def test_what_is_computed_again_for_the_gradients_changes_nothing(
    tiny: Path, adapter: Path, tmp_path: Path
) -> None:
    again = learn(tiny, tmp_path / "again", replace(SHORT, checkpointing=True))
    kept = AdapterCard.load(adapter)
    assert again.losses["ranking"] == pytest.approx(kept.losses["ranking"], rel=1e-5)


def test_another_version_of_the_model_is_refused(tiny: Path, adapter: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    changed.mkdir()
    for file in tiny.iterdir():
        (changed / file.name).write_bytes(file.read_bytes())
    tensors = load_file(tiny / "model.safetensors")
    tensors["model.norm.weight"] += 1
    save_file(tensors, changed / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"was trained on .* with fingerprint"):
        merged(adapter, tmp_path / "merged", model=str(changed))
    assert not (tmp_path / "merged").exists()


def test_weights_that_do_not_fit_are_refused(adapter: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in adapter.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    tensors = load_file(adapter / "adapter_model.safetensors")
    tensors.popitem()
    save_file(tensors, broken / "adapter_model.safetensors")
    with pytest.raises(ModelError, match="not those of an adapter of this model"):
        merged(broken, tmp_path / "merged")
    (broken / "adapter_model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(InputError, match=r"adapter_model\.safetensors"):
        merged(broken, tmp_path / "merged")
    (broken / "training.json").write_text('{"model": "tiny"}')
    with pytest.raises(InputError, match="holds no adapter"):
        merged(broken, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_what_is_there_is_not_written_over(tiny: Path, adapter: Path, tmp_path: Path) -> None:
    for action in (lambda: learn(tiny, tmp_path, SHORT), lambda: merged(adapter, tmp_path)):
        with pytest.raises(InputError, match="is there already"):
            action()


def test_a_training_that_fails_leaves_nothing(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no longer a number"):
        learn(tiny, tmp_path / "adapter", replace(SHORT, learning_rate=1e30))
    with pytest.raises(InputError, match="no lists"):
        learn(tiny, tmp_path / "adapter", SHORT, ())
    with pytest.raises(ModelNotFound):
        learn(tmp_path / "nowhere", tmp_path / "adapter", SHORT)
    assert not list(tmp_path.iterdir())


def test_progress_is_told(tiny: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    train(
        str(tiny),
        [LIST],
        tmp_path / "adapter",
        data="herons",
        recipe=SHORT,
        device="cpu",
        progress=lambda stage, done, total: told.append((stage, done, total)),
    )
    assert told == [("training", 1, 2), ("training", 2, 2)]


@pytest.mark.parametrize(("package", "extra"), [("peft", "train"), ("matplotlib", "analysis")])
def test_a_missing_package_is_named(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf"ragmeter\[{extra}\]"):
        learn(tiny, tmp_path / "adapter", SHORT)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"objective": "lambda"}, "objective is 'lambda'"),
        ({"epochs": 0}, "epochs is 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"warm_up": 1.0}, r"warm_up is 1\.0"),
        ({"noise": -1.0}, r"noise is -1\.0"),
    ],
)
def test_recipes_that_train_nothing_are_refused(values: dict[str, float], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        Recipe(**values)  # type: ignore[arg-type]


def test_importing_it_loads_nothing_heavy() -> None:
    script = "import rag.rerankers.training, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not {"torch", "transformers", "peft", "matplotlib"} & set(done.stdout.split())
