"""What was published about these networks, to stand beside what is measured here.

From the documentation of the OpenDR toolkit, version 2.1: "image_based_facial_emotion_estimation
module", section "Performance Evaluation". One face at a time, the mean of 100 runs, transfers
included; memory is the most that was allocated on the GPU. The accuracy is that of its authors'
weights.
"""

from __future__ import annotations

from typing import Dict, NamedTuple

DEVICES = ("CPU", "TX2", "Xavier", "2080 Ti")


class Published(NamedTuple):
    """The figures of one network."""

    accuracy_percent: float
    parameters_m: float
    memory_mb: float
    evaluations_per_s: Dict[str, float]  # CPU: Xeon Gold 6230R; Xavier: AGX; 2080 Ti: RTX
    joules: Dict[str, float]


PUBLISHED = {
    "ESR-9": Published(
        87.17,
        20.35,
        402.99,
        {"CPU": 22.23, "TX2": 27.08, "Xavier": 28.79, "2080 Ti": 117.91},
        {"TX2": 0.96, "Xavier": 0.67},
    ),
    "ESR-15": Published(
        88.59,
        33.67,
        455.61,
        {"CPU": 13.86, "TX2": 17.76, "Xavier": 18.17, "2080 Ti": 91.78},
        {"TX2": 1.16, "Xavier": 0.93},
    ),
    "ESR*-9": Published(
        89.15,
        20.83,
        406.83,
        {"CPU": 5.24, "TX2": 6.60, "Xavier": 12.45, "2080 Ti": 33.40},
        {"TX2": 3.38, "Xavier": 1.41},
    ),
    "ESR*-15": Published(
        89.34,
        34.47,
        460.73,
        {"CPU": 3.38, "TX2": 4.18, "Xavier": 8.47, "2080 Ti": 20.57},
        {"TX2": 6.26, "Xavier": 2.51},
    ),
}
