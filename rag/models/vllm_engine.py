"""A vLLM engine, for callers that are not asynchronous."""

from __future__ import annotations

import asyncio
import atexit
import itertools
import json
import os
import weakref
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from queue import SimpleQueue
from types import ModuleType
from typing import Any, TypeVar, get_args

from rag.core.background import BackgroundLoop
from rag.core.errors import InputError, ModelError, RagError
from rag.core.extras import require

T = TypeVar("T")

# vLLM reports home and writes its log to standard output unless told otherwise.
_ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
}


class VLLMEngine:
    """Requests of any thread, which vLLM's asynchronous engine runs together.

    Args:
        name: Name of the model; errors name it.
        path: Folder of the model.
        lora: Folder of a LoRA adapter; None runs the model as it is.
        options: Further arguments of vLLM's `AsyncEngineArgs`.

    Raises:
        ModelError: vLLM cannot load the model or the adapter.
        MissingExtra: The extra `vllm` is not installed.
    """

    def __init__(
        self, name: str, path: Path, lora: Path | None, options: Mapping[str, Any]
    ) -> None:
        for variable, value in _ENVIRONMENT.items():
            os.environ.setdefault(variable, value)
        self._name = name
        self._request_ids = itertools.count()
        ending = AsyncExitStack()
        self._loop = BackgroundLoop(ending)
        self._vllm = self._run(_imported())
        self._adapter = None
        if lora is not None:
            sizes = get_args(self._vllm.config.lora.MaxLoRARanks)
            options = {**options, "enable_lora": True, "max_lora_rank": _max_rank(lora, sizes)}
            self._adapter = self._vllm.lora.request.LoRARequest("adapter", 1, str(lora))
        try:
            self._engine = self._run(self._open(path, options, ending))
        except Exception as error:  # broken folders raise anything at all
            self._loop.close()
            raise ModelError(f"{path}: vLLM cannot load it: {error}") from error
        # Registered last, so that it runs before Python kills the processes that vLLM started.
        atexit.register(_close, weakref.ref(self))

    async def _open(self, path: Path, options: Mapping[str, Any], ending: AsyncExitStack) -> Any:
        arguments = self._vllm.AsyncEngineArgs(
            model=str(path),
            load_format="safetensors",
            trust_remote_code=False,
            generation_config="vllm",  # not the sampling that the model's folder recommends
            enable_prefix_caching=True,
            logprobs_mode="raw_logprobs",
            structured_outputs_config=self._vllm.config.StructuredOutputsConfig(
                backend="guidance", disable_any_whitespace=True
            ),
            disable_log_stats=True,
            use_tqdm_on_load=False,
            **options,
        )
        engine = self._vllm.AsyncLLMEngine.from_engine_args(arguments)
        ending.callback(engine.shutdown)
        if self._adapter is not None:
            await engine.add_lora(self._adapter)
        return engine

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer, one of transformers."""
        return self._engine.get_tokenizer()

    @property
    def window(self) -> int:
        """Tokens of prompt and reply together, at most."""
        return int(self._engine.model_config.max_model_len)

    @property
    def version(self) -> str:
        """What replies depend on beside the weights: number format and vLLM's own version."""
        dtype = str(self._engine.model_config.dtype).removeprefix("torch.")
        return f"{dtype}-vllm{self._vllm.__version__}"

    @property
    def names_tokens(self) -> bool:
        """Whether requests may name the tokens whose log-probabilities they want.

        vLLM's first model runner takes such requests, too, but then spoils the log-probabilities
        of others in their batch.
        """
        return bool(self._engine.vllm_config.use_v2_model_runner)

    def answer(
        self, sequences: Sequence[Sequence[int]], options: Mapping[str, Any]
    ) -> list[Any | RagError]:
        """Return vLLM's `RequestOutput` for each sequence of tokens, or the error it met.

        Args:
            sequences: Tokens to read, not empty.
            options: Arguments of `SamplingParams`; `structure` is those of
                `StructuredOutputsParams`.
        """

        async def one(ids: Sequence[int]) -> Any:
            (answer,) = [each async for each in self._answers(ids, "FINAL_ONLY", options)]
            return answer

        async def every() -> list[Any]:
            return await asyncio.gather(*map(one, sequences), return_exceptions=True)

        return self._run(every())

    def stream(self, ids: Sequence[int], options: Mapping[str, Any]) -> Iterator[Any]:
        """Yield `RequestOutput`s of one sequence, each with all that is written so far.

        Closing the iterator ends the request.
        """
        answers: SimpleQueue[Any] = SimpleQueue()

        async def read() -> None:
            async for answer in self._answers(ids, "CUMULATIVE", options):
                answers.put(answer)

        yield from self._loop.stream(read(), answers, self._closed())

    async def _answers(
        self, ids: Sequence[int], kind: str, options: Mapping[str, Any]
    ) -> AsyncIterator[Any]:
        sampling_params, inputs = self._vllm.sampling_params, self._vllm.inputs
        options = dict(options)
        try:
            if structure := options.pop("structure", None):
                structured = sampling_params.StructuredOutputsParams(**structure)
                options["structured_outputs"] = structured
            answers = self._engine.generate(
                inputs.tokens_input(list(ids)),
                sampling_params.SamplingParams(
                    output_kind=sampling_params.RequestOutputKind[kind], **options
                ),
                str(next(self._request_ids)),
                lora_request=self._adapter,
            )
            async with aclosing(answers):
                async for answer in answers:
                    yield answer
        except self._vllm.exceptions.VLLMClientError as error:
            raise InputError(f"{self._name}: {error}") from error
        except self._vllm.exceptions.VLLMError as error:
            raise ModelError(f"{self._name}: {error.__cause__ or error}") from error

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run(work, self._closed())

    def _closed(self) -> ModelError:
        return ModelError(f"{self._name} is closed; make a new one")

    def close(self) -> None:
        """Cancel what is running, end the engine's processes and free their memory."""
        self._loop.close()
        self._engine = None  # or vLLM complains of being deleted when Python ends


async def _imported() -> ModuleType:
    """Return vLLM, with the modules that are used here.

    Imported on the stack of a bare event loop: some import deep inside keeps the frames of all
    its callers, and a frame that knows of the engine would keep that alive.
    """
    needed_for = "running a model with vLLM"
    for name in ("engine.async_llm_engine", "inputs", "lora.request", "sampling_params"):
        require(f"vllm.{name}", extra="vllm", needed_for=needed_for)
    return require("vllm", extra="vllm", needed_for=needed_for)


def _close(engine: weakref.ref[VLLMEngine]) -> None:
    if alive := engine():
        alive.close()


def _max_rank(lora: Path, sizes: Sequence[int]) -> int:
    """Return the smallest of vLLM's sizes that an adapter fits."""
    if not (lora / "adapter_model.safetensors").is_file():
        raise ModelError(f"{lora}: no adapter weights in safetensors format")
    try:
        rank = int(json.loads((lora / "adapter_config.json").read_text("utf-8"))["r"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{lora}: adapter_config.json states no rank: {error!r}") from error
    fitting = [size for size in sizes if size >= rank]
    if not fitting:
        raise ModelError(f"{lora}: rank {rank} is more than vLLM has room for: {max(sizes)}")
    return min(fitting)
