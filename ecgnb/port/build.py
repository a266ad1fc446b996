"""Builder of a torch.fx graph from Keras layers and calls, and of its state dictionary
from their weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from ecgnb.core.errors import PortError, first_few
from ecgnb.core.registry import nearest
from ecgnb.port.layers import LAYERS, rule_of
from ecgnb.port.layers.wrappers import Wrapper
from ecgnb.port.network import CHANNELS_FIRST, KERAS, Network, Value, module_name
from ecgnb.port.reading.calls import Call, Config, Ref, map_nested, refs_in
from ecgnb.port.reading.graph import Graph, Layer, input_shape, mask_problems, walk

#: Length of a dimension that the model leaves free, such as the time of a fully
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

#: Activations in which a classifier may end, by their module.
_LAST_ACTIVATIONS: dict[type[nn.Module], str] = {
    nn.Softmax: "softmax",
    nn.Sigmoid: "sigmoid",
    nn.LogSoftmax: "log_softmax",
}

#: What a module raises on an input or option that it cannot take.
_BUILD_ERRORS = (
    RuntimeError,
    ValueError,
    IndexError,
    TypeError,
    KeyError,
    AttributeError,
)


def refuse_unknown(graph: Graph) -> None:
    """Refuse what cannot be ported, before anything is built.

    Raises:
        PortError: naming every layer, class and option that is in the way.
    """
    problems = problems_in(graph)
    if problems:
        listed = "\n".join(f"  {line}" for line in problems)
        raise PortError(
            f"The model {graph.name!r} cannot be ported as it is; nothing was built:\n"
            f"{listed}\nReplace these layers in Keras and save the model again, or ask "
            "for them to be added to ecgnb.port."
        )


def problems_in(graph: Graph) -> list[str]:
    """Return why a model cannot be ported: ``path (class): reason``, one line per layer
    and option.
    """
    problems: list[str] = []
    for path, layer in walk(graph.layers):
        problems += problems_of(path, layer)
    problems += _problems_of_calls(graph)
    for path, layer in walk(graph.layers):
        if layer.inner:
            problems += _problems_of_calls(layer.inner, f"{path}/")
    problems += mask_problems(graph)
    return list(dict.fromkeys(problems))  # once for a layer that is called twice


def problems_of(path: str, layer: Layer) -> Iterator[str]:
    """Yield why a layer cannot be ported, without the layers that it holds."""
    class_name = layer.class_name
    if layer.inner or class_name == "InputLayer":
        return
    if class_name in ("Lambda", "op:lambda"):
        yield f"{path} (Lambda): it is Python code, which is never executed from a file"
    elif class_name in LAYERS:
        for problem in rule_of(layer).problems():
            yield f"{path} ({class_name}): {problem}"
    else:
        near = nearest(class_name, LAYERS.available(), count=1)
        hint = f"; it knows {near[0]}" if near else ""
        yield f"{path} ({class_name}): a class unknown to the port{hint}"


def _problems_of_calls(graph: Graph, prefix: str = "") -> Iterator[str]:
    """Yield what is passed by name and would change a layer's meaning, such as
    ``training=True`` or a mask.
    """
    for call in graph.calls:
        layer = graph.layers[call.layer]
        known = rule_of(layer).arguments if layer.class_name in LAYERS else frozenset()
        for name, value in call.kwargs.items():
            if name in known or value is None or value is False:
                continue  # honoured, or without effect
            shown = "a tensor" if any(refs_in(value)) else repr(value)
            yield (
                f"{prefix}{call.label} ({layer.class_name}): it is called with "
                f"{name}={shown}, unknown to the port"
            )


class GraphWriter:
    """Writes the calls of Keras layers into a torch.fx graph.

    Attributes:
        network: modules and calls.
        modules: for each layer's path in Keras, its module's path.
        outputs: the values that the model returns.
    """

    def __init__(self) -> None:
        self.network = Network()
        self.modules: dict[str, str] = {}
        self.outputs: list[Value] = []
        self._owners: dict[str, str] = {}  # of each module, the layer that calls it

    def placeholder(self, layer: Layer, input_layout: str) -> Value:
        """Write an input; ``input_layout`` is ``"NTC"`` as in Keras, or ``"NCT"``."""
        sizes = [FREE if size is None else size for size in input_shape(layer)[1:]]
        if math.prod(sizes) > LARGEST_INPUT:
            raise PortError(
                f"The {layer} takes an input of {' x '.join(map(str, sizes))} numbers, "
                "which no ECG has."
            )
        layout = KERAS
        if input_layout == "NCT" and len(sizes) == 2:
            layout, sizes = CHANNELS_FIRST, sizes[::-1]  # [T, C] -> [C, T]
        name = str(layer.config.get("dtype", "float32"))
        # float64 is computed in float32, as PyTorch's modules are built.
        example = torch.zeros(1, *sizes, dtype=_TENSOR_TYPES.get(name, torch.int64))
        node = self.network.graph.placeholder(module_name(layer.name))
        return Value(node, example, layout)

    def activations(self) -> tuple[str, ...]:
        """Return the last activation of each output, such as ``"softmax"``."""
        root = self.network.root
        return tuple(before_activation(value.node, root)[1] for value in self.outputs)

    def write_calls(
        self, graph: Graph, values: dict[Ref, Value], path: str = "", label: str = ""
    ) -> list[Value]:
        """Write the calls of one model, and of its nested models in their place.

        Args:
            graph: the model.
            values: its inputs; its layers' outputs are added.
            path: before its layers' names, with a slash at its end; empty at the top.
            label: likewise, but with ``@1`` where a nested model is called for the
                second time.

        Returns:
            The model's outputs.
        """
        for call in graph.calls:
            layer = graph.layers[call.layer]
            name = label + call.label
            outputs = self._write_call(layer, call, values, path, name)
            for number, value in enumerate(outputs):
                values[Ref(call.layer, call.index, number)] = value
                meta = value.node.meta
                # setdefault: a nested model's output keeps the name of its last layer
                meta.setdefault("keras", f"{name}#{number}" if number else name)
                meta.setdefault("class_name", layer.class_name)
                meta["layout"] = value.layout
        return [values[ref] for ref in graph.outputs]

    def _write_call(
        self,
        layer: Layer,
        call: Call,
        values: dict[Ref, Value],
        path: str,
        label: str,
    ) -> list[Value]:
        def value_of(item: Any) -> Any:
            return values[item] if isinstance(item, Ref) else item

        args = map_nested(call.args, value_of)
        kwargs = map_nested(call.kwargs, value_of)
        path += layer.name
        module = self._module_of(path, layer)
        nodes = self.network.graph.nodes
        n_before = len(nodes)
        try:
            outputs = self._write_layer(layer, module, args, kwargs, path, label)
        except _BUILD_ERRORS as error:
            raise PortError(
                f"The call {label!r} of {layer} cannot be written: "
                f"{type(error).__name__}: {error}. Its configuration does not fit its "
                "input, or the port does not know this use of it."
            ) from error
        self._claim_modules(path, list(nodes)[n_before:])
        return outputs

    def _write_layer(
        self,
        layer: Layer,
        module: str,
        args: Any,
        kwargs: Config,
        path: str,
        label: str,
    ) -> list[Value]:
        """Write a layer, and what it holds, under a module's name."""
        if layer.inner:
            return self._write_nested(layer, module, args, f"{path}/", f"{label}/")
        rule = rule_of(layer)
        if not isinstance(rule, Wrapper):
            self.network.module = module
            outputs = rule.build(self.network, *args, **kwargs)
            return outputs if isinstance(outputs, list) else [outputs]

        def write_child(key: str, *inputs: Any, **options: Any) -> list[Value]:
            child = layer.children[key]
            return self._write_layer(
                child,
                f"{module}.{key}",
                inputs,
                options,
                f"{path}/{child.name}",
                f"{label}/{child.name}",
            )

        return rule.wrap(self.network, write_child, *args, **kwargs)

    def _write_nested(
        self, layer: Layer, module: str, args: Any, path: str, label: str
    ) -> list[Value]:
        """Write a nested model's calls into the same graph, its modules below its name.

        It is called with one tensor per argument, a list, or a dictionary.
        """
        inner = layer.inner
        assert inner is not None
        inputs = args
        if len(args) == 1 and not isinstance(args[0], Value):  # a list or dictionary
            (inputs,) = args
        if isinstance(inputs, dict):  # by the name of the input layer
            inputs = [inputs[ref.layer] for ref in inner.inputs]
        if len(inputs) != len(inner.inputs):
            raise PortError(
                f"The {layer} takes {len(inner.inputs)} inputs; it is called with "
                f"{len(inputs)}."
            )
        scope = self.network.scope
        self.network.scope = f"{scope}{module}."
        values = dict(zip(inner.inputs, inputs, strict=True))
        outputs = self.write_calls(inner, values, path, label)
        self.network.scope = scope
        return outputs

    def _module_of(self, path: str, layer: Layer) -> str:
        """Return the name of a layer's module within its model; two layers never share
        one.
        """
        scope = self.network.scope
        if path not in self.modules:
            module = scope + module_name(layer.name)
            while module in (*self.modules.values(), *self.network.made):
                module += "_"  # "a.b" and "a_b" are two layers, but one module name
            self.modules[path] = module
        return self.modules[path].removeprefix(scope)

    def _claim_modules(self, path: str, nodes: list[fx.Node]) -> None:
        """Refuse that two layers call one module, which similar names could cause."""
        for node in nodes:
            if node.op != "call_module":
                continue
            owner = self._owners.setdefault(str(node.target), path)
            if owner != path and not owner.startswith(f"{path}/"):
                raise PortError(
                    f"The layers {owner!r} and {path!r} would share the module "
                    f"{node.target!r} because of their names. Rename one of them in "
                    "Keras and save the model again."
                )


def write_graph(graph: Graph, input_layout: str) -> GraphWriter:
    """Write all calls of a model.

    Args:
        graph: a model whose layers are all known.
        input_layout: ``"NTC"`` as Keras, or ``"NCT"``.
    """
    writer = GraphWriter()
    values = {}
    for ref in graph.inputs:
        values[ref] = writer.placeholder(graph.layers[ref.layer], input_layout)
    outputs = writer.write_calls(graph, values)
    writer.outputs = [writer.network.keras(value) for value in outputs]
    nodes = tuple(value.node for value in writer.outputs)
    # A tuple of one would make the port return a tuple, too.
    writer.network.graph.output(nodes if len(nodes) > 1 else nodes[0])
    return writer


def state_of(
    graph: Graph, modules: dict[str, str], prefix: str = ""
) -> dict[str, Tensor]:
    """Return all weights in PyTorch's layout, by their module's path.

    Args:
        graph: a model whose layers hold their arrays.
        modules: of `GraphWriter`.
        prefix: path of the model in Keras, with a slash at its end.
    """
    state: dict[str, Tensor] = {}
    for layer in graph.layers.values():
        path = prefix + layer.name
        if path in modules:  # a layer that is never called has no module
            state |= _state_of_layer(layer, modules, path, modules[path])
    return state


def _state_of_layer(
    layer: Layer, modules: dict[str, str], path: str, module: str
) -> dict[str, Tensor]:
    if layer.inner:
        return state_of(layer.inner, modules, f"{path}/")
    state = {}
    for key, tensor in rule_of(layer).state().items():
        state[f"{module}.{key}"] = tensor
    for key, child in layer.children.items():
        child_path = f"{path}/{child.name}"
        state |= _state_of_layer(child, modules, child_path, f"{module}.{key}")
    return state


def load_state(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Load weights into a model: all of them, of the right shape, and no others.

    Raises:
        PortError: naming the module and both shapes.
    """
    expected = model.state_dict()
    problems = [f"{key} is missing" for key in expected if key not in state]
    for key, tensor in state.items():
        if key not in expected:
            problems.append(f"{key} is not in the model")
        elif tensor.shape != expected[key].shape:
            problems.append(
                f"{key} has the shape {list(tensor.shape)}, the configuration makes "
                f"{list(expected[key].shape)}"
            )
        if not torch.isfinite(tensor).all():
            problems.append(f"{key} holds NaN or infinity")
    if problems:
        raise PortError(
            f"The weights do not fit the architecture: {first_few(problems)}. They are "
            "of another model, or damaged."
        )
    copies = {}
    for key in expected:  # contiguous: arrays of Keras come as transposed views
        copies[key] = state[key].clone(memory_format=torch.contiguous_format)
    model.load_state_dict(copies, strict=True)


def output_nodes(graph: fx.Graph) -> list[fx.Node]:
    """Return the nodes whose values a graph returns."""
    (result,) = graph.output_node().args
    return list(result) if isinstance(result, tuple) else [result]  # type: ignore


def before_activation(node: fx.Node, root: nn.Module) -> tuple[fx.Node, str]:
    """Return the node whose output a last softmax or sigmoid gets, and that
    activation's name ("linear": none).

    Args:
        node: makes an output.
        root: holds the modules of the node's graph.
    """
    last = node
    while len(last.all_input_nodes) == 1:  # through transposes and dropouts
        (source,) = last.all_input_nodes
        passes = last.op == "call_method" and last.target == "transpose"
        if last.op == "call_module":
            module = root.get_submodule(str(last.target))
            if type(module) in _LAST_ACTIVATIONS:
                return source, _LAST_ACTIVATIONS[type(module)]
            passes = isinstance(module, nn.Identity | nn.Dropout)
        if not passes:
            break
        last = source
    return node, "linear"
