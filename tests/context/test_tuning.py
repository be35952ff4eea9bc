import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.context.calibration import Calibration
from rag.context.calibration_examples import Example
from rag.context.parallel_llm import ParallelLLM
from rag.context.settings import ApeSettings
from rag.context.store import ContextStore
from rag.context.tuning import GRID, answer_logprob, calibrate, greedy_search, share_of
from rag.core.errors import InputError
from rag.core.generation import Prompt
from rag.models.transformers_llm import TransformersLLM
from rag.testing.llms import EchoLLM


def hill(temperature: float, scale: float, ridge: float = 0.0) -> Callable[[ApeSettings], float]:
    """Return shares that are best at one place; on a ridge one value helps the other."""

    def share(settings: ApeSettings) -> float:
        away = settings.temperature - temperature, settings.scale - scale
        return math.exp(-(away[0] ** 2) - away[1] ** 2 - 2 * ridge * away[0] * away[1])

    return share


@given(st.sampled_from(GRID), st.sampled_from(GRID))
def test_the_search_finds_the_best_settings(temperature: float, scale: float) -> None:
    best = greedy_search(hill(temperature, scale))
    assert best == ApeSettings(temperature, scale)


def test_the_search_tries_temperatures_first_and_goes_on_while_it_helps() -> None:
    asked: dict[ApeSettings, None] = {}
    share = hill(0.6, 0.4, ridge=0.7)

    def asking(settings: ApeSettings) -> float:
        asked[settings] = None
        return share(settings)

    best = greedy_search(asking)
    assert share(best) == max(map(share, asked))
    temperatures = [each.temperature for each in asked if each.scale == 1]
    assert temperatures == list(GRID[: len(temperatures)])
    assert len({each.temperature for each in asked if each.scale < 1}) > 1, "and then again"


def test_the_search_goes_two_steps_past_a_peak() -> None:
    asked: dict[ApeSettings, None] = {}

    def asking(settings: ApeSettings) -> float:
        asked[settings] = None
        return hill(0.7, 1.0)(settings)

    greedy_search(asking)
    assert [each.temperature for each in asked if each.scale == 1] == list(GRID[:6])
    assert [each.scale for each in asked if each.scale < 1] == [0.9, 0.8]


def test_a_share_is_a_ratio_of_means() -> None:
    share = share_of([0.2, 0.1, 0.6, 0.3], [0.5, 0.2, 0.5, 0.4])
    assert share.value == pytest.approx(1.2 / 1.6)
    assert 0.2 / 0.5 < share.low < share.value < share.high < 0.6 / 0.5
    assert share.questions == 4
    assert share == share_of([0.2, 0.1, 0.6, 0.3], [0.5, 0.2, 0.5, 0.4])
    same = share_of([0.45, 0.09], [0.5, 0.1])
    assert (same.low, same.value, same.high) == pytest.approx((0.9, 0.9, 0.9))


def test_questions_that_are_answered_in_neither_way_say_little() -> None:
    known = [0.4, 0.6, 0.5], [0.5, 0.6, 0.7]
    without = share_of(*known)
    with_one = share_of([*known[0], 1e-2], [*known[1], 1e-6])
    assert with_one.value == pytest.approx(without.value, abs=0.01)


def test_intervals_narrow_with_the_questions() -> None:
    widths = []
    for times in (4, 16, 64, 256):
        share = share_of([0.2, 0.1, 0.6, 0.3] * times, [0.5, 0.2, 0.5, 0.4] * times)
        widths.append(share.high - share.low)
    for wide, narrow in pairwise(widths):
        assert narrow == pytest.approx(wide / 2, rel=0.15)


def test_the_likeliest_of_three_answers_counts_by_token() -> None:
    llm = EchoLLM()
    prompt = Prompt("where is it", contexts=("Paris Paris Paris is large",))

    def likelihood(*answers: str) -> float:
        return math.exp(answer_logprob(llm, Example(prompt, answers, "single-hop")))

    often, once, never = likelihood("Paris"), likelihood("large"), likelihood("Rome")
    assert often > once > never
    assert likelihood("Rome", "Paris") == often
    assert likelihood("Paris Rome") == pytest.approx(math.sqrt(often * never))
    assert likelihood("Rome", "Bonn", "Oslo", "Paris") == never
    assert {prompt.reply_prefix for _, prompts in llm.calls for prompt in prompts} == {"Answer:"}


def test_a_reply_begins_as_the_prompt_says() -> None:
    llm = EchoLLM()
    answer_logprob(llm, Example(Prompt("where", reply_prefix="It is in"), ("Paris",), "single-hop"))
    assert [prompts[0].reply_prefix for _, prompts in llm.calls] == ["It is in"]


CITIES = "Paris Rome Bonn Oslo Bern Riga Cairo Lima Quito Delhi Tokyo Seoul Hanoi Dakar".split()


def examples(contexts: int, kinds: Sequence[str] = ("near", "far")) -> list[Example]:
    """Return eight questions of each kind."""
    return [
        Example(
            Prompt(
                f"Where is the {kind} tower {number}?",
                "Answer.",
                tuple(
                    f"The {kind} tower {each} is in {CITIES[each]}."
                    for each in range(number, number + contexts)
                ),
            ),
            (CITIES[number], f"in {CITIES[number]}"),
            kind,
        )
        for kind in kinds
        for number in range(8)
    ]


@pytest.fixture(scope="module")
def llm(tiny: Path) -> TransformersLLM:
    return TransformersLLM(tiny, name="tiny", dtype="float32")


@pytest.fixture(scope="module")
def calibration(llm: TransformersLLM) -> Calibration:
    return calibrate(llm, examples=examples(3), sequential=(2, 1, 3), minimum_share=0.01)


def test_a_calibration_says_what_was_calibrated_and_how(
    calibration: Calibration, llm: TransformersLLM
) -> None:
    assert (calibration.model, calibration.revision) == ("tiny", llm.revision)
    assert calibration.search[0].settings == calibration.plain.settings == ApeSettings()
    best = max(calibration.search, key=lambda trial: trial.share).settings
    assert [each.settings for each in (calibration.tuned, *calibration.hybrid)] == [
        ApeSettings(best.temperature, best.scale, count) for count in range(4)
    ]
    for each in (calibration.plain, calibration.tuned, *calibration.hybrid):
        assert {kind: share.questions for kind, share in each.shares.items()} == {
            "near": 8, "far": 8,
        }  # fmt: skip
    assert calibration.allowed == calibration.tuned.settings
    assert Calibration.from_json(calibration.as_json()) == calibration


def test_each_half_is_measured_with_what_the_other_one_chose(
    calibration: Calibration, llm: TransformersLLM
) -> None:
    asked = sorted(examples(3), key=lambda each: each.kind)
    sequential = [math.exp(answer_logprob(llm, each)) for each in asked]
    plain = ParallelLLM(llm, ApeSettings())

    def probabilities(settings: ApeSettings) -> list[float]:
        way = plain.with_settings(settings)
        return [math.exp(answer_logprob(way, each)) for each in asked]

    trials = {trial.settings: probabilities(trial.settings) for trial in calibration.search}
    for trial in calibration.search:
        share = sum(trials[trial.settings]) / sum(sequential)
        assert trial.share == pytest.approx(share, rel=1e-3)

    def chosen(half: slice) -> ApeSettings:
        return greedy_search(lambda settings: sum(trials[settings][half]) / sum(sequential[half]))

    even, odd = slice(0, None, 2), slice(1, None, 2)
    assert calibration.tuned.settings == chosen(slice(None))
    ours = [0.0] * len(asked)
    ours[even], ours[odd] = trials[chosen(odd)][even], trials[chosen(even)][odd]
    for kind, share in calibration.tuned.shares.items():
        rows = [row for row, each in enumerate(asked) if each.kind == kind]
        expected = sum(ours[row] for row in rows) / sum(sequential[row] for row in rows)
        assert share.value == pytest.approx(expected, rel=1e-3)


def test_all_contexts_in_sequence_lose_nothing(calibration: Calibration) -> None:
    for share in calibration.hybrid[-1].shares.values():
        assert (share.low, share.value, share.high) == pytest.approx((1, 1, 1), abs=1e-4)
    assert abs(calibration.plain.lowest - 1) > 0.01


def test_a_single_context_loses_nothing(llm: TransformersLLM) -> None:
    plain = calibrate(llm, examples=examples(1, ["near"]), sequential=()).plain
    assert plain.shares["near"].value == pytest.approx(1, abs=1e-4)


def test_contexts_are_kept_in_the_store(llm: TransformersLLM, tmp_path: Path) -> None:
    store = ContextStore(tmp_path, llm.name, llm.revision)
    asked = examples(2)
    stages = []
    calibrate(
        llm,
        store=store,
        examples=asked,
        sequential=(),
        progress=lambda *report: stages.append(report),
    )
    prompts = [each.prompt for each in asked]
    assert ParallelLLM(llm, ApeSettings(), store=store).prefill(prompts) == 0
    assert {stage for stage, _, _ in stages} == {
        "encoding contexts", "reading sequentially", "trying settings", "measuring settings",
    }  # fmt: skip
    assert stages[-1] == ("measuring settings", 1, 1)


@pytest.mark.parametrize(("given", "counted"), [([], "none"), (examples(1)[:-1], "8 near, 7 far")])
def test_few_examples_are_refused(llm: TransformersLLM, given: list[Example], counted: str) -> None:
    with pytest.raises(InputError, match=rf"\({counted}\); give 8 or more of each kind"):
        calibrate(llm, examples=given)


@pytest.mark.parametrize("share", [0.0, -1.0, math.nan])
def test_a_minimum_that_nothing_can_miss_is_refused(llm: TransformersLLM, share: float) -> None:
    with pytest.raises(InputError, match=r"minimum_share is .*; it must be above 0"):
        calibrate(llm, minimum_share=share)
