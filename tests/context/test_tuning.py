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
    trials = greedy_search(hill(temperature, scale))
    assert max(trials, key=lambda trial: trial.share).settings == ApeSettings(temperature, scale)
    assert len(trials) <= 10 + 9 + 9, "the best was found in one round, and the next ends it"


def test_the_search_tries_temperatures_first_and_nothing_twice() -> None:
    asked = []
    share = hill(0.3, 0.4, ridge=0.7)

    def asking(settings: ApeSettings) -> float:
        asked.append(settings)
        return share(settings)

    trials = greedy_search(asking)
    assert [trial.settings for trial in trials] == asked
    assert [trial.share for trial in trials] == [share(settings) for settings in asked]
    assert len(asked) == len(set(asked))
    assert asked[:10] == [ApeSettings(temperature=each) for each in GRID]
    best_temperature = max(asked[:10], key=share).temperature
    assert {each.temperature for each in asked[10:19]} == {best_temperature}
    assert len({each.temperature for each in asked[19:28]}) > 1, "then temperatures again"
    assert len(asked) <= 3 * 19


def test_the_search_reports_each_trial() -> None:
    reports = []
    trials = greedy_search(hill(0.5, 0.5), lambda *report: reports.append(report))
    assert reports == [("trying settings", count, None) for count in range(1, len(trials) + 1)]


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
            "near": 4, "far": 4,
        }  # fmt: skip
    assert calibration.allowed == calibration.tuned.settings
    assert Calibration.from_json(calibration.as_json()) == calibration


def test_what_is_reported_was_not_searched_on(
    calibration: Calibration, llm: TransformersLLM
) -> None:
    plain = ParallelLLM(llm, ApeSettings())

    def share(asked: Sequence[Example]) -> float:
        ours, theirs = (
            [math.exp(answer_logprob(way, each)) for each in asked] for way in (plain, llm)
        )
        return sum(ours) / sum(theirs)

    near, far = examples(3)[:8], examples(3)[8:]
    searched, held_out = [*near[::2], *far[::2]], {"near": near[1::2], "far": far[1::2]}
    assert calibration.search[0].share == pytest.approx(share(searched), rel=1e-3)
    for kind, asked in held_out.items():
        assert calibration.plain.shares[kind].value == pytest.approx(share(asked), rel=1e-3)


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
    assert stages[-1] == ("measuring settings", 2, 2)


@pytest.mark.parametrize(("given", "counted"), [([], "none"), (examples(1)[:-1], "8 near, 7 far")])
def test_few_examples_are_refused(llm: TransformersLLM, given: list[Example], counted: str) -> None:
    with pytest.raises(InputError, match=rf"\({counted}\); give 8 or more of each kind"):
        calibrate(llm, examples=given)


@pytest.mark.parametrize("share", [0.0, -1.0, math.nan])
def test_a_minimum_that_nothing_can_miss_is_refused(llm: TransformersLLM, share: float) -> None:
    with pytest.raises(InputError, match=r"minimum_share is .*; it must be above 0"):
        calibrate(llm, minimum_share=share)
