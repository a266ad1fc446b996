"""Weights of a Keras file, in both layouts that Keras writes, bound to layers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ecgnb.core.errors import PortError, first_few
from ecgnb.port.reading.graph import Graph, Layer
from ecgnb.port.reading.hdf5 import names_in, read_array, text
from ecgnb.port.reading.keras1 import modern_arrays

if TYPE_CHECKING:
    import h5py


@dataclass(frozen=True)
class Variable:
    """One array of a layer.

    Attributes:
        name: of Keras, such as ``"kernel"``.
        group: where Keras 3 stores it below the layer, such as ``"cell"`` of an LSTM.
        trainable: Keras 2 stores what it trains before what it does not.
    """

    name: str
    group: str = ""
    trainable: bool = True


#: Returns the variables of a layer in Keras' order; nested models and wrappers have
#: none themselves.
VariablesOf = Callable[[Layer], list[Variable]]

#: An array and its name in the file.
Stored = tuple[str, np.ndarray]


@dataclass(frozen=True)
class ListedWeights:
    """Layout of whole files and of Keras 2: a flat list of arrays per layer, in the
    order of an attribute.

    Attributes:
        layers: for each layer of the model, not of nested ones, the names and arrays in
            the file's order.
    """

    layers: dict[str, list[Stored]]
    layout: str = "layout of Keras 1 and 2"

    def bind(self, graph: Graph, variables_of: VariablesOf) -> None:
        """Fill ``arrays`` of every layer.

        Raises:
            PortError: an array is missing, unexpected, or has another name than the
                layer needs.
        """
        slots: dict[str, list[_Slot]] = {}
        missing = []
        for name, layer in graph.layers.items():
            slots[name] = _stored_order(layer, variables_of)
            if slots[name] and not self.layers.get(name):
                missing.append(name)
        unexpected = []
        for name, arrays in self.layers.items():
            if arrays and not slots.get(name):
                unexpected.append(name)
        _refuse_other_model(missing, unexpected)
        for name, layer in graph.layers.items():
            _fill(layer, slots[name], self.layers.get(name, []))


@dataclass(frozen=True)
class TreeWeights:
    """Layout of Keras 3 and of ``.keras`` archives: groups named by class and counter,
    arrays by number.
    """

    root: Node
    layout: str = "layout of Keras 3"

    def bind(self, graph: Graph, variables_of: VariablesOf) -> None:
        """Fill ``arrays`` of every layer; see `ListedWeights.bind`."""
        _bind_model(self.root, graph, variables_of)


@dataclass
class Node:
    """A group of the tree: its arrays in order, the layer's name where Keras wrote it,
    the groups below.
    """

    path: str = ""
    name: str | None = None
    arrays: list[np.ndarray] = field(default_factory=list)
    groups: dict[str, Node] = field(default_factory=dict)

    def below(self, name: str) -> Node:
        """Return the group of a name, or an empty one; this group under ``""``."""
        if not name:
            return self
        return self.groups.get(name, Node(f"{self.path}/{name}"))

    def walk(self) -> Iterator[Node]:
        """Yield this group and all below it."""
        yield self
        for group in self.groups.values():
            yield from group.walk()

    def has_arrays(self) -> bool:
        """Whether this group or one below it holds arrays."""
        return any(node.arrays for node in self.walk())

    def weights(self) -> list[np.ndarray]:
        """Return the arrays without the state of random generators (integers)."""
        return [array for array in self.arrays if array.dtype.kind == "f"]


#: All arrays of a file.
Weights = ListedWeights | TreeWeights


def read_weights(group: h5py.Group) -> Weights:
    """Read all arrays below a group, in either layout."""
    names = names_in(group, "layer_names")
    if names is None:
        return TreeWeights(_read_tree(group))
    layers = {}
    for name in names:
        arrays = names_in(group[name], "weight_names") or []
        layers[name] = [(array, read_array(group[name], array)) for array in arrays]
    return ListedWeights(layers)


def _read_tree(group: h5py.Group, path: str = "") -> Node:
    node = Node(path)
    for key, below in group.items():
        if key == "vars":
            if "name" in below.attrs:
                node.name = text(below.attrs["name"])
            numbers = sorted(below, key=int)  # vars/0, vars/1, ...
            node.arrays = [read_array(below, number) for number in numbers]
        elif hasattr(below, "items"):  # a group, not an array
            node.groups[key] = _read_tree(below, f"{path}/{key}".strip("/"))
    return node


@dataclass(frozen=True)
class _Slot:
    """Where one stored array belongs.

    Attributes:
        holder: name of the layer in the innermost model, which is part of the array's
            name.
        layer: the layer, or the one that the holder wraps.
        variable: which of its arrays.
        trained: whether Keras trains it.
    """

    holder: str
    layer: Layer
    variable: Variable
    trained: bool

    @property
    def words(self) -> list[str]:
        """The array's name, such as ``["kernel"]``."""
        return self.variable.name.split("/")

    def has_name(self, name: str) -> bool:
        """Whether an array's name in the file is that of layer and variable."""
        words = _words(name)
        ending = words[-len(self.words) :]
        return self.holder in words and ending == self.words


def _stored_order(layer: Layer, variables_of: VariablesOf) -> list[_Slot]:
    """Return what a layer and all below it store, in Keras' order: first what is
    trained, then what is not.

    Each layer's own flag decides, not its model's; only Keras 3 keeps a frozen model's
    arrays layer by layer.
    """
    slots = list(_slots(layer, layer.name, variables_of))
    if layer.keras < 3 or layer.trainable:
        slots.sort(key=lambda slot: not slot.trained)  # stable
    return slots


def _slots(
    layer: Layer, holder: str, variables_of: VariablesOf, frozen: bool = False
) -> Iterator[_Slot]:
    """Yield slots layer by layer; what a frozen wrapper holds is frozen, whatever its
    own flag.
    """
    frozen = frozen or not layer.trainable
    for variable in variables_of(layer):
        yield _Slot(holder, layer, variable, variable.trainable and not frozen)
    for child in layer.children.values():
        yield from _slots(child, holder, variables_of, frozen)
    if layer.inner:
        for name, inner in layer.inner.layers.items():
            yield from _slots(inner, name, variables_of)


def _fill(top: Layer, slots: list[_Slot], stored: list[Stored]) -> None:
    if top.keras == 1:
        stored = modern_arrays(top.class_name, stored)
    if len(slots) != len(stored):
        needed = ", ".join(slot.words[-1] for slot in slots)
        present = ", ".join(_words(name)[-1] for name, _ in stored)
        raise PortError(
            f"The {top} needs {len(slots)} arrays ({needed or 'none'}); the file holds "
            f"{len(stored)} ({present or 'none'}). The weights are of another model."
        )
    ordered = _by_name(slots, stored) or _by_position(top, slots, stored)
    for slot, (_, array) in zip(slots, ordered, strict=True):
        slot.layer.arrays[slot.variable.name] = array


def _by_name(slots: list[_Slot], stored: list[Stored]) -> list[Stored]:
    """Return the arrays in the order of their slots, by the names of layer and array;
    nothing if those are not unique.
    """
    ordered = []
    for slot in slots:
        matches = [item for item in stored if slot.has_name(item[0])]
        if len(matches) != 1:
            return []
        ordered += matches
    if len(dict(ordered)) < len(stored):  # one array for two slots
        return []
    return ordered


def _by_position(top: Layer, slots: list[_Slot], stored: list[Stored]) -> list[Stored]:
    """Return the arrays in the file's order, unless their names show that Keras stored
    them in another one.
    """
    holders = {slot.holder for slot in slots}
    last_words = {slot.words[-1] for slot in slots}
    for slot, (name, _) in zip(slots, stored, strict=True):
        words = _words(name)
        named = holders.intersection(words)  # layers that the name mentions
        other_layer = len(named) == 1 and slot.holder not in named
        last = words[-1]
        other_array = last != slot.words[-1] and last in last_words
        if other_array or other_layer:
            raise PortError(
                f"The {top} stores {name!r} where {slot.holder}/{slot.variable.name} "
                "was expected; its arrays cannot be distinguished safely. Save the "
                "model once more as .keras."
            )
    return stored


def _words(name: str) -> list[str]:
    """Return ``["conv1d_3", "kernel"]`` of ``conv1d_3/kernel:0``; Keras 1 has one word
    only, such as ``conv1d_3_W``.
    """
    return re.sub(r":\d+$", "", name).split("/")


def _bind_model(node: Node, graph: Graph, variables_of: VariablesOf) -> None:
    layers = graph.layers
    needed = [name for name in layers if any(_slots(layers[name], name, variables_of))]
    holder = node.groups.get("layers")
    if holder is None:  # Keras 2 as .keras
        holder = node.groups.get("_layer_checkpoint_dependencies")
    if holder is None and needed:
        raise PortError(
            f"The weights of the model {graph.name!r} are missing in the file."
        )
    if holder is None:
        return
    by_layer = _groups_of_layers(holder.groups, graph)
    missing = [name for name in needed if name not in by_layer]
    used = {group.path for group in by_layer.values()}
    unexpected = []
    for group in holder.groups.values():
        if group.path not in used and group.has_arrays():
            unexpected.append(group.path)
    _refuse_other_model(missing, unexpected)
    for name, group in by_layer.items():
        _bind_layer(group, layers[name], variables_of)


def _groups_of_layers(groups: Mapping[str, Node], graph: Graph) -> dict[str, Node]:
    """Return the group of each layer: by the names that Keras wrote, or else by class
    and counter.
    """
    named = {group.name: group for group in groups.values() if group.name}
    all_named = all(group.name for group in groups.values() if group.has_arrays())
    if all_named and set(named) <= set(graph.layers):
        return named
    by_layer: dict[str, Node] = {}
    counts: Counter[str] = Counter()
    for name, layer in graph.layers.items():
        key = _snake(layer.class_name)
        counts[key] += 1
        if counts[key] > 1:  # conv1d, conv1d_1, conv1d_2
            key += f"_{counts[key] - 1}"
        if key in groups:
            by_layer[name] = groups[key]
    return by_layer


def _bind_layer(node: Node, layer: Layer, variables_of: VariablesOf) -> None:
    if layer.inner:
        _bind_model(node, layer.inner, variables_of)
        return
    for key, child in layer.children.items():
        _bind_layer(node.below(key), child, variables_of)
    needed: dict[str, list[str]] = {}
    for variable in variables_of(layer):
        needed.setdefault(variable.group, []).append(variable.name)
    for key, names in needed.items():
        group = node.below(key)
        arrays = group.arrays
        if len(arrays) != len(names):  # the state of a random generator is beside them
            arrays = group.weights()
        if len(arrays) != len(names):
            raise PortError(
                f"The {layer} needs {len(names)} arrays ({', '.join(names)}); the file "
                f"holds {len(arrays)} under {node.path!r}. The weights are of another "
                "model, or the file was cut."
            )
        layer.arrays.update(zip(names, arrays, strict=True))
    unexpected = []
    for group in node.walk():
        path = group.path[len(node.path) :].lstrip("/")
        first = path.split("/")[0]
        known = path in needed or first in layer.children
        if group.weights() and not known:
            unexpected.append(group.path)
    _refuse_other_model([], unexpected)


def _refuse_other_model(missing: list[str], unexpected: list[str]) -> None:
    reasons = []
    if missing:
        reasons.append(f"the file holds none for {first_few(missing)}")
    if unexpected:
        names = first_few(unexpected)
        reasons.append(f"the architecture has no layer for those of {names}")
    if reasons:
        raise PortError(
            f"The weights are of another model: {'; '.join(reasons)}. Give the weights "
            "that were saved with it."
        )


def _snake(name: str) -> str:
    """Return Keras' own name of a group: ``conv1d`` of ``Conv1D``,
    ``global_average_pooling1d`` of ``GlobalAveragePooling1D``.
    """
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
