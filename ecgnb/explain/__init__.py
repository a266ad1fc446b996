"""Explanations of classifiers: gradients, integrated gradients, Grad-CAM, layer-wise
relevance propagation.
"""

from ecgnb.core.registry import import_submodules
from ecgnb.explain.averaged_gradients import (
    integrated_gradients,
    smoothgrad,
    vargrad,
)
from ecgnb.explain.base import EXPLAINERS
from ecgnb.explain.dispatch import explain
from ecgnb.explain.grad_cam import grad_cam
from ecgnb.explain.gradients import (
    attention_saliency,
    gradient,
    gradient_x_input,
    gradient_x_sign,
    guided_backprop,
)
from ecgnb.explain.lrp import (
    lrp,
    lrp_alpha_1_beta_0,
    lrp_alpha_2_beta_1,
    lrp_epsilon,
    lrp_epsilon_std,
    lrp_sign_epsilon_std,
    lrp_z,
)

__all__ = [
    "EXPLAINERS",
    "attention_saliency",
    "explain",
    "grad_cam",
    "gradient",
    "gradient_x_input",
    "gradient_x_sign",
    "guided_backprop",
    "integrated_gradients",
    "lrp",
    "lrp_alpha_1_beta_0",
    "lrp_alpha_2_beta_1",
    "lrp_epsilon",
    "lrp_epsilon_std",
    "lrp_sign_epsilon_std",
    "lrp_z",
    "smoothgrad",
    "vargrad",
]

import_submodules(__name__)
