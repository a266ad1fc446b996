"""Trace a model into a torch.fx graph, and run it with every value recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor, fx, nn
from torch.func import functional_call

from ecgnb.core.errors import ConfigError
from ecgnb.explain.kinds import module_kind, module_of
from ecgnb.models.base import Backbone


class _Tracer(fx.Tracer):
    """Opens containers and backbones; modules of a known kind, and all modules of a
    model that is a graph already, become one node each.
    """

    def __init__(self, of_graph: bool) -> None:
        super().__init__()
        self.of_graph = of_graph
        self.failed = ""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if module_kind(m) is not None:
            return True
        if isinstance(m, nn.Sequential | fx.GraphModule):
            return False
        # torch.nn is one node
        return self.of_graph or super().is_leaf_module(m, module_qualified_name)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any
    ) -> Any:
        if isinstance(m, Backbone):
            # Its forward checks the shape, which a graph cannot contain.
            forward = partial(_forward_unchecked, m)
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            if not self.failed:  # the innermost module
                self.failed = f", in {self.path_of_module(m)!r} ({type(m).__name__})"
            raise


def trace(model: nn.Module) -> fx.GraphModule:
    """Return a model as a graph of elementary modules and functions; it shares the
    model's parameters.

    Raises:
        ConfigError: the model's code depends on values, so that it is no fixed graph.
    """
    root = model
    if isinstance(model, Backbone) or module_kind(model) is not None:
        root = nn.Sequential(model)  # to call it as a module instead of its forward
    tracer = _Tracer(of_graph=isinstance(model, fx.GraphModule))
    try:
        return fx.GraphModule(root, tracer.trace(root))
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            "LRP needs the model as a graph, and torch.fx cannot trace "
            f"{type(model).__name__}{tracer.failed}: {error} Take conditions on "
            "tensors out of its forward, or use method='integrated_gradients'."
        ) from error


class Recording(fx.Interpreter):
    """A run through a graph that keeps the output of every node.

    Attributes:
        values: output of each node.
        dependent: nodes that depend on the inputs.
    """

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph, garbage_collect_values=False)  # `replay` needs them
        self.root = graph
        self.values: dict[fx.Node, Any] = {}
        self.dependent: set[fx.Node] = set()

    def run_node(self, n: fx.Node) -> Any:
        """Run a node and keep its output."""
        self.values[n] = super().run_node(n)
        if n.op == "placeholder" or self.dependent & set(n.all_input_nodes):
            self.dependent.add(n)
        return self.values[n]

    def fetch_args_kwargs_from_env(self, n: fx.Node) -> tuple[Any, Any]:
        """Return copies of a node's arguments, so that operations in place do not
        change the recorded values.
        """
        return self._arguments(n, self.env)

    def sources(self, node: fx.Node) -> list[fx.Node]:
        """Return a node's inputs that are floating point and depend on the model's
        inputs.
        """
        sources = []
        for source in node.all_input_nodes:
            if source in self.dependent and _is_floating(self.values[source]):
                sources.append(source)
        return sources

    def replay(
        self,
        node: fx.Node,
        replaced: Mapping[fx.Node, Tensor],
        module: nn.Module | None = None,
        weights: Mapping[str, Tensor] | None = None,
    ) -> Any:
        """Run a node again with other inputs.

        Args:
            node: the node.
            replaced: values for its inputs; the others keep the recorded values.
            module: runs instead of the node's module.
            weights: replace the module's parameters of these names.
        """
        args, kwargs = self._arguments(node, {**self.values, **replaced})
        module = module or module_of(node, self.root)
        if module is None:
            return getattr(self, node.op)(node.target, args, kwargs)
        if weights:
            # in place of its own
            return functional_call(module, dict(weights), args, kwargs)
        return module(*args, **kwargs)

    def _arguments(self, node: fx.Node, values: Mapping[fx.Node, Any]) -> Any:
        def copy(source: fx.Node) -> Any:
            value = values[source]
            return value.clone() if isinstance(value, Tensor) else value

        return fx.map_arg((node.args, dict(node.kwargs)), copy)


def _forward_unchecked(backbone: Backbone, x: Tensor) -> Tensor:
    return backbone.head(backbone.forward_features(x))


def _is_floating(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return any(map(_is_floating, value))
    return isinstance(value, Tensor) and value.is_floating_point()
