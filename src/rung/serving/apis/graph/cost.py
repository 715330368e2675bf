"""What a GraphQL request may cost: rows that its lists can have at most, multiplied through what is asked of each."""

from __future__ import annotations

from typing import Any

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    ValidationRule,
)

MOST = 1000
"""Fields that an answer may have at most."""

LIMIT = 200
"""Rows that a list gives at most, and what is counted where a variable says how many."""

ROWS = {"runs": 10, "episodes": 10, "served": 10, "events": LIMIT, "rungs": 10, "metrics": 3}
"""Rows that are counted for a list whose request does not say how many."""


class CostRule(ValidationRule):
    """Refuses an operation that could give more than MOST fields. Source: cost analysis by list size, as in GitHub's
    GraphQL API."""

    def enter_operation_definition(self, node: OperationDefinitionNode, *_: Any) -> None:
        fragments = {
            one.name.value: one for one in self.context.document.definitions if isinstance(one, FragmentDefinitionNode)
        }
        cost = _cost(node.selection_set, fragments, frozenset())
        if cost > MOST:
            said = f"this could give {cost:,} fields, at most {MOST:,} are given; ask for fewer rows: limit"
            self.report_error(GraphQLError(said, node, extensions={"code": "too_costly"}))


def _cost(
    selections: SelectionSetNode | None, fragments: dict[str, FragmentDefinitionNode], inside: frozenset[str]
) -> int:
    total = 0
    for node in selections.selections if selections is not None else ():
        if isinstance(node, FieldNode):
            inner = _cost(node.selection_set, fragments, inside)
            total += _rows(node) * max(1, inner) if node.selection_set is not None else 1
        elif isinstance(node, InlineFragmentNode):
            total += _cost(node.selection_set, fragments, inside)
        elif isinstance(node, FragmentSpreadNode):
            name = node.name.value
            if name in fragments and name not in inside:  # a fragment in itself is refused by another rule
                total += _cost(fragments[name].selection_set, fragments, inside | {name})
        if total > MOST * MOST:
            return total
    return total


def _rows(node: FieldNode) -> int:
    if node.name.value not in ROWS:
        return 1
    for argument in node.arguments or ():
        if argument.name.value == "limit":
            value = argument.value
            return min(LIMIT, max(1, int(value.value))) if isinstance(value, IntValueNode) else LIMIT
    return ROWS[node.name.value]
