"""The ways to compute a problem: muattn, PyTorch's four, ONNX Runtime and OpenVINO. A contestant is a function without
arguments that returns the output; None where a peer cannot compute the problem, or not in the memory of a small machine."""

from __future__ import annotations

from typing import Callable

import numpy as np
import onnx
import onnxruntime
import openvino
import torch
from onnx import TensorProto, helper

import muattn
from muattn_tools.peers.torch_ways import MOST_SCORE_BYTES, torch_problem
from muattn_tools.problems import Problem

Call = Callable[[], object]


def contestants(problem: Problem, threads: int) -> dict[str, Call]:
    torch.set_num_threads(threads)
    muattn.set_num_threads(threads)
    found = {"muattn": _muattn(problem)}
    found.update(_torch(problem))
    for name, make in (("onnxruntime", _onnxruntime), ("openvino", _openvino)):
        if problem.score_bytes() <= MOST_SCORE_BYTES:
            found[name] = make(problem, threads)
    return found


def _muattn(p: Problem) -> Call:
    out = np.empty((*p.q.shape[:3], p.v.shape[3]), np.float32)
    function = muattn.channel_attention if p.operation == "channel" else muattn.spatial_attention
    return lambda: function(p.q, p.k, p.v, **p.options(), out=out)


def _torch(p: Problem) -> dict[str, Call]:
    found = torch_problem(p)
    inputs = [found.layout(x) for x in (p.q, p.k, p.v)]
    return {name: lambda way=way: found.finish(way(*inputs)) for name, way in found.ways.items()}


def _model(p: Problem, dtype: np.dtype = np.dtype(np.float32)) -> tuple[bytes, dict[str, np.ndarray]]:
    """The problem as an ONNX graph, and its inputs."""
    inputs = {name: x.astype(dtype, copy=False) for name, x in (("q", p.q), ("k", p.k), ("v", p.v))}
    if p.operation == "channel":
        nodes, constants = _channel_nodes(p, dtype)
    else:
        mask = p.visible() if p.window is not None else p.mask
        if mask is not None:
            if mask.ndim == 4:  # ONNX Runtime wants the full number of queries, OpenVINO the full batch
                mask = np.broadcast_to(mask, (p.q.shape[0], mask.shape[1], p.q.shape[2], mask.shape[3])).copy()
            inputs["mask"] = mask if mask.dtype == np.bool_ else mask.astype(dtype, copy=False)
        causal = int(p.causal and p.window is None)
        more = {} if p.softcap is None else {"softcap": float(p.softcap)}
        nodes, constants = [helper.make_node("Attention", list(inputs), ["out"], scale=p.scale, is_causal=causal, **more)], []
    values = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
        for name, x in inputs.items()
    ]
    out = helper.make_tensor_value_info("out", helper.np_dtype_to_tensor_dtype(dtype), [None] * 4)
    graph = helper.make_graph(nodes, p.name, values, [out], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)
    return model.SerializeToString(), inputs


def _channel_nodes(p: Problem, dtype: np.dtype) -> tuple[list, list]:
    nodes, names = [], {"q": "q", "k": "k"}
    token_axis = 3 if p.channels_first else 2
    constants = [
        onnx.numpy_helper.from_array(np.array(p.scale, dtype), "scale"),
        onnx.numpy_helper.from_array(np.array(1e-12, dtype), "eps"),
        onnx.numpy_helper.from_array(np.array([token_axis]), "axis"),
    ]
    if p.normalize:
        for x in ("q", "k"):
            nodes += [
                helper.make_node("ReduceL2", [x, "axis"], [f"{x}_length"], keepdims=1),
                helper.make_node("Max", [f"{x}_length", "eps"], [f"{x}_divisor"]),
                helper.make_node("Div", [x, f"{x}_divisor"], [f"{x}_unit"]),
            ]
            names[x] = f"{x}_unit"
    swap, v, product = [0, 1, 3, 2], "v", "out"
    if p.channels_first:
        nodes.append(helper.make_node("Transpose", [names["k"]], ["k_t"], perm=swap))
        left, right = names["q"], "k_t"
    else:
        nodes.append(helper.make_node("Transpose", [names["q"]], ["q_t"], perm=swap))
        nodes.append(helper.make_node("Transpose", ["v"], ["v_t"], perm=swap))
        left, right, v, product = "q_t", names["k"], "v_t", "out_t"
    nodes += [
        helper.make_node("MatMul", [left, right], ["products"]),
        helper.make_node("Mul", ["products", "scale"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["map"], axis=-1),
        helper.make_node("MatMul", ["map", v], [product]),
    ]
    if not p.channels_first:
        nodes.append(helper.make_node("Transpose", ["out_t"], ["out"], perm=swap))
    return nodes, constants


def _onnxruntime(p: Problem, threads: int, dtype: np.dtype = np.dtype(np.float32)) -> Call:
    model, inputs = _model(p, dtype)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.force_spinning_stop", "1")  # when a run ends; not during it
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, inputs)[0]


def onnxruntime_in(p: Problem, threads: int, dtype: str) -> Call:
    """ONNX Runtime in float16 or bfloat16. What it cannot do shows when it is called."""
    made: list[Call] = []

    def call():
        if not made:
            made.append(_onnxruntime(p, threads, helper.tensor_dtype_to_np_dtype(getattr(TensorProto, dtype.upper()))))
        return made[0]()

    return call


def _openvino(p: Problem, threads: int) -> Call:
    model, inputs = _model(p)
    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(core.read_model(model), "CPU", settings).create_infer_request()
    for index, array in enumerate(inputs.values()):
        request.set_input_tensor(index, openvino.Tensor(array, shared_memory=True))

    def call():
        request.infer()
        return request.get_output_tensor(0).data

    return call
