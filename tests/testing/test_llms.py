import pytest

from rag.core.errors import InputError, Unsupported
from rag.core.generation import Prompt, Sampling
from rag.core.protocols import LLM
from rag.testing.llm_conformance import LLMConformance
from rag.testing.llms import EchoLLM, ScriptedLLM


class TestEchoLLM(LLMConformance):
    def make_llm(self) -> LLM:
        return EchoLLM()


class TestEchoLLMThatOnlyGenerates(LLMConformance):
    def make_llm(self) -> LLM:
        return EchoLLM(capabilities=["generate"])


class TestScriptedLLM(LLMConformance):
    def make_llm(self) -> LLM:
        return ScriptedLLM(lambda prompt: f"  {prompt.question}\n and that is all.\n")


def test_echoes_the_first_sentence_of_the_first_context() -> None:
    prompt = Prompt("Why?", contexts=("Because it is 3.5 m. Or not.", "Never."))
    assert EchoLLM().generate([prompt], Sampling())[0].text == "Because it is 3.5 m."


def test_echoes_the_question_without_contexts() -> None:
    reply = EchoLLM().generate([Prompt("Why is it?", system="Be brief.")], Sampling())[0]
    assert (reply.text, reply.input_tokens, reply.output_tokens) == ("Why is it?", 5, 3)


def test_chooses_what_its_reply_contains() -> None:
    sampling = Sampling(choices=("London", "Paris"))
    replies = EchoLLM().generate([Prompt("In Paris?"), Prompt("Where?")], sampling)
    assert [reply.text for reply in replies] == ["Paris", "London"]


def test_records_what_was_asked_unless_it_was_refused() -> None:
    llm = EchoLLM(capabilities=["generate", "score"])
    prompt = Prompt("Why?")
    llm.generate([prompt], Sampling())
    llm.score([prompt, prompt], ["a", "b"])
    with pytest.raises(Unsupported):
        llm.next_token([prompt], ["a"])
    assert llm.calls == [("generate", (prompt,)), ("score", (prompt, prompt))]


def test_scores_words_of_the_prompt_higher() -> None:
    known, unknown = EchoLLM().score([Prompt("the tower")] * 2, ["tower", "bridge"])
    assert known.logprob > unknown.logprob


def test_scripted_replies_come_in_turn_until_none_is_left() -> None:
    llm = ScriptedLLM(["one", "two", "three"], context_window=100)
    replies = llm.generate([Prompt("a"), Prompt("b")], Sampling(max_tokens=9))
    assert [reply.text for reply in replies] == ["one", "two"]
    assert llm.generate([Prompt("c")], Sampling(max_tokens=9))[0].text == "three"
    with pytest.raises(InputError, match="no reply is left for 'd'"):
        llm.generate([Prompt("d")], Sampling(max_tokens=9))
