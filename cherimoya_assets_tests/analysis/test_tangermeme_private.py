"""What is taken from tangermeme by a private name: missing or changed, it is one sentence and no wrong number."""

from __future__ import annotations

import numpy as np
import pytest
import tangermeme
import tangermeme.seqlet

from cherimoya_assets.analysis.seqlets import SeqletNull, seqlet_null
from cherimoya_assets.analysis.tangermeme_private import CHECKED_VERSION, decode_seqlets, null_tables
from cherimoya_assets.errors import InstallationError

VALUES = np.random.default_rng(0).normal(size=200).astype(np.float32)


def build() -> SeqletNull:
    return seqlet_null([VALUES.reshape(4, 50)])


def decode() -> None:
    decode_seqlets(
        VALUES.reshape(4, 50),
        np.zeros((26, 25001)),
        np.float32(0),
        0.1,
        threshold=0.01,
        min_seqlet_len=4,
        max_seqlet_len=25,
        additional_flanks=0,
        n_bins=1000,
    )


NAMES = [("_recursive_seqlet_tables", build), ("_recursive_seqlet_decode_fields", decode)]


@pytest.mark.parametrize(("name", "use"), NAMES)
def test_a_tangermeme_without_the_function_is_one_sentence(monkeypatch, name, use):
    monkeypatch.delattr(tangermeme.seqlet, name)
    monkeypatch.setattr(tangermeme, "__version__", "9.9.9")
    with pytest.raises(InstallationError) as caught:
        use()
    said = str(caught.value)
    assert f"tangermeme (9.9.9) has no tangermeme.seqlet.{name}(" in said
    assert said.endswith(f"install tangermeme=={CHECKED_VERSION}.")
    assert "\n" not in said


@pytest.mark.parametrize(("name", "use"), NAMES)
def test_a_function_with_other_parameters_is_not_called(monkeypatch, name, use):
    monkeypatch.setattr(tangermeme.seqlet, name, lambda X, something_new: pytest.fail("called"))
    with pytest.raises(InstallationError, match=name):
        use()


def test_the_installed_tangermeme_is_the_one_that_was_checked():
    assert tangermeme.__version__ == CHECKED_VERSION


def test_equal_values_have_no_tables():
    assert null_tables(np.full(10, 3, np.float32), 25, 1000) is None
