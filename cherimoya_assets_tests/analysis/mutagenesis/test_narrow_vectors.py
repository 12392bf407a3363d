"""Compiled code on a processor without AVX-512, which most have: the same loci, with vectors half as wide."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

PROGRAM = """
import json
import llvmlite.binding as llvm

features = llvm.get_host_cpu_features()
features |= {name: False for name in features if "avx512" in name}
llvm.get_host_cpu_features = lambda: features

from cherimoya_assets.analysis.mutagenesis import saturation_mutagenesis
from cherimoya_assets.analysis.mutagenesis.compiled.vectors import LANES
from cherimoya_assets_tests.analysis.mutagenesis import dense_truth
from cherimoya_assets_tests.analysis.mutagenesis.test_strong_loci import HEADS, locus, model_of

X, span, truth = locus("activator", 0)
result = saturation_mutagenesis(model_of("activator"), X[None], *span, HEADS)
errors = {head: dense_truth.relative_error(result.scores[head][0], truth[head]) for head in HEADS}
print(json.dumps({"lanes": LANES, "errors": errors, "engine": result.engine}))
"""


def test_scores_are_within_the_tolerance(tmp_path):
    # Compiled for a processor of the kind, and kept apart.
    environment = os.environ | {"NUMBA_CPU_NAME": "haswell", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["lanes"] == 8 and said["engine"] == "windowed"
    assert max(said["errors"].values()) < 5e-4
