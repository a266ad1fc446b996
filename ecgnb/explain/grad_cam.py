"""Grad-CAM for signals: which stretches of time the last feature map finds for a
class.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from ecgnb.core.errors import ConfigError
from ecgnb.core.registry import did_you_mean
from ecgnb.explain.base import EXPLAINERS, Case, Inputs, Target, asked
from ecgnb.explain.kinds import AVERAGES, module_kind, node_kind
from ecgnb.models.base import Backbone

#: Layouts of a feature map: ``[B, C, T]``, or ``[B, T, C]`` as Keras has it. The nodes
#: of a ported model note theirs.
_NCT, _KERAS = "nct", "keras"


@dataclass(frozen=True)
class FeatureMap:
    """What a layer made of the inputs.

    Attributes:
        values: ``[B, C, T]`` or ``[B, T, C]``, part of the computation of the logits.
        layout: ``"nct"`` or ``"keras"``.
        pooled: whether the layer only pools, drops or rearranges what another one
            found.
    """

    values: Tensor
    layout: str
    pooled: bool

    @property
    def time(self) -> int:
        """Its time axis."""
        return 1 if self.layout == _KERAS else 2

    @property
    def has_time(self) -> bool:
        """Whether it has a time axis, of more than one step."""
        return self.values.ndim == 3 and self.values.shape[self.time] > 1


@EXPLAINERS.register("grad_cam")
def grad_cam(
    model: nn.Module,
    inputs: Inputs,
    target: Target = None,
    *,
    layer: str | None = None,
    layout: str | None = None,
) -> Tensor:
    """Return how much each moment speaks for the target (Selvaraju et al. 2017,
    "Grad-CAM").

    The feature map's channels are weighted by their mean gradient, summed and cut at 0;
    the result is stretched linearly to the input's length, each step of the map centred
    on the samples it stands for.

    Args:
        model: gives logits ``[B, K]``.
        inputs: a tensor, or a tuple whose first is the signal; ``[B, leads, T]`` or
            ``[B, T, leads]`` (the longer axis is time, unless a ported model's graph
            tells).
        target: see `ecgnb.explain.base.Target`.
        layer: name of a module or of a graph's node that makes a map with a time axis;
            of a module that is called several times the last call counts. Left out: a
            `Backbone`'s last feature map, else the last map before the poolings at the
            end.
        layout: of that map, ``"nct"`` or ``"keras"`` (time before channels); left out,
            what the graph tells, else ``"nct"``.

    Returns:
        ``[B, T]``, never negative, in logits.

    Raises:
        ConfigError: there is no such layer, its output has no time axis, or the logits
            do not depend on it; else as `ecgnb.explain.base.asked` tells.
    """
    if layout not in (None, _NCT, _KERAS):
        raise ConfigError(f"layout is {layout!r}; give {_NCT!r}, {_KERAS!r} or None.")
    with asked(model, inputs, target) as case:
        if layer is None and isinstance(case.model, Backbone):
            layer = case.model.feature_info[-1]["name"]
            layout = layout or (_KERAS if case.model.channels_last else _NCT)
        logits, maps = _run(case, layer, layout)
        found = _chosen(maps, layer)
        slope = _slope(
            logits.gather(1, case.target[:, None]).sum(), found.values, layer
        )
        weights = slope.mean(found.time, keepdim=True)
        coarse = (weights * found.values).sum(3 - found.time).clamp(min=0)
        return F.interpolate(coarse[:, None], size=_length(case), mode="linear")[
            :, 0
        ].detach()


def _run(
    case: Case, layer: str | None, layout: str | None
) -> tuple[Tensor, dict[str, FeatureMap]]:
    """Return the model's logits, and the maps that were made on the way by name, in
    their order.
    """
    leaves = [
        x.requires_grad_() for x in case.inputs
    ]  # so that a frozen model has gradients too
    maps: dict[str, FeatureMap] = {}
    if isinstance(case.model, fx.GraphModule) and (
        layer is None or layer in _names(case.model)
    ):
        return _Maps(case.model, maps, layout).run(*leaves), maps
    with _watched(case.model, layer, layout, maps):
        return case.model(*leaves), maps


class _Maps(fx.Interpreter):
    """A run through a graph that notes the feature maps, by node and by module."""

    def __init__(
        self, graph: fx.GraphModule, maps: dict[str, FeatureMap], layout: str | None
    ) -> None:
        super().__init__(graph)
        self.maps, self.layout = maps, layout

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor) and n.op.startswith("call"):
            layout = self.layout or str(n.meta.get("layout", _NCT))
            for name in {n.name, str(n.target)}:
                _note(self.maps, name, FeatureMap(value, layout, self._pools(n)))
        return value

    def _pools(self, n: fx.Node) -> bool:
        kind = node_kind(n, self.module)
        if n.op == "call_module":
            return _module_pools(
                self.module.get_submodule(str(n.target)), len(n.all_input_nodes)
            )
        return kind in ("rearrange", "winner") or (
            kind == "linear" and len(n.all_input_nodes) == 1
        )


@contextlib.contextmanager
def _watched(
    model: nn.Module, layer: str | None, layout: str | None, maps: dict[str, FeatureMap]
) -> Iterator[None]:
    """Note what one module makes, or all modules without parts, for as long as the
    context lasts.
    """
    modules = dict(model.named_modules())
    if layer is not None and layer not in modules:
        hint = did_you_mean(layer, [name for name in modules if name])
        raise ConfigError(
            f"The model has no layer {layer!r}.{hint} model.named_modules() tells them all."
        )

    def noting(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, given: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                _note(
                    maps,
                    name,
                    FeatureMap(
                        output, layout or _NCT, _module_pools(module, len(given))
                    ),
                )

        return hook

    parts = [name for name, module in modules.items() if not list(module.children())]
    hooks = [
        modules[name].register_forward_hook(noting(name))
        for name in (parts if layer is None else [layer])
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _note(maps: dict[str, FeatureMap], name: str, found: FeatureMap) -> None:
    maps.pop(name, None)  # a later call goes to the end
    maps[name] = found


def _module_pools(module: nn.Module, n_inputs: int) -> bool:
    """Return whether a module only pools, drops or rearranges; one that adds several
    inputs makes a map of its own.
    """
    kind = module_kind(module)
    if kind == "linear":
        return isinstance(module, AVERAGES) or (
            n_inputs == 1 and not list(module.parameters())
        )
    dropped = isinstance(module, nn.Identity | nn.modules.dropout._DropoutNd)
    return dropped or kind in ("rearrange", "winner")


def _names(graph: fx.GraphModule) -> set[str]:
    calls = [node for node in graph.graph.nodes if node.op.startswith("call")]
    return {node.name for node in calls} | {str(node.target) for node in calls}


def _chosen(maps: dict[str, FeatureMap], layer: str | None) -> FeatureMap:
    if layer is None:
        usable = [
            found for found in maps.values() if found.has_time and not found.pooled
        ]
        if not usable:
            raise ConfigError(
                "The model makes no feature map [B, C, T]; name the layer, or choose another method."
            )
        return usable[-1]
    found = maps.get(layer)
    if found is None or not found.has_time:
        what = "made no tensor" if found is None else f"made {list(found.values.shape)}"
        raise ConfigError(
            f"The layer {layer!r} {what}; Grad-CAM needs a feature map with a time axis, [B, C, T]."
        )
    return found


def _slope(score: Tensor, values: Tensor, layer: str | None) -> Tensor:
    (slope,) = torch.autograd.grad(score, values, allow_unused=True)
    if slope is None:
        named = (
            "of the last feature map" if layer is None else f"of the layer {layer!r}"
        )
        raise ConfigError(
            f"The logit does not depend on the output {named}; name a layer on the way to the output."
        )
    return slope


def _length(case: Case) -> int:
    """Return the number of samples of the first input."""
    sizes = case.inputs[0].shape[1:]
    if isinstance(case.model, fx.GraphModule):
        layout = next(
            node for node in case.model.graph.nodes if node.op == "placeholder"
        ).meta.get("layout")
        if layout in (_NCT, _KERAS) and len(sizes) == 2:
            return sizes[0] if layout == _KERAS else sizes[1]
    return max(sizes)
