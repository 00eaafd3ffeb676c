"""Broken subjects and filters."""

import fnmatch
import unicodedata

from pubsubkit import consumer as portable_consumer
from pubsubkit import options
from pubsubkit import publisher as portable
from pubsubkit.connection import Connection
from pubsubkit.driver import Capability
from pubsubkit.publisher import Publisher
from pubsubkit_memory.index import SubjectIndex
from saboteurs.saboteur import breaks


def _by(function):
    """A search of the index that asks *function* of every filter."""

    def search(self, subject):
        found = {}

        def walk(node, path):
            for token, child in node.children.items():
                walk(child, [*path, token])
            for value in node.here:
                if function(".".join(path), subject):
                    found[value] = None
            for value in node.rest:
                if function(".".join([*path, ">"]), subject):
                    found[value] = None

        walk(self._root, [])
        return tuple(found)

    return search


def _strictly(pattern, subject):
    mine, its = pattern.split("."), subject.split(".")
    for number, token in enumerate(mine):
        if token == ">":
            return len(its) > number
        if number >= len(its) or token not in ("*", its[number]):
            return False
    return len(mine) == len(its)


@breaks(SubjectIndex, "__missing__", "subj.match_table")
def takes_gt_for_zero_tokens(original, self, subject):
    """The filter a.> also selects a."""
    loosely = _by(lambda pattern, each: _strictly(pattern, each) or pattern.removesuffix(".>") == each)
    return loosely(self, subject)


@breaks(SubjectIndex, "__missing__", "subj.match_table")
def takes_star_for_many_tokens(original, self, subject):
    """The wildcard * is matched as by a shell, across dots."""
    return _by(lambda pattern, each: fnmatch.fnmatchcase(each, pattern.replace(".>", ".*").replace(">", "*")))(
        self, subject
    )


@breaks(SubjectIndex, "__missing__", "subj.match_table")
def takes_star_for_its_own_sign(original, self, subject):
    """The wildcard * in the middle of a filter selects nothing."""
    return _by(lambda pattern, each: _strictly(pattern, each) and not (".*." in pattern and not pattern.endswith(">")))(
        self, subject
    )


@breaks(SubjectIndex, "__missing__", "subj.exact_not_prefix")
def matches_prefixes(original, self, subject):
    """A filter without wildcards selects every subject that begins with it."""
    return _by(
        lambda pattern, each: (
            _strictly(pattern, each)
            or (".s." not in each and ".t." not in each and not pattern.endswith(">") and each.startswith(pattern))
        )
    )(self, subject)


@breaks(SubjectIndex, "__missing__", "subj.case")
def folds_case_beyond_ascii(original, self, subject):
    """Filters ignore the case of letters that are not ASCII."""

    def folded(text):
        return "".join(letter if letter.isascii() else letter.lower() for letter in text)

    return _by(lambda pattern, each: _strictly(folded(pattern), folded(each)))(self, subject)


@breaks(SubjectIndex, "__missing__", "subj.match_table", "subj.case")
def folds_case(original, self, subject):
    """Filters ignore upper and lower case."""
    return _by(lambda pattern, each: _strictly(pattern.lower(), each.lower()))(self, subject)


@breaks(SubjectIndex, "__missing__", "subj.match_table", "subj.exact_not_prefix")
def ignores_filters(original, self, subject):
    """Every consumer of a stream gets all of its messages."""
    return _by(lambda pattern, each: pattern.split(".")[0] == each.split(".")[0])(self, subject)


@breaks(portable, "check_subject", "subj.invalid_publish")
def accepts_any_subject(original, subject):
    """Subjects are not checked before they are published to."""
    return subject


@breaks(portable, "check_subject", "subj.invalid_publish")
def accepts_wildcards_in_subjects(original, subject):
    """A message may be published to a wildcard."""
    return subject if subject.endswith((".*", ".>")) else original(subject)


@breaks(portable, "check_subject", "subj.invalid_publish")
def strips_subjects(original, subject):
    """Blanks at the ends of a subject are cut off instead of being refused."""
    return original(subject.strip())


@breaks(options, "check_filter", "subj.invalid_filter")
def accepts_any_filter(original, pattern):
    """Filters are not checked."""
    return pattern


@breaks(options, "check_filter", "subj.invalid_filter")
def accepts_gt_in_the_middle(original, pattern):
    """A filter may have > before its end."""
    original(pattern.replace(">", "*"))
    return pattern


@breaks(portable_consumer, "check_filter_reaches", "subj.outside_stream")
def accepts_hopeless_filters(original, pattern, stream):
    """A filter that the stream can never satisfy is accepted and stays silent."""


@breaks(Publisher, "_holds", "subj.outside_stream")
def publishes_anywhere(original, self, subject):
    """A publisher does not look whether its stream holds the subject; the broker's answer has no help in it."""
    return True


@breaks(Publisher, "_full", "subj.unicode")
def normalises_unicode(original, self, subject):
    """Subjects are brought into the normal form NFC."""
    return unicodedata.normalize("NFC", original(self, subject))


@breaks(portable, "check_subject", "subj.long")
def cuts_long_subjects(original, subject):
    """A subject that is too long is cut."""
    return original(subject[:1024])


@breaks(portable, "check_subject", "subj.long")
def has_a_low_limit(original, subject):
    """Subjects of more than 255 characters are refused."""
    if len(subject) > 255:
        raise portable.InvalidArgumentError("the subject has too many bytes")
    return original(subject)


@breaks(Publisher, "_full", "subj.prefix")
def keeps_the_last_token_only(original, self, subject):
    """Behind a prefix only the last token of a subject is kept."""
    return original(self, subject.rpartition(".")[2] if self.options.subject_prefix else subject)


@breaks(Connection, "require", "subj.unsupported_wildcards", withheld={Capability.WILDCARDS})
def has_wildcards_after_all(original, self, capability):
    """A wildcard is passed on although the backend has none."""
    if capability is not Capability.WILDCARDS:
        original(self, capability)


@breaks(Connection, "require", "subj.unsupported_unicode", withheld={Capability.UNICODE_SUBJECTS})
def has_unicode_after_all(original, self, capability):
    """A Unicode subject is passed on although the backend has none."""
    if capability is not Capability.UNICODE_SUBJECTS:
        original(self, capability)


@breaks(Connection, "require", "core.unsupported_dedup", withheld={Capability.DEDUPLICATION})
def has_ids_after_all(original, self, capability):
    """A message id is dropped silently where the backend has no de-duplication."""
    if capability is not Capability.DEDUPLICATION:
        original(self, capability)
