"""PyYAML's safe loader with limits on depth and number of nodes, aliases counted by what they stand for.

Each alias is written in three bytes and may stand for everything before it, so that bytes bound nothing: nine lines of
nine aliases each name 9 ** 9 values.
"""

from collections.abc import Hashable
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from nextvit.errors import shorten
from nextvit.files.limits import MAX_DEPTH, MAX_INTEGER

MAX_NODES = 100_000
"""Scalars, lists and mappings of a file, with those that aliases repeat."""
MAX_NUMBER_CHARACTERS = 64
TAG = "tag:yaml.org,2002:"
MERGE, INT, FLOAT, STR = f"{TAG}merge", f"{TAG}int", f"{TAG}float", f"{TAG}str"
TAGS = (f"{TAG}null", f"{TAG}bool", INT, FLOAT, STR, f"{TAG}seq", f"{TAG}map")
"""Those that have a value; `MERGE` has none."""


class BoundedLoader(yaml.SafeLoader):
    """Values of JSON's kinds alone. Dates stay text: what is no date (2024-99-99) is no fault then."""

    yaml_constructors = {  # noqa: RUF012 (as PyYAML declares it)
        **{tag: yaml.SafeLoader.yaml_constructors[tag] for tag in TAGS},
        None: yaml.SafeLoader.yaml_constructors[None],  # refuses all other tags
    }
    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in resolvers if tag in (*TAGS, MERGE)]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._open = 0
        """Nodes that are being composed around the current one."""
        self._nodes = 0
        self._extents: dict[yaml.Node, tuple[int, int]] = {}
        """Of each finished node: the nodes inside it, itself included, and its height."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node, or find the one that an alias names, and count it."""
        event: Any = self.peek_event()
        is_alias = isinstance(event, yaml.AliasEvent)
        before = self._nodes
        self._open += 1
        self._refuse_beyond(self._open <= MAX_DEPTH, f"nested more than {MAX_DEPTH} levels deep", event)
        node = super().compose_node(parent, index)
        self._open -= 1
        if node is None:
            return None
        if is_alias:
            self._refuse_beyond(node in self._extents, "an alias inside of what it names", event)
            count, height = self._extents[node]
            self._nodes += count
        else:
            self._nodes += 1
            heights = [self._extents[each][1] for each in children_of(node)]
            height = 1 + max(heights, default=0)
            self._extents[node] = self._nodes - before, height
        self._refuse_beyond(
            self._open + height <= MAX_DEPTH, f"nested more than {MAX_DEPTH} levels deep by aliases", event
        )
        self._refuse_beyond(self._nodes <= MAX_NODES, f"more than {MAX_NODES:,} values, aliases counted", event)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """A value; what a tag or a number cannot be is an error of YAML, with its line."""
        if isinstance(node, yaml.ScalarNode):
            self._refuse_beyond(
                node.tag not in (INT, FLOAT) or len(node.value) <= MAX_NUMBER_CHARACTERS,
                f"a number of {len(node.value):,} characters",
                node,
            )
            try:
                node.value.encode(errors="surrogateescape")  # as in JSON: bytes of names of files are allowed
                value = super().construct_object(node, deep=deep)
            except (ValueError, LookupError, AttributeError, TypeError):
                problem = f"{shorten(ascii(node.value))} is no {node.tag.removeprefix(TAG)}"
                raise ConstructorError(None, None, problem, node.start_mark) from None
            too_large = isinstance(value, int) and abs(value) > MAX_INTEGER
            self._refuse_beyond(not too_large, f"{shorten(node.value)} does not fit into 64 bits", node)
            return value
        return super().construct_object(node, deep=deep)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """A dict; a key that occurs twice is refused, since one of the two values would vanish."""
        seen: set[Any] = set()
        pairs = node.value if isinstance(node, yaml.MappingNode) else ()  # others are refused by PyYAML
        for key_node, _ in pairs:
            if key_node.tag == MERGE:
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable):  # others are refused by PyYAML
                self._refuse_beyond(key not in seen, f"the key {shorten(ascii(key))} occurs twice", key_node)
                seen.add(key)
        return super().construct_mapping(node, deep=deep)

    def _refuse_beyond(self, within: bool, problem: str, place: Any) -> None:
        """Raise an error of YAML at an event or a node, unless a limit is kept."""
        if not within:
            raise ConstructorError(None, None, problem, place.start_mark)


class TextLoader(BoundedLoader):
    """The same, where every scalar is a text."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in resolvers if tag == MERGE]
        for first, resolvers in BoundedLoader.yaml_implicit_resolvers.items()
    }


def children_of(node: yaml.Node) -> list[yaml.Node]:
    """The nodes right below a node."""
    if isinstance(node, yaml.MappingNode):
        return [each for pair in node.value for each in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []
