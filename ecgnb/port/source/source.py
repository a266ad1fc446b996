"""`source_code`: a port as a readable PyTorch file that needs neither ecgnb nor
Keras.
"""

from __future__ import annotations

import keyword
import textwrap
from typing import Any

from torch import fx

from ecgnb.core.console import text_facts
from ecgnb.core.environment import package_version
from ecgnb.core.errors import ConfigError
from ecgnb.port.build import before_activation
from ecgnb.port.contract import Contract, contract_facts
from ecgnb.port.network import module_name
from ecgnb.port.ported import PortedModel
from ecgnb.port.source.carried import Carried
from ecgnb.port.source.expressions import LINE, call, literal, row
from ecgnb.port.source.forward_code import ForwardCode, shape_text

#: Names that an exported file uses for itself.
_TAKEN = {
    "torch",
    "nn",
    "F",
    "Tensor",
    "Path",
    "operator",
    "check_shape",
    "load",
    "load_file",
    "self",
    "model",
}

_CHECK = '''
def check_shape(name: str, given: Tensor, wanted: tuple[int | None, ...]) -> None:
    """Refuse another shape than the model was trained with; it would not fail in the network, only be wrong."""
    if given.ndim != len(wanted) or any(size not in (None, found) for size, found in zip(wanted, given.shape)):
        raise ValueError(f"{name} must have the shape {wanted} (None: any size), not {tuple(given.shape)}.")
'''

_LOAD = '''
def load(weights: str | Path = Path(__file__).with_name("model.safetensors")) -> {name}:
    """Return the model with its weights, ready for inference."""
    from safetensors.torch import load_file

    model = {name}()
    model.load_state_dict(load_file(weights), strict=True)
    return model.eval()
'''


def source_code(port: PortedModel, class_name: str = "Model") -> str:
    """Return a port as a Python file: the class, what of it PyTorch has not, and a
    function that loads the weights.

    The file imports PyTorch alone. The class has the state dictionary of the port and
    computes the same, bit by bit.

    Args:
        port: as `port_keras` returns it.
        class_name: of the class.

    Raises:
        ConfigError: the name is no Python name, or is used otherwise in the file.
        PortError: the model holds something that cannot be written down.
    """
    carried = Carried()
    for line in (
        "from pathlib import Path",
        "from torch import Tensor",
        "from torch import nn",
    ):
        carried.add_import(line)
    model = _class(port, class_name, carried)
    if (
        not class_name.isidentifier()
        or keyword.iskeyword(class_name)
        or class_name in _TAKEN | set(carried.sources)
    ):
        raise ConfigError(
            f"class_name={class_name!r} is no Python name, or is used otherwise in the file; choose another."
        )
    parts = [
        _docstring(port),
        f"from __future__ import annotations\n\n{carried.import_lines()}\n\n",
        *(f"{text}\n\n" for text in carried.sources.values()),
        f"{_CHECK.strip()}\n\n",
        f"{model}\n\n",
        _LOAD.strip().format(name=class_name),
    ]
    return "\n".join(parts) + "\n"


def comment_text(text: str) -> str:
    """Return a text of unknown origin so that it can stand in a docstring and be
    nothing but text there.
    """
    kept = "".join(
        sign if sign.isprintable() else "?" for sign in " ".join(str(text).split())
    )
    return kept.replace("\\", "/").replace('"', "'")


def _docstring(port: PortedModel) -> str:
    origin = port.origin
    config = origin.config["config"]
    name = (
        config.get("name", "sequential") if isinstance(config, dict) else "sequential"
    )
    written = (
        f" written by Keras {origin.keras_version}" if origin.keras_version else ""
    )
    free = any(None in shape[1:] for shape in origin.inputs.values())
    paragraphs = [
        f"The Keras model '{name}' in PyTorch.",
        f"Ported by ecgnb {package_version('ecgnb')} from {_file(port)}{written}; "
        "modules have the names of the Keras layers.",
        f"{_about(port)} Axes of the input: {origin.input_layout} (batch, time, channel)."
        + (
            " Where a length is free, the comments below tell the shapes for 1000."
            if free
            else ""
        ),
        "Explain `logits`, not the probabilities after them: a saturated softmax has no gradient.",
    ]
    texts = [*(_wrapped(each, 3) for each in paragraphs), _contract(port.contract)]
    return '"""' + "\n\n".join(texts) + '\n"""\n'


def _wrapped(text: str, used: int, indent: str = "") -> str:
    """Break a text for a docstring; ``used`` characters of the first line are taken."""
    lines = textwrap.wrap(
        comment_text(text),
        LINE - len(indent),
        initial_indent=" " * used,
        break_on_hyphens=False,
    )
    return f"\n{indent}".join(lines).lstrip()


def _contract(contract: Contract | None) -> str:
    if contract is None:
        return _wrapped(
            "The Keras file does not tell sampling rate, units, order of the leads, filters and class names; ask "
            "whoever trained the model, since a wrong guess fails nowhere.",
            0,
        )
    facts = {
        name: comment_text(text) for name, text in contract_facts(contract).items()
    }
    return text_facts(facts, LINE)


def _file(port: PortedModel) -> str:
    return f"the file '{port.source['file']}'" if port.source else "a file"


def _about(port: PortedModel) -> str:
    """Tell inputs and outputs; the names are the file's."""
    origin = port.origin
    shapes = [
        f"{each} {shape_text(_turned(shape, origin.input_layout))}"
        for each, shape in origin.inputs.items()
    ]
    ends = [
        f"{shape_text((None, *shape))} ({end})"
        for shape, end in zip(origin.outputs, origin.activations, strict=True)
    ]
    return comment_text(f"Input: {', '.join(shapes)}. Output: {', '.join(ends)}.")


def _turned(shape: tuple[int | None, ...], layout: str) -> tuple[int | None, ...]:
    """Return the shape in the layout that the port takes."""
    return (
        (shape[0], shape[2], shape[1]) if layout == "NCT" and len(shape) == 3 else shape
    )


def _class(port: PortedModel, class_name: str, carried: Carried) -> str:
    inputs, logits = _logits(port, carried)
    result = (
        " -> tuple[Tensor, ...]:" if len(port.origin.activations) > 1 else " -> Tensor:"
    )
    named = ["self", *(f"{name}: Tensor" for name in inputs)]
    about = _wrapped(_about(port), 3, "    ")
    lines = [
        f"class {class_name}(nn.Module):",
        f'    """{about}' + ("\n    " if "\n" in about else "") + '"""',
        "",
        "    def __init__(self) -> None:",
        "        super().__init__()",
        *_modules(port, carried),
        "",
        call("def forward", named, "    ", result),
        '        """Return what the Keras model returns."""',
        *_forward(port, inputs),
        "",
        call("def logits", named, "    ", result),
        '        """Return the same without the last softmax or sigmoid."""',
        *logits,
    ]
    return "\n".join(lines)


def _modules(port: PortedModel, carried: Carried) -> list[str]:
    """Return a line for each module as it was built; nested models are plain
    containers.
    """
    lines, known = [], set()
    for path, made in port.origin.made.items():
        *above, _ = path.split(".")
        for depth in range(1, len(above) + 1):
            holder = ".".join(above[:depth])
            if holder not in known:
                known.add(holder)
                lines.append(f"        self.{holder} = nn.Module()")
        known.add(path)
        arguments = [literal(each, carried.name) for each in made.args]
        arguments += [
            f"{name}={literal(each, carried.name)}"
            for name, each in made.options.items()
        ]
        lines.append(
            call(f"self.{path} = {carried.name(made.kind)}", arguments, "        ")
        )
    return lines


def _logits(port: PortedModel, carried: Carried) -> tuple[list[str], list[str]]:
    """Return the names of the inputs and the body of ``logits``."""
    nodes = list(port.logits.graph.nodes)
    places = [node for node in nodes if node.op == "placeholder"]
    names = _input_names(port, places)
    body = ForwardCode(carried, names, _TAKEN)
    outputs = _outputs(nodes)
    lines = [
        f"        check_shape({literal(names[node], repr)}, {names[node]}, {_turned(shape, port.origin.input_layout)})"
        for node, shape in zip(places, port.origin.inputs.values(), strict=True)
    ]
    lines += body.write(
        [node for node in nodes if node.op not in ("placeholder", "output")], outputs
    )
    return list(names.values()), [
        *lines,
        row("return ", [body.name(node) for node in outputs], "        "),
    ]


def _input_names(port: PortedModel, places: list[fx.Node]) -> dict[fx.Node, str]:
    if len(places) == 1:
        return {places[0]: "signal"}
    names: dict[fx.Node, str] = {}
    for node, name in zip(places, port.origin.inputs, strict=True):
        word = module_name(name)
        while word in _TAKEN | set(names.values()):
            word += "_"
        names[node] = word
    return names


def _forward(port: PortedModel, inputs: list[str]) -> list[str]:
    """Return the body of ``forward``: what comes after the logits."""
    ends, modules = _outputs(list(port.graph.nodes)), dict(port.named_modules())
    given = call("self.logits", inputs)
    single = len(ends) == 1
    if set(port.origin.activations) == {"linear"}:
        return [f"        return {given}"]
    lines = [] if single else [f"        outputs = list({given})"]
    for place, node in enumerate(ends):
        name = given if single else f"outputs[{place}]"
        chain, before, code = [node], before_activation(node, modules)[0], name
        while chain[0] is not before:
            chain.insert(0, chain[0].all_input_nodes[0])
        for each in chain[1:]:
            code = (
                f"self.{each.target}({code})"
                if each.op == "call_module"
                else _method(code, each)
            )
        lines += (
            [f"        return {code}"]
            if single
            else [f"        {name} = {code}"] * (code != name)
        )
    return lines if single else [*lines, "        return tuple(outputs)"]


def _method(name: str, node: fx.Node) -> str:
    return f"{name}.{node.target}({', '.join(map(str, node.args[1:]))})"


def _outputs(nodes: list[fx.Node]) -> list[fx.Node]:
    result: Any = nodes[-1].args[0]
    return list(result) if isinstance(result, tuple) else [result]
