"""Conformance of every registered transform; pipelines; transforms from outside."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from ecgnb.core.errors import ConfigError
from ecgnb.run.config import RunConfig
from ecgnb.transforms import TRANSFORMS, Pipeline, build_pipeline, build_transform
from ecgnb.transforms.augment import Augment
from ecgnb.transforms.pipeline import Transform, bounded
from ecgnb.transforms.random import stream_of, uniform

FS = 250.0
#: Options at which a transform changes nothing.
ZERO = {
    "amplitude_scale": {"magnitude": 0.0},
    "baseline_wander": {"amplitude": 0.0},
    "gaussian_noise": {"sd": 0.0},
    "lead_dropout": {"p_lead": 0.0},
    "powerline": {"amplitude": 0.0},
    "time_mask": {"max_fraction": 0.0},
    "time_shift": {"max_seconds": 0.0},
    "scale": {"factor": 1.0},
    "clip": {"limit": 1e9},
}
RANDOM = [name for name in TRANSFORMS if TRANSFORMS.get(name).random]
DETERMINISTIC = [name for name in TRANSFORMS if not TRANSFORMS.get(name).random]


def make(name: str, **options) -> Transform:
    always = {"p": 1.0} if TRANSFORMS.get(name).random else {}
    return build_transform({"name": name, **always, **options})


def signals(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0.1, 0.5, shape).astype(np.float32)


def run(transform, x, mask=None, n_keys=None, **kw):
    lead = x.shape[:-2]
    keys = (
        np.arange(n_keys or int(np.prod(lead, dtype=int))).reshape(lead)
        if n_keys is None
        else np.arange(n_keys)
    )
    return transform(x, fs=FS, mask=mask, keys=keys, **kw)


def test_every_random_transform_has_a_zero():
    assert set(RANDOM) <= set(ZERO)
    assert set(DETERMINISTIC) == {
        "zscore",
        "bandpass",
        "notch",
        "baseline",
        "clip",
        "scale",
    }


@pytest.mark.parametrize("name", TRANSFORMS)
def test_leading_dimensions_are_kept(name):
    for shape in [(3, 700), (4, 3, 700), (2, 2, 3, 700), (1, 2, 2, 3, 701)]:
        x = signals(*shape)
        out = run(make(name), x)
        assert isinstance(out, np.ndarray)
        assert (out.shape, out.dtype) == (shape, np.float32)
        assert np.isfinite(out).all()
        flat = x.reshape(-1, *shape[-2:])
        assert np.array_equal(run(make(name), flat).reshape(shape), out)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_numpy_equals_torch(name):
    x = signals(4, 3, 700)
    out = run(make(name), torch.from_numpy(x))
    assert isinstance(out, torch.Tensor)
    np.testing.assert_allclose(run(make(name), x), out.numpy(), atol=1e-6)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_dtype_is_kept(name):
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        x = torch.from_numpy(signals(2, 3, 700)).to(dtype)
        out = run(make(name), x)
        assert out.dtype == dtype
        reference = run(make(name), x.float())
        torch.testing.assert_close(out.float(), reference, rtol=1e-2, atol=2e-2)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_input_is_not_modified(name):
    x = signals(4, 3, 700)
    mask = np.arange(700) < 600
    mask = np.broadcast_to(mask, (4, 700))
    for some_mask in (None, mask):
        before = x.copy()
        run(make(name), x, mask=some_mask)
        assert np.array_equal(x, before)
        run(make(name), torch.from_numpy(x), mask=some_mask)
        assert np.array_equal(x, before)


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("masked", [False, True])
def test_a_record_is_the_same_in_any_batch(name, masked):
    x = torch.from_numpy(signals(5, 3, 701))
    mask = (
        torch.arange(701) < torch.tensor([701, 650, 1, 0, 333])[:, None]
        if masked
        else None
    )
    keys = torch.tensor([9, 4, 1000, 77, 3])
    transform = make(name)
    together = transform(x, fs=FS, mask=mask, keys=keys, seed=3, step=8)
    for row in range(5):
        rows = slice(row, row + 1)
        alone = transform(
            x[rows],
            fs=FS,
            mask=mask[rows] if masked else None,
            keys=keys[rows],
            seed=3,
            step=8,
        )
        assert torch.equal(alone[0], together[row])
    assert torch.equal(
        transform(x, fs=FS, mask=mask, keys=keys, seed=3, step=8), together
    )


@pytest.mark.parametrize("name", TRANSFORMS)
def test_padding_enters_no_statistic_and_stays_zero(name):
    x = signals(2, 3, 900)
    mask = np.zeros((2, 900), bool)
    mask[:, 100:800] = True
    padded = np.where(mask[:, None], x, 99.0).astype(np.float32)
    out = run(make(name), padded, mask=mask)
    assert (out[:, :, :100] == 0).all() and (out[:, :, 800:] == 0).all()
    if name in DETERMINISTIC:
        alone = run(make(name), np.ascontiguousarray(x[:, :, 100:800]))
        np.testing.assert_allclose(out[:, :, 100:800], alone, atol=2e-5)
    assert np.array_equal(
        out,
        run(make(name), np.where(mask[:, None], x, -5.0).astype(np.float32), mask=mask),
    )


@pytest.mark.parametrize("name", TRANSFORMS)
def test_gradient_flows_and_is_finite(name):
    x = torch.from_numpy(signals(3, 3, 700))
    x[0, 1] = 0.25  # a flat lead
    x.requires_grad_()
    out = run(make(name), x)
    assert torch.isfinite(out).all()
    out.square().sum().backward()
    assert torch.isfinite(x.grad).all() and x.grad.abs().sum() > 0


@pytest.mark.parametrize("name", TRANSFORMS)
def test_zeros_and_single_samples_give_no_nan(name):
    assert np.isfinite(run(make(name), np.zeros((2, 3, 700), np.float32))).all()
    assert np.isfinite(run(make(name), np.ones((2, 3, 1), np.float32))).all()
    nothing_valid = run(make(name), signals(2, 3, 50), mask=np.zeros((2, 50), bool))
    assert (nothing_valid == 0).all()


@pytest.mark.parametrize("name", RANDOM)
def test_p_zero_is_the_identity(name):
    x = signals(6, 3, 700)
    assert np.array_equal(run(make(name, p=0.0), x), x)


@pytest.mark.parametrize("name", ZERO)
def test_magnitude_zero_is_the_identity(name):
    x = signals(6, 3, 700)
    assert np.array_equal(run(make(name, **ZERO[name]), x), x)


@pytest.mark.parametrize("name", RANDOM)
def test_p_is_the_share_of_changed_records(name):
    x = torch.from_numpy(signals(1, 3, 60)).expand(2000, 3, 60)
    out = make(name, p=0.3, **({"p_lead": 1.0} if name == "lead_dropout" else {}))(
        x, fs=FS, keys=torch.arange(2000)
    )
    changed = (out != x).flatten(1).any(1).double().mean()
    # A mask or a shift may round to nothing on 60 samples, so a few percent may be
    # missing.
    assert 0.3 * 0.85 - 0.05 < changed < 0.3 + 0.05


@pytest.mark.parametrize("name", RANDOM)
def test_random_transforms_vary_with_seed_step_and_record(name):
    x = torch.from_numpy(signals(1, 3, 700)).expand(8, 3, 700)
    transform = make(name, **({"p_lead": 0.5} if name == "lead_dropout" else {}))
    out = transform(x, fs=FS, keys=torch.arange(8))
    assert not all(torch.equal(out[0], other) for other in out[1:])
    assert not torch.equal(out, transform(x, fs=FS, keys=torch.arange(8), seed=1))
    assert not torch.equal(out, transform(x, fs=FS, keys=torch.arange(8), step=1))


@pytest.mark.parametrize("name", TRANSFORMS)
def test_sample_and_apply_replay_a_call(name):
    x = torch.from_numpy(signals(4, 3, 700))
    transform = make(name)
    keys = torch.arange(4)
    stream = stream_of(name) if transform.random else 0
    params = transform.sample(x.shape, keys, seed=2, step=5, stream=stream)
    assert bool(params) == transform.random
    assert all(len(value) == 4 for value in params.values())
    assert torch.equal(
        transform.apply(x, params, fs=FS),
        transform(x, fs=FS, keys=keys, seed=2, step=5),
    )


@pytest.mark.parametrize("name", TRANSFORMS)
def test_spec_survives_json(name):
    transform = make(name)
    assert build_transform(json.loads(json.dumps(transform.spec()))) == transform
    assert transform.spec()["name"] == name


@pytest.mark.parametrize(
    "name",
    ["bandpass", "notch", "baseline", "baseline_wander", "powerline", "time_shift"],
)
def test_a_missing_rate_is_named(name):
    with pytest.raises(ConfigError, match=f"'{name}' needs the sampling rate"):
        make(name)(signals(1, 3, 700), keys=[0])


def test_a_pipeline_composes_and_drops_random_transforms():
    pipeline = build_pipeline(
        ["bandpass", {"name": "gaussian_noise", "sd": 0.1, "p": 1.0}, "zscore"]
    )
    x = signals(4, 3, 700)
    still = pipeline.deterministic()
    assert pipeline.random and not still.random and len(still.transforms) == 2
    assert np.array_equal(
        still(x, fs=FS), run(make("zscore"), run(make("bandpass"), x))
    )
    assert not np.array_equal(run(pipeline, x), still(x, fs=FS))
    assert build_pipeline(json.loads(json.dumps(pipeline.specs()))) == pipeline
    assert build_pipeline() == build_pipeline(["zscore"]) == build_pipeline("zscore")


def test_streams_depend_on_names_and_not_on_positions():
    x = signals(4, 3, 700)
    noise = {"name": "gaussian_noise", "p": 1.0}
    alone = run(build_pipeline([noise]), x)
    assert np.array_equal(
        run(build_pipeline([{"name": "clip", "limit": 1e9}, noise]), x), alone
    )
    twice = run(build_pipeline([noise, noise]), x) - x
    assert not np.allclose(twice, 2 * (alone - x), atol=1e-3), (
        "two transforms of one kind must not repeat each other"
    )


def test_an_empty_pipeline_only_zeroes_padding():
    x = signals(2, 3, 10)
    assert np.array_equal(Pipeline([])(x), x)
    mask = np.arange(10) < np.array([[4], [10]])
    assert np.array_equal(Pipeline([])(x, mask=mask), np.where(mask[:, None], x, 0))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("zscor", "no transform called 'zscor'. Did you mean 'zscore'"),
        ({"name": "bandpass", "hihg": 40}, "no option 'hihg'. Did you mean 'high'"),
        ({"low": 1}, "needs a name"),
        ({"name": "bandpass", "low": 40, "high": 0.5}, "must be below"),
        ({"name": "bandpass", "low": None, "high": None}, "needs low, high or both"),
        ({"name": "bandpass", "low": -1.0}, "above 0 Hz"),
        (
            {"name": "gaussian_noise", "p": 1.5},
            "'gaussian_noise' needs p between 0 and 1, not 1.5",
        ),
        ({"name": "time_mask", "max_fraction": -0.1}, "max_fraction"),
        ({"name": "zscore", "per": "batch"}, "per to be one of"),
    ],
)
def test_wrong_specs_are_refused_with_advice(spec, message):
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        build_pipeline([spec])


def test_a_transform_without_a_name_is_refused():
    class Nameless(Transform):
        def transform_batch(self, x, params, fs, mask):
            return x

    with pytest.raises(ConfigError, match="register it"):
        Nameless().spec()


def test_a_transform_from_outside_works_by_name_in_transforms_and_augment(monkeypatch):
    monkeypatch.setattr(TRANSFORMS, "_entries", dict(TRANSFORMS._entries))

    @TRANSFORMS.register("outside_invert")
    @dataclass(frozen=True)
    class Invert(Transform):
        factor: float = -1.0

        def transform_batch(self, x, params, fs, mask):
            return x * self.factor

    @TRANSFORMS.register("outside_offset")
    @dataclass(frozen=True, kw_only=True)
    class Offset(Augment):
        size: float = bounded(1.0, low=0)

        def _draw(self, states, n_leads):
            return {"offset": uniform(states, stream=1) * self.size}

        def _change(self, x, params, fs, mask):
            return x + params["offset"][:, None, None]

    config = RunConfig.from_parameters(
        {
            "TRANSFORMS": [{"name": "outside_invert", "factor": -2.0}],
            "AUGMENT": [{"name": "outside_offset", "p": 1.0, "size": 0.5}],
        }
    ).transforms
    pipeline = build_pipeline([*config.transforms, *config.augment])
    x = signals(5, 3, 100)
    offset = pipeline(x, keys=np.arange(5)) + 2 * x
    assert (offset.std((1, 2)) < 1e-6).all()
    assert (
        0 <= offset.min() < offset.max() <= 0.5 and len(np.unique(offset[:, 0, 0])) == 5
    )
    assert np.array_equal(pipeline.deterministic()(x), -2 * x)
    with pytest.raises(ConfigError, match="needs size between 0 and inf, not -1"):
        build_pipeline([{"name": "outside_offset", "size": -1}])
