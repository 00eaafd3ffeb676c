"""third_party is a distribution by itself, with tests of its own."""

collect_ignore = ["third_party"]
