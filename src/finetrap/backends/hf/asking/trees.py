"""Spans that continue one context become a tree, so that the context is read once for all."""

from __future__ import annotations

from collections.abc import Iterable

from finetrap.backends.hf.layout import Span, Tree

TREE = 512
"""Tokens of a context with its endings: every pair of them is compared, read or not."""
WORTH = 4
"""Times its context that an ending may be long for the context to be worth sharing."""


def gather(spans: Iterable[tuple[int, Span]], *, share: bool) -> list[Tree]:
    """Gather numbered spans that have one context, in their order; without `share` none are."""
    trees: list[Tree] = []
    growing: dict[tuple[int, ...], Tree] = {}
    for number, span in spans:
        context, ending = span.ids[: span.start], span.ids[span.start :]
        tree = growing.get(tuple(context))
        if tree is None or tree.length + len(ending) > TREE:
            tree = Tree(context, [], [])
            trees.append(tree)
            if share and len(ending) <= len(context) * WORTH:
                growing[tuple(context)] = tree
        tree.endings.append(ending)
        tree.members.append(number)
    return trees
