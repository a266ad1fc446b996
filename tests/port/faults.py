"""Deliberate faults in a port, one at a time: what a verification of ports must find.

Each entry of `FAULTS` spoils a correct port in place and says which row of the
comparison must diverge first and how the cause must be called; an empty cause stands
for faults that may remain unknown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from ecgnb.port import PortedModel

AVB, GENERIC, RIBEIRO = "pathology_avb", "generic_ecg", "ribeiro_small"


@dataclass(frozen=True)
class Fault:
    """One fault: in which model, what it does, where it must be found and what it must
    be called."""

    name: str
    model: str
    layer: str
    cause: str
    spoil: Callable[[PortedModel], Any]

    @property
    def golden(self) -> bool:
        """Whether the model is a golden one, and not of the layer zoo."""
        return self.model in (AVB, GENERIC, RIBEIRO)


FAULTS: list[Fault] = []


def fault(
    model: str, layer: str, cause: str = ""
) -> Callable[[Callable[[PortedModel], Any]], Any]:
    """Enter a function that spoils a port in the list, under its own name."""

    def enter(spoil: Callable[[PortedModel], Any]) -> Callable[[PortedModel], Any]:
        FAULTS.append(Fault(spoil.__name__, model, layer, cause, spoil))
        return spoil

    return enter


def keras(tensor: Tensor) -> Tensor:
    """Return an array as Keras lays it out: the axes in reverse order."""
    return tensor.permute(tuple(reversed(range(tensor.ndim)))).contiguous()


def put(tensor: Tensor, values: Tensor) -> None:
    tensor.data = values.clone().contiguous()


class Before(nn.Module):
    """A module with its input changed."""

    def __init__(self, module: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.module, self.change = module, change

    def forward(self, x: Tensor) -> Tensor:
        return self.module(self.change(x))


class After(Before):
    """A module with its output changed."""

    def forward(self, *inputs: Tensor) -> Any:
        return self.change(self.module(*inputs))


def replace(port: PortedModel, name: str, module: nn.Module) -> None:
    port.get_submodule(name)  # a fault in a module that is not there would be none
    *above, last = name.split(".")
    setattr(port.get_submodule(".".join(above)), last, module.eval())


def node_of(port: PortedModel, label: str) -> fx.Node:
    return next(node for node in port.graph.nodes if node.meta.get("keras") == label)


def lose_transpose(port: PortedModel, label: str) -> None:
    """Let a layer take what stands before the transposition of its input."""
    node = node_of(port, label)
    turned = node.all_input_nodes[0]
    assert turned.target == "transpose"
    node.args = (turned.args[0],)
    port.recompile()


def append(port: PortedModel, label: str, module: nn.Module) -> None:
    """Put a module behind a layer, as part of it."""
    node = node_of(port, label)
    port.add_module("appended", module)
    with port.graph.inserting_after(node):
        new = port.graph.call_module("appended", (node,))
    node.replace_all_uses_with(new, delete_user_cb=lambda user: user is not new)
    new.meta = {**node.meta}
    del node.meta["keras"]
    port.recompile()


# Kernels in the wrong layout.


@fault(AVB, "conv1d_3")
def kernel_flipped_in_time(port):
    put(port.conv1d_3.weight, port.conv1d_3.weight.flip(-1))


@fault(RIBEIRO, "conv1d_8")
def even_kernel_flipped_in_time(port):
    put(port.conv1d_8.weight, port.conv1d_8.weight.flip(-1))


@fault(AVB, "conv1d_1")
def kernel_rolled_by_one_tap(port):
    put(port.conv1d_1.weight, port.conv1d_1.weight.roll(1, -1))


@fault(AVB, "conv1d", "transposed kernel")
def first_kernel_reshaped(port):
    weight = port.conv1d.weight
    put(weight, keras(weight).reshape(weight.shape))


@fault(GENERIC, "last_conv", "transposed kernel")
def last_kernel_reshaped(port):
    weight = port.last_conv.weight
    put(weight, keras(weight).reshape(weight.shape))


@fault(AVB, "conv1d_2", "transposed kernel")
def kernel_channels_exchanged(port):
    put(port.conv1d_2.weight, port.conv1d_2.weight.transpose(0, 1))


@fault(RIBEIRO, "conv1d_5", "transposed kernel")
def kernel_axes_in_another_order(port):
    weight = port.conv1d_5.weight
    put(weight, keras(weight).permute(1, 2, 0).reshape(weight.shape))


@fault(AVB, "dense_1", "transposed kernel")
def square_dense_not_transposed(port):
    put(port.dense_1.weight, port.dense_1.weight.T)


@fault(AVB, "dense_3", "transposed kernel")
def last_dense_not_transposed(port):
    weight = port.dense_3.weight
    put(weight, keras(weight).reshape(weight.shape))


@fault(GENERIC, "dense", "transposed kernel")
def wide_dense_reshaped(port):
    weight = port.dense.weight
    put(weight, keras(weight).reshape(weight.shape))


@fault(AVB, "conv1d_4")
def kernel_of_one_channel_flipped(port):
    port.conv1d_4.weight.data[17] = port.conv1d_4.weight[17].flip(-1).clone()


# Single numbers.


@fault(AVB, "conv1d_1")
def sign_of_one_tap_flipped(port):
    port.conv1d_1.weight.data[5, 3, 1] *= -1


@fault(GENERIC, "conv1d")
def sign_of_one_tap_flipped_before_relu(port):
    port.conv1d.weight.data[
        int(port.conv1d.weight.abs().sum((1, 2)).argmax()), 0, 2
    ] *= -1


@fault(AVB, "conv1d")
def one_weight_off_by_a_thousandth(port):
    index = int(port.conv1d.weight.abs().argmax())
    port.conv1d.weight.data.view(-1)[index] *= 1.001


@fault(AVB, "dense_2")
def one_dense_weight_zero(port):
    index = int(port.dense_2.weight.abs().argmax())
    port.dense_2.weight.data.view(-1)[index] = 0


@fault(AVB, "conv1d_4")
def bias_zeroed(port):
    port.conv1d_4.bias.data.zero_()


@fault(AVB, "conv1d_2")
def one_bias_zeroed(port):
    port.conv1d_2.bias.data[int(port.conv1d_2.bias.abs().argmax())] = 0


@fault(GENERIC, "conv1d")
def bias_wrong_before_relu(port):
    port.conv1d.bias.data += torch.linspace(-0.1, 0.1, 16)


@fault(RIBEIRO, "dense")
def bias_wrong_before_sigmoid(port):
    port.dense.bias.data += 0.25


@fault(RIBEIRO, "dense")
def bias_lost(port):
    port.dense.bias = None


@fault(AVB, "conv1d_3")
def kernel_scaled(port):
    port.conv1d_3.weight.data *= 1.0005
    port.conv1d_3.bias.data *= 1.0005


@fault(AVB, "dense_1")
def arrays_of_two_layers_exchanged(port):
    first, second = port.dense_1, port.dense_2
    replace(port, "dense_1", second)
    replace(port, "dense_2", first)


@fault(AVB, "conv1d_4")
def kernel_of_another_layer(port):
    put(port.conv1d_4.weight, port.conv1d_3.weight)


@fault(AVB, "conv1d_3")
def kernel_quantised(port):
    put(port.conv1d_3.weight, port.conv1d_3.weight.bfloat16().float())


@fault(AVB, "conv1d_2")
def one_weight_not_a_number(port):
    port.conv1d_2.weight.data[0, 0, 0] = float("nan")


@fault(AVB, "conv1d_1")
def output_channels_moved_by_one(port):
    put(port.conv1d_1.weight, port.conv1d_1.weight.roll(1, 0))
    put(port.conv1d_1.bias, port.conv1d_1.bias.roll(1, 0))


# Normalisation.


@fault(RIBEIRO, "batch_normalization_4", "BatchNorm epsilon: the port has 1e-05; 0.001")
def epsilon_of_pytorch(port):
    port.batch_normalization_4.eps = 1e-5


@fault(RIBEIRO, "batch_normalization", "BatchNorm epsilon")
def epsilon_of_all_layers(port):
    for module in port.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.eps = 1e-5


@fault(RIBEIRO, "batch_normalization_2", "BatchNorm epsilon")
def epsilon_unusual(port):
    port.batch_normalization_2.eps = 0.0123


@fault(RIBEIRO, "batch_normalization_1")
def gamma_and_beta_exchanged(port):
    norm = port.batch_normalization_1
    gamma, beta = norm.weight.data.clone(), norm.bias.data.clone()
    put(norm.weight, beta)
    put(norm.bias, gamma)


@fault(RIBEIRO, "batch_normalization_3")
def mean_and_variance_exchanged(port):
    norm = port.batch_normalization_3
    mean, variance = norm.running_mean.clone(), norm.running_var.clone()
    put(norm.running_mean, variance)
    put(norm.running_var, mean)


@fault(RIBEIRO, "batch_normalization_6")
def variance_is_a_deviation(port):
    put(
        port.batch_normalization_6.running_var,
        port.batch_normalization_6.running_var.sqrt(),
    )


@fault(RIBEIRO, "batch_normalization_5")
def normalisation_missing(port):
    replace(port, "batch_normalization_5", nn.Identity())


@fault(RIBEIRO, "batch_normalization_7")
def gamma_missing(port):
    put(
        port.batch_normalization_7.weight,
        torch.ones_like(port.batch_normalization_7.weight),
    )


@fault(RIBEIRO, "batch_normalization_2")
def variance_four_times_as_large(port):
    port.batch_normalization_2.running_var *= 4


@fault(RIBEIRO, "batch_normalization_2")
def gamma_twice_as_large(port):
    port.batch_normalization_2.weight.data *= 2


@fault(RIBEIRO, "batch_normalization", "training mode")
def whole_port_in_training_mode(port):
    port.train()


# Padding, strides, pooling.


@fault(
    RIBEIRO,
    "conv1d",
    "padding side: the port pads 8 before and 7 after; 7 before and 8 after",
)
def even_padding_on_the_other_side(port):
    replace(port, "conv1d_padding", nn.ConstantPad1d((8, 7), 0.0))


@fault(
    RIBEIRO,
    "conv1d_6",
    "padding side: the port pads 7 before and 5 after; 6 before and 6 after",
)
def padding_before_a_stride_shifted(port):
    replace(port, "conv1d_6_padding", nn.ConstantPad1d((7, 5), 0.0))


@fault(RIBEIRO, "conv1d_12", "padding side")
def padding_all_at_the_end(port):
    replace(port, "conv1d_12_padding", nn.ConstantPad1d((0, 12), 0.0))


@fault(
    RIBEIRO,
    "conv1d_2",
    "padding side: the port pads 15 before and 0 after; 7 before and 8 after",
)
def causal_instead_of_same(port):
    replace(port, "conv1d_2_padding", nn.ConstantPad1d((15, 0), 0.0))


@fault(AVB, "conv1d")
def causal_inside_another_module(port):
    port.conv1d.padding = 0
    replace(port, "conv1d", nn.Sequential(nn.ConstantPad1d((2, 0), 0.0), port.conv1d))


@fault(RIBEIRO, "conv1d_5", "padding side: the port pads 16 before and -1 after")
def shifted_by_more_than_the_padding(port):
    replace(port, "conv1d_5_padding", nn.ConstantPad1d((16, -1), 0.0))


@fault(AVB, "conv1d_4")
def padding_repeats_the_edge(port):
    conv = port.conv1d_4
    conv.padding_mode, conv._reversed_padding_repeated_twice = "replicate", [1, 1]


@fault(AVB, "max_pooling1d")
def stride_begins_one_later(port):
    replace(
        port,
        "max_pooling1d",
        Before(port.max_pooling1d, lambda x: nn.functional.pad(x[..., 1:], (0, 1))),
    )


@fault(GENERIC, "max_pooling1d_1")
def mean_instead_of_maximum(port):
    replace(port, "max_pooling1d_1", nn.AvgPool1d(4))


@fault(AVB, "global_average_pooling1d")
def maximum_instead_of_mean(port):
    from ecgnb.port.modules.basic import GlobalMaxPool1d

    replace(port, "global_average_pooling1d", GlobalMaxPool1d())


@fault(AVB, "max_pooling1d_4", "shapes differ")
def pooling_of_another_length(port):
    replace(port, "max_pooling1d_4", nn.MaxPool1d(2, ceil_mode=True))


# Order.


@fault(GENERIC, "flatten", "flatten order")
def flattened_channel_major(port):
    lose_transpose(port, "flatten")


@fault(RIBEIRO, "flatten", "flatten order")
def flattened_channel_major_after_residuals(port):
    lose_transpose(port, "flatten")


@fault(GENERIC, "dense", "flatten order")
def dense_sorted_for_channel_major(port):
    weight = port.dense.weight
    put(weight, weight.reshape(64, 46, 64).transpose(1, 2).reshape(weight.shape))


@fault(AVB, "conv1d")
def leads_avr_and_avl_swapped(port):
    put(port.conv1d.weight, port.conv1d.weight[:, [0, 1, 2, 4, 3, *range(5, 12)]])


@fault(RIBEIRO, "conv1d")
def leads_swapped_in_the_input(port):
    order = [1, 0, *range(2, 12)]
    replace(port, "conv1d_padding", Before(port.conv1d_padding, lambda x: x[:, order]))


@fault(AVB, "conv1d")
def leads_reversed(port):
    put(port.conv1d.weight, port.conv1d.weight.flip(1))


@fault(GENERIC, "conv1d")
def signal_reversed(port):
    replace(port, "conv1d", Before(port.conv1d, lambda x: x.flip(-1)))


@fault(AVB, "conv1d")
def input_in_microvolt(port):
    replace(port, "conv1d", Before(port.conv1d, lambda x: 1000 * x))


@fault(GENERIC, "conv1d")
def input_in_volt(port):
    port.conv1d.weight.data *= 0.001


@fault(RIBEIRO, "conv1d")
def input_upside_down(port):
    put(port.conv1d.weight, -port.conv1d.weight)


@fault(AVB, "conv1d")
def one_lead_upside_down(port):
    port.conv1d.weight.data[:, 3] *= -1


# Activations.


@fault(AVB, "activation_3")
def relu_instead_of_elu(port):
    replace(port, "activation_3", nn.ReLU())


@fault(AVB, "activation_1")
def elu_with_another_alpha(port):
    replace(port, "activation_1", nn.ELU(0.99))


@fault(AVB, "activation_6", "missing activation")
def activation_missing(port):
    replace(port, "activation_6", nn.Identity())


@fault(GENERIC, "conv1d_1", "missing activation")
def activation_within_a_layer_missing(port):
    replace(port, "conv1d_1_activation", nn.Identity())


@fault(RIBEIRO, "activation")
def leaky_relu_instead_of_relu(port):
    replace(port, "activation", nn.LeakyReLU(0.001))


@fault(RIBEIRO, "dense")
def softmax_instead_of_sigmoid(port):
    replace(port, "dense_activation", nn.Softmax(dim=-1))


@fault(AVB, "dense_1")
def activation_too_many(port):
    append(port, "dense_1", nn.ReLU())


@fault(RIBEIRO, "dense")
def activation_twice(port):
    append(port, "dense", nn.Sigmoid())


@fault(AVB, "softmax")
def softmax_over_the_batch(port):
    port.softmax.dim = 0


@fault(AVB, "dropout_1", "training mode")
def dropout_left_active(port):
    port.dropout_1.train()


@fault(RIBEIRO, "dropout_7", "training mode")
def last_dropout_left_active(port):
    port.dropout_7.train()


@fault(RIBEIRO, "dense")
def hard_sigmoid_instead_of_sigmoid(port):
    replace(port, "dense_activation", nn.Hardsigmoid())


# Layers that give another shape.


@fault(AVB, "max_pooling1d_2", "shapes differ")
def pooling_over_three(port):
    port.max_pooling1d_2.kernel_size = 3


@fault(AVB, "global_average_pooling1d", "shapes differ")
def pooling_missing(port):
    replace(port, "global_average_pooling1d", nn.Identity())


@fault(GENERIC, "max_pooling1d", "shapes differ")
def flattened_length_no_longer_fits(port):
    replace(port, "max_pooling1d", nn.MaxPool1d(2))


@fault(
    AVB,
    "conv1d_1",
    "it cannot be computed: shapes differ or do not fit: the port stops at conv1d_1",
)
def kernel_for_other_channels(port):
    replace(port, "conv1d_1", nn.Conv1d(32, 64, 5, padding="same"))


# Merges and states of the graph.


@fault(RIBEIRO, "add_1")
def difference_instead_of_sum(port):
    replace(port, "add_1", Merged(torch.sub))


@fault(RIBEIRO, "add_2")
def mean_instead_of_sum(port):
    replace(port, "add_2", Merged(lambda a, b: (a + b) / 2))


@fault(RIBEIRO, "add")
def skip_path_missing(port):
    replace(port, "add", Merged(lambda a, b: b))


class Merged(nn.Module):
    def __init__(self, merge: Callable[..., Tensor]) -> None:
        super().__init__()
        self.merge = merge

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.merge(*inputs)


@fault(AVB, "gradient of conv1d_input", "a derivative differs")
def gradient_stopped(port):
    replace(
        port,
        "activation_4",
        After(port.activation_4, lambda x: 0.5 * x + 0.5 * x.detach()),
    )


@fault(GENERIC, "conv1d", "precision")
def reduced_precision(port):
    class Half(nn.Module):
        def __init__(self, conv):
            super().__init__()
            self.conv = conv

        def forward(self, x):
            return (
                self.conv(x)
                if x.dtype == torch.float64
                else self.conv(x.bfloat16().float())
            )

    replace(port, "conv1d", Half(port.conv1d))
