"""Explainers: each says which pixels speak for a class; one method, one file.

`ALL` lists them for the conformance tests, and for nothing else: import the module you need.
"""

from models.explainers.base import Explainer
from models.explainers.gradcam import gradcam
from models.explainers.gradcam_plus_plus import gradcam_plus_plus
from models.explainers.gradient_x_input import gradient_x_input
from models.explainers.hirescam import hirescam
from models.explainers.input_gradients import input_gradients
from models.explainers.integrated_gradients import integrated_gradients
from models.explainers.lrp import lrp_epsilon
from models.explainers.smoothgrad import smoothgrad

ALL: tuple[Explainer, ...] = (
    gradcam,
    gradcam_plus_plus,
    hirescam,
    input_gradients,
    gradient_x_input,
    smoothgrad,
    integrated_gradients,
    lrp_epsilon,
)
