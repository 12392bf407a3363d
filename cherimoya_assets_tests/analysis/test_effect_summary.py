"""Mean effects and intervals, against scipy's one-sample t."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import ttest_1samp

from cherimoya_assets.analysis.effect_summary import effect_summary


def effects(backgrounds=8, motifs=("b", "a", "c"), groups=(0,)):
    rng = np.random.default_rng(0)
    rows = [
        (motif, f"chrI:{i}", head, group, *rng.normal(size=2))
        for motif in motifs
        for i in range(backgrounds)
        for head in ("counts", "profile")
        for group in groups
    ]
    return pd.DataFrame(rows, columns=["motif", "locus_id", "head", "group", "before", "after"])


def test_equals_scipys_interval_in_the_order_of_the_motifs():
    table = effects()
    found = effect_summary(table)
    assert list(found["motif"]) == ["b", "a", "c"]
    for row in found.itertuples():
        own = table[(table["motif"] == row.motif) & (table["head"] == "counts")]
        test = ttest_1samp(own["after"] - own["before"], 0)
        interval = test.confidence_interval(0.95)
        np.testing.assert_allclose((row.low, row.high), (interval.low, interval.high), rtol=1e-12)
        np.testing.assert_allclose(row.mean, (own["after"] - own["before"]).mean(), rtol=1e-12)
        assert row.backgrounds == 8


def test_groups_of_an_output_stay_apart():
    table = effects(groups=(0, 1))
    found = effect_summary(table)
    assert list(zip(found["motif"], found["group"], strict=True)) == [
        (motif, group) for motif in "bac" for group in (0, 1)
    ]
    alone = effect_summary(table[table["group"] == 1]).reset_index(drop=True)
    pd.testing.assert_frame_equal(found[found["group"] == 1].reset_index(drop=True), alone)


def test_one_background_has_a_mean_but_no_interval():
    found = effect_summary(effects(backgrounds=1))
    assert found["mean"].notna().all()
    assert found[["low", "high"]].isna().all(axis=None)


def test_float32_predictions_are_averaged_in_float64():
    table = pd.DataFrame(
        {
            "motif": "m",
            "head": "counts",
            "group": 0,
            "before": np.zeros(4, np.float32),
            "after": np.array([1e8, 1, 1, 1], np.float32),
        }
    )
    assert effect_summary(table)["mean"].item() == (1e8 + 3) / 4


def test_no_backgrounds_give_an_empty_table():
    found = effect_summary(effects(backgrounds=0))
    assert list(found.columns) == ["motif", "group", "mean", "low", "high", "backgrounds"]
    assert found.empty
