"""How a step on each training sample would change the loss on a trusted batch, for the cost of a few forward passes.

Every weight that meta-reweighting gives a sample is a derivative of that sample's loss along one direction v in the space of the
weights, the gradient of the trusted batch's loss: d/dt l_i(theta + t v) at t = 0. One forward pass that carries a tangent beside
each value gives it for all samples at once; nothing is differentiated twice and no second network is built.

`tangents` makes that pass, `forms` chooses how to make it for a network, and `scores` turns it into scores.
"""

from noisylab.meta.forms import Form, choose_form, derivative, gradient, gradient_of
from noisylab.meta.scores import (
    SGDState,
    add_decay,
    label_gradients,
    look_ahead,
    loss_derivative,
    sgd_state,
    weight_gradients,
)
from noisylab.meta.tangents import tangent_forward

__all__ = [
    "Form",
    "SGDState",
    "add_decay",
    "choose_form",
    "derivative",
    "gradient",
    "gradient_of",
    "label_gradients",
    "look_ahead",
    "loss_derivative",
    "sgd_state",
    "tangent_forward",
    "weight_gradients",
]
