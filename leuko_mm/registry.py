"""The registry nodes of leuko_mm, children of MMSegmentation's.

Any config whose ``default_scope`` is ``mmseg`` may name a part of ours as
``type='leuko_mm.X'``: mmengine imports this module when it meets the scope, and
the ``locations`` below import the parts, so no ``custom_imports`` is needed.
"""

from leuko_mm.stack import require_stack

require_stack()

from mmengine.registry import Registry  # noqa: E402
from mmseg import registry as mmseg_registry  # noqa: E402

SCOPE = "leuko_mm"

DATASETS = Registry(
    "dataset",
    parent=mmseg_registry.DATASETS,
    scope=SCOPE,
    locations=["leuko_mm.datasets"],
)
DATA_SAMPLERS = Registry(
    "data sampler",
    parent=mmseg_registry.DATA_SAMPLERS,
    scope=SCOPE,
    locations=["leuko_mm.datasets"],
)
TRANSFORMS = Registry(
    "transform",
    parent=mmseg_registry.TRANSFORMS,
    scope=SCOPE,
    locations=["leuko_mm.transforms"],
)
MODELS = Registry(
    "model",
    parent=mmseg_registry.MODELS,
    scope=SCOPE,
    locations=["leuko_mm.models", "leuko_mm.losses"],
)
WEIGHT_INITIALIZERS = Registry(
    "weight initializer",
    parent=mmseg_registry.WEIGHT_INITIALIZERS,
    scope=SCOPE,
    locations=["leuko_mm.engine"],
)
HOOKS = Registry(
    "hook", parent=mmseg_registry.HOOKS, scope=SCOPE, locations=["leuko_mm.engine"]
)
OPTIM_WRAPPERS = Registry(
    "optim_wrapper",
    parent=mmseg_registry.OPTIM_WRAPPERS,
    scope=SCOPE,
    locations=["leuko_mm.engine"],
)
METRICS = Registry(
    "metric",
    parent=mmseg_registry.METRICS,
    scope=SCOPE,
    locations=["leuko_mm.evaluation"],
)

__all__ = [
    "DATASETS",
    "DATA_SAMPLERS",
    "HOOKS",
    "METRICS",
    "MODELS",
    "OPTIM_WRAPPERS",
    "TRANSFORMS",
    "WEIGHT_INITIALIZERS",
]
