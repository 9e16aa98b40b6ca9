"""Which networks the figures show: the paper's columns, trained alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from leuko_mm.errors import UsageError
from leuko_mm.nearest import did_you_mean
from leuko_mm.workflows.figures_methods import COMBINATIONS, TrainedMethod
from leuko_mm.workflows.published import load_published

ALL = "all"
# Where a method is there under several settings; an ablation is none of them.
SETTINGS_BY_RANK = ("B", "A", None)


def paper_columns() -> dict[str, str]:
    """Return the methods of the paper's Fig. 9 and Table 1, and the setting of each.

    Example:
        >>> list(paper_columns())
        ['unet_vgg16', 'deeplabv3plus_r50', 'pspnet_r50', 'cbam_unet']
    """
    table = next(t for t in load_published()["tables"] if t["table"] == "1")
    return {row["config"]: row["setting"] for row in table["rows"]}


def compared(
    methods: Sequence[TrainedMethod], wanted: Sequence[str], split: str | None
) -> list[TrainedMethod]:
    """Return the networks of Fig. 9: those the user named, then one a method.

    All that the user did not name come from trainings under one protocol, equally
    long and on one split: those that show the most methods.

    Args:
        methods: that have not learnt from the cells shown.
        wanted: names in the order of the columns, or ``all`` for every method that is
            there; none for the paper's, each under the paper's setting where it is.
        split: whose cells are shown.

    Raises:
        UsageError: if there is no network of a name in ``wanted``.
    """
    given = [method for method in methods if method.given]
    named = {method.method for method in given}
    found = [m for m in methods if not m.given and m.method not in named]
    found = [m for m in found if m.protocol and m.variant in SETTINGS_BY_RANK]
    there = {method.method for method in [*found, *given]}
    if not wanted:
        settings = paper_columns()
    elif list(wanted) == [ALL]:
        settings = dict.fromkeys(sorted(there), SETTINGS_BY_RANK[0])
    else:
        settings = dict.fromkeys(wanted, SETTINGS_BY_RANK[0])
        _refuse_missing(wanted, there)

    def rank(method: TrainedMethod) -> tuple[bool, int]:
        far = method.variant != settings[method.method]
        return far, SETTINGS_BY_RANK.index(method.variant)

    found = sorted((m for m in found if m.method in settings), key=rank)
    chosen = trained_alike(found, lambda method: method.method, split)
    return given + [chosen[name] for name in settings if name in chosen]


def ablation(
    methods: Sequence[TrainedMethod], split: str | None
) -> dict[str, TrainedMethod]:
    """Return a run of each row of the ablation, in the paper's order.

    Named ones first; the others are trained alike, see :func:`compared`.
    """
    rows = [method for method in methods if method.combination]
    found = [method for method in rows if not method.given and method.protocol]
    chosen = trained_alike(found, lambda method: method.combination, split)
    chosen |= {m.combination: m for m in reversed(rows) if m.given}
    return {name: chosen[name] for name in COMBINATIONS if name in chosen}


def trained_alike(
    methods: Iterable[TrainedMethod],
    place: Callable[[TrainedMethod], str],
    split: str | None,
) -> dict[str, TrainedMethod]:
    """Return the first network of each place, all of one kind of training.

    Of several kinds the one that fills the most places; then the one on ``split``,
    then the longest.
    """
    kinds: dict[tuple, dict[str, TrainedMethod]] = defaultdict(dict)
    for method in methods:
        kinds[method.training].setdefault(place(method), method)

    def worth(kind: tuple) -> tuple:
        protocol, iterations, learnt = kind
        return len(kinds[kind]), learnt == split, iterations, protocol, learnt

    return kinds[max(kinds, key=worth)] if kinds else {}


def _refuse_missing(wanted: Iterable[str], there: set[str]) -> None:
    for name in wanted:
        if name not in there:
            raise UsageError(
                f"there is no checkpoint of {name!r}{did_you_mean(name, there)} that "
                "has not learnt from the cells shown. There are: "
                f"{', '.join(sorted(there)) or 'none'}; leuko compare or leuko train "
                "make more"
            )
