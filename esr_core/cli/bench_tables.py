"""What ``esr bench`` shows: the published tables, with what was measured here in them."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence

from rich.console import Console

from esr_core.benchmark.reference_figures import DEVICES
from esr_core.cli.tables import figures


def show(told: Dict[str, Any]) -> None:
    """Print all figures."""
    _timed(told["rows"], f"On {told['machine']}, provider {told['provider']}; ms, n faces a call")
    published = [each for each in told["networks"] if each["published"]]
    if published:
        _networks(published, told["rows"])
        _speed(published, told["rows"])


def _timed(rows: Sequence[Dict[str, Any]], title: str) -> None:
    columns = {
        "network": "network",
        "name": "engine",
        "faces": "n",
        "evaluations_per_s": "faces/s",
        "p50_ms": "p50",
        "p99_ms": "p99",
        "peak_mb": "MB",
        "joules": "J a call",
        "speed_up": "times PyTorch",
        "share_of_peak": "peak",
    }
    for key in ("joules", "speed_up", "share_of_peak"):
        if all(row.get(key) is None for row in rows):
            del columns[key]
    if {row["faces"] for row in rows} == {1}:
        del columns["faces"]
    shown, last = [], ""
    for row in rows:
        name = "" if row["network"] == last else row["network"]
        last = row["network"]
        words = {"network": name, "speed_up": _spread(row), "share_of_peak": _share(row)}
        shown.append({**row, **words})
    told = "times PyTorch: the rounds' median, 10th to 90th percentile; peak: of the machine's"
    Console().print(figures(title, columns, shown, told if "share_of_peak" in columns else None))


def _networks(networks: Sequence[Dict[str, Any]], rows: Sequence[Dict[str, Any]]) -> None:
    columns = {
        "network": "network",
        "accuracy": "accuracy %",
        "accuracy_percent": "published",
        "parameters_m": "M weights",
        "their_parameters_m": "published",
        "peak_mb": "MB",
        "memory_mb": "published",
    }
    shown = [
        {
            **each,
            "accuracy": each["accuracy"] and f"{100 * each['accuracy']:.2f}",
            "accuracy_percent": each["published"]["accuracy_percent"],
            "their_parameters_m": each["published"]["parameters_m"],
            "peak_mb": _best(rows, each["network"])["peak_mb"],
            "memory_mb": each["published"]["memory_mb"],
        }
        for each in networks
    ]
    Console().print(
        figures(
            "Accuracy, size and memory, beside the published ones",
            columns,
            shown,
            "accuracy: on FER+'s validation faces; theirs is on other data. MB: resident, of "
            "the fastest engine's process; theirs: on a GPU",
        )
    )


def _speed(networks: Sequence[Dict[str, Any]], rows: Sequence[Dict[str, Any]]) -> None:
    columns = {"network": "network", "here": "here"}
    columns.update({f"s {device}": device for device in DEVICES})
    columns.update({"joules": "here J", "j TX2": "TX2 J", "j Xavier": "Xavier J"})
    best = {each["network"]: _best(rows, each["network"]) for each in networks}
    if all(row["joules"] is None for row in best.values()):
        del columns["joules"]
    shown = [
        {
            "network": name,
            "here": best[name]["evaluations_per_s"],
            "joules": _joules(best[name]),
            **{f"s {key}": value for key, value in published["evaluations_per_s"].items()},
            **{f"j {key}": value for key, value in published["joules"].items()},
        }
        for name, published in ((each["network"], each["published"]) for each in networks)
    ]
    engines = ", ".join(dict.fromkeys(row["name"] for row in best.values()))
    Console().print(
        figures(
            "Faces a second, and joules (J) a face, beside the published ones",
            columns,
            shown,
            f"here: {engines}. Published: PyTorch; CPU: Xeon Gold 6230R, Xavier: AGX, 2080 Ti: RTX",
        )
    )


def _best(rows: Sequence[Dict[str, Any]], name: str) -> Dict[str, Any]:
    """The fastest engine that asks all branches about a single face, or about the fewest."""
    own: List[Dict[str, Any]] = [
        row for row in rows if row["network"] == name and row["name"] != "adaptive"
    ]
    fewest = min(row["faces"] for row in own)
    return max(
        (row for row in own if row["faces"] == fewest), key=lambda row: row["evaluations_per_s"]
    )


def _joules(row: Dict[str, Any]) -> Optional[float]:
    """Of a face, where a call may be of several."""
    return None if row["joules"] is None else round(row["joules"] / row["faces"], 3)


def _spread(row: Dict[str, Any]) -> Optional[str]:
    if "speed_up" not in row:
        return None
    low, high = row["speed_up_spread"]
    return f"{row['speed_up']:.1f} {low:.1f}-{high:.1f}"


def _share(row: Dict[str, Any]) -> Optional[str]:
    return f"{row['share_of_peak']:.0%}" if "share_of_peak" in row else None
