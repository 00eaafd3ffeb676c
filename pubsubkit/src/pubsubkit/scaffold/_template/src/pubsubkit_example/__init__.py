"""The backend example:// of pubsubkit."""

from pubsubkit_example.driver import ExampleDriver

__all__ = ["ExampleDriver"]
