"""Export a port as a readable PyTorch file that needs neither ecgnb nor Keras."""

from __future__ import annotations

import itertools
import keyword
import textwrap

from torch import fx

from ecgnb.core.console import printable, text_facts
from ecgnb.core.environment import package_version
from ecgnb.core.errors import ConfigError
from ecgnb.port.build import before_activation, output_nodes
from ecgnb.port.contract import contract_facts
from ecgnb.port.network import module_name
from ecgnb.port.ported import PortedModel
from ecgnb.port.source.dependencies import Dependencies
from ecgnb.port.source.expressions import LINE, arguments_of, call
from ecgnb.port.source.forward_code import ForwardCode, shape_text

#: Names that an exported file uses for itself.
_RESERVED = {
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

_NO_CONTRACT = """\
The Keras file does not contain sampling rate, units, order of the leads, filters and
class names; ask whoever trained the model, since a wrong guess raises no error."""

_CHECK_SHAPE = '''\
def check_shape(name: str, x: Tensor, expected: tuple[int | None, ...]) -> None:
    """Refuse another shape than that of training, which would give wrong results."""
    sizes = tuple(None if n is None else size for n, size in zip(expected, x.shape))
    if x.ndim != len(expected) or sizes != expected:
        raise ValueError(
            f"{name} must have the shape {expected} (None: any size), "
            f"not {tuple(x.shape)}."
        )
'''

_LOAD = '''
    """Return the model with its weights, ready for inference."""
    from safetensors.torch import load_file

    model = {name}()
    model.load_state_dict(load_file(weights), strict=True)
    return model.eval()
'''


def source_code(port: PortedModel, class_name: str = "Model") -> str:
    """Return a port as a Python file: the class, the modules that PyTorch lacks, and a
    function that loads the weights.

    The file imports PyTorch alone. The class has the state dictionary of the port and
    computes the same, bit for bit.

    Args:
        port: as `port_keras` returns it.
        class_name: of the class.

    Raises:
        ConfigError: the name is no Python name, or is used otherwise in the file.
        PortError: the model contains something that cannot be written as source code.
    """
    dependencies = Dependencies()
    for name in ("pathlib import Path", "torch import Tensor", "torch import nn"):
        dependencies.add_import(f"from {name}")
    # First, since it collects what the imports and definitions before it must hold.
    model = _class(port, class_name, dependencies)
    is_name = class_name.isidentifier() and not keyword.iskeyword(class_name)
    if not is_name or class_name in _RESERVED | set(dependencies.sources):
        raise ConfigError(
            f"class_name={class_name!r} is no Python name, or is used otherwise in the "
            "file; choose another."
        )
    header = f"from __future__ import annotations\n\n{dependencies.import_lines()}\n"
    definitions = [f"{text}\n" for text in dependencies.sources.values()]
    default = 'weights: str | Path = Path(__file__).with_name("model.safetensors")'
    load = call("def load", [default], tail=f" -> {class_name}:")
    load += _LOAD.format(name=class_name)
    definitions += [_CHECK_SHAPE, f"{model}\n", load]
    code = "\n\n".join([header, *definitions])
    return f"{_docstring(port)}\n{code}"


def comment_text(text: str) -> str:
    """Return a text of unknown origin so that in a docstring it is nothing but text."""
    # Neither an escape nor three quotes can end the docstring.
    return printable(str(text)).replace("\\", "/").replace('"', "'")


def _docstring(port: PortedModel) -> str:
    origin = port.origin
    name = "sequential"  # Keras 1 writes a list of layers, without a name
    if isinstance(origin.config["config"], dict):
        name = origin.config["config"].get("name", name)
    file = f"the file '{port.source['file']}'" if port.source else "a file"
    if origin.keras_version:
        file += f" written by Keras {origin.keras_version}"
    about = (
        f"{_shapes_text(port)} Axes of the input: {origin.input_layout} (batch, time, "
        "channel)."
    )
    if any(None in shape[1:] for shape in origin.inputs.values()):
        about += " Where a length is free, the comments below show the shapes for 1000."
    paragraphs = [
        f"The Keras model '{name}' in PyTorch.",
        f"Ported by ecgnb {package_version('ecgnb')} from {file}; modules have the "
        "names of the Keras layers.",
        about,
        "Explain `logits`, not the probabilities after them: a saturated softmax has "
        "no gradient.",
    ]
    texts = [_wrapped(paragraph, reserved=3) for paragraph in paragraphs]
    if port.contract is None:
        texts.append(_wrapped(_NO_CONTRACT))
    else:
        facts = contract_facts(port.contract)
        for name, text in facts.items():
            facts[name] = comment_text(text)
        texts.append(text_facts(facts, LINE))
    return '"""' + "\n\n".join(texts) + '\n"""\n'


def _wrapped(text: str, reserved: int = 0, indent: str = "") -> str:
    """Wrap a text for a docstring; the first line is ``reserved`` shorter."""
    lines = textwrap.wrap(
        comment_text(text),
        LINE - len(indent),
        initial_indent=" " * reserved,
        break_on_hyphens=False,
    )
    return f"\n{indent}".join(lines).lstrip()


def _shapes_text(port: PortedModel) -> str:
    """Describe inputs and outputs, whose names come from the file."""
    origin = port.origin
    inputs, outputs = [], []
    for name, shape in origin.inputs.items():
        text = shape_text(origin.in_port_layout(shape))
        inputs.append(f"{name} {text}")
    for sizes, activation in zip(origin.outputs, origin.activations, strict=True):
        text = shape_text((None, *sizes))
        outputs.append(f"{text} ({activation})")
    text = f"Input: {', '.join(inputs)}. Output: {', '.join(outputs)}."
    return comment_text(text)


def _class(port: PortedModel, class_name: str, dependencies: Dependencies) -> str:
    inputs, logits = _logits(port, dependencies)
    parameters = ["self", *(f"{name}: Tensor" for name in inputs)]
    result = " -> Tensor:"
    if len(port.origin.activations) > 1:
        result = " -> tuple[Tensor, ...]:"
    about = _wrapped(_shapes_text(port), reserved=3, indent="    ")  # after the quotes
    if "\n" in about:
        about += "\n    "
    lines = [
        f"class {class_name}(nn.Module):",
        f'    """{about}"""',
        "",
        "    def __init__(self) -> None:",
        "        super().__init__()",
        *_modules(port, dependencies),
        "",
        call("def forward", parameters, "    ", result),
        '        """Return what the Keras model returns."""',
        *_forward(port, inputs),
        "",
        call("def logits", parameters, "    ", result),
        '        """Return the same without the last softmax or sigmoid."""',
        *logits,
    ]
    return "\n".join(lines)


def _modules(port: PortedModel, dependencies: Dependencies) -> list[str]:
    """Return one line per module as it was built; nested models are plain
    containers.
    """
    lines = []
    assigned: set[str] = set()
    for path, made in port.origin.made.items():
        *parents, _ = path.split(".")
        for container in itertools.accumulate(parents, "{}.{}".format):
            if container not in assigned:
                lines.append(f"        self.{container} = nn.Module()")
                assigned.add(container)
        assigned.add(path)
        arguments = arguments_of(made.args, made.options, dependencies.name)
        head = f"self.{path} = {dependencies.name(made.kind)}"
        lines.append(call(head, arguments, "        "))
    return lines


def _logits(
    port: PortedModel, dependencies: Dependencies
) -> tuple[list[str], list[str]]:
    """Return the names of the inputs and the body of ``logits``."""
    graph = port.logits.graph
    names = _input_names(port)
    lines = []
    for name, shape in zip(names, port.origin.inputs.values(), strict=True):
        expected = port.origin.in_port_layout(shape)
        lines.append(f'        check_shape("{name}", {name}, {expected})')
    placeholders = graph.find_nodes(op="placeholder")
    variables = dict(zip(placeholders, names, strict=True))
    code = ForwardCode(dependencies, variables, _RESERVED.union(names))
    outputs = output_nodes(graph)
    calls = [node for node in graph.nodes if node.op not in ("placeholder", "output")]
    lines += code.write(calls, outputs)
    results = [code.names[node] for node in outputs]
    line = f"        return {', '.join(results)}"
    if len(line) > LINE:  # ruff puts one item of a long tuple on each line
        items = "".join(f"            {name},\n" for name in results)
        line = f"        return (\n{items}        )"
    return names, [*lines, line]


def _input_names(port: PortedModel) -> list[str]:
    if len(port.origin.inputs) == 1:
        return ["signal"]
    names: list[str] = []
    for input_name in port.origin.inputs:
        name = module_name(input_name)
        while name in _RESERVED or name in names:
            name += "_"
        names.append(name)
    return names


def _forward(port: PortedModel, inputs: list[str]) -> list[str]:
    """Return the body of ``forward``: the activations after the logits."""
    logits = call("self.logits", inputs)
    if set(port.origin.activations) == {"linear"}:
        return [f"        return {logits}"]
    outputs = output_nodes(port.graph)
    if len(outputs) == 1:
        return [f"        return {_after_logits(port, outputs[0], logits)}"]
    lines = [f"        outputs = list({logits})"]
    for number, node in enumerate(outputs):
        name = f"outputs[{number}]"
        code = _after_logits(port, node, name)
        if code != name:
            lines.append(f"        {name} = {code}")
    return [*lines, "        return tuple(outputs)"]


def _after_logits(port: PortedModel, node: fx.Node, logits: str) -> str:
    """Return the expression that computes an output from its logits."""
    start, _ = before_activation(node, port)
    chain = []
    while node is not start:
        chain.append(node)
        node = node.all_input_nodes[0]
    code = logits
    for node in reversed(chain):
        if node.op == "call_module":
            code = f"self.{node.target}({code})"
        else:  # the transpose back to Keras' layout
            _, *axes = node.args
            code = f"{code}.{node.target}({', '.join(map(str, axes))})"
    return code
