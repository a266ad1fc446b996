"""Weights in both layouts reach their layers, or are refused."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from zoo_cases import ZOO, ZooModel, check_model, zoo_models

from ecgnb.core.errors import PortError
from ecgnb.port import port_keras
from ecgnb.port.layers import variables_of
from ecgnb.port.reading.graph import Graph, parse_graph
from ecgnb.port.reading.keras_weights import ListedWeights


def zoo_model(case: str, keras: int, container: str) -> ZooModel:
    (model,) = [
        m
        for m in zoo_models(case)
        if (m.case, m.keras, m.container) == (case, keras, container)
    ]
    return model


def changed(
    model: ZooModel, folder: Path, change: Callable[[Any], None]
) -> tuple[Path, Path | None]:
    """Copy a model's files and change its stored weights."""
    paths = [Path(shutil.copy(ZOO / name, folder)) for name in model.files]
    with h5py.File(paths[-1], "r+") as file:
        change(file.get("model_weights", file))
    return paths[0], paths[1] if len(paths) > 1 else None


def ported(model: ZooModel, folder: Path, change: Callable[[Any], None]) -> Any:
    path, weights = changed(model, folder, change)
    return port_keras(path, weights=weights)


@pytest.mark.parametrize(
    "model", zoo_models("nested_frozen", "attributes_split", "old_bare_list"), ids=str
)
def test_weights_of_frozen_parts_and_split_lists_reach_their_layers(
    model: ZooModel,
) -> None:
    check_model(model)


def same(one: Any, other: Any) -> bool:
    pairs = zip(one, other, strict=True) if isinstance(one, tuple) else [(one, other)]
    return all(torch.equal(*pair) for pair in pairs)


def first_with_weights(group: Any) -> Any:
    return next(below for below in group.values() if len(below.attrs["weight_names"]))


LISTED = [
    m
    for m in zoo_models("nested_frozen")
    if m.container != "keras" and (m.keras == 2 or m.container == "h5")
]


@pytest.mark.parametrize("model", LISTED, ids=str)
def test_weights_in_another_order_are_known_by_their_names(
    model: ZooModel, tmp_path: Path
) -> None:
    def turn(group: Any) -> None:
        for below in group.values():
            below.attrs["weight_names"] = below.attrs["weight_names"][::-1]

    with torch.no_grad():
        assert same(
            model.port()(*model.fed()), ported(model, tmp_path, turn)(*model.fed())
        )


@pytest.mark.parametrize("model", LISTED, ids=str)
def test_weights_missing_or_too_many_are_told(model: ZooModel, tmp_path: Path) -> None:
    def cut(group: Any) -> None:
        below = first_with_weights(group)
        below.attrs["weight_names"] = below.attrs["weight_names"][:-1]

    def forget(group: Any) -> None:
        group.attrs["layer_names"] = [
            name for name in group.attrs["layer_names"] if name != "logits"
        ]

    def rename(group: Any) -> None:
        group.move("logits", "other")
        group.attrs["layer_names"] = [
            "other" if n == "logits" else n for n in group.attrs["layer_names"]
        ]

    said = {
        cut: r"needs \d+ arrays .* the file holds \d+",
        forget: "holds none for logits",
        rename: "those of other",
    }
    for change, words in said.items():
        with pytest.raises(PortError, match=words):
            ported(model, tmp_path, change)


def test_weights_of_another_model_are_refused() -> None:
    model = zoo_model("nested_frozen", 2, "json")
    for other in zoo_models("names_awkward", "nested_twice", "bidirectional_lstm"):
        if other.container != "keras":
            with pytest.raises(PortError, match="The weights are of another model"):
                port_keras(ZOO / model.files[0], weights=ZOO / other.files[-1])


def tree_models() -> list[ZooModel]:
    return [
        m
        for m in zoo_models("nested_frozen", "bidirectional_options")
        if (m.keras, m.container) == (3, "json")
    ]


def filled_groups(group: Any) -> list[Any]:
    """Return the groups of a tree that hold arrays."""
    names: list[str] = []
    group.visit(lambda name: names.append(name) if name.endswith("vars/0") else None)
    return [group[name].parent for name in names]


@pytest.mark.parametrize("model", tree_models(), ids=str)
def test_weights_tree_without_names_is_read_by_class_and_counter(
    model: ZooModel, tmp_path: Path
) -> None:
    def forget(group: Any) -> None:
        group.visititems(lambda _, below: below.attrs.clear())

    with torch.no_grad():
        assert same(
            model.port()(*model.fed()), ported(model, tmp_path, forget)(*model.fed())
        )


@pytest.mark.parametrize("model", tree_models(), ids=str)
def test_weights_tree_ignores_the_state_of_random_generators(
    model: ZooModel, tmp_path: Path
) -> None:
    def seed(group: Any) -> None:
        for found in filled_groups(group):
            found[str(len(found))] = np.zeros(2, np.uint32)
            found.parent.create_group("seed_generator/vars")["0"] = np.zeros(
                2, np.uint32
            )

    with torch.no_grad():
        assert same(
            model.port()(*model.fed()), ported(model, tmp_path, seed)(*model.fed())
        )


def cut_tree(group: Any) -> None:
    del filled_groups(group)[0]["0"]


def add_array(group: Any) -> None:
    found = filled_groups(group)[0]
    found[str(len(found))] = np.zeros(3, np.float32)


def add_part(group: Any) -> None:
    filled_groups(group)[0].parent.create_group("extra/vars")["0"] = np.zeros(
        3, np.float32
    )


def add_layer(group: Any) -> None:
    group["layers"].create_group("conv1d_7/vars")["0"] = np.zeros(3, np.float32)


TREE_FAULTS = {
    cut_tree: r"needs \d arrays .* the file holds \d under 'layers/",
    add_array: r"needs \d arrays .* the file holds \d under 'layers/",
    add_part: "no layer for those of layers/.*extra",
    add_layer: "no layer for those of layers/conv1d_7",
}


@pytest.mark.parametrize("change", TREE_FAULTS)
@pytest.mark.parametrize("model", tree_models(), ids=str)
def test_weights_tree_missing_or_too_many_are_told(
    model: ZooModel, change: Callable[[Any], None], tmp_path: Path
) -> None:
    with pytest.raises(PortError, match=TREE_FAULTS[change]):
        ported(model, tmp_path, change)


def dense(name: str, trainable: bool = True) -> dict[str, Any]:
    return {
        "class_name": "Dense",
        "config": {"name": name, "units": 2, "trainable": trainable},
    }


def norm(name: str, trainable: bool = True) -> dict[str, Any]:
    return {
        "class_name": "BatchNormalization",
        "config": {"name": name, "trainable": trainable},
    }


def nested(*layers: dict[str, Any], keras: int = 2, **options: Any) -> Graph:
    first = {
        "class_name": "InputLayer",
        "config": {"name": "in", "batch_input_shape": [None, 2]},
    }
    inner = {
        "class_name": "Sequential",
        "config": {"name": "inner", "layers": [first, *layers], **options},
    }
    return parse_graph(
        {
            "class_name": "Sequential",
            "config": {"name": "outer", "layers": [first, inner]},
        },
        keras,
    )


def bound(graph: Graph, names: str) -> dict[str, list[float]]:
    """Give the inner model arrays that hold their place in the file; return which each
    inner layer got."""
    stored = [
        (f"{name}:0", np.float32([place])) for place, name in enumerate(names.split())
    ]
    ListedWeights({"inner": stored}).bind(graph, variables_of)
    inner = graph.layers["inner"].inner
    assert inner is not None
    return {
        name: [float(a[0]) for a in layer.arrays.values()]
        for name, layer in inner.layers.items()
        if layer.arrays
    }


TRAINED, KEPT = "gamma beta", "moving_mean moving_variance"


#: Names without the layer in them: only the order tells. At the end, the places of what
#: is stored for the norm.
ORDERS: dict[str, tuple[Any, ...]] = {
    "trained first": (
        [dense("a"), norm("b")],
        2,
        {},
        f"kernel bias {TRAINED} {KEPT}",
        [2, 3, 4, 5],
    ),
    "two kinds": (
        [norm("b"), dense("a")],
        2,
        {},
        f"{TRAINED} kernel bias {KEPT}",
        [0, 1, 4, 5],
    ),
    "frozen layer": (
        [norm("b", False), dense("a")],
        2,
        {},
        f"kernel bias {TRAINED} {KEPT}",
        [2, 3, 4, 5],
    ),
    "frozen model": (
        [norm("b"), dense("a")],
        2,
        {"trainable": False},
        f"{TRAINED} kernel bias {KEPT}",
        [0, 1, 4, 5],
    ),
    "in Keras 3": (
        [norm("b"), dense("a")],
        3,
        {"trainable": False},
        f"{TRAINED} {KEPT} kernel bias",
        [0, 1, 2, 3],
    ),
}


@pytest.mark.parametrize(
    ("layers", "keras", "options", "names", "places"), ORDERS.values(), ids=ORDERS
)
def test_weights_order_within_nested_models(
    layers: list[Any],
    keras: int,
    options: dict[str, Any],
    names: str,
    places: list[float],
) -> None:
    assert bound(nested(*layers, keras=keras, **options), names)["b"] == places


def test_weights_of_a_frozen_wrapper_are_frozen_whatever_its_layer_says() -> None:
    wrapper = {
        "class_name": "TimeDistributed",
        "config": {"name": "w", "layer": norm("b"), "trainable": False},
    }
    graph = nested(wrapper, dense("a"))
    names = "kernel bias gamma beta moving_mean moving_variance"
    assert bound(graph, names)["a"] == [0, 1]


@pytest.mark.parametrize(
    "names",
    [
        "bias kernel gamma beta moving_mean moving_variance",
        "b/kernel b/bias a/gamma a/beta a/mean a/variance",
    ],
)
def test_weights_that_names_contradict_are_refused(names: str) -> None:
    with pytest.raises(PortError, match="cannot be distinguished safely"):
        bound(nested(dense("a"), norm("b")), names)


def test_weights_of_the_wrong_shape_are_told(tmp_path: Path) -> None:
    model = zoo_model("nested_frozen", 2, "h5")

    def widen(group: Any) -> None:
        del group["logits/logits/bias:0"]
        group["logits/logits/bias:0"] = np.zeros(7, np.float32)

    with pytest.raises(
        PortError,
        match=re.escape("logits_.bias has the shape [7], the configuration makes [3]"),
    ):
        ported(model, tmp_path, widen)
