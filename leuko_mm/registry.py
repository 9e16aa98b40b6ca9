"""The registry nodes of leuko_mm, children of MMSegmentation's.

Any config whose ``default_scope`` is ``mmseg`` may name a part of ours as
``type='leuko_mm.X'``: mmengine imports this module when it meets the scope, and
the ``locations`` below import the parts, so no ``custom_imports`` is needed. The
installed plug-ins are loaded with the first part that is looked up.
"""

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
    """A registry that plug-ins fill too, and that says what it does not have.

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

    def _names(self) -> list[str]:
        """Return the names of its parts, and of those that it falls back on."""
        names, node = [], self
        while node is not None:
            names += node.module_dict
            node = node.parent
        return names

    def _unknown(self, name: str) -> str:
        near = nearest(name, self._names(), count=3)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        text = (
            f"{self.scope} has no {self.name} {name!r}: {hint}"
            "`leuko list` shows every part"
        )
        for plugin in self.plugins.broken():
            text += (
                f"\nIf it is a part of {plugin.title}: that plug-in was left out, "
                f"{plugin.error}"
            )
        return text

    def _register_module(self, module, module_name=None, force=False) -> None:
        # The one door of `register_module`, as a call and as a decorator.
        names = module_name if module_name is not None else module.__name__
        for name in [names] if isinstance(names, str) else names:
            self.plugins.check_name(self, name)
        super()._register_module(module, module_name=module_name, force=force)


DATASETS = PartRegistry(
    "dataset",
    parent=mmseg_registry.DATASETS,
    scope=SCOPE,
    locations=["leuko_mm.datasets.leukocyte", "leuko_mm.datasets.mosaic"],
)
DATA_SAMPLERS = PartRegistry(
    "data sampler",
    parent=mmseg_registry.DATA_SAMPLERS,
    scope=SCOPE,
    locations=["leuko_mm.datasets.sampling"],
)
TRANSFORMS = PartRegistry(
    "transform",
    parent=mmseg_registry.TRANSFORMS,
    scope=SCOPE,
    locations=[
        "leuko_mm.transforms.affine",
        "leuko_mm.transforms.camera",
        "leuko_mm.transforms.enhance",
        "leuko_mm.transforms.stain",
    ],
)
MODELS = PartRegistry(
    "model",
    parent=mmseg_registry.MODELS,
    scope=SCOPE,
    # The engine too: whoever builds a model of ours reads its weights safely.
    locations=["leuko_mm.models", "leuko_mm.losses", "leuko_mm.engine"],
)
WEIGHT_INITIALIZERS = PartRegistry(
    "weight initializer",
    parent=mmseg_registry.WEIGHT_INITIALIZERS,
    scope=SCOPE,
    locations=["leuko_mm.engine"],
)
HOOKS = PartRegistry(
    "hook",
    parent=mmseg_registry.HOOKS,
    scope=SCOPE,
    locations=["leuko_mm.engine"],
)
OPTIM_WRAPPERS = PartRegistry(
    "optim_wrapper",
    parent=mmseg_registry.OPTIM_WRAPPERS,
    scope=SCOPE,
    locations=["leuko_mm.engine"],
)
OPTIM_WRAPPER_CONSTRUCTORS = PartRegistry(
    "optimizer wrapper constructor",
    parent=mmseg_registry.OPTIM_WRAPPER_CONSTRUCTORS,
    scope=SCOPE,
    locations=["leuko_mm.engine"],
)
METRICS = PartRegistry(
    "metric",
    parent=mmseg_registry.METRICS,
    scope=SCOPE,
    locations=["leuko_mm.evaluation.metric"],
)

__all__ = [
    "DATASETS",
    "DATA_SAMPLERS",
    "HOOKS",
    "METRICS",
    "MODELS",
    "OPTIM_WRAPPERS",
    "OPTIM_WRAPPER_CONSTRUCTORS",
    "PLUGINS",
    "TRANSFORMS",
    "WEIGHT_INITIALIZERS",
    "PartRegistry",
    "UnknownPartError",
]
