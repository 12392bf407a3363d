"""All that Dagster knows of a code location's assets, as text that a reviewer can read."""

from __future__ import annotations

import re

import dagster as dg

DIGITS = re.compile(r"_[0-9a-f]{6}$")
"""Six digits of a path's hash keep two inputs of one name apart; the tests' folders have other paths each time."""


def describe(defs: dg.Definitions) -> str:
    """A paragraph for each asset, sorted by key; upstream keys, kinds and checks sorted too."""
    graph = defs.resolve_asset_graph()
    pools = {key: asset.op.pool for asset in defs.assets or () for key in asset.keys}
    checks = {
        key: [spec for asset in defs.assets or () for spec in asset.check_specs if spec.asset_key == key]
        for key in graph.get_all_asset_keys()
    }
    return "\n".join(
        "\n".join(
            [
                name(key),
                f"  group       {node.group_name}",
                f"  partitions  {partitions(node.partitions_def)}",
                f"  from        {listed(name(parent) for parent in node.parent_keys)}",
                f"  kinds       {listed(node.kinds)}",
                f"  checks      {listed(check(spec) for spec in checks[key])}",
                f"  pool        {pools[key] or '-'}",
                "",
            ]
        )
        for key, node in sorted((key, graph.get(key)) for key in graph.get_all_asset_keys())
    )


def name(key: dg.AssetKey) -> str:
    return DIGITS.sub("_######", "/".join(key.path))


def partitions(definition: dg.PartitionsDefinition | None) -> str:
    return "-" if definition is None else " ".join(definition.get_partition_keys())


def check(spec: dg.AssetCheckSpec) -> str:
    return spec.name + (" (blocking)" if spec.blocking else " (warns)") + (" [chrom]" if spec.partitions_def else "")


def listed(names) -> str:
    return "\n              ".join(sorted(names)) or "-"
