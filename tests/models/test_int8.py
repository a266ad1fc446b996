"""The 8-bit layer against the same arithmetic in whole numbers and in float64, with
either kernel."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from ecgnb.core.errors import ConfigError
from ecgnb.models import int8
from ecgnb.models.int8 import INPUT_LEVELS, WEIGHT_LEVELS, Int8Linear

#: The question itself, without its memory; the fixture answers it for the layer.
PROBE = int8.kernel_is_exact.__wrapped__


@pytest.fixture(params=["integers", "floats"], autouse=True)
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test with the integer kernel, where there is one, and with the way around
    it."""
    if request.param == "integers" and not int8.kernel_is_exact():
        pytest.skip("no integer kernel in this installation")
    if request.param == "floats":
        monkeypatch.setattr(int8, "kernel_is_exact", lambda: False)
    return request.param


def made(
    n_in: int, n_out: int, seed: int = 0, bias: bool = True
) -> tuple[nn.Linear, Int8Linear]:
    torch.manual_seed(seed)
    linear = nn.Linear(n_in, n_out, bias=bias)
    return linear, Int8Linear.of(linear)


def by_hand(linear: nn.Linear, x: torch.Tensor) -> np.ndarray:
    """Round as the layer says it does, and do the rest in float64."""

    def rounded(rows: np.ndarray, levels: int) -> tuple[np.ndarray, np.ndarray]:
        step = np.abs(rows).max(1, keepdims=True) / np.float32(levels)
        return step.astype(float), np.rint(rows / step).astype(np.int64)

    step, whole = rounded(x.detach().numpy(), INPUT_LEVELS)
    scale, weight = rounded(linear.weight.detach().numpy(), WEIGHT_LEVELS)
    assert np.abs(whole).max() == INPUT_LEVELS and np.abs(weight).max() == WEIGHT_LEVELS
    return (whole @ weight.T) * step * scale.T + linear.bias.detach().double().numpy()


@pytest.mark.parametrize(
    ("rows", "n_in", "n_out"),
    [(1, 64, 64), (7, 70, 65), (156, 768, 96), (5, 3072, 64), (3, 5000, 67)],
)
def test_it_is_the_arithmetic_that_it_says(rows: int, n_in: int, n_out: int) -> None:
    linear, layer = made(n_in, n_out)
    x = torch.randn(rows, n_in) * torch.rand(rows, 1) * 10
    wanted = by_hand(linear, x)
    found = layer(x)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(
        found.numpy(), wanted, rtol=1e-6, atol=2e-6 * np.abs(wanted).max()
    )
    assert torch.equal(layer(x[None, None])[0, 0], found) and torch.equal(
        layer(x[-1:]), found[-1:]
    )


def test_sums_are_exact_where_16_bits_would_overflow() -> None:
    """Steps of 1 and whole numbers, all of the largest and of one sign: every product
    is a whole number."""
    linear = nn.Linear(2048, 64)
    rng = np.random.default_rng(0)
    weight = rng.integers(-WEIGHT_LEVELS, WEIGHT_LEVELS + 1, (64, 2048))
    x = rng.integers(-INPUT_LEVELS, INPUT_LEVELS + 1, (6, 2048))
    weight[0], weight[1], x[0], x[1] = (
        WEIGHT_LEVELS,
        -WEIGHT_LEVELS,
        INPUT_LEVELS,
        -INPUT_LEVELS,
    )
    weight[:, 0], x[:, 0] = WEIGHT_LEVELS, INPUT_LEVELS  # so that every step is 1
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(weight))
        linear.bias.copy_(torch.arange(64))
    layer = Int8Linear.of(linear)
    assert (layer.scale == 1).all() and (layer.weight.numpy() == weight).all()
    found = layer(torch.from_numpy(x).float()).numpy()
    sums = x @ weight.T
    assert (
        sums.max() == 63 * 127 * 2048
        and (found == (sums + np.arange(64)).astype(np.float32)).all()
    )


def test_both_kernels_agree_to_the_last_bit(
    kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, layer = made(3072, 80)
    x = torch.randn(20, 3072)
    here = layer(x)
    monkeypatch.setattr(int8, "kernel_is_exact", lambda: PROBE() and kernel == "floats")
    assert torch.equal(layer(x), here)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 6),
    st.integers(1, 90),
    st.integers(1, 20),
    st.floats(-6, 6),
    st.floats(0, 3),
)
def test_the_error_stays_within_half_a_step(
    seed: int, rows: int, n_in: int, n_out: int, magnitude: float, spread: float
) -> None:
    """Of each factor: |x w - x' w'| <= |x| dw / 2 + |w| dx / 2 + dx dw / 4, summed over the columns."""
    rng = np.random.default_rng(seed)
    x = (
        rng.normal(size=(rows, n_in))
        * np.exp(rng.normal(size=n_in) * spread)
        * 10**magnitude
    )
    linear = nn.Linear(n_in, n_out)
    with torch.no_grad():
        linear.weight.copy_(
            torch.from_numpy(
                rng.normal(size=(n_out, n_in)) * np.exp(rng.normal(size=n_in) * spread)
            )
        )
    given_x = torch.from_numpy(x).float()
    x, w = given_x.double().numpy(), linear.weight.detach().double().numpy()
    dx, dw = (
        np.abs(x).max(1, keepdims=True) / INPUT_LEVELS,
        np.abs(w).max(1, keepdims=True) / WEIGHT_LEVELS,
    )
    bound = (
        np.abs(x).sum(1, keepdims=True) * dw.T / 2
        + dx * np.abs(w).sum(1) / 2
        + n_in * dx * dw.T / 4
    )
    exact = x @ w.T + linear.bias.detach().double().numpy()
    error = np.abs(Int8Linear.of(linear)(given_x).double().numpy() - exact)
    assert (error <= bound * 1.0001 + 1e-5 * np.abs(exact).max()).all()


def test_rows_of_zeros_are_exact() -> None:
    linear = nn.Linear(64, 70)
    with torch.no_grad():
        linear.weight[3] = 0
        linear.weight[4] = 1e-42  # below what float32 keeps all digits of
    layer = Int8Linear.of(linear)
    x = torch.randn(5, 64)
    x[2] = 0
    found = layer(x)
    assert torch.isfinite(layer.scale).all() and (layer.weight[3] == 0).all()
    assert torch.equal(found[2], linear.bias) and torch.equal(
        found[:, 3], linear.bias[3].expand(5)
    )


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_spoils_its_own_row_alone_and_shows(bad: float) -> None:
    linear, layer = made(64, 70)
    x = torch.randn(4, 64)
    clean = layer(x)
    x[1, 5] = bad
    found = layer(x)
    assert not torch.isfinite(found[1]).any() and torch.equal(
        found[[0, 2, 3]], clean[[0, 2, 3]]
    )
    with torch.no_grad():
        linear.weight[0, 0] = bad
    with pytest.raises(ConfigError, match="NaN or infinite"):
        Int8Linear.of(linear)


def test_its_gradient_is_that_of_the_rounded_weights() -> None:
    _, layer = made(64, 70)
    x, slope = torch.randn(2, 3, 64, requires_grad=True), torch.randn(2, 3, 70)
    layer(x).backward(slope)
    wanted = slope.double() @ (layer.weight.double() * layer.scale.double()[:, None])
    torch.testing.assert_close(x.grad.double(), wanted, atol=1e-6, rtol=1e-5)


def test_no_bias_no_rows_and_other_types() -> None:
    _, layer = made(64, 70, bias=False)
    assert list(layer.state_dict()) == ["weight", "scale"] and layer(
        torch.zeros(0, 64)
    ).shape == (0, 70)
    x = torch.randn(3, 64).bfloat16()
    assert torch.equal(layer(x), layer(x.float())) and layer(x).dtype == torch.float32
    assert repr(layer) == "Int8Linear(in_features=64, out_features=70, bias=False)"


def test_it_goes_through_a_file_a_copy_and_a_change(tmp_path) -> None:
    linear, layer = made(64, 70)
    x = torch.randn(3, 64)
    before = layer(x)
    save_file(layer.state_dict(), tmp_path / "w.safetensors")
    state = load_file(tmp_path / "w.safetensors")
    assert {name: value.dtype for name, value in state.items()} == {
        "weight": torch.int8,
        "scale": torch.float32,
        "bias": torch.float32,
    }
    assert sum(value.nbytes for value in state.values()) == 64 * 70 + 2 * 70 * 4
    _, other = made(64, 70, seed=1)
    assert not torch.equal(other(x), before)
    other.load_state_dict(
        state, strict=True
    )  # after its first use: what was packed must not stay
    assert torch.equal(other(x), before) and torch.equal(
        copy.deepcopy(layer)(x), before
    )
    with pytest.raises(RuntimeError, match="scale"):
        linear.load_state_dict(state, strict=True)


def test_changes_in_inference_mode_are_seen() -> None:
    linear = nn.Linear(64, 70)
    with torch.inference_mode():
        layer = Int8Linear.of(linear)
        layer(torch.ones(1, 64))
        layer.weight.zero_()
        assert torch.equal(layer(torch.ones(1, 64))[0], linear.bias)


def test_a_kernel_that_cuts_sums_or_fails_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def cut(
        inputs: torch.Tensor, packed: torch.Tensor, scale: torch.Tensor
    ) -> torch.Tensor:
        products = (inputs.long()[:, None] * packed.long()).unflatten(2, (-1, 2)).sum(3)
        return products.clamp(-(2**14), 2**14).sum(
            2
        ).float() - int8._OFFSET * packed.long().sum(1)

    def failing(*given: object) -> torch.Tensor:
        raise RuntimeError("could not create a primitive")

    def exact(
        inputs: torch.Tensor, packed: torch.Tensor, scale: torch.Tensor
    ) -> torch.Tensor:
        return ((inputs.long() - int8._OFFSET) @ packed.long().T).float()

    monkeypatch.setattr(int8, "_pack", lambda weight: weight)
    for multiply, wanted in ((cut, False), (failing, False), (exact, True)):
        monkeypatch.setattr(int8, "_multiply", multiply)
        assert PROBE() is wanted


def test_its_numbers_fit() -> None:
    assert 2 * (INPUT_LEVELS + int8._OFFSET) * WEIGHT_LEVELS < 2**15, (
        "pairs of products in 16 bits"
    )
    assert INPUT_LEVELS * WEIGHT_LEVELS * int8._EXACT < 2**24, (
        "sums of products in float32"
    )
