"""Who is interested in a subject: a cache of what was asked, and behind it a token trie of filters."""

from __future__ import annotations

from typing import Generic, TypeVar

__all__ = ["SubjectIndex"]

_T = TypeVar("_T")
_CACHED = 4096


class _Node(Generic[_T]):
    """A place in the trie, reached by the tokens of a filter."""

    __slots__ = ("children", "here", "rest")

    def __init__(self) -> None:
        self.children: dict[str, _Node[_T]] = {}
        self.here: dict[_T, None] = {}
        """Whose filter ends here."""
        self.rest: dict[_T, None] = {}
        """Whose filter ends in ``>`` after this place."""

    @property
    def empty(self) -> bool:
        return not (self.children or self.here or self.rest)


class SubjectIndex(dict[str, tuple[_T, ...]]):
    """``index[subject]`` is the values with a filter that matches, each once; what was found is kept for a while.

    The cost of a search does not grow with the number of filters.
    """

    __slots__ = ("_root",)

    def __init__(self) -> None:
        super().__init__()
        self._root: _Node[_T] = _Node()

    def __missing__(self, subject: str) -> tuple[_T, ...]:
        """Search the trie."""
        if len(self) >= _CACHED:
            self.clear()
        found = self[subject] = tuple(self._search(subject))
        return found

    def add(self, pattern: str, value: _T) -> None:
        """Add a filter of *value*."""
        self.clear()
        node = self._root
        names, followers = _split(pattern)
        for name in names:
            node = node.children.setdefault(name, _Node())
        (node.rest if followers else node.here)[value] = None

    def remove(self, pattern: str, value: _T) -> None:
        """Take a filter of *value* away."""
        self.clear()
        path = [self._root]
        names, followers = _split(pattern)
        for name in names:
            path.append(path[-1].children[name])
        del (path[-1].rest if followers else path[-1].here)[value]
        for name in reversed(names):
            if not path.pop().empty:
                break
            del path[-1].children[name]

    def _search(self, subject: str) -> dict[_T, None]:
        found: dict[_T, None] = {}
        level = [self._root]
        for token in subject.split("."):
            below: list[_Node[_T]] = []
            for node in level:
                if node.rest:
                    found.update(node.rest)
                children = node.children
                if token in children:
                    below.append(children[token])
                if "*" in children:
                    below.append(children["*"])
            level = below
            if not level:
                break
        for node in level:
            found.update(node.here)
        return found


def _split(pattern: str) -> tuple[list[str], bool]:
    """The tokens that lead to a filter's place, and whether ``>`` follows there."""
    names = pattern.split(".")
    return (names[:-1], True) if names[-1] == ">" else (names, False)
