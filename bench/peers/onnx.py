"""ONNX Runtime: a model of one operator, run by its CPU kernels."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench import isa
from bench.case import Array, Case
from bench.peers.base import Call, Peer, Unusable
from bench.suites import Layer

_OPSET = 17
_ERRORS_ONLY = 3


class OnnxRuntime(Peer):
    """Conv forward, ConvTranspose for the input gradient; no operator is a weight gradient.

    The weights are the model's own, so that it may lay them out once; arrays are NCHW, float32,
    which is all that its Conv takes.
    """

    name = "onnxruntime"
    layouts = ("nchw",)

    def __init__(self) -> None:
        self.runtime = importlib.import_module("onnxruntime")
        self.onnx = importlib.import_module("onnx")
        if isa.held() != isa.NATIVE:
            raise Unusable(f"onnxruntime cannot be held to {isa.held()}: no figures beside it")
        self._count = 1

    @contextmanager
    def threads(self, count: int) -> Iterator[None]:
        before, self._count = self._count, count
        try:
            yield
        finally:
            self._count = before

    def available(self, layer: Layer, pass_name: str) -> bool:
        return layer.dtype == "float32" and pass_name != "weight"

    def forward(self, case: Case) -> Call:
        return self._call("Conv", case, case.x, case.layer.geometry.output_shape)

    def input_gradient(self, case: Case) -> Call:
        layer, (P, Q) = case.layer, case.layer.geometry.output
        # What a stride leaves of the image beyond the last output pixel's reach.
        beyond = [
            size - (stride * (pixels - 1) + dilation * (kernel - 1) + 1 - 2 * pad)
            for size, stride, pixels, dilation, kernel, pad in zip(
                (layer.H, layer.W),
                layer.stride,
                (P, Q),
                layer.dilation,
                (layer.R, layer.S),
                layer.padding,
                strict=True,
            )
        ]
        shape = layer.geometry.input_shape
        return self._call("ConvTranspose", case, case.dy, shape, output_padding=beyond)

    def weight_gradient(self, case: Case) -> Call:
        raise NotImplementedError("ONNX has no operator for a weight gradient")

    def _call(
        self, operator: str, case: Case, source: Array, shape: tuple[int, ...], **more: Any
    ) -> Call:
        layer, helper = case.layer, self.onnx.helper
        node = helper.make_node(
            operator,
            ["source", "w"],
            ["result"],
            kernel_shape=[layer.R, layer.S],
            strides=layer.stride,
            pads=[*layer.padding, *layer.padding],
            dilations=layer.dilation,
            group=layer.groups,
            **more,
        )
        kind = self.onnx.TensorProto.FLOAT
        graph = helper.make_graph(
            [node],
            "one",
            [helper.make_tensor_value_info("source", kind, source.shape)],
            [helper.make_tensor_value_info("result", kind, shape)],
            [self.onnx.numpy_helper.from_array(case.w, "w")],
        )
        opset = helper.make_opsetid("", _OPSET)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
        session = self.runtime.InferenceSession(
            model.SerializeToString(), self._options(), providers=["CPUExecutionProvider"]
        )
        return lambda: session.run(None, {"source": source})[0]

    def _options(self) -> Any:
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads = self._count
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        # Its workers would keep a core from the next contestant for a while after each run.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        return options
