"""BPNet and ChromBPNet on windows: equal to a dense float64 pass at every edit, to the rounding of float32."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from bpnetlite.bpnet import BPNet
from bpnetlite.chrombpnet import ChromBPNet

from cherimoya_assets.analysis.bpnet_model import BPNetModel, ChromBPNetModel
from cherimoya_assets.analysis.mutagenesis import LocalEdit, local_edit_effects, saturation_mutagenesis
from cherimoya_assets.analysis.mutagenesis.convolutional.network import networks_of
from cherimoya_assets.analysis.sequence_model import SequenceModel
from cherimoya_assets_tests.analysis.mutagenesis.dense_truth import edited, relative_error
from cherimoya_assets_tests.analysis.mutagenesis.strong_models import random_sequences

HEADS = ("counts", "profile")
EXACT = 5e-6
"""Of the whole, and of each edit in proportion to the largest."""


def bpnet(seed: int = 0, **shape) -> BPNet:
    """With weights that let each layer hand on about the variance that it was given, and rectifiers that close."""
    model = BPNet(**{"n_filters": 10, "n_layers": 3, "n_control_tracks": 0, "verbose": False, **shape})
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            inputs = parameter[0].numel() // (4 if name == "iconv.weight" else 1)
            spread = 0.3 if parameter.ndim == 1 else 1.2 / inputs**0.5
            parameter.normal_(0, spread, generator=generator)
    return model.eval()


def chrombpnet(bias: dict, accessibility: dict) -> ChromBPNet:
    return ChromBPNet(bpnet(1, n_outputs=1, **bias), bpnet(2, n_outputs=1, **accessibility), "test").eval()


MODULES = {
    "as it comes": (lambda: bpnet(), 200),
    "one output": (lambda: bpnet(n_outputs=1), 200),
    "controls": (lambda: bpnet(n_control_tracks=2), 200),
    "one layer": (lambda: bpnet(n_layers=1, n_filters=16), 150),
    "five layers": (lambda: bpnet(n_layers=5, n_filters=33), 260),
    "nothing trimmed": (lambda: bpnet(trimming=0), 120),
    "shorter than the last dilation": (lambda: bpnet(n_layers=6, trimming=2), 60),
    "narrower than the stem": (lambda: bpnet(n_layers=2, trimming=0), 15),
    "ChromBPNet": (lambda: chrombpnet({"n_filters": 12, "n_layers": 2}, {"n_layers": 4}), 240),
    "ChromBPNet, trimmed differently": (lambda: chrombpnet({"n_layers": 2, "trimming": 20}, {"trimming": 50}), 200),
}


@cache
def model_of(name: str) -> tuple[SequenceModel, int]:
    make, length = MODULES[name]
    module = make()
    main = module.accessibility if isinstance(module, ChromBPNet) else module
    family = ChromBPNetModel if isinstance(module, ChromBPNet) else BPNetModel
    outputs = int(main.n_outputs)
    return family(module, (outputs,), int(main.n_control_tracks), int(main.trimming), Path(name), ""), length


def predictions(model: SequenceModel, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The module's own forward pass in float64, controls zero."""
    module = deepcopy(model.module).double()
    sequences = torch.from_numpy(X).double()
    arguments = [sequences]
    if model.n_control_tracks:
        arguments.append(torch.zeros((len(X), model.n_control_tracks, X.shape[2]), dtype=torch.float64))
    with torch.no_grad():
        logits, log_counts = module(*arguments)
    return logits.numpy(), log_counts.numpy()


def effects(model: SequenceModel, X: np.ndarray, edits) -> dict[str, np.ndarray]:
    logits, log_counts = predictions(model, np.concatenate([X[None], edited(X, edits)]))
    y = logits.reshape(len(logits), -1)
    y = y - y.mean(axis=1, keepdims=True)
    p = np.exp(y - y.max(axis=1, keepdims=True))
    scores = {"counts": log_counts[:, 0], "profile": (p / p.sum(axis=1, keepdims=True) * y).sum(axis=1)}
    return {head: values[1:] - values[0] for head, values in scores.items()}


def hypothetical(model: SequenceModel, X: np.ndarray, start: int, end: int) -> dict[str, np.ndarray]:
    edits = [LocalEdit(p, np.eye(4, dtype=np.int8)[:, [base]]) for p in range(start, end) for base in range(4)]
    tables = {head: values.reshape(-1, 4).T for head, values in effects(model, X, edits).items()}
    return {head: table - table.mean(axis=0) for head, table in tables.items()}


def assert_exact(found: np.ndarray, truth: np.ndarray) -> None:
    assert relative_error(found, truth) < EXACT
    np.testing.assert_allclose(found, truth, rtol=0, atol=EXACT * np.abs(truth).max())


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_every_edit_of_both_heads_is_that_of_a_dense_pass_in_float64(name):
    model, length = model_of(name)
    X = random_sequences(2, length)
    found = saturation_mutagenesis(model, X, 0, length)
    assert found.engine == "windowed"
    for row, sequence in enumerate(X):
        truth = hypothetical(model, sequence, 0, length)
        for head in HEADS:
            assert found.scores[head].dtype == np.float32
            assert_exact(found.scores[head][row], truth[head])


@pytest.mark.parametrize("name", MODULES)
def test_edits_of_any_width_with_all_that_is_predicted(name):
    model, length = model_of(name)
    (X,) = random_sequences(1, length)
    random = np.random.default_rng(0)
    widths = [min(length, width) for width in (1, 2, 5, 12, 40)]
    edits = [
        LocalEdit(int(random.integers(0, length - width + 1)), random_sequences(1, width, 10 * k + width)[0])
        for k in range(5)
        for width in widths
    ]
    edits += [LocalEdit(0, random_sequences(1, 3)[0]), LocalEdit(length - 3, random_sequences(1, 3, 1)[0])]
    found = local_edit_effects(model, X, edits)
    truth = predictions(model, np.concatenate([X[None], edited(X, edits)]))
    for ours, expected in zip((found.logits, found.log_counts), truth, strict=True):
        assert ours.shape == expected.shape
        np.testing.assert_allclose(ours[0], expected[0], rtol=0, atol=5e-6 * np.abs(expected[0]).max())
        assert_exact(ours[1:] - ours[0], expected[1:] - expected[0])


def test_a_motif_s_weak_effect_keeps_its_digits():
    """Where two predictions are subtracted, a change of 1e-6 of them has no digit left in float32."""
    model, length = model_of("as it comes")
    (X,) = random_sequences(1, length)
    weak = deepcopy(model.module)
    with torch.no_grad():
        weak.linear.weight.mul_(1e-6)
        weak.linear.bias.fill_(8.0)
    faint = BPNetModel(weak, model.signal_groups, 0, model.trimming, Path("faint"), "")
    found = saturation_mutagenesis(faint, X[None], 90, 110, ("counts",)).scores["counts"][0]
    assert_exact(found, hypothetical(faint, X, 90, 110)["counts"])


class TestBits:
    def scores(self, rows, heads=HEADS, name="ChromBPNet"):
        model, length = model_of(name)
        return saturation_mutagenesis(model, random_sequences(4, length)[rows], 60, 160, heads).scores

    @pytest.mark.parametrize("n", [1, 2, 3])
    def test_a_sequence_has_the_same_in_any_company_on_any_number_of_threads(self, n):
        alone = [self.scores([row]) for row in range(4)]
        torch.set_num_threads(n)
        for company in ([0], [2, 0], [3, 3, 1], [1, 3, 0, 2]):
            found = self.scores(company)
            for k, row in enumerate(company):
                for head in HEADS:
                    np.testing.assert_array_equal(found[head][k], alone[row][head][0])

    @pytest.mark.parametrize("head", HEADS)
    def test_a_head_has_the_same_alone(self, head):
        np.testing.assert_array_equal(self.scores([0, 1], (head,))[head], self.scores([0, 1])[head])

    def test_a_position_has_the_same_in_any_span(self):
        model, length = model_of("as it comes")
        X = random_sequences(1, length)
        whole = saturation_mutagenesis(model, X, 0, length).scores
        for start, end in ((0, 5), (77, 78), (length - 30, length)):
            part = saturation_mutagenesis(model, X, start, end).scores
            for head in HEADS:
                np.testing.assert_array_equal(part[head], whole[head][:, :, start:end])


def test_nothing_to_do():
    model, length = model_of("as it comes")
    for n, span in ((0, (60, 100)), (2, (60, 60))):
        found = saturation_mutagenesis(model, random_sequences(n, length), *span)
        assert {scores.shape for scores in found.scores.values()} == {(n, 4, span[1] - span[0])}
    found = local_edit_effects(model, random_sequences(1, length)[0], [])
    assert found.logits.shape[0] == 1 and found.log_counts.shape == (1, 1)


def test_no_number_among_the_weights_is_never_given_numbers():
    module = bpnet()
    with torch.no_grad():
        module.rconvs[1].weight[0, 0, 0] = float("nan")
    model = BPNetModel(module, (2,), 0, int(module.trimming), Path("nan"), "")
    found = saturation_mutagenesis(model, random_sequences(1, 200), 90, 100)
    for head in HEADS:
        assert np.isnan(found.scores[head]).all()


class TestWhatFits:
    def test_a_bpnet_and_both_of_a_chrombpnet(self):
        module = bpnet()
        assert networks_of(module) == [module]
        both = chrombpnet({}, {})
        assert networks_of(both) == [both.accessibility, both.bias]

    def test_what_is_built_otherwise_does_not(self):
        def even():
            model = bpnet()
            model.iconv = torch.nn.Conv1d(4, 10, 20, padding=10)
            return model

        def hooked():
            model = bpnet()
            model.rconvs[0].register_forward_hook(lambda *_: None)
            return model

        class Own(BPNet):
            pass

        own = Own(n_filters=10, n_layers=2, n_control_tracks=0, verbose=False)
        wider = chrombpnet({"trimming": 60}, {"trimming": 50})
        for module in (even(), hooked(), own, wider, torch.nn.Linear(2, 2)):
            assert networks_of(module) is None
