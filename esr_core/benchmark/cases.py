"""Measurement cases: a network on an engine, and cameras for the node."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Optional, Tuple, Union

#: Variants of PyTorch: as written, and those that suit GPUs.
FORMS = ("eager", "channels_last", "fp16", "compiled")
#: Providers of ONNX Runtime for which PyTorch runs on the GPU as well.
ON_GPU = ("cuda", "tensorrt")
#: Side of the square matrices whose product measures the peak of a machine.
PEAK_SIDE = 1024


@dataclass(frozen=True)
class Case:
    """A network on an engine with a batch size."""

    name: str  # of the engine, in the tables
    engine: str  # onnx, torch, training, or matmul for the peak of the machine
    model: str = ""  # onnx: path; matmul: int8, fp32 or bf16; training: fp32 or bf16
    network: str = ""  # name in the tables
    architecture: Tuple[int, bool, int] = (1, False, 96)  # branches, diversified, input side in px
    evaluated: Union[int, str] = 0  # onnx: ``branches`` of Model.predict
    margin: Optional[float] = None  # onnx: exit margin instead of that of the file
    form: str = "eager"  # torch: one of FORMS
    provider: str = "cpu"  # torch: the GPU for those of ON_GPU
    threads: int = 0
    batch: int = 1  # faces per call
    faces: str = ""  # .npy file of faces (n, 3, side, side); empty: noise

    @property
    def setup(self) -> Case:
        """The fields that define a worker process, which runs all batch sizes."""
        return replace(self, name="", network="", batch=0)


@dataclass(frozen=True)
class NodeCase:
    """Cameras whose images the node processes."""

    name: str
    faces: int = 1  # per image
    rate_hz: float = 30.0
    width_px: int = 640
    height_px: int = 480
    cameras: int = 1


NODE_CASES = (
    NodeCase("640x480 30 Hz 0 faces", faces=0),
    NodeCase("640x480 30 Hz 1 face"),
    NodeCase("640x480 30 Hz 4 faces", faces=4),
    NodeCase("1920x1080 30 Hz 1 face", width_px=1920, height_px=1080),
    NodeCase("640x480 120 Hz 1 face", rate_hz=120.0),
    NodeCase("640x480 120 Hz 4 faces", faces=4, rate_hz=120.0),
    NodeCase("640x480 4 cameras 30 Hz 1 face", cameras=4),
)
