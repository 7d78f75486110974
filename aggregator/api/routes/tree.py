"""The tree of a site: its nodes, and the meters and virtual meters that count for each."""

from typing import Annotated

from fastapi import APIRouter, Query

from aggregator.api.reader import LedgerReader
from aggregator.api.shapes import Id, Shape, TimeMs, find_site
from aggregator.register.formula import formula_text
from aggregator.tree import SITE, Tree


class TreeMeter(Shape):
    """A meter of a node, or without one."""

    meter: str
    carrier: str
    role: str | None
    """Null for a virtual meter."""
    parent: str
    formula: str | None
    """Null for a meter that is none of a virtual kind."""


class TreeNode(Shape):
    """One node."""

    node: str
    parent: str
    name_zh: str
    name_en: str
    sub_item: str | None
    valid_from_ms: int
    meters: tuple[TreeMeter, ...]


class TreeAnswer(Shape):
    """A site's tree at a time. A node stands after its parent."""

    site: str
    at_ms: int
    nodes: tuple[TreeNode, ...]
    meters_without_node: tuple[TreeMeter, ...]


class TreeQuery(Shape):
    """Parameters of /tree."""

    site: Id
    at: TimeMs | None = None


def routes(reader: LedgerReader) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["register"])

    @router.get("/tree")
    def tree(query: Annotated[TreeQuery, Query()]) -> TreeAnswer:
        """Return the nodes of a site with their meters at a time (default: now)."""
        at_ms = reader.now_ms() if query.at is None else query.at
        site = find_site(reader, query.site)
        found = Tree.at(reader.register, site.id, at_ms)
        order = sorted(found.nodes.values(), key=lambda node: tuple(found.path(node.id))[::-1])
        return TreeAnswer(
            site=site.id,
            at_ms=at_ms,
            nodes=tuple(
                TreeNode(
                    node=node.id,
                    parent=node.parent,
                    name_zh=node.name_zh,
                    name_en=node.name_en,
                    sub_item=None if node.sub_item is None else str(node.sub_item),
                    valid_from_ms=node.valid_from_ms,
                    meters=_meters(found, node.id),
                )
                for node in order
            ),
            meters_without_node=_meters(found, SITE),
        )

    return router


def _meters(tree: Tree, node: str) -> tuple[TreeMeter, ...]:
    meters = [
        TreeMeter(
            meter=meter.id,
            carrier=meter.carrier,
            role=str(meter.role),
            parent=meter.parent,
            formula=None,
        )
        for meter in tree.meters.values()
        if meter.node == node
    ]
    virtual = [
        TreeMeter(
            meter=meter.id,
            carrier=meter.carrier,
            role=None,
            parent="",
            formula=formula_text(meter.terms),
        )
        for meter in tree.virtual.values()
        if meter.node == node
    ]
    return tuple(meters + virtual)
