"""Published models in Keras's files: against bpnet-lite's own loaders and Keras's definition in float64."""

from __future__ import annotations

import pickle

import h5py
import numpy as np
import pytest
import torch
from bpnetlite.bpnet import BasePairNet, BPNet
from bpnetlite.chrombpnet import ChromBPNet

from cherimoya_assets.analysis.models import family_of, load_model
from cherimoya_assets.errors import ModelError
from cherimoya_assets.experiment import ModelFile
from cherimoya_assets_tests.keras_models import (
    basepairmodels_weights,
    chrombpnet_weights,
    keras_forward,
    save,
    save_whole,
)

LENGTH = 400


@pytest.fixture
def X():  # noqa: N802 - as the field calls sequences
    random = np.random.default_rng(1)
    return np.eye(4, dtype=np.float32)[random.integers(0, 4, (3, LENGTH))].transpose(0, 2, 1)


def predicted(model, X):
    with torch.inference_mode():
        logits, counts = model.with_controls()(torch.from_numpy(X))
    return logits.numpy(), counts.numpy()


def trimming(layers: int) -> int:
    return 47 + sum(2**k for k in range(1, layers + 1))


@pytest.mark.parametrize("prefix", ["wo_bias_", ""], ids=["accessibility", "bias"])
@pytest.mark.parametrize("layers", [1, 3, 5])
def test_a_model_of_chrombpnet_predicts_what_keras_predicts(tmp_path, X, prefix, layers):
    weights = chrombpnet_weights(prefix=prefix, layers=layers, seed=layers)
    path = save(tmp_path / "model.chrombpnet_nobias.fold_0.encid.h5", weights)
    model = load_model(ModelFile(path=path))
    assert (model.kind, model.trimming, model.signal_groups) == ("bpnet", trimming(layers), (1,))
    logits, counts = predicted(model, X)
    true_logits, true_counts = keras_forward(weights, X, LENGTH - 2 * trimming(layers))
    np.testing.assert_allclose(logits[:, 0], true_logits, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(counts[:, 0], true_counts, rtol=1e-5, atol=1e-5)
    theirs = BPNet.from_chrombpnet(str(path))
    assert all(torch.equal(a, b) for a, b in zip(model.module.parameters(), theirs.parameters(), strict=True))


def test_a_whole_chrombpnet_adds_its_two_models(tmp_path, X):
    """Logits are added, and counts as counts: log(exp(a) + exp(b)), as `chrombpnet_with_bias_model.py` has it."""
    bias, accessibility = chrombpnet_weights(layers=2, seed=1), chrombpnet_weights(layers=4, prefix="wo_bias_", seed=2)
    model = load_model(ModelFile(path=save_whole(tmp_path / "chrombpnet.h5", bias, accessibility)))
    assert (model.kind, model.trimming) == ("chrombpnet", trimming(4))
    assert isinstance(model.module, ChromBPNet)
    logits, counts = predicted(model, X)
    out = LENGTH - 2 * trimming(4)
    (b_logits, b_counts), (a_logits, a_counts) = keras_forward(bias, X, out), keras_forward(accessibility, X, out)
    np.testing.assert_allclose(logits[:, 0], b_logits + a_logits, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(counts[:, 0], np.logaddexp(b_counts, a_counts), rtol=1e-5, atol=1e-5)


def test_a_bpnet_of_basepairmodels_is_what_bpnet_lite_loads(tmp_path, X):
    path = save(tmp_path / "model.h5", basepairmodels_weights())
    model = load_model(ModelFile(path=path))
    assert (model.kind, model.n_control_tracks, model.signal_groups) == ("basepairnet", 2, (2,))
    theirs = BasePairNet.from_bpnet(str(path))
    assert all(torch.equal(a, b) for a, b in zip(model.module.parameters(), theirs.parameters(), strict=True))


def test_a_chrombpnet_lite_model_is_what_bpnet_lite_loads(tmp_path, X):
    random = np.random.default_rng(0)
    shapes = {"conv1d_1": (25, 4, 6), "conv1d_2": (3, 6, 6), "conv1d_3": (3, 6, 6), "conv1d_4": (25, 6, 1)}
    weights = {
        name: (random.normal(0, 0.2, shape).astype("f4"), np.zeros(shape[-1], "f4")) for name, shape in shapes.items()
    }
    weights["logcounts"] = (random.normal(0, 0.2, (6, 1)).astype("f4"), np.zeros(1, "f4"))
    path = save(tmp_path / "bias.h5", weights)
    model, theirs = load_model(ModelFile(path=path)), BPNet.from_chrombpnet_lite(str(path)).eval()
    assert (model.kind, model.trimming) == ("bpnet", 0)
    with torch.inference_mode():
        expected = [output.numpy() for output in theirs(torch.from_numpy(X))]
    for found, truth in zip(predicted(model, X), expected, strict=True):
        np.testing.assert_array_equal(found, truth)


def test_its_family_is_found_by_itself_and_may_be_named(tmp_path):
    path = save(tmp_path / "model.h5", chrombpnet_weights(prefix="wo_bias_"))
    assert family_of(ModelFile(path=path)).kind == "bpnet"
    assert load_model(ModelFile(path=path, kind="bpnet")).kind == "bpnet"
    with pytest.raises(ModelError, match=r"^model\.h5: holds a bpnet, but `kind` says chrombpnet"):
        load_model(ModelFile(path=path, kind="chrombpnet"))
    assert family_of(ModelFile(path=tmp_path / "gone.torch")).kind == "cherimoya"


class Executed:
    def __reduce__(self):
        return (pytest.fail, ("something of the file was executed",))


def linked(path, target):
    with h5py.File(path, "w") as file:
        file["model_weights/bpnet_1st_conv"] = target


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (
            lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"0" * 100),
            "cannot be read as a model that Keras saved",
        ),
        (lambda path: linked(path, h5py.ExternalLink("/etc/passwd", "/x")), "lies in another place or file"),
        (lambda path: linked(path, h5py.SoftLink("/model_weights")), "lies in another place or file"),
        (lambda path: save(path, {"dense": (np.ones((2, 2)), np.ones(2))}), r"\(its layers: dense\)"),
        (lambda path: save(path, {}), r"\(its layers: none\)"),
    ],
    ids=["damaged", "another file", "a circle", "another model", "nothing"],
)
def test_what_is_none_is_one_sentence(tmp_path, write, sentence):
    write(tmp_path / "m.h5")
    with pytest.raises(ModelError, match=rf"^m\.h5: .*{sentence}"):
        load_model(ModelFile(path=tmp_path / "m.h5"))


def test_a_layer_that_is_missing_is_one_sentence(tmp_path):
    weights = dict(chrombpnet_weights(prefix="wo_bias_"))
    del weights["wo_bias_bpnet_logcount_predictions"]
    with pytest.raises(ModelError, match=r"^m\.h5: cannot be read as a model that Keras saved \("):
        load_model(ModelFile(path=save(tmp_path / "m.h5", weights)))


def test_nothing_of_a_file_is_executed(tmp_path):
    path = save(tmp_path / "m.h5", chrombpnet_weights(prefix="wo_bias_"))
    with h5py.File(path, "a") as file:
        file.attrs["training_config"] = np.void(pickle.dumps(Executed()))
        file.attrs["model_config"] = '{"class_name": "Lambda", "config": {"function": ["4wEAAA==", null, null]}}'
    assert load_model(ModelFile(path=path)).kind == "bpnet"
