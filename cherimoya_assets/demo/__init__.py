"""The embedded real experiment: S. cerevisiae ATAC-seq. See README.md beside this file for sources and licences."""

from pathlib import Path

DEMO_EXPERIMENT = Path(__file__).parent / "yeast_atac.yaml"
