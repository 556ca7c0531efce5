"""Tables of ``esr bench``: the measured figures, and beside them the published ones."""

from __future__ import annotations

from typing import Any, Dict, List

from esr_core.benchmark.reference_figures import DEVICES
from esr_core.cli.tables import print_table

_TIMES = {
    "network": "{network}",
    "engine": "{name}",
    "n": "{n}",
    "faces/s": "{evaluations_per_s}",
    "p50": "{p50_ms}",
    "p99": "{p99_ms}",
    "MB": "{peak_mb}",
    "J a call": "{joules}",
    "times PyTorch": "{speed_up:.1f} {speed_up_spread[0]:.1f}-{speed_up_spread[1]:.1f}",
    "peak": "{share_of_peak:.0%}",
}
_SIZES = {
    "network": "{network}",
    "accuracy": "{accuracy:.2%}",
    "published %": "{published[accuracy_percent]}",
    "M weights": "{parameters_m}",
    "published M": "{published[parameters_m]}",
    "MB": "{peak_mb}",
    "published MB": "{published[memory_mb]}",
}
_RATES = {
    "network": "{network}",
    "here": "{evaluations_per_s}",
    **{device: f"{{published[evaluations_per_s][{device}]}}" for device in DEVICES},
    "here J": "{joules_per_face:.3g}",
    "TX2 J": "{published[joules][TX2]}",
    "Xavier J": "{published[joules][Xavier]}",
}


def show(results: Dict[str, Any]) -> None:
    """Print all tables."""
    rows, before, several = [], "", any(row["faces"] > 1 for row in results["rows"])
    for row in results["rows"]:
        network = "" if row["network"] == before else row["network"]
        rows.append({**row, "network": network, "n": row["faces"] if several else None})
        before = row["network"]
    print_table(
        f"On {results['machine']}, provider {results['provider']}; ms, n faces a call",
        _TIMES,
        rows,
        "times PyTorch: median of the rounds, 10th to 90th percentile; peak: of the machine"
        if any("share_of_peak" in row for row in rows)
        else None,
    )
    networks = [each for each in results["networks"] if each["published"]]
    if not networks:
        return
    compared = [_compared(each, results["rows"]) for each in networks]
    print_table(
        "Accuracy, size and memory, beside the published figures",
        _SIZES,
        compared,
        "accuracy: on FER+'s validation faces; published: on other data. MB: resident, of the "
        "fastest engine's process; published: on a GPU",
    )
    engines = ", ".join(dict.fromkeys(row["name"] for row in compared))
    print_table(
        "Faces per second, and joules (J) per face, beside the published figures",
        _RATES,
        compared,
        f"here: {engines}. Published: PyTorch; CPU: Xeon Gold 6230R, Xavier: AGX, 2080 Ti: RTX",
    )


def _compared(network: Dict[str, Any], rows: List[Dict[str, Any]]) -> Dict[str, Any]:
    """Return a network with its fastest row, of those with all branches and the smallest batch."""
    own = [r for r in rows if r["network"] == network["network"] and r["name"] != "adaptive"]
    faces = min(row["faces"] for row in own)
    best = max((r for r in own if r["faces"] == faces), key=lambda row: row["evaluations_per_s"])
    joules = None if best["joules"] is None else best["joules"] / faces
    return {**best, **network, "joules_per_face": joules}
