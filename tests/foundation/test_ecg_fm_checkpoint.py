"""ECG-FM against what the original trainer computed, from every kind of file that it
writes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ecgnb.core.errors import CheckpointError, ConfigError
from ecgnb.foundation.ecg_fm_checkpoint import inspect_model, load_ecg_fm
from ecgnb.foundation.stand_in import SMALL, stand_in
from ecgnb.models.ecg_fm import EcgFM, PaddingWarning

#: Checkpoints written by the original, and whose references they share.
FILES = {
    "pretrained.pt": "pretrained",
    "pretrained_legacykeys.pt": "pretrained",
    "finetuned.pt": "finetuned",
    "pretrained_variant.pt": "pretrained_variant",
    "finetuned_variant.pt": "finetuned_variant",
    "formats/nonzip.pt": "pretrained_variant",
    "formats/cfg_omegaconf.pt": "pretrained_variant",
    "formats/args_namespace.pt": "pretrained_variant",
    "formats/canary.pt": "pretrained_variant",
}
#: Largest difference from the original's float32 values.
SEQUENCE, POOLED, PROBABILITY = 1e-5, 5e-6, 1e-6


@pytest.fixture(scope="module")
def folder(golden_dir: Path) -> Path:
    return golden_dir / "ecg_fm"


@pytest.fixture(scope="module")
def inputs(folder: Path) -> dict[str, torch.Tensor]:
    with np.load(folder / "inputs.npz") as file:
        return {
            name: torch.from_numpy(file[name])
            for name in ("real", "synth", "ten", "odd", "pad", "pad_mask")
        }


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return stand_in(tmp_path / "small.pt", n_classes=17, optimizer=False, **SMALL)


def model_output(
    model: EcgFM, name: str, x: torch.Tensor, mask: torch.Tensor | None
) -> torch.Tensor:
    """Return our tensor of a reference's name."""
    if name in ("x", "encoder_out"):
        return model.forward_features(x, mask)
    if name.startswith("layer"):
        return model.forward_intermediates(x, [int(name[5:])], mask)[1][0].transpose(
            1, 2
        )
    if name.startswith("saliency"):
        weights = model.attention(x, mask)
        return {
            "saliency_rec0_all_layers": weights[0],
            "saliency_rec0_last_layer": weights[0, -1],
            "saliency_rec2_last_layer": weights[2, -1]
            if len(weights) > 2
            else weights[0, -1],
            "saliency_max_over_queries_last_layer": weights[:, -1].amax(1),
            "saliency_max_over_keys_last_layer": weights[:, -1].amax(2),
        }[name]
    calls = {
        "pooled": lambda: model.embed(x, mask),
        "logits": lambda: model(x, mask),
        "probs": lambda: model(x, mask).sigmoid(),
        "codes": lambda: model.codes(x),
        "token_padding_mask": lambda: model.token_padding(mask),
        "conv_ln": lambda: model.stem_features(x),
        "pos_conv": lambda: model.position(model.project(model.stem_features(x))),
        "quantized": lambda: model.pretraining.codebook.quantized(model.codes(x)),
    }
    return calls[name]()


def bound(name: str) -> float:
    if name in ("codes", "token_padding_mask"):
        return 0.0
    return {"pooled": POOLED, "logits": POOLED, "probs": PROBABILITY}.get(
        name, SEQUENCE
    )


@pytest.mark.filterwarnings("ignore::ecgnb.models.ecg_fm.PaddingWarning")
@pytest.mark.parametrize(
    "inference", [True, False], ids=["inference", "with_gradients"]
)
@pytest.mark.parametrize("file", FILES)
def test_every_reference_of_the_original(file, inference, folder, inputs) -> None:
    model = load_ecg_fm(folder / file)
    with np.load(folder / f"{FILES[file]}_refs.npz") as stored:
        references = {
            name: torch.from_numpy(stored[name])
            for name in stored.files
            if not name.startswith("ssl.")
        }
    with torch.inference_mode(inference):
        for key, reference in references.items():
            which, name = key.split(".")
            actual = model_output(
                model,
                name,
                inputs[which],
                inputs["pad_mask"] if which == "pad" else None,
            )
            actual = (
                actual[: len(reference)] if actual.ndim == reference.ndim else actual
            )
            assert actual.shape == reference.shape, key
            assert (actual.double() - reference.double()).abs().max() <= bound(name), (
                key
            )


@pytest.mark.parametrize("file", ["pretrained.pt", "pretrained_variant.pt"])
def test_the_pretraining_parts_give_the_originals_contrastive_logits(
    file, folder, inputs
) -> None:
    """The reference is a whole self-supervised step: masked tokens against quantized
    targets and drawn negatives."""
    model = load_ecg_fm(folder / file)
    with np.load(folder / f"{FILES[file]}_refs.npz") as stored:
        masked, logits = (
            torch.from_numpy(stored["ssl.mask_indices"]),
            torch.from_numpy(stored["ssl.logits"]),
        )
        perplexity = float(stored["ssl.code_perplexity"])
    parts = model.pretraining
    with torch.inference_mode():
        features = model.stem_features(inputs["real"])
        count = int(masked[0].sum())
        hidden = features[masked].unflatten(0, (len(features), count))
        codes = parts.codebook(hidden)
        target = parts.project_target(parts.codebook.quantized(codes))
        prediction = parts.project_prediction(
            model.forward_features(inputs["real"], masked=masked)[masked]
        )
        negatives = _negatives(target, logits.shape[0] - 1)
        candidates = torch.cat([target[None], negatives])
        scores = (
            F.cosine_similarity(
                prediction.unflatten(0, (len(features), count))[None],
                candidates,
                dim=-1,
            )
            / 0.1
        )
        scores[1:][(candidates[1:] == target).all(-1)] = float("-inf")
    assert scores.shape == logits.shape
    finite = torch.isfinite(logits)
    assert torch.equal(torch.isfinite(scores), finite)
    assert (
        scores[finite] - logits[finite]
    ).abs().max() <= 2e-5  # cosines divided by 0.1
    share = F.one_hot(codes.flatten(0, 1), parts.codebook.entries).double().mean(0)
    assert float(
        (-(share * (share + 1e-7).log()).sum(-1)).exp().sum()
    ) == pytest.approx(perplexity, abs=1e-3)


def _negatives(target: torch.Tensor, count: int) -> torch.Tensor:
    """Draw other masked tokens of the same record as the original does, from torch's
    generator."""
    n_records, n_tokens, width = target.shape
    torch.manual_seed(7)
    own = torch.arange(n_tokens)[:, None].expand(-1, count).flatten()
    drawn = torch.randint(low=0, high=n_tokens - 1, size=(n_records, count * n_tokens))
    drawn[drawn >= own] += 1
    drawn += torch.arange(n_records)[:, None] * n_tokens
    return (
        target.flatten(0, 1)[drawn.flatten()]
        .view(n_records, n_tokens, count, width)
        .permute(2, 0, 1, 3)
    )


def test_the_canary_stays_silent(folder) -> None:
    trap = Path(tempfile.gettempdir()) / "ecgfm_canary_dev"
    trap.unlink(missing_ok=True)
    load_ecg_fm(folder / "formats" / "canary.pt")
    assert not trap.exists()


def test_the_legacy_spelling_holds_the_same_weights(folder) -> None:
    one, other = (
        load_ecg_fm(folder / name).state_dict()
        for name in ("pretrained.pt", "pretrained_legacykeys.pt")
    )
    assert one.keys() == other.keys() and all(
        torch.equal(one[name], other[name]) for name in one
    )


def test_padding_is_warned_of_where_it_changes_results(folder, inputs) -> None:
    model = load_ecg_fm(folder / "finetuned.pt")
    with torch.inference_mode():
        with pytest.warns(PaddingWarning, match="normalises over the padding"):
            padded = model(inputs["pad"], inputs["pad_mask"])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            alone = model(inputs["pad"][2:, :, :1333])
            whole = model(inputs["pad"], torch.zeros_like(inputs["pad_mask"]))
        assert (padded[2] - alone[0]).abs().max() > 1  # 2.2 with the original
        assert torch.equal(whole, model(inputs["pad"]))
        with pytest.warns(PaddingWarning):
            assert torch.equal(model(inputs["pad"], inputs["pad_mask"][:, 0]), padded)


def test_a_record_of_one_nan_spoils_no_other(folder, inputs) -> None:
    model, x = load_ecg_fm(folder / "finetuned.pt"), inputs["real"].clone()
    with torch.inference_mode():
        clean = model(x)
        x[1, 3, 700] = float("nan")
        spoilt = model(x)
    assert spoilt[1].isnan().all() and torch.equal(spoilt[[0, 2]], clean[[0, 2]])


def test_only_torch_numpy_and_safetensors_are_imported(small: Path) -> None:
    code = """
import sys
import ecgnb
model = ecgnb.load_ecg_fm(sys.argv[1])
import torch
with torch.inference_mode():
    assert model(torch.zeros(1, 12, 2500)).shape == (1, 17)
refused = "pandas scipy sklearn matplotlib seaborn wfdb lightning papermill joblib omegaconf hydra transformers fairseq"
print(" ".join(name for name in refused.split() if name in sys.modules))
"""
    output = subprocess.run(
        [sys.executable, "-c", code, str(small)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert output.stdout.strip() == ""


def test_the_weights_are_the_files_own_and_can_be_trained(small: Path) -> None:
    model, before = load_ecg_fm(small), small.read_bytes()
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    model(torch.randn(2, 12, 500)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    optimizer.step()
    assert small.read_bytes() == before
    fresh = load_ecg_fm(small)
    assert not torch.equal(fresh.layers[0].up.weight, model.layers[0].up.weight)


def test_a_pretrained_model_gets_a_classifier(tmp_path: Path) -> None:
    model = load_ecg_fm(stand_in(tmp_path / "pretrained.pt", **SMALL))
    x = torch.randn(2, 12, 2500)
    with pytest.raises(ConfigError, match=r"has no classifier.*reset_classifier"):
        model(x)
    embedding = model.embed(x)
    assert embedding.shape == (2, 64) and model.codes(x).shape == (2, 156, 2)
    model.reset_classifier(5)
    assert model(x).shape == (2, 5) and model.pretraining is None
    torch.testing.assert_close(model.embed(x), embedding)
    with pytest.raises(ConfigError, match="no codebook"):
        model.codes(x)
    again = EcgFM(
        **{name: value for name, value in model.spec().items() if name != "name"}
    )
    again.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(again.eval()(x), model.eval()(x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["model"].pop("proj.bias"), r"missing: proj\.bias"),
        (
            lambda c: c["model"].pop("proj.weight"),
            r"without its classifier: the tensor proj\.weight",
        ),
        (
            lambda c: c["model"].update({"encoder.extra.weight": torch.zeros(2)}),
            r"unexpected tensors encoder\.extra",
        ),
        (
            lambda c: c["model"].update({"proj.bias": torch.zeros(3)}),
            r"proj\.bias \[3\] instead of \[17\]",
        ),
        (
            lambda c: c["model"].pop("encoder.encoder.layers.1.fc2.bias"),
            r"missing: encoder\.encoder\.layers\.1\.fc2",
        ),
        (
            lambda c: c["model"]["proj.weight"].fill_(float("nan")),
            "has NaN or infinity",
        ),
        (
            lambda c: c["model"].update(
                {"proj.bias": torch.zeros(17, dtype=torch.int64)}
            ),
            "weights are floating point",
        ),
        (lambda c: c.update(cfg=None), "lacks encoder_attention_heads"),
        (
            lambda c: c["cfg"]["model"].pop("layer_norm_first"),
            "lacks layer_norm_first",
        ),
        (lambda c: c["cfg"]["model"].update(encoder_layers=24), "encoder_layers=24"),
        (
            lambda c: c["cfg"]["model"].update(encoder_attention_heads=5),
            "5 attention heads do not divide the width 64",
        ),
        (
            lambda c: c["cfg"]["model"].update(encoder_attention_heads="4"),
            "no whole number above 0",
        ),
        (lambda c: c["cfg"]["model"].update(normalize=True), "normalize=True"),
        (
            lambda c: c["cfg"]["model"].update(extractor_mode="layer_norm"),
            "extractor_mode='layer_norm'",
        ),
        (
            lambda c: c["cfg"]["model"].update(
                conv_feature_layers="__import__('os').system('x')"
            ),
            "should list",
        ),
        (
            lambda c: c["cfg"]["model"].update(conv_feature_layers="[(32, 3, 2)] * 4"),
            "contradicts itself",
        ),
        (lambda c: c["cfg"]["model"].update(num_labels=26), "num_labels=26"),
        (
            lambda c: c["cfg"]["model"].update(_name="resnet"),
            "names the model 'resnet'",
        ),
        (
            lambda c: c["cfg"]["model"].update(_name="wav2vec2_cmsc"),
            "names the model 'wav2vec2_cmsc'",
        ),
        (
            lambda c: c["cfg"]["model"].update(activation_fn="relu"),
            "activation_fn='relu'",
        ),
        (lambda c: c["cfg"]["model"].update(target_glu=True), "target_glu=True"),
        (
            lambda c: c["cfg"]["model"].update(quantize_input=True),
            "quantize_input=True",
        ),
        (lambda c: c["cfg"]["model"].update(conv_pos_groups=8), "conv_pos_groups=8"),
        (lambda c: c["cfg"]["model"].update(dropout="x"), "dropout='x'"),
        (
            lambda c: c["cfg"]["model"].update(attention_dropout=5),
            "attention_dropout=5",
        ),
        (lambda c: c.pop("model"), "has no model of fairseq-signals"),
        (lambda c: c["model"].update(step=7), "which are no tensors"),
    ],
)
def test_a_changed_checkpoint_is_refused_by_name(change, message, small: Path) -> None:
    contents = torch.load(small, weights_only=True)
    change(contents)
    torch.save(contents, small)
    with pytest.raises(CheckpointError, match=message):
        load_ecg_fm(small)


def test_other_files_are_refused_as_checkpoints(tmp_path: Path, small: Path) -> None:
    resnet = tmp_path / "resnet.pt"
    torch.save({"model": torch.nn.Conv1d(3, 4, 5).state_dict()}, resnet)
    with pytest.raises(
        CheckpointError, match=r"no tensor of ECG-FM but weight, bias.*inspect"
    ):
        load_ecg_fm(resnet)
    page = tmp_path / "page.pt"
    page.write_text(
        "<!DOCTYPE html><html><body>Sign in</body></html>", encoding="utf-8"
    )
    with pytest.raises(CheckpointError, match="web page"):
        load_ecg_fm(page)
    half = tmp_path / "half.pt"
    half.write_bytes(small.read_bytes()[: small.stat().st_size // 2])
    with pytest.raises(CheckpointError, match=r"cut|truncated|incomplete"):
        load_ecg_fm(half)
    with pytest.raises(CheckpointError, match="missing"):
        load_ecg_fm(tmp_path / "missing.pt")
    assert (
        inspect_model(small).known_as
        == "ECG-FM, fine-tuned, 17 outputs, 2 layers of width 64; load_ecg_fm loads it"
    )
    headless = torch.load(small, weights_only=True)
    del headless["model"]["proj.weight"], headless["model"]["proj.bias"]
    torch.save(headless, tmp_path / "headless.pt")
    assert "without its classifier" in inspect_model(tmp_path / "headless.pt").known_as
    assert inspect_model(resnet).known_as.startswith(
        "none that load_ecg_fm knows: The checkpoint contains no tensor of"
    )


def test_a_file_without_configuration_takes_it_from_the_caller(small: Path) -> None:
    expected = load_ecg_fm(small)
    contents = torch.load(small, weights_only=True)
    config = contents["cfg"]["model"]
    bare = small.with_name("bare.pt")
    torch.save(contents["model"], bare)
    with pytest.raises(CheckpointError, match="Give them"):
        load_ecg_fm(bare)
    keys = ("encoder_attention_heads", "conv_feature_layers", "layer_norm_first")
    model = load_ecg_fm(bare, config={key: config[key] for key in keys})
    x = torch.randn(1, 12, 2500)
    assert torch.equal(model(x), expected(x))


def test_what_the_file_says_cannot_be_overruled(small: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be changed"):
        load_ecg_fm(small, config={"layer_norm_first": True})


def test_dropouts_are_those_of_the_file(small: Path) -> None:
    contents = torch.load(small, weights_only=True)
    contents["cfg"]["model"].update(
        dropout=0.1, attention_dropout=0.2, activation_dropout=0.3
    )
    contents["model"]["encoder.mask_emb"] = torch.zeros(
        64
    )  # of a fine-tuning that hid tokens
    other = small.with_name("other.pt")
    torch.save(contents, other)
    assert inspect_model(other).known_as.startswith("ECG-FM, fine-tuned, 17 outputs"), (
        "both know the same files"
    )
    layer = load_ecg_fm(other).layers[0]
    assert (layer.drop.p, layer.attention.dropout, layer.activation_drop.p) == (
        0.1,
        0.2,
        0.3,
    )


def test_loaded_in_inference_mode_it_can_be_trained(small: Path) -> None:
    with torch.inference_mode():
        model = load_ecg_fm(small)
    model(torch.randn(1, 12, 800)).sum().backward()
    assert model.layers[0].up.weight.grad is not None


def test_a_revision_is_for_the_hub(small: Path) -> None:
    with pytest.raises(ConfigError, match="revision='main' is for names on the hub"):
        load_ecg_fm(small, revision="main")


def test_wrong_signals_say_what_is_expected(small: Path) -> None:
    model = load_ecg_fm(small)
    with pytest.raises(
        ConfigError, match=r"\[B, 12, 2500\]; it was given \[1, 8, 2500\]"
    ):
        model(torch.zeros(1, 8, 2500))
    with pytest.raises(
        ConfigError, match="15 samples is too short for EcgFM, which needs 16"
    ):
        model(torch.zeros(1, 12, 15))
    assert model(torch.zeros(1, 12, 1500)).isfinite().all()  # 3 s, and flat
    with pytest.raises(ConfigError, match="nothing but padding"):
        model(torch.zeros(1, 12, 2500), torch.ones(1, 2500, dtype=torch.bool))
    with pytest.raises(ConfigError, match=r"padding_mask is torch.float32"):
        model(torch.zeros(1, 12, 2500), torch.zeros(1, 2500))
    uneven = torch.zeros(1, 12, 2500, dtype=torch.bool)
    uneven[0, 3, 2000:] = True
    with pytest.raises(ConfigError, match="differs between the leads"):
        model(torch.zeros(1, 12, 2500), uneven)
