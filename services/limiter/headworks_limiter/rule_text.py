"""The part of a rules file that is about one namespace, as its author wrote it."""

from __future__ import annotations

import textwrap

import yaml
from yaml.nodes import CollectionNode, MappingNode, Node


def text_of(content: bytes, namespace: str) -> str:
    """What is below the namespace's name, comments and all; empty: it is not there. `content` has no mistakes."""
    text = content.decode()
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    node = _value(_value(root, "namespaces"), namespace)
    if not isinstance(node, CollectionNode):
        return ""
    begin, end = node.start_mark, node.end_mark
    lead = 0 if node.flow_style else begin.column  # with its indentation, for the lines to stay one below the other
    return textwrap.dedent(text[begin.index - lead : end.index]).rstrip() + "\n"


def _value(node: Node | None, key: str) -> Node | None:
    if not isinstance(node, MappingNode):
        return None
    return next((value for name, value in node.value if name.value == key), None)
