"""The tree of errors that the reference shows is that of the classes."""

import re

from pubsubkit import errors


def test_the_tree():
    """The docstring draws every error below its parent, and says which are a ValueError too."""
    assert errors.__doc__
    drawn, path = {}, ["PubSubError"]
    for branch, name, rest in re.findall(r"^ {4}([│ ]*[├└]── )(\w+)(.*)$", errors.__doc__, re.MULTILINE):
        path[len(branch) // 4 :] = [name]
        drawn[name] = (path[-2], "(also ValueError)" in rest)
    classes = {name: getattr(errors, name) for name in errors.__all__ if name != "PubSubError"}
    assert drawn == {
        name: (found.__bases__[0].__name__, ValueError in found.__bases__) for name, found in classes.items()
    }
