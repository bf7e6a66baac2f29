"""Which axis of each array is cut where one DalleBart is spread over several devices.

Tensor parallelism after Megatron-LM (arXiv:1909.08053): products that widen are cut along their outputs, the products
behind them along their inputs, so that heads and gates stay whole on one device and a layer needs three sums across
devices.
"""

from model_core.weights.sharding import CutAxes

CUT_AXES: CutAxes = (
    (r"(q_proj|k_proj|v_proj)/kernel", -1),  # [D, H·K]: by heads
    (r"out_proj/kernel", -2),  # [H·K, D]
    (r"Dense_[01]/kernel", -1),  # [D, F]
    (r"Dense_2/kernel", -2),  # [F, D]
    (r"lm_head/kernel", -1),  # [D, V]
    (r"embedding", -1),  # [V or positions, D]
    (r"(bias|scale)", None),  # of norms: small
)
