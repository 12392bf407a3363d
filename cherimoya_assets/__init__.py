"""cherimoya_assets: a lineage of attribution and motif assets for Cherimoya, BPNet and ChromBPNet models.

The science is in `cherimoya_assets.analysis` (no Dagster), the lineage in `cherimoya_assets.assets`, and what Dagster
loads in `cherimoya_assets.definitions`. What a scientist needs of it is here: `import cherimoya_assets as ca`, and
docs/notebook.md walks through it. Importing this package is cheap on purpose: a name imports its module when used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # For type checkers and editors: the same as PUBLIC, line by line.
    from cherimoya_assets.analysis.annotation import annotate_seqlets as annotate_seqlets
    from cherimoya_assets.analysis.attributions import attribute as attribute
    from cherimoya_assets.analysis.deep_lift import DeepLiftShap as DeepLiftShap
    from cherimoya_assets.analysis.effect_summary import effect_summary as effect_summary
    from cherimoya_assets.analysis.genome import open_genome as open_genome
    from cherimoya_assets.analysis.loci import place_windows as place_windows
    from cherimoya_assets.analysis.loci import read_loci as read_loci
    from cherimoya_assets.analysis.marginalization import draw_backgrounds as draw_backgrounds
    from cherimoya_assets.analysis.marginalization import marginalization_effects as marginalization_effects
    from cherimoya_assets.analysis.models import load_model as load_model
    from cherimoya_assets.analysis.modisco import discover_patterns as discover_patterns
    from cherimoya_assets.analysis.modisco import pool_blocks as pool_blocks
    from cherimoya_assets.analysis.motifs import read_motifs as read_motifs
    from cherimoya_assets.analysis.mutagenesis.method import SaturationMutagenesis as SaturationMutagenesis
    from cherimoya_assets.analysis.one_hot import one_hot_sequences as one_hot_sequences
    from cherimoya_assets.analysis.pattern_summary import summarize_patterns as summarize_patterns
    from cherimoya_assets.analysis.seqlets import call_seqlets as call_seqlets
    from cherimoya_assets.analysis.seqlets import seqlet_null as seqlet_null
    from cherimoya_assets.experiment import read_experiment as read_experiment
    from cherimoya_assets.opened import open_experiment as open_experiment

    __version__: str

PUBLIC = {
    "annotate_seqlets": "analysis.annotation",
    "attribute": "analysis.attributions",
    "DeepLiftShap": "analysis.deep_lift",
    "effect_summary": "analysis.effect_summary",
    "open_genome": "analysis.genome",
    "place_windows": "analysis.loci",
    "read_loci": "analysis.loci",
    "draw_backgrounds": "analysis.marginalization",
    "marginalization_effects": "analysis.marginalization",
    "load_model": "analysis.models",
    "discover_patterns": "analysis.modisco",
    "pool_blocks": "analysis.modisco",
    "read_motifs": "analysis.motifs",
    "SaturationMutagenesis": "analysis.mutagenesis.method",
    "one_hot_sequences": "analysis.one_hot",
    "summarize_patterns": "analysis.pattern_summary",
    "call_seqlets": "analysis.seqlets",
    "seqlet_null": "analysis.seqlets",
    "read_experiment": "experiment",
    "open_experiment": "opened",
}
"""Name to the module that has it."""


if not TYPE_CHECKING:
    # Hidden from type checkers, which would take every name for one of ours.
    def __getattr__(name: str) -> Any:
        if name in PUBLIC:
            return getattr(import_module(f"{__name__}.{PUBLIC[name]}"), name)
        if name == "__version__":
            return import_module(f"{__name__}.version").version()
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *PUBLIC, "__version__"])
