"""Parts of other packages: found by their entry points, loaded all or nothing.

A package names a module in the entry-point group ``leuko_mm.plugins``. It is imported
with the first part that is looked up, and what it registers in ``leuko_mm.registry``
is a part like ours, ``type='leuko_mm.X'``. A plug-in that fails is left out with a
warning.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol

GROUP = "leuko_mm.plugins"
# Whose registries parts may be sought in; mmengine would import any other package.
SCOPES = ("leuko_mm", "mmseg")
# A registered part by its bare name, or with one of these two scopes. mmengine would
# import and call anything that a name with dots leads to, ``os.system`` included.
REGISTERED = re.compile(r"(?:leuko_mm\.|mmseg\.)?[A-Za-z]\w*")


class PluginWarning(UserWarning):
    """A plug-in was left out; the message names its package and the reason."""


class Node(Protocol):
    """What a registry must offer to be filled by plug-ins."""

    name: str
    module_dict: dict

    def import_own_parts(self) -> None:
        """Import the parts that do not come from plug-ins."""


@dataclass
class Plugin:
    """One installed plug-in and what became of it.

    Args:
        name: of its entry point.
        module: that the entry point names.
        package: name of the installed distribution.
        version: of the distribution; empty if unknown.
        error: why it was left out; empty while it works.
        parts: (registry name, part name) of everything that it registered.
    """

    name: str
    module: str
    package: str
    version: str = ""
    error: str = ""
    parts: list[tuple[str, str]] = field(default_factory=list)

    @property
    def title(self) -> str:
        """Package and version, as messages name the plug-in."""
        return f"{self.package} {self.version}".strip()

    @property
    def removal(self) -> str:
        """The command that removes the package."""
        return f"python -m pip uninstall {self.package}"


class PluginLoader:
    """Import every plug-in once, and remember which part is whose."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.plugins: list[Plugin] = []
        self._loaded = False

    def load(self) -> None:
        """Import the plug-ins, on the first call only."""
        if self._loaded:
            return
        # Set first: a plug-in may look up a part while it is imported.
        self._loaded = True
        found = []
        for entry in entry_points(group=GROUP):
            package = entry.dist.name if entry.dist else entry.module
            version = entry.dist.version if entry.dist else ""
            found.append((Plugin(entry.name, entry.module, package, version), entry))
        # Ours first, so that no plug-in can take the name of one.
        for node in self.nodes if found else ():
            node.import_own_parts()
        for plugin, entry in sorted(found, key=lambda p: (p[0].package, p[0].name)):
            self._load_one(plugin, entry)
            self.plugins.append(plugin)

    def _load_one(self, plugin: Plugin, entry: EntryPoint) -> None:
        try:
            entry.load()
        except (Exception, SystemExit) as error:
            plugin.error = reason(error, plugin.module)
            warnings.warn(
                f"the plug-in {plugin.title} is left out: {plugin.error}. Fix it, or "
                f"remove it with: {plugin.removal}",
                PluginWarning,
                stacklevel=2,
            )
        top = plugin.module.split(".")[0]
        for node in self.nodes:
            for name, part in list(node.module_dict.items()):
                if part.__module__.split(".")[0] != top:
                    continue
                if plugin.error:  # half a plug-in would fail later and further away
                    del node.module_dict[name]
                else:
                    plugin.parts.append((node.name, name))

    def owner(self, registry: str, part: str) -> str | None:
        """Return the package of the plug-in that brought a part, None for ours."""
        for plugin in self.plugins:
            if (registry, part) in plugin.parts:
                return plugin.package
        return None

    def broken(self) -> list[Plugin]:
        """Return the plug-ins that were left out."""
        return [plugin for plugin in self.plugins if plugin.error]


def unregistered_types(config: Any) -> list:
    """Return what a config asks for that is not the name of a registered part."""
    if isinstance(config, Mapping):
        kind, scope = config.get("type", "x"), config.get("_scope_", "mmseg")
        known = isinstance(kind, str) and REGISTERED.fullmatch(kind)
        bad = [*([] if known else [kind]), *([] if scope in SCOPES else [scope])]
        return bad + [t for value in config.values() for t in unregistered_types(value)]
    if isinstance(config, (list, tuple)):
        return [name for value in config for name in unregistered_types(value)]
    return []


def reason(error: BaseException, module: str) -> str:
    """Return an error in one line, with the plug-in's own line where it arose."""
    words = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {words[0]}" if words else type(error).__name__
    top, place, trace = module.split(".")[0], "", error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        if frame.f_globals.get("__name__", "").split(".")[0] == top:
            place = f" ({frame.f_code.co_filename}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return text + place
