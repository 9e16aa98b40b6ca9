"""A config whose text is laid out once, however often it is asked for."""

from __future__ import annotations

from collections import OrderedDict

from mmengine.config import Config

KEPT = 4
_laid_out: OrderedDict[str, str] = OrderedDict()


class OnceFormattedConfig(Config):
    """A config that remembers its own text as long as it does not change.

    mmengine lays the text out anew for the log, for the copy in the output folder,
    for the visualizer and for every checkpoint: a quarter of a second each, which is
    more than a small run takes for its training.

    Example:
        >>> config = OnceFormattedConfig(dict(seed=1))
        >>> config.seed = 2
        >>> config.pretty_text
        'seed = 2\\n'
    """

    @property
    def pretty_text(self) -> str:
        """The config as Python code."""
        # mmengine's dicts print all that is in them.
        content = repr(self.to_dict())
        if content not in _laid_out:
            _laid_out[content] = Config.pretty_text.fget(self)
            while len(_laid_out) > KEPT:
                _laid_out.popitem(last=False)
        return _laid_out[content]


def formatted_once(config: Config) -> OnceFormattedConfig:
    """Return a config's copy that is laid out once."""
    return OnceFormattedConfig(config.to_dict(), filename=config.filename)
