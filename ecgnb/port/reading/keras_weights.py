"""The two layouts in which Keras stores arrays, and how they are given to the layers
they belong to.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ecgnb.core.errors import PortError
from ecgnb.port.reading.graph import Graph, Layer
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


#: No weights can be compressed further than this.
MOST_COMPRESSED = 1000

#: Tells the variables of a layer in Keras' order; nested models and wrappers have none
#: of their own.
VariablesOf = Callable[[Layer], list[Variable]]


class Weights(ABC):
    """All arrays of a file.

    Attributes:
        layout: its name in words.
    """

    layout: str

    @abstractmethod
    def bind(self, graph: Graph, variables_of: VariablesOf) -> None:
        """Fill ``arrays`` of every layer.

        Raises:
            PortError: an array is missing, too many, or named otherwise than the layer
                wants.
        """


def read_weights(group: h5py.Group) -> Weights:
    """Read all arrays below a group, in either layout."""
    names = _listed(group, "layer_names")
    if names is None:
        return TreeWeights(_read_tree(group))
    return ListedWeights({name: _read_listed(group[name]) for name in names})


@dataclass(frozen=True)
class ListedWeights(Weights):
    """Layout of whole files and of Keras 2: a flat list of arrays a layer, in the order
    of an attribute.

    Attributes:
        layers: for each layer of the model, not of nested ones, the names and arrays in
            the file's order.
    """

    layers: dict[str, list[tuple[str, np.ndarray]]]
    layout: str = "layout of Keras 1 and 2"

    def bind(self, graph: Graph, variables_of: VariablesOf) -> None:
        """Give each layer its arrays; see `Weights.bind`."""
        wanted = {
            layer.name: _stored_order(layer, variables_of)
            for layer in graph.layers.values()
        }
        strangers = [
            name
            for name, arrays in self.layers.items()
            if arrays and not wanted.get(name)
        ]
        missing = [
            name
            for name, slots in wanted.items()
            if slots and not self.layers.get(name)
        ]
        if strangers or missing:
            raise PortError(_other_model(missing, strangers))
        for name, slots in wanted.items():
            _fill(graph.layers[name], slots, self.layers.get(name, []))


@dataclass(frozen=True)
class TreeWeights(Weights):
    """Layout of Keras 3 and of ``.keras`` archives: groups named by class and counter,
    arrays by number.
    """

    root: Node
    layout: str = "layout of Keras 3"

    def bind(self, graph: Graph, variables_of: VariablesOf) -> None:
        """Give each layer its arrays; see `Weights.bind`."""
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


def _read_listed(group: h5py.Group) -> list[tuple[str, np.ndarray]]:
    return [
        (name, _array(group, name)) for name in _listed(group, "weight_names") or []
    ]


def _array(group: h5py.Group, name: str) -> np.ndarray:
    """Read one array, from this file alone and no larger than what is stored of it.

    Raises:
        PortError: the array lies in another file, or is declared without being stored.
    """
    import h5py

    dataset = (
        None
        if isinstance(group.get(name, getlink=True), h5py.ExternalLink)
        else group[name]
    )
    if dataset is None or dataset.external or dataset.is_virtual:
        raise PortError(
            f"The array {group.name}/{name} lies in another file, which Keras never writes; it is not read from there."
        )
    if (
        dataset.nbytes
        and dataset.nbytes > MOST_COMPRESSED * dataset.id.get_storage_size()
    ):
        raise PortError(
            f"The array {group.name}/{name} is declared with {dataset.nbytes / 1e6:.1f} MB, and the file stores "
            f"{dataset.id.get_storage_size()} bytes of it. The file was cut, or never written to its end."
        )
    return np.asarray(dataset)


def _listed(group: h5py.Group, name: str) -> list[str] | None:
    """Return a list of names kept as an attribute; long ones are split into ``name0``,
    ``name1`` and so on.
    """
    if name in group.attrs:
        parts = [group.attrs[name]]
    else:
        numbered = sorted(
            int(key[len(name) :])
            for key in group.attrs
            if re.fullmatch(name + r"\d+", key)
        )
        if not numbered:
            return None
        parts = [group.attrs[f"{name}{number}"] for number in numbered]
    return [
        item.decode("utf-8") if isinstance(item, bytes) else str(item)
        for part in parts
        for item in part
    ]


def _read_tree(group: h5py.Group, path: str = "") -> Node:
    node = Node(path)
    for key, below in group.items():
        if key == "vars":
            node.name = _text_or_none(below.attrs.get("name"))
            node.arrays = [_array(below, number) for number in sorted(below, key=int)]
        elif hasattr(below, "items"):
            node.groups[key] = _read_tree(below, f"{path}/{key}".strip("/"))
    return node


def _text_or_none(value: Any) -> str | None:
    return value.decode("utf-8") if isinstance(value, bytes) else value


@dataclass(frozen=True)
class _Slot:
    """Where one stored array belongs.

    Attributes:
        holder: name of the layer in the innermost model; Keras has it in the array's
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
    def word(self) -> str:
        """The array's own name, such as ``"kernel"``."""
        return self.variable.name.split("/")[-1]


def _stored_order(layer: Layer, variables_of: VariablesOf) -> list[_Slot]:
    """Return what a layer and all below it store, in Keras' order: first what is
    trained, then what is not.

    Each layer's own flag decides, not its model's; only Keras 3 keeps a frozen model's
    arrays layer by layer.
    """
    slots = list(_slots(layer, layer.name, variables_of))
    if layer.keras >= 3 and not layer.trainable:
        return slots
    return sorted(slots, key=lambda slot: not slot.trained)  # a stable sort


def _slots(
    layer: Layer, holder: str, variables_of: VariablesOf, frozen: bool = False
) -> Iterator[_Slot]:
    """Yield slots layer by layer; what a frozen wrapper holds is frozen, whatever it
    says itself.
    """
    frozen = frozen or not layer.trainable
    for variable in variables_of(layer):
        yield _Slot(holder, layer, variable, variable.trainable and not frozen)
    for child in layer.children.values():
        yield from _slots(child, holder, variables_of, frozen)
    for inner in layer.inner.layers.values() if layer.inner else ():
        yield from _slots(inner, inner.name, variables_of)


def _fill(top: Layer, slots: list[_Slot], stored: list[tuple[str, np.ndarray]]) -> None:
    if top.keras == 1:
        stored = modern_arrays(top.class_name, stored)
    wanted, found = (
        [slot.word for slot in slots],
        [_last_word(name) for name, _ in stored],
    )
    if len(wanted) != len(found):
        raise PortError(
            f"The {top} needs {len(wanted)} arrays ({', '.join(wanted) or 'none'}); the file holds "
            f"{len(found)} ({', '.join(found) or 'none'}). The weights are of another model."
        )
    for slot, (_, array) in zip(
        slots, _by_name(slots, stored) or _by_place(top, slots, stored), strict=True
    ):
        slot.layer.arrays[slot.variable.name] = array


def _by_name(
    slots: list[_Slot], stored: list[tuple[str, np.ndarray]]
) -> list[tuple[str, np.ndarray]]:
    """Find each array by its layer's and its own name, whatever its place; nothing if
    that is not unique.
    """
    found = []
    for slot in slots:
        own = slot.variable.name.split("/")
        fits = [
            pair
            for pair in stored
            if slot.holder in (parts := _parts(pair[0])) and parts[-len(own) :] == own
        ]
        if len(fits) != 1:
            return []
        found += fits
    return found if len({name for name, _ in found}) == len(stored) else []


def _by_place(
    top: Layer, slots: list[_Slot], stored: list[tuple[str, np.ndarray]]
) -> list[tuple[str, np.ndarray]]:
    """Take arrays as they stand, unless their names say that Keras stored them in
    another order.
    """
    for slot, (name, _) in zip(slots, stored, strict=True):
        known = {each.holder for each in slots} & set(_parts(name))
        other_word = _last_word(name) != slot.word and _last_word(name) in {
            each.word for each in slots
        }
        if other_word or (len(known) == 1 and slot.holder not in known):
            raise PortError(
                f"The {top} stores {name!r} where {slot.holder}/{slot.variable.name} was expected; its arrays "
                "cannot be told apart safely. Save the model once more as .keras."
            )
    return stored


def _parts(name: str) -> list[str]:
    return re.sub(r":\d+$", "", name).split("/")


def _last_word(name: str) -> str:
    """Return ``kernel`` of ``conv1d_3/kernel:0``; Keras 1 has one word only, such as
    ``conv1d_3_W``.
    """
    return _parts(name)[-1]


def _bind_model(node: Node, graph: Graph, variables_of: VariablesOf) -> None:
    groups = node.groups.get("layers") or node.groups.get(
        "_layer_checkpoint_dependencies"
    )
    if groups is None:
        if any(_wants(layer, variables_of) for layer in graph.layers.values()):
            raise PortError(
                f"The weights of the model {graph.name!r} are missing in the file."
            )
        return
    found = _by_layer(groups.groups, graph)
    strangers = [below.path for below in found.pop("", Node()).groups.values()]
    missing = [
        name
        for name, layer in graph.layers.items()
        if name not in found and _wants(layer, variables_of)
    ]
    if missing or strangers:
        raise PortError(_other_model(missing, strangers))
    for name, below in found.items():
        _bind_layer(below, graph.layers[name], variables_of)


def _by_layer(groups: Mapping[str, Node], graph: Graph) -> dict[str, Node]:
    """Find the group of each layer; groups that hold arrays and belong to none are
    collected under ``""``.
    """
    named = {node.name: node for node in groups.values() if node.name}
    if set(named) <= set(graph.layers) and all(
        node.name for node in groups.values() if _holds(node)
    ):
        return dict(named)
    found: dict[str, Node] = {}
    used: dict[str, int] = {}
    for layer in graph.layers.values():
        stem = _snake(layer.class_name)
        count = used.get(stem, 0)
        used[stem] = count + 1
        key = f"{stem}_{count}" if count else stem
        if key in groups:
            found[layer.name] = groups[key]
    taken = {id(node) for node in found.values()}
    left = {
        key: node
        for key, node in groups.items()
        if id(node) not in taken and _holds(node)
    }
    return {**found, "": Node(groups=left)} if left else found


def _holds(node: Node) -> bool:
    return bool(node.arrays) or any(_holds(below) for below in node.groups.values())


def _wants(layer: Layer, variables_of: VariablesOf) -> bool:
    return bool(_stored_order(layer, variables_of))


def _bind_layer(node: Node, layer: Layer, variables_of: VariablesOf) -> None:
    if layer.inner:
        _bind_model(node, layer.inner, variables_of)
        return
    for key, child in layer.children.items():
        _bind_layer(
            node.groups.get(key, Node(f"{node.path}/{key}")), child, variables_of
        )
    wanted: dict[str, list[str]] = {}
    for variable in variables_of(layer):
        wanted.setdefault(variable.group, []).append(variable.name)
    for group, names in wanted.items():
        arrays = _below(node, group).arrays
        if len(arrays) != len(
            names
        ):  # the state of a random generator may stand beside the weights
            arrays = [array for array in arrays if array.dtype.kind == "f"]
        if len(arrays) != len(names):
            raise PortError(
                f"The {layer} needs {len(names)} arrays ({', '.join(names)}); the file holds {len(arrays)} under "
                f"{node.path!r}. The weights are of another model, or the file was cut."
            )
        layer.arrays.update(zip(names, arrays, strict=True))
    strangers = [
        path
        for path in _with_floats(node)
        if path not in wanted and path.split("/")[0] not in layer.children
    ]
    if strangers:
        raise PortError(
            _other_model([], [f"{node.path}/{path}".rstrip("/") for path in strangers])
        )


def _with_floats(node: Node, path: str = "") -> Iterator[str]:
    """Yield the path of every group at or below a node that holds more than the state
    of random generators.
    """
    if any(array.dtype.kind == "f" for array in node.arrays):
        yield path
    for key, below in node.groups.items():
        yield from _with_floats(below, f"{path}/{key}".strip("/"))


def _below(node: Node, path: str) -> Node:
    for part in filter(None, path.split("/")):
        node = node.groups.get(part, Node(f"{node.path}/{part}"))
    return node


def _other_model(missing: list[str], strangers: list[str]) -> str:
    parts = []
    if missing:
        parts.append(f"the file holds none for {', '.join(missing[:5])}")
    if strangers:
        parts.append(
            f"the architecture has no place for those of {', '.join(strangers[:5])}"
        )
    return f"The weights are of another model: {'; '.join(parts)}. Give the weights that were saved with it."


def _snake(name: str) -> str:
    """Keras' own rule for the names of groups: ``Conv1D`` -> ``conv1d``,
    ``GlobalAveragePooling1D`` likewise.
    """
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
