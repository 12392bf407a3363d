"""Models: opened without executing anything, and behind one face what their own libraries make of them."""

from __future__ import annotations

import hashlib
import io
import pickle
import shutil
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch

from cherimoya_assets.analysis.models import load_model
from cherimoya_assets.analysis.sequence_model import DTYPES, check_folds
from cherimoya_assets.errors import ModelError
from cherimoya_assets_tests.bad_inputs import Exploit
from cherimoya_assets_tests.small_models import (
    IN_WINDOW,
    NamedFile,
    basepairnet_file,
    bpnet_file,
    cherimoya_file,
    chrombpnet_file,
)

KINDS = {
    "cherimoya": cherimoya_file,
    "bpnet": bpnet_file,
    "basepairnet": basepairnet_file,
    "chrombpnet": chrombpnet_file,
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {
        "cherimoya": cherimoya_file(folder, signal_groups=(1, 2), controls=2),
        "bpnet": bpnet_file(folder),
        "basepairnet": basepairnet_file(folder),
        "chrombpnet": chrombpnet_file(folder),
    }


def sequences(n: int = 3, seed: int = 0) -> np.ndarray:
    letters = np.random.default_rng(seed).integers(0, 4, (n, IN_WINDOW))
    return np.ascontiguousarray(np.eye(4, dtype=np.int8)[letters].transpose(0, 2, 1))


def sentence(file: NamedFile) -> str:
    with pytest.raises(ModelError) as caught:
        load_model(file)
    said = str(caught.value)
    assert file.path.name in said
    assert "\n" not in said
    return said


# What opens, and what it is.


def test_each_kind_says_what_it_is(files):
    found = {
        kind: (model.kind, model.signal_groups, model.n_control_tracks, model.trimming, model.module.training)
        for kind, model in ((kind, load_model(file)) for kind, file in files.items())
    }
    assert found == {
        "cherimoya": ("cherimoya", (1, 2), 2, 49, False),
        "bpnet": ("bpnet", (2,), 2, 53, False),
        "basepairnet": ("basepairnet", (2,), 2, 53, False),
        "chrombpnet": ("chrombpnet", (1,), 0, 53, False),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_the_fingerprint_is_the_sha256_of_the_file(files, kind):
    assert load_model(files[kind]).fingerprint == hashlib.sha256(files[kind].path.read_bytes()).hexdigest()


def test_a_cherimoya_predicts_what_cherimoya_predicts_with_zero_controls(files):
    from cherimoya import Cherimoya

    theirs = Cherimoya.load(str(files["cherimoya"].path), device="cpu", compile=False).eval()
    X, model = sequences(), load_model(files["cherimoya"])
    # As many threads: a sum that is shared among others differs in its last bits.
    with model.numerics(), torch.no_grad():
        expected = theirs(torch.from_numpy(X).float(), torch.zeros(len(X), 2, IN_WINDOW))
    for ours, of_cherimoya in zip(model.predict(X), expected, strict=True):
        assert torch.equal(ours, of_cherimoya)
        assert of_cherimoya.std() > 0


@pytest.mark.parametrize("kind", ["bpnet", "basepairnet", "chrombpnet"])
def test_a_bpnet_predicts_what_bpnet_lite_predicts_with_zero_controls(files, kind):
    theirs = torch.load(files[kind].path, weights_only=False).eval()
    X, model = sequences(), load_model(files[kind])
    controls = () if kind == "chrombpnet" else (torch.zeros(len(X), 2, IN_WINDOW),)
    with model.numerics(), torch.no_grad():
        expected = theirs(torch.from_numpy(X).float(), *controls)
    for ours, of_bpnet in zip(model.predict(X), expected, strict=True):
        assert torch.equal(ours, of_bpnet)
        assert of_bpnet.std() > 0


@pytest.mark.parametrize(("kind", "group"), [("cherimoya", 0), ("cherimoya", 1), ("cherimoya", None), ("bpnet", 0)])
def test_scores_are_log_counts_and_softmax_weighted_centred_logits(files, kind, group):
    model, X = load_model(files[kind]), sequences()
    logits, log_counts = (value.double().numpy() for value in model.predict(X))
    channels = {0: slice(0, 1), 1: slice(1, 3), None: slice(None)}[group] if kind == "cherimoya" else slice(None)
    z = logits[:, channels].reshape(len(X), -1)
    z = z - z.mean(axis=1, keepdims=True)
    weights = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    profile = (z * weights).sum(axis=1, keepdims=True)
    counts = log_counts if group is None else log_counts[:, group : group + 1]
    with torch.no_grad():
        batch = torch.from_numpy(X).float()
        alone = model.counts_wrapper(group)(batch), model.profile_wrapper(group)(batch)
        together = model.score_wrapper(("counts", "profile"), group)(batch)
        turned = model.score_wrapper(("profile",), group)(batch)
    np.testing.assert_allclose(alone[0], counts, rtol=1e-6)
    np.testing.assert_allclose(alone[1], profile, rtol=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
    assert len(turned) == 1
    assert torch.equal(turned[0], alone[1])


def test_both_heads_of_score_wrapper_cost_one_pass_of_the_model(files):
    model, passes = load_model(files["cherimoya"]), []
    handle = model.module.register_forward_hook(lambda *_: passes.append(1))
    model.score_wrapper(("counts", "profile"), 0)(torch.from_numpy(sequences()).float())
    handle.remove()
    assert passes == [1]


# What does not open, and that nothing runs on the way.


@pytest.mark.parametrize("kind", KINDS)
def test_a_pickled_exploit_is_never_executed_without_trust(kind, tmp_path):
    path = tmp_path / "model.torch"
    torch.save({"config": {}, "state_dict": Exploit(tmp_path / "EXECUTED")}, path)
    said = sentence(NamedFile(path, kind))
    assert "pickled Python" in said
    assert hashlib.sha256(path.read_bytes()).hexdigest() in said
    assert not (tmp_path / "EXECUTED").exists()
    # The exploit itself works: opened carelessly, it does what it is here to do.
    torch.load(path, weights_only=False)
    assert (tmp_path / "EXECUTED").read_text() == "executed"


@pytest.mark.parametrize("trusted", [True, False])
def test_trust_does_not_make_a_cherimoya_execute_anything(trusted, tmp_path):
    path = tmp_path / "model.torch"
    torch.save({"config": Exploit(tmp_path / "EXECUTED"), "state_dict": {}}, path)
    assert "was not opened" in sentence(replace(NamedFile.trusting(path, "cherimoya"), trusted=trusted))
    assert not (tmp_path / "EXECUTED").exists()


def test_a_bare_pickle_is_no_checkpoint(tmp_path):
    path = tmp_path / "model.torch"
    path.write_bytes(pickle.dumps(Exploit(tmp_path / "EXECUTED")))
    assert "not a PyTorch checkpoint" in sentence(NamedFile(path))
    assert not (tmp_path / "EXECUTED").exists()


@pytest.mark.parametrize("kind", ["bpnet", "basepairnet", "chrombpnet"])
@pytest.mark.parametrize("missing", [{"trusted": False}, {"sha256": None}, {"trusted": False, "sha256": None}])
def test_a_pickled_model_needs_trust_and_sha256(files, kind, missing, monkeypatch):
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("the file was opened"))
    said = sentence(replace(files[kind], **missing))
    assert "can execute code when opened" in said
    assert f"`trusted: true` and `sha256: {files[kind].sha256}`" in said


@pytest.mark.parametrize("kind", KINDS)
def test_another_file_than_was_meant_is_refused_before_it_is_opened(files, kind, tmp_path, monkeypatch):
    exchanged = tmp_path / "exchanged.torch"
    torch.save(Exploit(tmp_path / "EXECUTED"), exchanged)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("the file was opened"))
    meant = NamedFile.trusting(files[kind].path, kind).sha256
    said = sentence(NamedFile(exchanged, kind, trusted=True, sha256=meant))
    assert f"the experiment file says {meant}" in said
    assert hashlib.sha256(exchanged.read_bytes()).hexdigest() in said


def test_what_is_opened_is_what_was_hashed(files, tmp_path, monkeypatch):
    """A file that is exchanged between the hash and the opening gains nothing: the bytes are read once."""
    path = tmp_path / "model.torch"
    shutil.copy(files["bpnet"].path, path)
    opened, load = [], torch.load

    def exchanging(source, **arguments):
        torch.save(Exploit(tmp_path / "EXECUTED"), path)
        opened.append(source)
        return load(source, **arguments)

    monkeypatch.setattr(torch, "load", exchanging)
    assert load_model(NamedFile.trusting(path, "bpnet")).kind == "bpnet"
    assert isinstance(opened[0], io.BytesIO)
    assert not (tmp_path / "EXECUTED").exists()


@pytest.mark.parametrize(
    ("is_a", "named"), [("bpnet", "chrombpnet"), ("chrombpnet", "bpnet"), ("bpnet", "basepairnet")]
)
def test_one_pickled_kind_is_not_taken_for_the_other(files, is_a, named):
    assert f"but `kind` says {named}" in sentence(replace(files[is_a], kind=named))


def test_a_bpnet_named_as_a_cherimoya_is_not_opened_but_told_how(files):
    said = sentence(NamedFile(files["bpnet"].path))
    assert "was not opened" in said
    assert files["bpnet"].sha256 in said


def test_a_missing_file_is_one_sentence(tmp_path):
    assert "cannot be read (No such file or directory)" in sentence(NamedFile(tmp_path / "none.torch"))


@pytest.mark.parametrize("keep", [0, 100, -1])
def test_a_file_that_was_cut_short_is_damaged(files, keep, tmp_path):
    path = tmp_path / "model.torch"
    path.write_bytes(files["cherimoya"].path.read_bytes()[:keep])
    assert "is damaged, cut short, or not a PyTorch checkpoint" in sentence(NamedFile(path))


def test_one_flipped_bit_of_a_weight_is_found(files, tmp_path):
    """torch itself does not look: it would load the file with another weight."""
    content = bytearray(files["cherimoya"].path.read_bytes())
    with zipfile.ZipFile(io.BytesIO(bytes(content))) as archive:
        largest = max(archive.infolist(), key=lambda member: member.file_size)
        place = bytes(content).index(archive.read(largest))
    content[place + 3] ^= 0b0100
    path = tmp_path / "model.torch"
    path.write_bytes(content)
    torch.load(path, weights_only=True)
    assert "the checksum of" in sentence(NamedFile(path))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("kind", ["cherimoya", "bpnet"])
def test_weights_of_a_diverged_training_are_refused(files, kind, value, tmp_path):
    path = tmp_path / "model.torch"
    saved = torch.load(files[kind].path, weights_only=False)
    weights = saved["state_dict"] if kind == "cherimoya" else saved.state_dict()
    name = next(name for name in weights if name.endswith("iconv.weight"))
    weights[name].flatten()[5] = value
    torch.save(saved, path)
    assert f"{name} holds NaN or infinity" in sentence(NamedFile.trusting(path, kind))


# Files of other versions and other writers.


def resaved(file: NamedFile, change, path, **options) -> NamedFile:
    saved = torch.load(file.path, weights_only=False)
    torch.save(change(saved) or saved, path, **options)
    return NamedFile.trusting(path, file.kind)


@pytest.mark.parametrize("also", [(), ("n_control_tracks", "n_outputs")])
def test_a_chrombpnet_of_bpnet_lite_before_0_7_predicts_what_it_predicted(files, also, tmp_path):
    """Until 0.6 counts were added by a function, so that the pickled module has no modules for that."""

    def as_before(module):
        for name in ("_log", "_exp1", "_exp2", *also):
            delattr(module, name)

    older = load_model(resaved(files["chrombpnet"], as_before, tmp_path / "older.torch"))
    theirs, X = torch.load(tmp_path / "older.torch", weights_only=False), sequences()
    with older.numerics(), torch.no_grad():
        batch = torch.from_numpy(X).float()
        (profile, counts), (bias_profile, bias_counts) = theirs.accessibility(batch), theirs.bias(batch)
    logits, log_counts = older.predict(X)
    assert (older.signal_groups, older.n_control_tracks, older.trimming) == ((1,), 0, 53)
    torch.testing.assert_close(logits, profile + bias_profile, rtol=0, atol=0)
    # Its `forward` in bpnet-lite 0.5.7.
    torch.testing.assert_close(log_counts, torch.logsumexp(torch.stack([counts, bias_counts]), dim=0))


def test_a_bpnet_of_before_0_2_predicts_what_it_predicted(files, tmp_path):
    """Its rectifiers were calls of a function."""

    def as_before(module):
        del module.irelu, module.rrelus

    older = load_model(resaved(files["bpnet"], as_before, tmp_path / "older.torch"))
    for ours, expected in zip(older.predict(sequences()), load_model(files["bpnet"]).predict(sequences()), strict=True):
        assert torch.equal(ours, expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["bpnet", "basepairnet", "chrombpnet"])
def test_weights_of_any_precision_are_computed_in_float32(files, kind, dtype, tmp_path):
    file = resaved(files[kind], lambda module: module.to(dtype), tmp_path / "model.torch")
    theirs = torch.load(file.path, weights_only=False).float()
    X, model = sequences(), load_model(file)
    controls = () if kind == "chrombpnet" else (torch.zeros(len(X), 2, IN_WINDOW),)
    with model.numerics(), torch.no_grad():
        expected = theirs(torch.from_numpy(X).float(), *controls)
    for ours, of_bpnet in zip(model.predict(X), expected, strict=True):
        assert ours.dtype == torch.float32
        assert torch.equal(ours, of_bpnet)


def test_weights_that_float32_cannot_hold_are_refused(files, tmp_path):
    def enlarged(module):
        module.double().iconv.weight.data[0, 0, 0] = 1e300

    assert "iconv.weight holds NaN or infinity" in sentence(resaved(files["bpnet"], enlarged, tmp_path / "m.torch"))


def test_a_bias_model_that_trims_more_is_one_sentence_and_one_that_trims_less_fits(files, tmp_path):
    def trims(bp):
        return lambda module: setattr(module.bias, "trimming", bp)

    less = load_model(resaved(files["chrombpnet"], trims(40), tmp_path / "less.torch"))
    assert less.predict(sequences())[0].shape == (3, 1, less.output_length(IN_WINDOW))
    said = sentence(resaved(files["chrombpnet"], trims(60), tmp_path / "more.torch"))
    assert "bias model trims 60 bp on each side and its accessibility model 53" in said


def test_what_a_bpnet_needs_and_does_not_have_is_one_sentence(files, tmp_path):
    def without(module):
        del module.trimming

    said = sentence(resaved(files["bpnet"], without, tmp_path / "model.torch"))
    assert "'trimming'" in said
    assert "save its `state_dict()`" in said


def test_the_advice_for_a_file_of_another_version_leads_to_a_model(files, tmp_path):
    """Its weights, loaded into a model of the installed version and saved whole, open."""
    from bpnetlite.bpnet import BPNet

    older = torch.load(files["bpnet"].path, weights_only=False)
    moved = BPNet(n_filters=8, n_layers=2, trimming=53, verbose=False)
    moved.load_state_dict(older.state_dict())
    torch.save(moved, tmp_path / "moved.torch")
    found, expected = (
        load_model(file).predict(sequences())
        for file in (NamedFile.trusting(tmp_path / "moved.torch", "bpnet"), files["bpnet"])
    )
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_cherimoya_under_every_name_of_a_weight_that_cherimoya_takes(files, tmp_path):
    from cherimoya import Cherimoya

    def renamed(payload):
        weights = payload["state_dict"]
        payload["state_dict"] = {name.replace(".conv_weight", ".conv.conv_weight"): weights[name] for name in weights}

    file = resaved(files["cherimoya"], renamed, tmp_path / "model.torch")
    theirs = Cherimoya.load(str(file.path), compile=False).eval()
    X, model = sequences(), load_model(file)
    with model.numerics(), torch.no_grad():
        expected = theirs(torch.from_numpy(X).float(), torch.zeros(len(X), 2, IN_WINDOW))
    assert all(torch.equal(a, b) for a, b in zip(model.predict(X), expected, strict=True))


def test_a_weight_under_two_names_is_refused(files, tmp_path):
    def doubled(payload):
        weights = payload["state_dict"]
        weights["blocks.0.conv.conv_weight"] = weights["blocks.0.conv_weight"]

    assert "its weights do not fit" in sentence(resaved(files["cherimoya"], doubled, tmp_path / "model.torch"))


def test_a_configuration_of_another_version_is_not_called_damage(files, tmp_path):
    """Cherimoyas of before June 2026 had `single_count_output`, which `Cherimoya.load` refuses too."""

    def older(payload):
        payload["config"]["single_count_output"] = True

    said = sentence(resaved(files["cherimoya"], older, tmp_path / "model.torch"))
    assert "single_count_output" in said
    assert "another version saved it" in said


@pytest.fixture
def without_checksums():
    torch.serialization.set_crc32_options(False)
    yield
    torch.serialization.set_crc32_options(True)


def test_an_archive_without_checksums_is_read(files, tmp_path, without_checksums):
    file = resaved(files["cherimoya"], lambda payload: None, tmp_path / "model.torch")
    with zipfile.ZipFile(file.path) as archive:
        assert {member.CRC for member in archive.infolist()} == {0}
    found, expected = (load_model(one).predict(sequences()) for one in (file, files["cherimoya"]))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


OLDER_CONTAINER = {"_use_new_zipfile_serialization": False}


@pytest.mark.parametrize("kind", KINDS)
def test_torchs_older_container_is_read(files, kind, tmp_path):
    file = resaved(files[kind], lambda saved: None, tmp_path / "model.torch", **OLDER_CONTAINER)
    assert not zipfile.is_zipfile(file.path)
    found, expected = (load_model(one).predict(sequences()) for one in (file, files[kind]))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_the_older_container_executes_nothing_either(tmp_path):
    path = tmp_path / "model.torch"
    torch.save({"config": {}, "state_dict": Exploit(tmp_path / "EXECUTED")}, path, **OLDER_CONTAINER)
    assert "was not opened" in sentence(NamedFile(path))
    assert not (tmp_path / "EXECUTED").exists()


@pytest.mark.parametrize("keep", [20, 200, 2000, -1])
def test_the_older_container_cut_short_is_damaged(files, keep, tmp_path):
    path = tmp_path / "model.torch"
    resaved(files["cherimoya"], lambda payload: None, path, **OLDER_CONTAINER)
    path.write_bytes(path.read_bytes()[:keep])
    assert "is damaged" in sentence(NamedFile(path))


@pytest.mark.parametrize("claimed", [2**31 - 1, 2**40])
def test_the_older_container_with_a_weight_larger_than_the_file_is_damaged(claimed, tmp_path):
    buffer = io.BytesIO()
    torch.save({"config": {}, "state_dict": {"a": torch.ones(70003)}}, buffer, **OLDER_CONTAINER)
    pickled = (pickle.LONG1 + b"\x06" + claimed.to_bytes(6, "little")) if claimed >= 2**31 else pickled_int(claimed)
    assert pickled_int(70003) in buffer.getvalue()
    path = tmp_path / "model.torch"
    path.write_bytes(buffer.getvalue().replace(pickled_int(70003), pickled))
    assert "is damaged" in sentence(NamedFile(path))


def pickled_int(value: int) -> bytes:
    return pickle.BININT + value.to_bytes(4, "little")


# Whether it fits.


@pytest.mark.parametrize("kind", KINDS)
def test_the_promised_profile_length_is_the_one_that_comes_out(files, kind):
    model = load_model(files[kind])
    assert model.predict(sequences(1))[0].shape[-1] == model.output_length(IN_WINDOW)
    model.check_window(IN_WINDOW, model.output_length(IN_WINDOW))
    model.check_window(2 * model.trimming + 1)


def test_a_window_that_does_not_fit_is_one_sentence_with_the_window_that_would(files):
    model = load_model(files["cherimoya"])
    with pytest.raises(
        ModelError, match=r"^cherimoya\S+: trims 49 bp .* in_window of 98 leaves no profile\. .*than 98"
    ):
        model.check_window(98)
    with pytest.raises(ModelError, match=r"gives a profile of 52 bp for in_window 150 .* out_window says 60.*158") as e:
        model.check_window(IN_WINDOW, 60)
    assert "\n" not in str(e.value)
    assert model.output_length(158) == 60


def test_folds_that_predict_other_things_are_one_sentence_with_both_names(files, tmp_path):
    one = load_model(files["bpnet"])
    narrower = load_model(resaved(files["bpnet"], lambda m: setattr(m, "trimming", 60), tmp_path / "narrower.torch"))
    several, other = load_model(files["cherimoya"]), load_model(cherimoya_file(tmp_path, signal_groups=(2, 1)))
    check_folds({"a": one, "b": load_model(files["bpnet"])}, IN_WINDOW)
    check_folds({"a": several}, IN_WINDOW)
    with pytest.raises(ModelError, match=r"^The folds a \(bpnet_0\.torch\) and c \(narrower\.torch\) .*44 bp .*30, "):
        check_folds({"a": one, "b": one, "c": narrower}, IN_WINDOW)
    # As many channels in all.
    with pytest.raises(ModelError, match=r"^The folds a .* and b .* \[1, 2\] channels .* the other \[2, 1\], "):
        check_folds({"a": several, "b": other}, IN_WINDOW)


@pytest.mark.parametrize("group", [-1, 2])
def test_a_group_that_is_not_there_is_one_sentence(files, group):
    model = load_model(files["cherimoya"])
    with pytest.raises(ModelError, match=rf"has 2 signal group\(s\), so there is no group {group}"):
        model.check_group(group)
    for there in (None, 0, 1):
        model.check_group(there)


@pytest.mark.parametrize("kind", KINDS)
def test_dtypes_that_pass_the_check_compute_and_others_are_one_sentence(files, kind):
    model = load_model(files[kind])
    wrapper, batch = model.score_wrapper(("counts", "profile"), 0), torch.from_numpy(sequences()).float()
    with torch.no_grad():
        exact = wrapper(batch)
        for dtype in DTYPES:
            model.check_dtype(dtype)
            with torch.autocast("cpu", dtype=getattr(torch, dtype), enabled=dtype != "float32"):
                for value, expected in zip(wrapper(batch), exact, strict=True):
                    torch.testing.assert_close(value.float(), expected, rtol=0.1, atol=0.02)
    with pytest.raises(ModelError, match=r"cannot compute in float64; .*Set dtype to one of float32, bfloat16"):
        model.check_dtype("float64")


# Torch's switches.


@pytest.fixture
def unusual_switches(monkeypatch):
    """Switches as no model wants them; returns what reads them."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    cudnn = torch.backends.cudnn
    yield lambda: (torch.get_float32_matmul_precision(), cudnn.benchmark, cudnn.deterministic)
    torch.set_float32_matmul_precision(precision)


def failing(model, look):
    with model.numerics():
        raise KeyError(look())


@pytest.mark.parametrize(
    ("kind", "precision"),
    [("cherimoya", "high"), ("bpnet", "highest"), ("basepairnet", "highest"), ("chrombpnet", "highest")],
)
def test_numerics_are_the_models_own_and_only_for_a_while(files, kind, precision, unusual_switches):
    model = load_model(files[kind])
    with model.numerics():
        assert unusual_switches() == (precision, False, True)
    assert unusual_switches() == ("medium", True, False)
    with pytest.raises(KeyError):
        failing(model, unusual_switches)
    assert unusual_switches() == ("medium", True, False)
