"""The registry nodes of leuko_mm, children of MMSegmentation's.

A config names a part of ours as ``type='leuko_mm.X'``: mmengine imports this module
when it meets the scope, and the ``locations`` import the parts, so no
``custom_imports`` is needed. Installed plug-ins are loaded with the first look-up.
"""

from __future__ import annotations

from typing import Any

from leuko_mm.errors import LeukoError, nearest
from leuko_mm.plugins import PluginLoader
from leuko_mm.stack import require_stack

require_stack()

from mmengine.registry import Registry  # noqa: E402
from mmseg import registry as mmseg_registry  # noqa: E402

SCOPE = "leuko_mm"
PLUGINS = PluginLoader()


class UnknownPartError(LeukoError, KeyError):
    """A config names a part that nobody has registered."""


class PartRegistry(Registry):
    """A registry that plug-ins fill too, and that names what is near an unknown part.

    Args:
        name: what its parts are, as messages call them.
        plugins: fills this registry with the parts of other packages.
        **kwargs: for ``mmengine.registry.Registry``.
    """

    def __init__(self, name: str, *, plugins: PluginLoader = PLUGINS, **kwargs: Any):
        super().__init__(name, **kwargs)
        self.plugins = plugins
        plugins.nodes.append(self)

    def import_own_parts(self) -> None:
        """Import the parts of this package."""
        super().import_from_location()

    def import_from_location(self) -> None:
        """Import the parts of this package, then those of the plug-ins."""
        self.import_own_parts()
        self.plugins.load()

    def get(self, key: str) -> Any:
        """Return a part.

        Raises:
            UnknownPartError: if there is none of that name; the message names the
                nearest ones, and the plug-ins that could not be loaded.
        """
        part = super().get(key)
        scope, name = self.split_scope_key(key)
        if part is None and scope in (None, self.scope):
            raise UnknownPartError(self._unknown(name))
        return part

    def __contains__(self, key: str) -> bool:
        try:
            return super().__contains__(key)
        except UnknownPartError:
            return False

    def _unknown(self, name: str) -> str:
        names, node = [], self
        while node is not None:
            names += node.module_dict
            node = node.parent
        near = nearest(name, names, count=3)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        text = (
            f"{self.scope} has no {self.name} {name!r}: {hint}"
            "`leuko list` shows every part but those of custom_imports, in which a "
            "config names your own files"
        )
        for plugin in self.plugins.broken():
            text += (
                f"\nIf it is a part of {plugin.title}: that plug-in was left out, "
                f"{plugin.error}"
            )
        return text


def _registry(name: str, parent: Registry, *modules: str) -> PartRegistry:
    locations = [f"{SCOPE}.{module}" for module in modules]
    return PartRegistry(name, parent=parent, scope=SCOPE, locations=locations)


DATASETS = _registry(
    "dataset",
    mmseg_registry.DATASETS,
    "datasets.leukocyte",
    "datasets.mosaic",
    "datasets.cell_crops",
)
DATA_SAMPLERS = _registry(
    "data sampler", mmseg_registry.DATA_SAMPLERS, "datasets.sampling"
)
TRANSFORMS = _registry(
    "transform",
    mmseg_registry.TRANSFORMS,
    *(f"transforms.{name}" for name in ("affine", "camera", "enhance", "stain")),
)
# The engine too: whoever builds a model of ours reads its weights safely.
MODELS = _registry("model", mmseg_registry.MODELS, "models", "losses", "engine")
WEIGHT_INITIALIZERS = _registry(
    "weight initializer", mmseg_registry.WEIGHT_INITIALIZERS, "engine"
)
HOOKS = _registry("hook", mmseg_registry.HOOKS, "engine")
OPTIM_WRAPPERS = _registry("optim_wrapper", mmseg_registry.OPTIM_WRAPPERS, "engine")
OPTIM_WRAPPER_CONSTRUCTORS = _registry(
    "optimizer wrapper constructor",
    mmseg_registry.OPTIM_WRAPPER_CONSTRUCTORS,
    "engine",
)
METRICS = _registry("metric", mmseg_registry.METRICS, "evaluation.metric")
