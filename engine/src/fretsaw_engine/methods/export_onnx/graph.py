"""The graph of one step of decoding, made of ONNX Runtime's fused operators.

Attention is `com.microsoft.GroupQueryAttention` (sinks, windows, a length per row), experts are
`com.microsoft.MoE` (top-k, clamped SwiGLU); both run on the CPU provider. Measured on a
core against the alternatives, 8 to 32 experts of 64 or 96: a dense product over all experts takes
0.75-1.6 times as long, gathering each token's experts 1.5-6 times.

Inputs (b rows, s tokens, p past tokens):
- `input_ids`, `position_ids` [b, s] int64; a prompt is padded on the right.
- `lengths.<w>` [b] int32, one for every distinct window w (`full`, or a number): tokens that the
  layers of that window see, less one. For a prompt (p = 0): its length - 1. For the next token (s =
  1): how many past rows count.
- `past.<layer>.key`, `past.<layer>.value` [b, kv_heads, p, head_dim] float32; p may differ between
  windows.

Outputs: `logits` [b, s, vocabulary]; `new_kv` [b, s, layers x 2 x kv_heads x head_dim], what the
caller stores: for every layer K (after RoPE, and after the cache's quantisation) and V. Only these:
onnxruntime-node copies every output, and a cache that grows by one token must not be copied for it.
Rows of a past may lie in any order, as RoPE is applied before: so a layer with window w needs a
ring of w - 1 rows and no more.

FP8: ONNX Runtime has no Concat or graph output in float8, so K and V are quantised and
dequantised before the cache. It has FP8's errors, not its memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from fretsaw_engine.methods.export_onnx.model import ExportModel, LayerWeights

MICROSOFT = "com.microsoft"
OPSET = 21
IR_VERSION = 10


def window_name(window: int | None) -> str:
    """`full` or the window's length: what names of inputs end in."""
    return "full" if window is None else str(window)


def build_graph(model: ExportModel) -> onnx.ModelProto:
    """The whole model. Equal models give equal bytes: no time, path or tool version is in it."""
    g = _Graph()
    _rotary(g, model)
    _lengths(g, model)
    x = g.node("Gather", [g.constant("embedding", model.embedding_VD), "input_ids"], "x")
    pending = ""  # what the residual stream still lacks; the next norm adds it
    cached: list[str] = []
    for index, layer in enumerate(model.layers):
        normed, x = _norm(g, model, x, pending, f"{index}.input", layer.input_norm_D)
        attended, new = _attention(g, model, index, layer, normed)
        cached += new
        normed, x = _norm(g, model, x, attended, f"{index}.post", layer.post_norm_D)
        pending = _experts(g, model, index, layer, normed)
    normed, _ = _norm(g, model, x, pending, "final", model.final_norm_D)
    g.node("MatMul", [normed, g.constant("head", model.head_DV)], "logits")
    g.node("Concat", cached, "new_kv", axis=-1)
    graph = helper.make_graph(g.nodes, "decoder", _inputs(model), _outputs(model), g.constants)
    return helper.make_model(
        graph,
        producer_name="fretsaw",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)],
    )


class _Graph:
    """Nodes and constants in the order in which they were added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._names: set[str] = set()

    def constant(self, name: str, value: Any) -> str:
        """Add an initialiser once; a second call with the name must mean the same value."""
        if name not in self._names:
            self._names.add(name)
            self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def integers(self, name: str, *values: int) -> str:
        return self.constant(name, np.array(values, np.int64))

    def node(
        self,
        operator: str,
        inputs: list[str],
        outputs: str | list[str],
        domain: str = "",
        **attributes: Any,
    ) -> str:
        """Add a node; returns its first output."""
        names = [outputs] if isinstance(outputs, str) else outputs
        self.nodes.append(
            helper.make_node(operator, inputs, names, name=names[0], domain=domain, **attributes)
        )
        return names[0]


def _rotary(g: _Graph, model: ExportModel) -> None:
    """cos and sin for the positions of this step only, one row a token: no table, so no greatest
    length.

    transformers' GptOssRotaryEmbedding: cos(position x inverse frequency) x attention scaling,
    in float32.
    """
    g.node("Reshape", ["position_ids", g.integers("column", -1, 1)], "position")
    g.node("Cast", ["position"], "position.float", to=TensorProto.FLOAT)
    g.node(
        "Mul",
        ["position.float", g.constant("frequencies", model.inverse_frequencies.reshape(1, -1))],
        "angle",
    )
    scaling = g.constant("rope_scaling", np.float32(model.rope_scaling))
    for function in ("Cos", "Sin"):
        g.node(function, ["angle"], f"{function}.plain")
        g.node("Mul", [f"{function}.plain", scaling], function.lower())
    g.node("Shape", ["position_ids"], "step_shape")
    g.node("Size", ["position_ids"], "step_tokens")
    zero, one = g.constant("zero", np.int64(0)), g.constant("one", np.int64(1))
    g.node("Range", [zero, "step_tokens", one], "row")
    g.node("Reshape", ["row", "step_shape"], "rotary_rows")


def _lengths(g: _Graph, model: ExportModel) -> None:
    """`total.<w>`: rows of the past and of this step. GroupQueryAttention takes total = step for
    a prompt.
    """
    g.node("Shape", ["input_ids"], "step", start=1, end=2)
    for window in model.windows:
        name = window_name(window)
        first = next(i for i, layer in enumerate(model.layers) if layer.window == window)
        g.node("Shape", [f"past.{first}.key"], f"past_rows.{name}", start=2, end=3)
        g.node("Add", [f"past_rows.{name}", "step"], f"total64.{name}")
        g.node("Cast", [f"total64.{name}"], f"total.{name}", to=TensorProto.INT32)


def _norm(
    g: _Graph, model: ExportModel, x: str, pending: str, name: str, weight: Any
) -> tuple[str, str]:
    """RMS norm of x + pending; returns (normed, x + pending)."""
    gamma = g.constant(f"{name}.norm", weight)
    if not pending:
        normed = g.node(
            "SimplifiedLayerNormalization",
            [x, gamma],
            f"{name}.normed",
            axis=-1,
            epsilon=model.norm_epsilon,
        )
        return normed, x
    outputs = [f"{name}.normed", "", "", f"{name}.x"]
    g.node(
        "SkipSimplifiedLayerNormalization",
        [x, pending, gamma],
        outputs,
        MICROSOFT,
        epsilon=model.norm_epsilon,
    )
    return outputs[0], outputs[3]


def _attention(
    g: _Graph, model: ExportModel, index: int, layer: LayerWeights, x: str
) -> tuple[str, list[str]]:
    """Returns (output, [K, V] as they enter the cache)."""
    n = f"{index}.attention."
    queries, keys = model.heads * model.head_dim, model.kv_heads * model.head_dim
    g.node("MatMul", [x, g.constant(f"{n}qkv_weight", layer.qkv_weight_DX)], f"{n}product")
    g.node("Add", [f"{n}product", g.constant(f"{n}qkv_bias", layer.qkv_bias_X)], f"{n}qkv")
    parts = g.integers("qk_v", queries + keys, keys)
    g.node("Split", [f"{n}qkv", parts], [f"{n}qk", f"{n}v.exact"], axis=-1)
    g.node(
        "RotaryEmbedding",
        [f"{n}qk", "rotary_rows", "cos", "sin"],
        f"{n}rotated",
        MICROSOFT,
        num_heads=model.heads + model.kv_heads,
    )
    g.node(
        "Split",
        [f"{n}rotated", g.integers("q_k", queries, keys)],
        [f"{n}q", f"{n}k.exact"],
        axis=-1,
    )
    scales = layer.kv_scales
    k = _fp8(g, f"{n}k", scales.key) if scales else f"{n}k.exact"
    v = _fp8(g, f"{n}v", scales.value) if scales else f"{n}v.exact"
    name = window_name(layer.window)
    g.node(
        "GroupQueryAttention",
        [f"{n}q", k, v, f"past.{index}.key", f"past.{index}.value"]
        + [f"lengths.{name}", f"total.{name}", "", "", "", ""]
        + [g.constant(f"{n}sinks", layer.sinks)],
        [f"{n}attended", f"{n}present_k", f"{n}present_v"],
        MICROSOFT,
        num_heads=model.heads,
        kv_num_heads=model.kv_heads,
        scale=model.head_dim**-0.5,
        local_window_size=-1 if layer.window is None else layer.window,
    )
    weight = g.constant(f"{n}output_weight", layer.output_weight_QD)
    g.node("MatMul", [f"{n}attended", weight], f"{n}projected")
    bias = g.constant(f"{n}output_bias", layer.output_bias_D)
    return g.node("Add", [f"{n}projected", bias], f"{n}output"), [k, v]


def _fp8(g: _Graph, name: str, scale: float) -> str:
    """x / scale, saturated and rounded to e4m3 (ties to even), times scale."""
    step = g.constant(f"{name}_scale", np.float32(scale))
    quantised = g.node(
        "QuantizeLinear",
        [f"{name}.exact", step],
        f"{name}.quantised",
        output_dtype=TensorProto.FLOAT8E4M3FN,
        saturate=1,
    )
    return g.node("DequantizeLinear", [quantised, step], name)


def _experts(g: _Graph, model: ExportModel, index: int, layer: LayerWeights, x: str) -> str:
    """Router and experts. The operator takes the softmax over the chosen experts' logits, as
    gpt-oss does.
    """
    n = f"{index}.experts."
    flat = g.node("Reshape", [x, g.integers("flat", -1, model.hidden_size)], f"{n}flat")
    g.node(
        "Gemm",
        [
            flat,
            g.constant(f"{n}router_weight", layer.router_weight_DE),
            g.constant(f"{n}router_bias", layer.router_bias_E),
        ],
        f"{n}router",
    )
    return g.node(
        "MoE",
        [
            x,
            f"{n}router",
            g.constant(f"{n}gate_up_weight", layer.gate_up_weight_EXD),
            g.constant(f"{n}gate_up_bias", layer.gate_up_bias_EX),
            g.constant(f"{n}down_weight", layer.down_weight_EDI),
            g.constant(f"{n}down_bias", layer.down_bias_ED),
        ],
        f"{n}output",
        MICROSOFT,
        k=model.experts_per_token,
        activation_type="swiglu",
        swiglu_fusion=1,  # gate and up interleaved, as in the checkpoint
        activation_alpha=model.swiglu_alpha,
        activation_beta=1.0,
        swiglu_limit=model.swiglu_limit,
        normalize_routing_weights=1,
    )


def _inputs(model: ExportModel) -> list[onnx.ValueInfoProto]:
    infos = [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "step"]),
        helper.make_tensor_value_info("position_ids", TensorProto.INT64, ["batch", "step"]),
    ]
    for window in model.windows:
        name = f"lengths.{window_name(window)}"
        infos.append(helper.make_tensor_value_info(name, TensorProto.INT32, ["batch"]))
    for index, layer in enumerate(model.layers):
        rows = f"past_{window_name(layer.window)}"
        shape = ["batch", model.kv_heads, rows, model.head_dim]
        for part in ("key", "value"):
            name = f"past.{index}.{part}"
            infos.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    return infos


def _outputs(model: ExportModel) -> list[onnx.ValueInfoProto]:
    width = len(model.layers) * 2 * model.kv_heads * model.head_dim
    return [
        helper.make_tensor_value_info(
            "logits", TensorProto.FLOAT, ["batch", "step", model.vocab_size]
        ),
        helper.make_tensor_value_info("new_kv", TensorProto.FLOAT, ["batch", "step", width]),
    ]
