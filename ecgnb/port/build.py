"""From the neutral graph to a torch.fx graph of PyTorch modules, and the weights into
it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from ecgnb.core.errors import PortError
from ecgnb.core.registry import nearest
from ecgnb.port.layers import LAYERS, rule_of
from ecgnb.port.layers.wrappers import Wrapper
from ecgnb.port.network import CHANNELS_FIRST, KERAS, Network, Value, module_name
from ecgnb.port.reading.graph import (
    Call,
    Graph,
    Layer,
    Ref,
    input_shape,
    mask_problems,
    refs_in,
    walk,
)

#: Stands for a dimension that the model leaves free, such as the time of a fully
#: convolutional network.
FREE = 1000
#: Numbers in one input above which it is no ECG: a day of twelve leads at 500 Hz has
#: half as many.
LARGEST_INPUT = 10**9

_TENSOR_TYPES = {
    "float32": torch.float32,
    "float64": torch.float32,
    "float16": torch.float32,
    "bool": torch.bool,
}


@dataclass
class Written:
    """A graph that was written.

    Attributes:
        network: modules and calls.
        modules: for each layer's path in Keras, its module's path.
        inputs: the input's names, in Keras' order.
        outputs: the values that the model returns.
        owners: for each module's path, the path of the layer that calls it.
    """

    network: Network = field(default_factory=Network)
    modules: dict[str, str] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    owners: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """The model whose calls are being written.

    Attributes:
        path: before its layers' names, with a slash at its end; empty for the whole
            model.
        label: likewise, but with ``@1`` where a nested model is called for the second
            time.
    """

    path: str = ""
    label: str = ""

    def below(self, layer: str, call: str = "") -> Place:
        """Return the place of what a layer holds."""
        return Place(f"{self.path}{layer}/", f"{self.label}{call or layer}/")


def refuse_unknown(graph: Graph) -> None:
    """Refuse what cannot be ported, before anything is built.

    Raises:
        PortError: naming every layer, class and option that is in the way.
    """
    problems = problems_in(graph)
    if problems:
        listed = "\n".join(f"  {line}" for line in problems)
        raise PortError(
            f"The model {graph.name!r} cannot be ported as it is; nothing was built:\n{listed}\n"
            "Replace these layers in Keras and save the model again, or ask for them to be added to ecgnb.port."
        )


def problems_in(graph: Graph) -> list[str]:
    """Return why a model cannot be ported: ``path (class): reason``, a line a layer and
    option.
    """
    problems = [
        line for path, layer in walk(graph.layers) for line in problems_of(path, layer)
    ]
    return list(
        dict.fromkeys([*problems, *_problems_of_calls(graph), *mask_problems(graph)])
    )


def problems_of(path: str, layer: Layer) -> Iterator[str]:
    """Yield why a layer cannot be ported; its own children are asked for themselves."""
    if layer.inner or layer.class_name == "InputLayer":
        return
    if layer.class_name in ("Lambda", "op:lambda"):
        yield f"{path} (Lambda): it holds Python code, which is never executed from a file"
    elif layer.class_name not in LAYERS:
        near = nearest(layer.class_name, LAYERS.available(), count=1)
        yield f"{path} ({layer.class_name}): a class unknown to the port" + (
            f"; it knows {near[0]}" if near else ""
        )
    else:
        yield from (
            f"{path} ({layer.class_name}): {problem}"
            for problem in rule_of(layer).problems()
        )


def _problems_of_calls(graph: Graph, prefix: str = "") -> Iterator[str]:
    """Yield what is passed by name and would change a layer's meaning, such as
    ``training=True`` or a mask.
    """
    for call in graph.calls:
        layer = graph.layers[call.layer]
        known = rule_of(layer).arguments if layer.class_name in LAYERS else frozenset()
        for name, value in call.kwargs.items():
            if name not in known and value is not None and value is not False:
                said = "a tensor" if any(True for _ in refs_in(value)) else repr(value)
                yield f"{prefix}{call.label} ({layer.class_name}): it is called with {name}={said}, unknown to the port"
    for path, layer in walk(graph.layers, prefix):
        if layer.inner:
            yield from _problems_of_calls(layer.inner, f"{path}/")


def write_graph(graph: Graph, input_layout: str) -> Written:
    """Write all calls of a model.

    Args:
        graph: a model whose layers are all known.
        input_layout: ``"NTC"`` as Keras, or ``"NCT"``.
    """
    written = Written()
    values = {
        ref: _placeholder(written, graph.layers[ref.layer], input_layout)
        for ref in graph.inputs
    }
    written.outputs = [
        written.network.keras(value)
        for value in _write_calls(written, graph, values, Place())
    ]
    nodes = tuple(value.node for value in written.outputs)
    written.network.graph.output(nodes if len(nodes) > 1 else nodes[0])
    return written


def _placeholder(written: Written, layer: Layer, input_layout: str) -> Value:
    shape = [1, *(FREE if size is None else size for size in input_shape(layer)[1:])]
    if math.prod(shape) > LARGEST_INPUT:
        raise PortError(
            f"The {layer} takes an input of {' x '.join(map(str, shape[1:]))} numbers, which no ECG has."
        )
    written.inputs.append(layer.name)
    layout = CHANNELS_FIRST if input_layout == "NCT" and len(shape) == 3 else KERAS
    if layout == CHANNELS_FIRST:
        shape = [shape[0], shape[2], shape[1]]
    dtype = _TENSOR_TYPES.get(str(layer.config.get("dtype", "float32")), torch.int64)
    return Value(
        written.network.graph.placeholder(module_name(layer.name)),
        torch.zeros(shape, dtype=dtype),
        layout,
    )


def _write_calls(
    written: Written, graph: Graph, values: dict[Ref, Value], place: Place
) -> list[Value]:
    """Write the calls of one model, its nested models in their place; return its
    outputs.
    """
    for call in graph.calls:
        layer = graph.layers[call.layer]
        outputs = _write_call(written, layer, call, values, place)
        for number, value in enumerate(outputs):
            values[Ref(call.layer, call.index, number)] = value
            _label(
                value,
                f"{place.label}{call.label}" + (f"#{number}" if number else ""),
                layer,
            )
    return [values[ref] for ref in graph.outputs]


def _write_call(
    written: Written, layer: Layer, call: Call, values: dict[Ref, Value], place: Place
) -> list[Value]:
    args, kwargs = _filled(call.args, values), _filled(call.kwargs, values)
    name = _module_of(written, place.path, layer)
    before = len(written.network.graph.nodes)
    try:
        outputs = _write_layer(
            written, layer, name, args, kwargs, place.below(layer.name, call.label)
        )
    except (
        RuntimeError,
        ValueError,
        IndexError,
        TypeError,
        KeyError,
        AttributeError,
    ) as error:
        raise PortError(
            f"The call {place.label + call.label!r} of {layer} cannot be written: {type(error).__name__}: {error}. "
            "Its configuration does not fit its input, or the port does not know this use of it."
        ) from error
    _claim(written, place.path + layer.name, list(written.network.graph.nodes)[before:])
    return outputs


def _write_layer(
    written: Written,
    layer: Layer,
    name: str,
    args: Any,
    kwargs: dict[str, Any],
    place: Place,
) -> list[Value]:
    """Write a layer, and what it holds, under a module's name; ``place`` is of what it
    holds.
    """
    if layer.inner:
        return _write_nested(written, layer, name, args, place)
    rule = rule_of(layer)
    if isinstance(rule, Wrapper):

        def write_child(key: str, *inputs: Any, **options: Any) -> list[Value]:
            child = layer.children[key]
            return _write_layer(
                written,
                child,
                f"{name}.{key}",
                inputs,
                options,
                place.below(child.name),
            )

        return rule.wrap(written.network, write_child, *args, **kwargs)
    outputs = rule.build(written.network, name, *args, **kwargs)
    return outputs if isinstance(outputs, list) else [outputs]


def _write_nested(
    written: Written, layer: Layer, name: str, args: Any, place: Place
) -> list[Value]:
    """Write a nested model's calls into the same graph, its modules below its name."""
    inner = layer.inner
    assert inner is not None
    given = _given(inner, args)
    if len(given) != len(inner.inputs):
        raise PortError(
            f"The {layer} takes {len(inner.inputs)} inputs; it is called with {len(given)}."
        )
    scope = written.network.scope
    written.network.scope = f"{scope}{name}."
    outputs = _write_calls(
        written, inner, dict(zip(inner.inputs, given, strict=True)), place
    )
    written.network.scope = scope
    return outputs


def _given(inner: Graph, args: Any) -> list[Value]:
    """Return what a nested model is called with, in its own order: a tensor each, a
    list, or a dictionary.
    """
    if len(args) != 1 or isinstance(args[0], Value):
        return list(args)
    return (
        [args[0][ref.layer] for ref in inner.inputs]
        if isinstance(args[0], dict)
        else list(args[0])
    )


def _claim(written: Written, path: str, nodes: list[fx.Node]) -> None:
    """Refuse that two layers call one module, which their names could bring about."""
    for node in nodes:
        if node.op == "call_module":
            owner = written.owners.setdefault(str(node.target), path)
            if owner != path and not owner.startswith(f"{path}/"):
                raise PortError(
                    f"The layers {owner!r} and {path!r} would share the module {node.target!r} because of their names. "
                    "Rename one of them in Keras and save the model again."
                )


def _filled(value: Any, values: dict[Ref, Value]) -> Any:
    """Put values in the place of references."""
    if isinstance(value, Ref):
        return values[value]
    if isinstance(value, dict):
        return {key: _filled(item, values) for key, item in value.items()}
    return (
        type(value)(_filled(item, values) for item in value)
        if isinstance(value, list | tuple)
        else value
    )


def _module_of(written: Written, prefix: str, layer: Layer) -> str:
    """Return the name of a layer's module within its model; two layers never share
    one.
    """
    scope = written.network.scope
    path = prefix + layer.name
    if path not in written.modules:
        name, taken = (
            module_name(layer.name),
            {*written.modules.values(), *written.network.made},
        )
        while scope + name in taken:
            name += "_"
        written.modules[path] = scope + name
    return written.modules[path][len(scope) :]


def _label(value: Value, label: str, layer: Layer) -> None:
    """Note on the node which layer's output it is; nested models give it up to their
    last layer.
    """
    value.node.meta.setdefault("keras", label)
    value.node.meta.setdefault("class_name", layer.class_name)
    value.node.meta["layout"] = value.layout


def state_of(
    graph: Graph, modules: dict[str, str], prefix: str = ""
) -> dict[str, Tensor]:
    """Return all weights in PyTorch's layout, by their module's path.

    Args:
        graph: a model whose layers hold their arrays.
        modules: of `Written`.
        prefix: path of the model in Keras, with a slash at its end.
    """
    state: dict[str, Tensor] = {}
    for layer in graph.layers.values():
        if prefix + layer.name in modules:
            state |= _state_of_layer(
                layer, modules, prefix + layer.name, modules[prefix + layer.name]
            )
    return state


def _state_of_layer(
    layer: Layer, modules: dict[str, str], path: str, module: str
) -> dict[str, Tensor]:
    if layer.inner:
        return state_of(layer.inner, modules, f"{path}/")
    state = {
        f"{module}.{key}": tensor for key, tensor in rule_of(layer).state().items()
    }
    for key, child in layer.children.items():
        state |= _state_of_layer(
            child, modules, f"{path}/{child.name}", f"{module}.{key}"
        )
    return state


def load_state(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Put weights into a model; all must be there, of the right shape, and nothing
    more.

    Raises:
        PortError: naming the module and both shapes.
    """
    wanted = model.state_dict()
    problems = [f"{key} is missing" for key in wanted if key not in state]
    problems += [
        f"{key} has no place in the model" for key in state if key not in wanted
    ]
    problems += [
        f"{key} has the shape {list(state[key].shape)}, the configuration makes {list(wanted[key].shape)}"
        for key in wanted
        if key in state and state[key].shape != wanted[key].shape
    ]
    problems += [
        f"{key} holds NaN or infinity"
        for key in state
        if not bool(torch.isfinite(state[key]).all())
    ]
    if problems:
        raise PortError(
            f"The weights do not fit the architecture: {'; '.join(problems[:5])}"
            f"{f'; and {len(problems) - 5} more' if len(problems) > 5 else ''}. They are of another model, or damaged."
        )
    model.load_state_dict(
        {
            key: state[key].clone(memory_format=torch.contiguous_format)
            for key in wanted
        },
        strict=True,
    )


def before_activation(
    node: fx.Node, modules: dict[str, nn.Module]
) -> tuple[fx.Node, str]:
    """Return the node whose output a last softmax or sigmoid gets, and that
    activation's name ("linear": none).
    """
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
