"""A model as a torch.fx graph, and a run through it that remembers every value."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, fx, nn
from torch.func import functional_call

from ecgnb.core.errors import ConfigError
from ecgnb.explain.kinds import module_kind
from ecgnb.models.base import Backbone


class _Tracer(fx.Tracer):
    """Opens containers and backbones; modules whose kind is known, and those of graphs,
    are one node each.
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
        return self.of_graph or super().is_leaf_module(m, module_qualified_name)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any
    ) -> Any:
        if isinstance(
            m, Backbone
        ):  # without its check of the shape, which a graph cannot hold
            forward = functools.partial(_unchecked, m)
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            self.failed = (
                self.failed or f", in {self.path_of_module(m)!r} ({type(m).__name__})"
            )
            raise


def trace(model: nn.Module) -> fx.GraphModule:
    """Return a model as a graph of elementary modules and functions; it shares the
    model's parameters.

    Raises:
        ConfigError: the model's code depends on values, so that it is no fixed graph.
    """
    a_layer = (
        isinstance(model, Backbone) or module_kind(model) is not None
    )  # to be one node, not opened
    root = nn.Sequential(model) if a_layer else model
    tracer = _Tracer(of_graph=isinstance(model, fx.GraphModule))
    try:
        return fx.GraphModule(root, tracer.trace(root))
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"LRP needs the model as a graph, and torch.fx cannot trace {type(model).__name__}{tracer.failed}: {error} "
            "Take conditions on tensors out of its forward, or use method='integrated_gradients'."
        ) from error


class Recording(fx.Interpreter):
    """A run through a graph that keeps what every node made.

    Attributes:
        values: node to what it made.
        fed: the nodes that depend on the inputs.
    """

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph, garbage_collect_values=False)
        self.root = graph
        self.values: dict[fx.Node, Any] = {}
        self.fed: set[fx.Node] = set()

    def run_node(self, n: fx.Node) -> Any:
        """Run a node and note what comes out."""
        self.values[n] = super().run_node(n)
        if n.op == "placeholder" or self.fed & set(n.all_input_nodes):
            self.fed.add(n)
        return self.values[n]

    def fetch_args_kwargs_from_env(self, n: fx.Node) -> tuple[Any, Any]:
        """Return copies of a node's arguments, so that operations in place spoil
        nothing that is kept.
        """
        return fx.map_arg(
            (n.args, dict(n.kwargs)), lambda each: _copied(self.env[each])
        )

    def sources(self, node: fx.Node) -> list[fx.Node]:
        """Return the nodes whose floating point values go into a node and depend on the
        model's inputs.
        """
        return [
            each
            for each in node.all_input_nodes
            if each in self.fed and _is_data(self.values[each])
        ]

    def replay(
        self,
        node: fx.Node,
        instead: Mapping[fx.Node, Tensor],
        module: nn.Module | None = None,
        weights: Mapping[str, Tensor] | None = None,
    ) -> Any:
        """Run a node again with other inputs.

        Args:
            node: which one.
            instead: what to put in the place of its inputs; the others keep their
                values.
            module: run in place of the node's own.
            weights: replace the module's parameters of these names.
        """
        args, kwargs = fx.map_arg(
            (node.args, dict(node.kwargs)),
            lambda each: _copied(instead.get(each, self.values[each])),
        )
        if node.op != "call_module":
            return getattr(self, node.op)(node.target, args, kwargs)
        module = module or self.root.get_submodule(str(node.target))
        return (
            functional_call(module, dict(weights), args, kwargs)
            if weights
            else module(*args, **kwargs)
        )


def _unchecked(backbone: Backbone, x: Tensor) -> Tensor:
    return backbone.head(backbone.forward_features(x))


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


def _is_data(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return any(_is_data(each) for each in value)
    return isinstance(value, Tensor) and value.is_floating_point()
