"""The declaration of connection parameters and their binding to an options class."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pubsubkit.params import Parameter, bind, boolean, describe, did_you_mean, duration, integer, param, size, text

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "hunter2 is no good"


def loudness(value: str) -> str:
    """A backend's own parser, which shows the value in its error."""
    if value not in ("low", "high"):
        raise ValueError(f"expected low or high, not {value!r}")
    return value


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the tests bind to."""

    stream: str = param(doc="the stream to use")
    connect_timeout: float = param(2.0, doc="how long to wait", parse=duration)
    max_bytes: int | None = param(None, doc="how much to keep", parse=size)
    verify: bool = param(True, doc="check the certificate", parse=boolean)
    max_deliver: int = param(5, doc="how often", parse=integer)
    creds: str | None = param(None, doc="path of the file")
    level: str = param("low", doc="how loud", parse=loudness)
    token: str | None = param(None, doc="sent to the server", secret=True)
    pin: int | None = param(None, doc="a secret number", parse=integer, secret=True)
    lock: str | None = param(None, doc="a secret level", parse=loudness, secret=True)
    not_a_parameter: int = field(default=0)

    def __post_init__(self) -> None:
        if self.connect_timeout == 13:
            raise ValueError(f"13 is unlucky for {self.token}")


def problems_of(query: dict[str, str], keywords: dict[str, object]) -> list[str]:
    """Bind to Options, with a stream given, and return the problems."""
    options, problems = bind(Options, [("stream", "s"), *query.items()], keywords)
    assert (options is None) == bool(problems)
    return problems


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("500ms", 0.5),
        ("30s", 30),
        ("5m", 300),
        ("2h", 7200),
        ("1d", 86400),
        ("1.5s", 1.5),
        ("7", 7),
        ("0", 0),
        (" 1s\n", 1),
    ],
)
def test_duration_is_returned_in_seconds(written: str, seconds: float) -> None:
    """Each unit counts, and a number alone means seconds."""
    assert duration(written) == pytest.approx(seconds)
    assert isinstance(duration(written), float)


@pytest.mark.parametrize(
    ("written", "size_in_bytes"),
    [
        ("64KiB", 65536),
        ("1MiB", 1 << 20),
        ("10MB", 10_000_000),
        ("1kb", 1000),
        ("2TiB", 2 << 40),
        ("17", 17),
        ("5B", 5),
    ],
)
def test_size_is_returned_in_bytes(written: str, size_in_bytes: int) -> None:
    """Binary and decimal units differ, case does not matter, and a number alone means bytes."""
    assert size(written) == size_in_bytes


@pytest.mark.parametrize(
    ("written", "truth"), [("true", True), ("YES", True), ("on", True), ("1", True), ("false", False)]
)
@pytest.mark.parametrize("blank", ["", " "])
def test_boolean_has_several_spellings(written: str, truth: bool, blank: str) -> None:
    """Each spelling counts in any case, with blanks around it."""
    assert boolean(blank + written + blank) is truth


@pytest.mark.parametrize("written", ["no", "off", "0", "False"])
def test_boolean_can_be_false(written: str) -> None:
    """Each spelling of false is false."""
    assert boolean(written) is False


@pytest.mark.parametrize(("written", "number"), [("10", 10), ("-3", -3), ("+4", 4), (" 5 ", 5)])
def test_integer_is_a_whole_number(written: str, number: int) -> None:
    """A sign and blanks around the number are allowed."""
    assert integer(written) == number


def test_text_is_kept_as_it_is() -> None:
    """Blanks may belong to a text."""
    assert text(" a ") == " a "


@pytest.mark.parametrize(
    ("parse", "written", "expected"),
    [
        *(
            (duration, bad, "expected a duration such as 500ms, 30s or 5m")
            for bad in ("soon", "", "-1s", "1w", "5M", "inf", "nan", "1e3", "9" * 400, "٣s")
        ),
        *(
            (size, bad, "expected a size such as 64KiB, 10MB or a number of bytes")
            for bad in ("big", "", "-1", "1.5MiB", "3K", "9" * 5000)
        ),
        *((boolean, bad, "expected true or false (also yes, no, on, off, 1, 0)") for bad in ("maybe", "", "2", "y")),
        *((integer, bad, "expected a whole number such as 10") for bad in ("ten", "", "1.0", "1_000", "9" * 5000)),
    ],
)
def test_parsers_say_what_they_expect(parse: Callable[[str], object], written: str, expected: str) -> None:
    """A value that does not fit is answered by what would."""
    with pytest.raises(ValueError, match=r"expected ") as caught:
        parse(written)
    assert str(caught.value) == expected


def test_binding_parses_the_query_and_keeps_defaults() -> None:
    """Values of the query are parsed by their parameter; all else has its default."""
    query = [
        ("stream", "orders"),
        ("connect-timeout", "500ms"),
        ("max_bytes", "1KiB"),
        ("verify", "off"),
        ("token", SECRET),
    ]
    options, problems = bind(Options, query, {"max_deliver": "7"})
    expected = Options(stream="orders", connect_timeout=0.5, max_bytes=1024, verify=False, token=SECRET, max_deliver=7)
    assert problems == []
    assert options == expected


@pytest.mark.parametrize(
    ("keywords", "name", "value"),
    [
        ({"connect_timeout": 3}, "connect_timeout", 3.0),
        ({"connect-timeout": 0.5}, "connect_timeout", 0.5),
        ({"connect_timeout": "5m"}, "connect_timeout", 300.0),
        ({"max_bytes": 10}, "max_bytes", 10),
        ({"max_bytes": None}, "max_bytes", None),
        ({"verify": False}, "verify", False),
        ({"max_deliver": -1}, "max_deliver", -1),
        ({"creds": Path("a") / "b.creds"}, "creds", str(Path("a") / "b.creds")),
        ({"level": 17}, "level", 17),
    ],
)
def test_keywords_may_have_their_own_type(keywords: dict[str, object], name: str, value: object) -> None:
    """A keyword is text to be parsed or a value of the right type; a backend's own parser leaves values alone."""
    options, problems = bind(Options, [("stream", "s")], keywords)
    assert problems == []
    assert getattr(options, name) == value
    assert type(getattr(options, name)) is type(value)


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("connect_timeout", True, "connect_timeout=True: expected a duration such as 500ms, 30s or 5m"),
        ("connect_timeout", -1, "connect_timeout=-1: expected a duration such as 500ms, 30s or 5m"),
        ("connect_timeout", float("nan"), "connect_timeout=nan: expected a duration such as 500ms, 30s or 5m"),
        ("connect_timeout", float("inf"), "connect_timeout=inf: expected a duration such as 500ms, 30s or 5m"),
        ("connect_timeout", None, "connect_timeout=None: expected a duration such as 500ms, 30s or 5m"),
        ("connect_timeout", [1], "connect_timeout=<list>: expected a duration such as 500ms, 30s or 5m"),
        ("max_bytes", 1.5, "max_bytes=1.5: expected a size such as 64KiB, 10MB or a number of bytes"),
        ("max_bytes", -1, "max_bytes=-1: expected a size such as 64KiB, 10MB or a number of bytes"),
        ("verify", 1, "verify=1: expected true or false (also yes, no, on, off, 1, 0)"),
        ("max_deliver", 1.0, "max_deliver=1.0: expected a whole number such as 10"),
        ("max_deliver", False, "max_deliver=False: expected a whole number such as 10"),
        ("creds", 5, "creds=5: expected text"),
        ("level", "loud", "level='loud': expected low or high, not 'loud'"),
    ],
)
def test_keywords_of_another_type_are_problems(name: str, value: object, problem: str) -> None:
    """A value of a type that cannot be meant is refused with what is expected."""
    assert problems_of({}, {name: value}) == [problem]


def test_all_problems_come_at_once_in_their_order() -> None:
    """Nobody has to fix a URL one error at a time."""
    query = [("strem", "x"), ("ack_wait", "1"), ("connect-timeout", "soon"), ("max_deliver", "1"), ("max-deliver", "2")]
    options, problems = bind(Options, query, {"verify": "perhaps"})
    assert options is None
    assert problems == [
        "unknown parameter 'strem'; did you mean 'stream'?",
        "unknown parameter 'ack_wait'",
        "connect_timeout='soon': expected a duration such as 500ms, 30s or 5m",
        "parameter 'max_deliver' is given twice",
        "verify='perhaps': expected true or false (also yes, no, on, off, 1, 0)",
        "missing parameter 'stream'",
    ]


def test_a_parameter_given_three_times_is_one_problem() -> None:
    """The same mistake is not repeated for each further value."""
    options, problems = bind(Options, [("stream", "a"), ("stream", "b"), ("stream", "c")], {"stream": "d"})
    assert (options, problems) == (None, ["parameter 'stream' is given twice"])


def test_a_parameter_in_the_url_and_as_a_keyword_is_a_problem() -> None:
    """Neither wins silently."""
    assert problems_of({"creds": "a"}, {"creds": "b"}) == [
        "parameter 'creds' is given twice, in the URL and as a keyword"
    ]


def test_a_field_that_is_no_parameter_is_unknown() -> None:
    """Only what is declared by param() can be set from outside."""
    assert problems_of({"not_a_parameter": "1"}, {}) == ["unknown parameter 'not_a_parameter'"]


def test_a_value_that_could_not_be_read_is_neither_missing_nor_wrong() -> None:
    """Its reader has reported it, so that it is not reported again."""
    assert bind(Options, [("stream", None), ("connect_timeout", None)], {}) == (None, [])
    assert bind(Options, [("stream", None), ("verify", "x")], {})[1] == [
        "verify='x': expected true or false (also yes, no, on, off, 1, 0)"
    ]


@pytest.mark.parametrize(
    ("query", "keywords"),
    [
        ({"pin": SECRET}, {}),
        ({"lock": SECRET}, {}),
        ({}, {"pin": SECRET}),
        ({}, {"token": [SECRET]}),
        ({"token": SECRET}, {"token": SECRET}),
        ({"token": SECRET, "connect_timeout": "13"}, {}),
        ({"tokn": SECRET}, {}),
    ],
)
def test_a_secret_is_in_no_problem(query: dict[str, str], keywords: dict[str, object]) -> None:
    """Whatever is wrong with a secret, or with anything else, its value is not shown."""
    problems = problems_of(query, keywords)
    assert problems
    assert SECRET not in "\n".join(problems)
    assert "hunter2" not in "\n".join(problems)


def test_a_secret_is_not_in_the_repr_of_the_options() -> None:
    """The options can be logged."""
    options, _ = bind(Options, [("stream", "s"), ("token", SECRET), ("pin", "4711")], {})
    assert options is not None
    assert options.token == SECRET
    assert "hunter2" not in repr(options)
    assert "4711" not in repr(options)
    assert "stream='s'" in repr(options)


def test_what_the_class_itself_refuses_is_a_problem() -> None:
    """A check over several parameters belongs into __post_init__ and is reported alike, without secrets."""
    assert problems_of({}, {"connect_timeout": 13, "token": SECRET}) == ["13 is unlucky for ***"]


def test_parameters_describe_themselves() -> None:
    """The command line and the docs are fed by the declaration."""
    described = {parameter.name: parameter for parameter in describe(Options)}
    assert list(described) == [each.name for each in fields(Options) if each.name != "not_a_parameter"]
    assert described["stream"] == Parameter(
        name="stream", kind="text", default=None, doc="the stream to use", secret=False, required=True
    )
    assert described["connect_timeout"].default == 2.0
    assert [described[name].kind for name in ("connect_timeout", "max_bytes", "verify", "max_deliver", "level")] == [
        "duration",
        "size",
        "boolean",
        "integer",
        "loudness",
    ]
    assert [name for name, parameter in described.items() if parameter.secret] == ["token", "pin", "lock"]


def test_an_options_class_without_parameters_takes_none() -> None:
    """A backend need not have any."""

    @dataclass(frozen=True, kw_only=True)
    class Nothing:
        pass

    assert describe(Nothing) == ()
    assert bind(Nothing, [], {}) == (Nothing(), [])
    assert bind(Nothing, [("a", "1")], {}) == (None, ["unknown parameter 'a'"])


def test_a_parser_need_not_be_a_function() -> None:
    """Any callable that takes text will do; its kind is the name of its type."""

    class Splitter:
        def __call__(self, value: str) -> tuple[str, ...]:
            return tuple(value.split(","))

    @dataclass(frozen=True, kw_only=True)
    class Listing:
        items: tuple[str, ...] = param((), doc="several", parse=Splitter())

    assert describe(Listing)[0].kind == "Splitter"
    options, _ = bind(Listing, [("items", "a,b")], {})
    assert options == Listing(items=("a", "b"))


@pytest.mark.parametrize(
    ("name", "hint"), [("strem", "; did you mean 'stream'?"), ("STREAM", "; did you mean 'stream'?"), ("xyzzy", "")]
)
def test_did_you_mean_names_the_nearest(name: str, hint: str) -> None:
    """A hint is given only when a name is near."""
    known: list[Any] = ["stream", "verify"]
    assert did_you_mean(name, known) == hint
