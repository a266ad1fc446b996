"""From the neutral graph to a torch.fx graph of PyTorch modules, and the weights into it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from ecgnb.errors import PortError
from ecgnb.port.graph import Call, Graph, Layer, Ref, input_shape, walk
from ecgnb.port.layers import LAYERS, rule_of
from ecgnb.port.network import CHANNELS_FIRST, KERAS, Network, Value, module_name
from ecgnb.registry import nearest

#: Stands for a dimension that the model leaves free, such as the time of a fully convolutional network.
FREE = 1000

_TENSOR_TYPES = {"float32": torch.float32, "float64": torch.float32, "float16": torch.float32, "bool": torch.bool}


@dataclass
class Written:
    """A graph that was written.

    Attributes:
        network: modules and calls.
        modules: for each layer's path in Keras, its module's path.
        inputs: the input's names, in Keras' order.
        outputs: the values that the model returns.
    """

    network: Network = field(default_factory=Network)
    modules: dict[str, str] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)


def refuse_unknown(graph: Graph) -> None:
    """Refuse what cannot be ported, before anything is built.

    Raises:
        PortError: naming every layer, class and option that is in the way.
    """
    problems = [line for path, layer in walk(graph.layers) for line in _problems(path, layer)]
    if problems:
        listed = "\n".join(f"  {line}" for line in problems)
        raise PortError(
            f"The model {graph.name!r} cannot be ported as it is; nothing was built:\n{listed}\n"
            "Replace these layers in Keras and save the model again, or ask for them to be added to ecgnb.port."
        )


def _problems(path: str, layer: Layer) -> Iterator[str]:
    if layer.inner or layer.class_name == "InputLayer":
        return
    if layer.class_name in ("Lambda", "op:lambda"):
        yield f"{path} (Lambda): it holds Python code, which is never executed from a file"
    elif layer.class_name not in LAYERS:
        near = nearest(layer.class_name, LAYERS.available(), count=1)
        yield f"{path} ({layer.class_name}): a class unknown to the port" + (f"; it knows {near[0]}" if near else "")
    else:
        yield from (f"{path} ({layer.class_name}): {problem}" for problem in rule_of(layer).problems())


def write_graph(graph: Graph, input_layout: str) -> Written:
    """Write all calls of a model.

    Args:
        graph: a model whose layers are all known.
        input_layout: ``"NTC"`` as Keras, or ``"NCT"``.
    """
    written = Written()
    values = {ref: _placeholder(written, graph.layers[ref.layer], input_layout) for ref in graph.inputs}
    written.outputs = [written.network.keras(value) for value in _write_calls(written, graph, values, "")]
    nodes = tuple(value.node for value in written.outputs)
    written.network.graph.output(nodes if len(nodes) > 1 else nodes[0])
    return written


def _placeholder(written: Written, layer: Layer, input_layout: str) -> Value:
    shape = [1, *(FREE if size is None else size for size in input_shape(layer)[1:])]
    written.inputs.append(layer.name)
    layout = CHANNELS_FIRST if input_layout == "NCT" and len(shape) == 3 else KERAS
    if layout == CHANNELS_FIRST:
        shape = [shape[0], shape[2], shape[1]]
    dtype = _TENSOR_TYPES.get(str(layer.config.get("dtype", "float32")), torch.int64)
    return Value(written.network.graph.placeholder(module_name(layer.name)), torch.zeros(shape, dtype=dtype), layout)


def _write_calls(written: Written, graph: Graph, values: dict[Ref, Value], prefix: str) -> list[Value]:
    """Write the calls of one model, its nested models in their place; return its outputs."""
    for call in graph.calls:
        layer = graph.layers[call.layer]
        outputs = _write_call(written, layer, call, values, prefix)
        for place, value in enumerate(outputs):
            values[Ref(call.layer, call.index, place)] = value
        _label(outputs[0], prefix + call.label, layer)
    return [values[ref] for ref in graph.outputs]


def _write_call(written: Written, layer: Layer, call: Call, values: dict[Ref, Value], prefix: str) -> list[Value]:
    net = written.network
    args, kwargs = _filled(call.args, values), _filled(call.kwargs, values)
    name = _module_of(written, prefix, layer)
    try:
        if layer.inner:
            return _write_nested(written, layer, args, prefix, name)
        outputs = rule_of(layer).build(net, name, *args, **kwargs)
    except (RuntimeError, ValueError, IndexError, TypeError, KeyError, AttributeError) as error:
        raise PortError(
            f"The call {prefix + call.label!r} of {layer} cannot be written: {type(error).__name__}: {error}. "
            "Its configuration does not fit its input, or the port does not know this use of it."
        ) from error
    return outputs if isinstance(outputs, list) else [outputs]


def _write_nested(written: Written, layer: Layer, args: Any, prefix: str, name: str) -> list[Value]:
    """Write a nested model's calls into the same graph, its modules below its name."""
    inner = layer.inner
    assert inner is not None
    given = args[0] if isinstance(args[0], list) else list(args)
    if len(given) != len(inner.inputs):
        raise PortError(f"The {layer} takes {len(inner.inputs)} inputs; it is called with {len(given)}.")
    scope = written.network.scope
    written.network.scope = f"{scope}{name}."
    outputs = _write_calls(written, inner, dict(zip(inner.inputs, given, strict=True)), f"{prefix}{layer.name}/")
    written.network.scope = scope
    return outputs


def _filled(value: Any, values: dict[Ref, Value]) -> Any:
    """Put values in the place of references."""
    if isinstance(value, Ref):
        return values[value]
    if isinstance(value, dict):
        return {key: _filled(item, values) for key, item in value.items()}
    return type(value)(_filled(item, values) for item in value) if isinstance(value, list | tuple) else value


def _module_of(written: Written, prefix: str, layer: Layer) -> str:
    """Return the name of a layer's module within its model; two layers never share one."""
    scope = written.network.scope
    path = prefix + layer.name
    if path not in written.modules:
        name, taken = module_name(layer.name), set(written.modules.values())
        while scope + name in taken:
            name += "_"
        written.modules[path] = scope + name
    return written.modules[path][len(scope) :]


def _label(value: Value, label: str, layer: Layer) -> None:
    """Note on the node which layer's output it is; nested models give it up to their last layer."""
    value.node.meta.setdefault("keras", label)
    value.node.meta.setdefault("class_name", layer.class_name)


def state_of(graph: Graph, modules: dict[str, str], prefix: str = "") -> dict[str, Tensor]:
    """Return all weights in PyTorch's layout, by their module's path.

    Args:
        graph: a model whose layers hold their arrays.
        modules: of `Written`.
        prefix: path of the model in Keras, with a slash at its end.
    """
    state: dict[str, Tensor] = {}
    for layer in graph.layers.values():
        path = prefix + layer.name
        if layer.inner:
            state |= state_of(layer.inner, modules, f"{path}/")
        elif path in modules:
            state |= {f"{modules[path]}.{key}": tensor for key, tensor in rule_of(layer).state().items()}
    return state


def load_state(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Put weights into a model; all must be there, of the right shape, and nothing more.

    Raises:
        PortError: naming the module and both shapes.
    """
    wanted = model.state_dict()
    problems = [f"{key} is missing" for key in wanted if key not in state]
    problems += [f"{key} has no place in the model" for key in state if key not in wanted]
    problems += [
        f"{key} has the shape {list(state[key].shape)}, the configuration makes {list(wanted[key].shape)}"
        for key in wanted
        if key in state and state[key].shape != wanted[key].shape
    ]
    problems += [f"{key} holds NaN or infinity" for key in state if not bool(torch.isfinite(state[key]).all())]
    if problems:
        raise PortError(
            f"The weights do not fit the architecture: {'; '.join(problems[:5])}"
            f"{f'; and {len(problems) - 5} more' if len(problems) > 5 else ''}. They are of another model, or damaged."
        )
    model.load_state_dict({key: state[key].clone(memory_format=torch.contiguous_format) for key in wanted}, strict=True)


def before_activation(node: fx.Node, modules: dict[str, nn.Module]) -> tuple[fx.Node, str]:
    """Return the node whose output a last softmax or sigmoid gets, and that activation's name ("linear": none)."""
    names = {nn.Softmax: "softmax", nn.Sigmoid: "sigmoid", nn.LogSoftmax: "log_softmax"}
    at = node
    while at.op in ("call_module", "call_method") and len(at.all_input_nodes) == 1:
        if at.op == "call_method" and at.target != "transpose":
            break
        module = modules.get(str(at.target)) if at.op == "call_module" else None
        if type(module) in names:
            return at.all_input_nodes[0], names[type(module)]
        if module is not None and not isinstance(module, nn.Identity | nn.Dropout):
            break
        at = at.all_input_nodes[0]
    return node, "linear"
