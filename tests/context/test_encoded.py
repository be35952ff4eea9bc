import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rag.context.encoded import EncodedContext, int8_error
from rag.core.errors import InputError, ModelError

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
TINY = torch.finfo(torch.float32).tiny

numbers = st.floats(-(2.0**127), 2.0**127, width=32)
channels = st.integers(1, 6).flatmap(
    lambda tokens: st.lists(numbers, min_size=4 * tokens, max_size=4 * tokens)
)


def states(tokens: int = 5, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, 2, tokens, 8, generator=random).to(dtype)


def restored(context: EncodedContext, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    out = torch.empty(context.states.shape, dtype=dtype)
    context.copy_to(out)
    return out


@pytest.mark.parametrize("dtype", DTYPES)
def test_states_as_computed_are_kept_to_the_bit(dtype: torch.dtype) -> None:
    computed = states(dtype=dtype)
    context = EncodedContext.of(computed)
    assert torch.equal(restored(context, dtype), computed)
    assert (context.tokens, context.nbytes) == (5, computed.nbytes)


def test_kept_states_are_in_memory_of_their_own() -> None:
    batch = states(tokens=50)
    view = batch[:, :, :, 10:15]
    expected = view.clone()
    context = EncodedContext.of(view)
    batch.zero_()
    assert torch.equal(context.states, expected)
    assert context.states.untyped_storage().nbytes() == context.nbytes


@given(channels)
def test_int8_changes_a_value_by_at_most_half_its_channel_s_scale(values: list[float]) -> None:
    exact = torch.tensor(values).view(2, 1, 1, -1, 2)
    context = EncodedContext.quantised(exact)
    peaks = exact.double().abs().amax(3, keepdim=True)
    error = (restored(context).double() - exact.double()).abs()
    # Rounded in float32, and flushed where a channel has only numbers too small for a scale.
    assert (error <= peaks / 254 * (1 + 1e-4) + TINY).all()
    assert context.tokens == exact.shape[3]


@pytest.mark.parametrize("dtype", DTYPES)
def test_int8_of_each_number_format(dtype: torch.dtype) -> None:
    exact = states(dtype=dtype)
    context = EncodedContext.quantised(exact)
    peaks = exact.float().abs().amax(3, keepdim=True)
    rounding = torch.finfo(dtype).eps * peaks
    error = (restored(context, dtype).float() - exact.float()).abs()
    assert (error <= peaks / 254 * (1 + 1e-4) + rounding).all()
    assert context.nbytes == exact.numel() + 2 * 3 * 2 * 8 * 4


def test_int8_of_channels_of_zeros_is_zero() -> None:
    exact = states()
    exact[..., 3] = 0
    context = EncodedContext.quantised(exact)
    assert (restored(context)[..., 3] == 0).all()
    assert (context.scales > 0).all()


@pytest.mark.parametrize("make", [EncodedContext.of, EncodedContext.quantised, int8_error])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_refused(make: type, bad: float) -> None:
    broken = states()
    broken[1, 2, 1, 4, 7] = bad
    with pytest.raises(ModelError, match="infinite or no numbers"):
        make(broken)


@pytest.mark.parametrize("make", [EncodedContext.of, EncodedContext.quantised])
@pytest.mark.parametrize("shape", [(2, 3, 2, 5), (1, 3, 2, 5, 8), (2, 3, 2, 0, 8)])
def test_another_shape_is_refused(make: type, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="shape"):
        make(torch.zeros(shape))


@pytest.mark.parametrize("make", [EncodedContext.of, EncodedContext.quantised])
def test_copying_into_a_view_leaves_the_rest_alone(make: type) -> None:
    buffer = torch.full((2, 3, 2, 20, 8), 7.0, dtype=torch.bfloat16)
    context = make(states())
    context.copy_to(buffer[:, :, :, 4:9])
    assert torch.equal(buffer[:, :, :, 4:9], restored(context, torch.bfloat16))
    assert (buffer[:, :, :, :4] == 7).all()
    assert (buffer[:, :, :, 9:] == 7).all()


@pytest.mark.parametrize("make", [EncodedContext.of, EncodedContext.quantised])
def test_copying_does_not_repeat_one_token_over_many(make: type) -> None:
    with pytest.raises(InputError, match="do not fit"):
        make(states(tokens=1)).copy_to(torch.empty(2, 3, 2, 5, 8))


def test_the_error_of_int8_is_that_of_vectors() -> None:
    exact = torch.full((2, 1, 1, 2, 2), 127.0)  # a scale of 1: whole numbers are exact
    exact[0, 0, 0, 1] = torch.tensor([30.5, 40.0])
    keys, values = int8_error(exact)
    assert values == (0, 0)
    assert keys.largest == pytest.approx(0.5 / (30.5**2 + 40**2) ** 0.5, rel=1e-5)
    assert keys.rms == pytest.approx(keys.largest / 2**0.5, rel=1e-5)


def test_a_channel_with_an_outlier_costs_accuracy() -> None:
    exact = states(tokens=100)
    exact[0, :, :, 0, :] *= 50
    keys, values = int8_error(exact)
    assert 0 < values.rms < 0.01 < keys.rms <= keys.largest


@pytest.mark.gpu
@pytest.mark.parametrize("make", [EncodedContext.of, EncodedContext.quantised])
def test_states_of_either_memory_are_copied_to_the_device(make: type) -> None:
    context = make(states(dtype=torch.bfloat16))
    expected = restored(context, torch.bfloat16)
    for each in (context, context.to("cuda")):
        out = torch.empty(expected.shape, dtype=torch.bfloat16, device="cuda")
        each.copy_to(out)
        assert torch.equal(out.cpu(), expected)
