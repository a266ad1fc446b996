"""Grad-CAM for signals: when a model's last feature map is evidence for a class."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from ecgnb.core.errors import ConfigError
from ecgnb.core.registry import did_you_mean
from ecgnb.explain.base import EXPLAINERS, Case, Inputs, Target, prepared
from ecgnb.explain.kinds import AVERAGES, module_kind, module_of, node_kind
from ecgnb.models.base import Backbone

#: Time axis of each layout: ``[B, C, T]``, or ``[B, T, C]`` as in Keras. The nodes of a
#: ported model have their layout in ``meta``.
_TIME_AXES = {"nct": 2, "keras": 1}


@dataclass(frozen=True)
class FeatureMap:
    """Output of a layer.

    Attributes:
        values: ``[B, C, T]`` or ``[B, T, C]``, part of the computation of the logits.
        time_axis: 1 or 2.
        pooled: whether the layer only pools, drops or rearranges another map.
    """

    values: Tensor
    time_axis: int
    pooled: bool

    @property
    def has_time(self) -> bool:
        """Whether it has a time axis of more than one step."""
        return self.values.ndim == 3 and self.values.shape[self.time_axis] > 1


@EXPLAINERS.register("grad_cam")
def grad_cam(
    model: nn.Module,
    inputs: Inputs,
    target: Target = None,
    *,
    layer: str | None = None,
    layout: str | None = None,
) -> Tensor:
    """Return each sample's evidence for the target (Selvaraju et al. 2017, "Grad-CAM").

    The feature map's channels are weighted by their mean gradient and summed, negative
    sums set to 0; the result is interpolated linearly to the input's length, each step
    of the map at the centre of its samples.

    Args:
        model: gives logits ``[B, K]``.
        inputs: a tensor, or a tuple whose first is the signal; ``[B, leads, T]`` or
            ``[B, T, leads]`` (the longer axis is time, unless a ported model's graph
            has the layout).
        target: see `ecgnb.explain.base.Target`.
        layer: name of a module or of a graph's node whose output has a time axis; of a
            module that is called several times the last call counts. Left out: a
            `Backbone`'s last feature map, else the last map before the poolings at the
            end.
        layout: of that map, ``"nct"`` or ``"keras"`` (time before channels); left out,
            that of the graph, else ``"nct"``.

    Returns:
        ``[B, T]``, never negative, in logits.

    Raises:
        ConfigError: there is no such layer, its output has no time axis, or the logits
            do not depend on it; else see `ecgnb.explain.base.prepared`.
    """
    if layout not in (None, *_TIME_AXES):
        raise ConfigError(f"layout is {layout!r}; give 'nct', 'keras' or None.")
    with prepared(model, inputs, target) as case:
        if layer is None and isinstance(case.model, Backbone):
            layer = case.model.feature_info[-1]["name"]  # the last stage or layer
            if layout is None and case.model.channels_last:
                layout = "keras"
        logits, maps = _run(case, layer, layout)
        feature_map = _select(maps, layer)
        score = logits.gather(1, case.target[:, None]).sum()  # of all records
        values, time_axis = feature_map.values, feature_map.time_axis
        # of the map's shape
        (gradient,) = torch.autograd.grad(score, values, allow_unused=True)
        if gradient is None:
            which = "the last feature map" if layer is None else f"the layer {layer!r}"
            raise ConfigError(
                f"The logit does not depend on the output of {which}; name a layer on "
                "the way to the output."
            )
        weights = gradient.mean(time_axis, keepdim=True)  # one per channel
        channel_axis = 3 - time_axis
        coarse = (weights * values).sum(channel_axis).clamp(min=0)  # [B, T']
        n_samples = _n_samples(case)
        evidence = F.interpolate(coarse[:, None], size=n_samples, mode="linear")
        return evidence[:, 0].detach()


def _run(
    case: Case, layer: str | None, layout: str | None
) -> tuple[Tensor, dict[str, FeatureMap]]:
    """Return the model's logits, and its feature maps by name in the order of the
    calls.
    """
    # Gradients of the inputs, so that maps of a frozen model have gradients, too.
    leaves = [x.requires_grad_() for x in case.inputs]
    maps: dict[str, FeatureMap] = {}
    if isinstance(case.model, fx.GraphModule):
        names = set()
        for node in case.model.graph.nodes:
            if node.op.startswith("call"):
                names |= {node.name, str(node.target)}  # both name its map
        if layer is None or layer in names:
            return _GraphMaps(case.model, maps, layout).run(*leaves), maps
    with _module_maps(case.model, layer, layout, maps):
        return case.model(*leaves), maps


class _GraphMaps(fx.Interpreter):
    """A run through a graph that keeps the feature maps, by node and by module."""

    def __init__(
        self, graph: fx.GraphModule, maps: dict[str, FeatureMap], layout: str | None
    ) -> None:
        super().__init__(graph)
        self.maps, self.layout = maps, layout

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor) and n.op.startswith("call"):
            layout = self.layout or str(n.meta.get("layout", "nct"))
            time_axis = _TIME_AXES.get(layout, 2)
            feature_map = FeatureMap(value, time_axis, self._pools(n))
            for name in {n.name, str(n.target)}:
                _add(self.maps, name, feature_map)
        return value

    def _pools(self, n: fx.Node) -> bool:
        n_inputs = len(n.all_input_nodes)
        module = module_of(n, self.module)
        if module is not None:
            return _module_pools(module, n_inputs)
        kind = node_kind(n, self.module)
        is_mean = kind == "linear" and n_inputs == 1
        return is_mean or kind in ("rearrange", "winner")


@contextlib.contextmanager
def _module_maps(
    model: nn.Module, layer: str | None, layout: str | None, maps: dict[str, FeatureMap]
) -> Iterator[None]:
    """Keep the output of one module, or of all modules without children, while the
    context lasts.
    """
    modules = dict(model.named_modules())
    if layer is not None and layer not in modules:
        hint = did_you_mean(layer, list(modules)[1:])  # without the model itself, ""
        raise ConfigError(
            f"The model has no layer {layer!r}.{hint} model.named_modules() lists them."
        )

    time_axis = _TIME_AXES[layout or "nct"]

    def keep(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            pooled = _module_pools(module, len(inputs))
            _add(maps, name, FeatureMap(output, time_axis, pooled))

    names = [name for name in modules if not list(modules[name].children())]
    if layer is not None:
        names = [layer]
    with contextlib.ExitStack() as hooks:
        for name in names:
            hook = modules[name].register_forward_hook(partial(keep, name))
            hooks.enter_context(hook)
        yield


def _add(maps: dict[str, FeatureMap], name: str, feature_map: FeatureMap) -> None:
    maps.pop(name, None)  # a later call moves to the end
    maps[name] = feature_map


def _module_pools(module: nn.Module, n_inputs: int) -> bool:
    """Return whether a module only pools, drops or rearranges; one that adds several
    inputs makes a map of its own.
    """
    kind = module_kind(module)  # None for an unknown one
    if kind == "linear":
        has_weights = bool(list(module.parameters()))
        rearranges = n_inputs == 1 and not has_weights
        return isinstance(module, AVERAGES) or rearranges
    dropped = isinstance(module, nn.Identity | nn.modules.dropout._DropoutNd)
    return dropped or kind in ("rearrange", "winner")


def _select(maps: dict[str, FeatureMap], layer: str | None) -> FeatureMap:
    if layer is None:
        candidates = maps.values()
        usable = [x for x in candidates if x.has_time and not x.pooled]
        if not usable:
            raise ConfigError(
                "The model has no feature map [B, C, T]; name the layer, or choose "
                "another method."
            )
        return usable[-1]  # the one nearest to the head
    feature_map = maps.get(layer)
    if feature_map is None or not feature_map.has_time:
        output = "made no tensor"
        if feature_map is not None:
            output = f"made {list(feature_map.values.shape)}"
        raise ConfigError(
            f"The layer {layer!r} {output}; Grad-CAM needs a feature map with a time "
            "axis, [B, C, T]."
        )
    return feature_map


def _n_samples(case: Case) -> int:
    """Return the number of samples of the first input."""
    shape = case.inputs[0].shape
    if isinstance(case.model, fx.GraphModule) and len(shape) == 3:
        nodes = case.model.graph.nodes
        signal = next(node for node in nodes if node.op == "placeholder")
        layout = signal.meta.get("layout")
        if layout in _TIME_AXES:
            return shape[_TIME_AXES[layout]]
    return max(shape[1:])  # time is the longer axis
