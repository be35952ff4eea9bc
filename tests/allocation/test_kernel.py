from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rag.allocation.kernel import Kernel, Place
from rag.core.allocations import Allocation

numbers = st.sampled_from([0, 1, 2, 5, 10, 20])
places = st.tuples(
    st.sampled_from(["hotpotqa", "musique"]),
    st.tuples(
        st.sampled_from(["DRAG", "IterDRAG"]),
        st.builds(Allocation, numbers, numbers, st.integers(1, 5)),
    ),
)
kernels = st.builds(Kernel, *[st.floats(1e-3, 10)] * 8)


@given(kernels, st.lists(places, max_size=12))
def test_it_is_a_covariance(kernel: Kernel, some: list[Place]) -> None:
    covariance = kernel.covariance(some, some)
    assert covariance.shape == (len(some), len(some))
    np.testing.assert_allclose(covariance, covariance.T)
    np.testing.assert_allclose(np.diag(covariance), kernel.total)
    if some:
        assert np.linalg.eigvalsh(covariance).min() > -1e-9 * kernel.total


@given(kernels, st.lists(places, min_size=1, max_size=4), st.lists(places, min_size=1, max_size=4))
def test_derivatives_are_those_of_small_differences(
    kernel: Kernel, rows: list[Place], columns: list[Place]
) -> None:
    _, derivatives = kernel.gradient(rows, columns)
    for position, derivative in enumerate(derivatives):
        step = 1e-5 * np.eye(8)[position]
        above, below = (
            Kernel(*np.exp(kernel.logarithms + sign * step)).covariance(rows, columns)
            for sign in (1, -1)
        )
        np.testing.assert_allclose(
            (above - below) / 2e-5, derivative, rtol=1e-4, atol=1e-8 * kernel.total
        )


def drag(documents: int, examples: int = 0, dataset: str = "hotpotqa") -> Place:
    return dataset, ("DRAG", Allocation(documents, examples))


def test_the_nearer_the_more_alike() -> None:
    here, *others = [drag(1), drag(2), drag(5), drag(20)]
    covariances = Kernel().covariance([here], others)[0].tolist()
    assert covariances == sorted(covariances, reverse=True)


def test_the_first_document_is_a_change_of_kind() -> None:
    none, one, two = drag(0), drag(1), drag(2)
    covariance = Kernel().covariance([one], [none, two])[0]
    assert covariance[0] < covariance[1]


def test_data_sets_and_strategies_may_be_alike_or_not() -> None:
    here, elsewhere = drag(5), drag(5, dataset="musique")
    other = ("hotpotqa", ("IterDRAG", Allocation(5)))
    kernel = Kernel()
    for name, there in (("datasets", elsewhere), ("strategies", other)):
        same, unlike = (
            replace(kernel, **{name: apart}).covariance([here], [there]).item()
            for apart in (1e-6, 1e3)
        )
        assert unlike < same
    # Another data set tells nothing of the level.
    assert replace(kernel, datasets=1e3).covariance([here], [elsewhere]).item() < 1e-9
