"""Make models/yunet.onnx, the face detector, from the weights in a wheel of the package yuface.

    python tools/yunet.py models/yunet.onnx

Needs x86-64 Linux, pip and a network. The result is the same file each time; its origin and
licence are in models/yunet.md. The layers are those of ``facedetectcnn-model.cpp`` of
https://github.com/ShiqiYu/libfacedetection; the outputs have the names of OpenCV's YuNet files.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
import tempfile
import zipfile
from functools import partial
from pathlib import Path
from typing import List, Tuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from esr_core.hashing import digest

WHEEL = "yuface-2023.5.1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
WHEEL_SHA256 = "fd03270a672da75b89809a2c999d5728ef19c6e701408a4d0bc9c00480c864a0"
LIBRARY = "yuface/libfacedetection.so"
LAYERS = 53
STRIDES = (8, 16, 32)


class _Layer(ctypes.Structure):
    """``ConvInfoStruct`` of libfacedetection."""

    _fields_ = (
        *((name, ctypes.c_int) for name in ("channels", "filters")),
        *((name, ctypes.c_bool) for name in ("is_depthwise", "is_pointwise", "has_relu")),
        *((name, ctypes.POINTER(ctypes.c_float)) for name in ("weights", "biases")),
    )


def library_of_wheel(folder: Path) -> Path:
    """Download the wheel into a folder, check its SHA-256, and return the library in it."""
    words = "pip download --quiet --no-deps --only-binary=:all: --python-version 311 --abi cp311"
    form = "--platform manylinux2014_x86_64 yuface==2023.5.1 --dest"
    command = [sys.executable, "-m", *words.split(), *form.split(), str(folder)]
    subprocess.run(command, check=True)
    if digest(folder / WHEEL) != WHEEL_SHA256:
        raise SystemExit(f"{WHEEL}: its SHA-256 must be {WHEEL_SHA256}")
    with zipfile.ZipFile(folder / WHEEL) as wheel:
        wheel.extractall(folder)  # the library needs the OpenMP library beside it
    return folder / LIBRARY


class _Graph:
    """An ONNX graph that grows by one layer of the library per call of :meth:`conv`."""

    def __init__(self, library: Path) -> None:
        self.layers = (_Layer * LAYERS).in_dll(ctypes.CDLL(str(library)), "param_pConvInfo")
        self.nodes: List[onnx.NodeProto] = []
        self.constants: List[onnx.TensorProto] = []

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, kind: str, *inputs: str, name: str = "", **attributes: object) -> str:
        output = name or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def conv(self, x: str, index: int, has_relu: bool) -> str:
        """Add the layer ``index`` of the library's table; return its output."""
        layer, array = self.layers[index], np.ctypeslib.as_array
        channels, filters = layer.channels, layer.filters
        if index == 0:  # 3x3x3 weights, padded to 32 for the library's vector instructions
            flat = array(layer.weights, (filters, 32))[:, :27]
            weights: NDArray[np.float32] = flat.reshape(filters, 3, 3, 3).transpose(0, 3, 1, 2)
        elif layer.is_pointwise:
            weights = array(layer.weights, (filters, channels, 1, 1))
        else:
            weights = array(layer.weights, (9, channels)).T.reshape(channels, 1, 3, 3)
        side = weights.shape[-1]
        x = self.add(
            "Conv",
            x,
            self.constant(f"weights_{index}", weights),
            self.constant(f"biases_{index}", array(layer.biases, (filters,))),
            kernel_shape=[side, side],
            strides=[2, 2] if index == 0 else [1, 1],
            pads=[side // 2] * 4,
            group=channels if layer.is_depthwise else 1,
        )
        return self.add("Relu", x) if has_relu else x

    def separable(self, x: str, index: int, has_relu: bool = True) -> str:
        """Add a pointwise and a depthwise convolution, the layers ``index`` and the next."""
        return self.conv(self.conv(x, index, False), index + 1, has_relu)

    def unit(self, x: str, index: int) -> str:
        return self.separable(self.separable(x, index), index + 2)

    def pool(self, x: str) -> str:
        return self.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])

    def merge(self, small: str, large: str) -> str:
        """Add a feature map to one of twice its size."""
        forms = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        doubled = self.add("Resize", small, "", "scales", mode="nearest", **forms)
        return self.add("Add", doubled, large)

    def head(self, x: str, index: int, name: str, values: int, is_probability: bool) -> None:
        """Add one output, (1, cells, values)."""
        x = self.add("Transpose", self.separable(x, index, has_relu=False), perm=[0, 2, 3, 1])
        x = self.add("Reshape", x, f"form_{values}", name="" if is_probability else name)
        if is_probability:
            self.add("Sigmoid", x, name=name)


def make(library: Path) -> onnx.ModelProto:
    """Return YuNet with the weights of a libfacedetection library."""
    graph = _Graph(library)
    graph.constant("scales", np.array([1, 1, 2, 2], np.float32))
    for values in (1, 4, 10):
        graph.constant(f"form_{values}", np.array([1, -1, values], np.int64))
    x = graph.pool(graph.separable(graph.conv("input", 0, True), 1))
    x = graph.pool(graph.unit(graph.unit(x, 3), 7))
    fine = graph.unit(x, 11)
    middle = graph.unit(graph.pool(fine), 15)
    coarse = graph.separable(graph.unit(graph.pool(middle), 19), 27)
    middle = graph.separable(graph.merge(coarse, middle), 25)
    fine = graph.separable(graph.merge(middle, fine), 23)
    outputs: List[Tuple[str, int]] = []
    for kind, first, values in (("cls", 29, 1), ("obj", 41, 1), ("bbox", 35, 4), ("kps", 47, 10)):
        for level, x in enumerate((fine, middle, coarse)):
            outputs.append((f"{kind}_{STRIDES[level]}", values))
            graph.head(x, first + 2 * level, *outputs[-1], values == 1)
    tensor = partial(helper.make_tensor_value_info, elem_type=TensorProto.FLOAT)
    inputs = [tensor("input", shape=[1, 3, "height", "width"])]
    results = [tensor(n, shape=[1, f"cells_{n[-2:].strip('_')}", v]) for n, v in outputs]
    body = helper.make_graph(graph.nodes, "yunet", inputs, results, graph.constants)
    opset = [helper.make_opsetid("", 13)]
    model = helper.make_model(body, opset_imports=opset, ir_version=8, producer_name="esr_core")
    onnx.checker.check_model(model, full_check=True)
    return model


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        onnx.save(make(library_of_wheel(Path(temporary))), sys.argv[1])
    print(f"{digest(Path(sys.argv[1]))}  {sys.argv[1]}")
