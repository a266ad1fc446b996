"""Deliberate faults in layers that the golden models do not have, in models of the
layer zoo."""

from __future__ import annotations

import torch
from faults import Merged, fault, keras, node_of, put, replace
from torch import nn

from ecgnb.port.modules.basic import SamePad1d


def gates(tensor, *order):
    put(tensor, torch.cat([tensor.data.chunk(len(order))[place] for place in order]))


def cell_arrays(module):
    return [
        module.weight_ih_l0,
        module.weight_hh_l0,
        module.bias_ih_l0,
        module.bias_hh_l0,
    ]


# Recurrent layers.


@fault("recurrent_lstm", "sequences", "gate order")
def lstm_gates_of_the_first_tensorflow(port):
    for tensor in cell_arrays(port.sequences):
        gates(tensor, 0, 2, 1, 3)


@fault("recurrent_lstm", "last", "gate order")
def lstm_gates_of_onnx(port):
    for tensor in cell_arrays(port.last):
        gates(tensor, 0, 3, 1, 2)


@fault("recurrent_lstm", "last", "gate order: the gates of bias_ih_l0")
def lstm_gates_of_the_bias_alone(port):
    gates(port.last.bias_ih_l0, 0, 2, 1, 3)


@fault("recurrent_lstm", "last", "transposed kernel")
def lstm_state_kernel_not_transposed(port):
    weight = port.last.weight_hh_l0
    put(weight, keras(weight).reshape(weight.shape))


@fault("recurrent_lstm", "last")
def lstm_forget_bias_added_once_more(port):
    port.last.bias_ih_l0.data[3:6] += 1


@fault("recurrent_lstm", "backwards")
def lstm_not_backwards(port):
    node = next(node for node in port.graph.nodes if node.target == "backwards")
    node.args = (node.args[0].args[0],)
    port.recompile()


@fault("recurrent_stacked", "lstm_2", "gate order")
def second_lstm_gates_swapped(port):
    for tensor in cell_arrays(port.lstm_2):
        gates(tensor, 1, 0, 2, 3)


@fault("recurrent_gru", "last", "gate order")
def gru_gates_as_in_keras(port):
    for tensor in cell_arrays(port.last):
        gates(tensor, 1, 0, 2)


@fault("recurrent_gru", "before", "gate order")
def gru_gates_swapped_where_reset_is_before(port):
    for tensor in cell_arrays(port.before):
        gates(tensor, 1, 0, 2)


@fault("recurrent_gru", "sequences")
def gru_biases_exchanged(port):
    first, second = (
        port.sequences.bias_ih_l0.data.clone(),
        port.sequences.bias_hh_l0.data.clone(),
    )
    put(port.sequences.bias_ih_l0, second)
    put(port.sequences.bias_hh_l0, first)


@fault("recurrent_gru", "before")
def gru_reset_after_instead_of_before(port):
    cell = nn.GRU(3, 3, batch_first=True)
    cell.load_state_dict(port.before.state_dict())
    replace(port, "before", cell)


@fault("bidirectional_lstm", "bi_concat_last")
def both_directions_exchanged(port):
    both = port.get_submodule("bi_concat_last")
    both.forward_layer, both.backward_layer = both.backward_layer, both.forward_layer


@fault("bidirectional_lstm", "bi_concat_sequences")
def backward_sequence_not_turned(port):
    joined = node_of(port, "bi_concat_sequences")
    forward, turned = joined.args[0]
    joined.args = ([forward, turned.args[0]],)
    port.recompile()


@fault("bidirectional_lstm", "bi_concat_sequences")
def directions_joined_in_another_order(port):
    joined = node_of(port, "bi_concat_sequences")
    joined.args = (joined.args[0][::-1],)
    port.recompile()


# Other layers.


@fault("embedding", "embedding")
def embedding_counted_from_one(port):
    put(port.embedding.weight, port.embedding.weight.roll(1, 0))


@fault("attention_heads", "self")
def queries_and_keys_exchanged(port):
    query, key = port.self_.query, port.self_.key
    port.self_.query, port.self_.key = key, query


@fault("attention_heads", "cross")
def attention_not_scaled(port):
    port.cross.scale = 1.0


@fault("attention_heads", "cross")
def heads_interleaved(port):
    weight = port.cross.output.weight
    put(weight, weight.reshape(6, 3, 5).transpose(1, 2).reshape(6, 15))


@fault("conv_separable", "separable_m1")
def depthwise_kernel_flipped(port):
    put(port.separable_m1.depthwise.weight, port.separable_m1.depthwise.weight.flip(-1))


@fault("conv_separable", "separable_m1", "transposed kernel")
def pointwise_kernel_reshaped(port):
    weight = port.separable_m1.pointwise.weight
    put(weight, keras(weight).reshape(weight.shape))


@fault("conv_separable", "separable_m2")
def depthwise_multiplier_before_channels(port):
    weight = port.separable_m2.depthwise.weight
    put(weight, weight.reshape(3, 2, 1, 4).transpose(0, 1).reshape(weight.shape))


@fault("conv_transpose", "transpose_same_s2_k3")
def transposed_kernel_flipped(port):
    put(port.transpose_same_s2_k3.weight, port.transpose_same_s2_k3.weight.flip(-1))


@fault("conv_transpose", "transpose_same_s2_k3")
def cropped_on_the_other_side(port):
    (
        port.transpose_same_s2_k3_cropping.left,
        port.transpose_same_s2_k3_cropping.right,
    ) = 1, 0


@fault(
    "conv_options",
    "tanh_causal",
    "padding side: the port pads 0 before and 2 after; 2 before and 0 after",
)
def causal_padding_at_the_end(port):
    replace(port, "tanh_causal_padding", nn.ConstantPad1d((0, 2), 0.0))


@fault(
    "conv_options", "tanh_causal", "padding side: the port pads 1 before and 1 after"
)
def same_padding_instead_of_causal(port):
    replace(port, "tanh_causal_padding", nn.Identity())
    port.tanh_causal.padding = "same"


@fault("conv_options", "softmax")
def softmax_over_time(port):
    port.softmax_activation.dim = -1


@fault("conv_odd", "conv_same_s1_k3_d2")
def dilation_lost(port):
    port.conv_same_s1_k3_d2.dilation = (1,)
    port.conv_same_s1_k3_d2._reversed_padding_repeated_twice = [1, 1]


@fault("norm_layer", "ln", "epsilon")
def layer_normalisation_with_epsilon_of_pytorch(port):
    port.ln.eps = 1e-5


@fault("norm_group", "gn_2")
def number_of_groups_wrong(port):
    port.gn_2.num_groups = 4


@fault("norm_batch", "bn_axis_time")
def beta_and_mean_exchanged_over_time(port):
    beta, mean = (
        port.bn_axis_time.bias.data.clone(),
        port.bn_axis_time.running_mean.clone(),
    )
    put(port.bn_axis_time.bias, mean)
    put(port.bn_axis_time.running_mean, beta)


@fault("pooling", "max_same_p3_s2")
def maximum_over_padded_zeros(port):
    replace(port, "max_same_p3_s2_padding", SamePad1d(3, 2, value=0.0))


@fault("pooling", "mean_same_p3_s2")
def mean_counts_the_padding(port):
    replace(port, "mean_same_p3_s2", nn.Sequential(SamePad1d(3, 2), nn.AvgPool1d(3, 2)))


@fault("pooling", "mean_same_p5_s1")
def mean_counts_its_own_padding(port):
    port.mean_same_p5_s1.count_include_pad = not port.mean_same_p5_s1.count_include_pad


@fault("merge", "subtract")
def difference_the_other_way(port):
    node = node_of(port, "subtract")
    node.args = node.args[::-1]
    port.recompile()


@fault("merge", "concat_channels")
def channels_joined_in_another_order(port):
    node = node_of(port, "concat_channels")
    node.args = (node.args[1], node.args[0], node.args[2])
    port.recompile()


@fault("merge", "average_3")
def sum_instead_of_mean(port):
    replace(port, "average_3", Merged(lambda a, b, c: a + b + c))


@fault("activation_layers", "leaky")
def slope_of_pytorch(port):
    replace(port, "leaky", nn.LeakyReLU())


@fault("activation_layers", "softmax_time")
def softmax_over_channels(port):
    port.softmax_time.dim = -1


@fault("time_distributed", "td_dense", "flatten order")
def flatten_at_every_step_sorted_otherwise(port):
    weight = port.get_submodule("td_dense.layer").weight
    put(weight, weight.reshape(4, 5, 3).transpose(1, 2).reshape(weight.shape))


@fault("nested_twice", "encoder/encoder_bn_1")
def weights_of_a_nested_model_in_another_order(port):
    encoder = port.get_submodule("encoder")
    encoder.encoder_bn_1, encoder.encoder_bn_2 = (
        encoder.encoder_bn_2,
        encoder.encoder_bn_1,
    )
