"""The same numbers as zennit 0.5.1 and captum 0.9.0 (torch 2.13, float64) give for the
small network of the fakes.

zennit's rules for convolutions and dense layers, its ``Norm`` for the average pooling,
and the logit as the relevance of the output; class 1.
"""

from __future__ import annotations

import pytest
import torch
from explain_fakes import Flat, cnn, signals

from ecgnb.explain import grad_cam, guided_backprop, integrated_gradients, lrp
from ecgnb.explain.rules import AlphaBeta, Epsilon

#: Sums of the two records, then the values at [0, 0, 3], [0, 1, 10], [1, 0, 7], [1, 1,
#: 15].
ZENNIT = [
    (
        (Epsilon(0.0), None),
        [
            0.6725985476,
            0.5341137222,
            0.06734769718,
            -0.03491333357,
            0.01901703634,
            -0.2610152892,
        ],
    ),
    (
        (Epsilon(0.25), None),
        [
            0.8279161161,
            0.6756685469,
            0.07619925762,
            -0.01509584053,
            0.04316400013,
            -0.114245027,
        ],
    ),
    (
        (AlphaBeta(1, 0), None),
        [1.830779186, 1.906644285, 0.02295423132, 0.004621865144, 0.06040007484, 0],
    ),
    (
        (AlphaBeta(2, 1), None),
        [
            1.6656013002,
            1.271596628,
            0.1173614387,
            -0.02753651577,
            0.4665603636,
            -0.07385514882,
        ],
    ),
    (
        (Epsilon(0.25), Flat()),
        [
            1.509323075,
            1.55101135,
            0.1090253034,
            -0.05936271047,
            0.1082135185,
            0.01613018713,
        ],
    ),
]
CAPTUM = [
    (
        (integrated_gradients, {"steps": 50}),
        [
            0.8952218663,
            0.9834924003,
            0.131284545,
            4.876917333e-05,
            0.04286873456,
            -0.143399694,
        ],
    ),
    (
        (integrated_gradients, {"steps": 50, "baseline": 0.2}),
        [
            0.6801661761,
            0.7803668999,
            0.05291250821,
            -0.002922898215,
            0.01096211141,
            -0.1231295641,
        ],
    ),
    (
        (guided_backprop, {}),
        [
            0.04628704529,
            0.9358605837,
            0.6226616003,
            0.01448326591,
            0.5658323681,
            -0.3577626256,
        ],
    ),
]


def numbers(found: torch.Tensor) -> torch.Tensor:
    places = [found[0, 0, 3], found[0, 1, 10], found[1, 0, 7], found[1, 1, 15]]
    return torch.cat([found.sum((1, 2)), torch.stack(places)])


@pytest.mark.parametrize(
    ("rules", "expected"), ZENNIT, ids=lambda value: str(value)[:60]
)
def test_lrp_agrees_with_zennit(rules, expected):
    found = numbers(lrp(cnn(), signals(), 1, rule=rules[0], input_rule=rules[1]))
    torch.testing.assert_close(
        found, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-11
    )


@pytest.mark.parametrize(
    ("call", "expected"), CAPTUM, ids=[call[0].__name__ for call, _ in CAPTUM]
)
def test_gradients_agree_with_captum(call, expected):
    method, options = call
    found = numbers(method(cnn(), signals(), 1, **options))
    wanted = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(
        found, wanted, rtol=1e-7, atol=1e-9
    )  # captum's steps are float32


def test_grad_cam_agrees_with_captum():
    coarse = [
        [0.5958369815, 0, 0.2964397667, 0.9720653874, 0.684012606, 0],
        [0.4778937371, 0.8338538499, 0.4194660819, 0, 0.3224665466, 1.025348742],
    ]
    stretched = torch.nn.functional.interpolate(
        torch.tensor([coarse], dtype=torch.float64), size=16, mode="linear"
    )[0]
    torch.testing.assert_close(
        grad_cam(cnn(), signals(), 1, layer="4"), stretched, rtol=1e-9, atol=1e-11
    )
