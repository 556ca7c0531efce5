"""Published figures of these networks.

From the documentation of the OpenDR toolkit, version 2.1: "image_based_facial_emotion_estimation
module", section "Performance Evaluation". One face at a time, mean of 100 runs, transfers included.
Memory is the peak of the allocations on the GPU. The accuracy is that of the authors' weights.
"""

from __future__ import annotations

from typing import Any, Dict

#: Xeon Gold 6230R, Jetson TX2, Jetson AGX Xavier, RTX 2080 Ti.
DEVICES = ("CPU", "TX2", "Xavier", "2080 Ti")

_FIGURES = {  # accuracy, parameters, memory, evaluations per second, joules on TX2 and Xavier
    "ESR-9": (87.17, 20.35, 402.99, (22.23, 27.08, 28.79, 117.91), (0.96, 0.67)),
    "ESR-15": (88.59, 33.67, 455.61, (13.86, 17.76, 18.17, 91.78), (1.16, 0.93)),
    "ESR*-9": (89.15, 20.83, 406.83, (5.24, 6.60, 12.45, 33.40), (3.38, 1.41)),
    "ESR*-15": (89.34, 34.47, 460.73, (3.38, 4.18, 8.47, 20.57), (6.26, 2.51)),
}
#: By network, as JSON values.
PUBLISHED: Dict[str, Dict[str, Any]] = {
    name: {
        "accuracy_percent": accuracy,
        "parameters_m": parameters,
        "memory_mb": memory,
        "evaluations_per_s": dict(zip(DEVICES, rates)),
        "joules": dict(zip(DEVICES[1:3], joules)),
    }
    for name, (accuracy, parameters, memory, rates, joules) in _FIGURES.items()
}
