"""The URL of a backend: its grammar, placeholders, problems, and that it shows no secret."""

from __future__ import annotations

import itertools
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from pubsubkit.errors import ConfigurationError
from pubsubkit.redaction import redact
from pubsubkit.url import BackendURL, Host, read_url

AWKWARD = [
    *"@/?#:&=%$[]{},;+ \t\n\\'\"<>|^`~!*()",
    "://",
    "${X}",
    "$$",
    "%41",
    "${",
    "}",
    "\x00",
    "\x000\x00",
    "é",
    "\ud800",
]
LEFT, RIGHT = "Zq9", "Xk7"
"""The two halves of a secret, with something awkward between them."""


def error_of(text: str, environ: dict[str, str] | None = None) -> str:
    """Return the message of the error that parsing *text* raises."""
    with pytest.raises(ConfigurationError) as caught:
        BackendURL.parse(text, environ or {})
    return str(caught.value)


def problems_of(text: str, environ: dict[str, str] | None = None) -> list[str]:
    """Return the problems of *text*."""
    return list(read_url(text, environ or {}).problems)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("memory://", BackendURL("memory")),
        ("memory:///", BackendURL("memory", path="/")),
        ("nats://h", BackendURL("nats", hosts=(Host("h"),))),
        ("  nats://h\n", BackendURL("nats", hosts=(Host("h"),))),
        ("NATS+TLS://H", BackendURL("nats", ("tls",), hosts=(Host("H"),))),
        ("my_back-end.2+a+b://h", BackendURL("my_back-end.2", ("a", "b"), hosts=(Host("h"),))),
        ("nats://TOKEN@h", BackendURL("nats", user="TOKEN", hosts=(Host("h"),))),
        ("nats://u:p@h", BackendURL("nats", user="u", password="p", hosts=(Host("h"),))),
        ("nats://u:@h", BackendURL("nats", user="u", password="", hosts=(Host("h"),))),
        ("nats://:p@h", BackendURL("nats", user="", password="p", hosts=(Host("h"),))),
        ("nats://u:a:b@h", BackendURL("nats", user="u", password="a:b", hosts=(Host("h"),))),
        ("nats://u:a@b[@h", BackendURL("nats", user="u", password="a@b[", hosts=(Host("h"),))),
        ("nats://u%3A:%2F%40@h", BackendURL("nats", user="u:", password="/@", hosts=(Host("h"),))),
        ("nats://a:1,b,c_d:65535", BackendURL("nats", hosts=(Host("a", 1), Host("b"), Host("c_d", 65535)))),
        ("nats://[::1]:4222,[fe80::1%25eth0]", BackendURL("nats", hosts=(Host("::1", 4222), Host("fe80::1%eth0")))),
        ("nats://h/a%20b/c", BackendURL("nats", hosts=(Host("h"),), path="/a b/c")),
        (
            "nats://h?a=1&b=&a=x+y%26z",
            BackendURL("nats", hosts=(Host("h"),), query=(("a", "1"), ("b", ""), ("a", "x+y&z"))),
        ),
        ("nats://h?a=b=c&", BackendURL("nats", hosts=(Host("h"),), query=(("a", "b=c"),))),
        ("memory://?js=$JS.API", BackendURL("memory", query=(("js", "$JS.API"),))),
        ("memory://?a=%241&b=$${X}", BackendURL("memory", query=(("a", "$1"), ("b", "${X}")))),
    ],
)
def test_a_url_is_split_into_decoded_parts(text: str, expected: BackendURL) -> None:
    """Each part is found, decoded, and written back by reveal() so that it reads the same."""
    url = BackendURL.parse(text, {})
    assert url == expected
    assert BackendURL.parse(url.reveal(), {}) == url


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("localhost:4222", "expected scheme://host; did you mean 'nats://localhost:4222'?"),
        ("memory", "expected scheme://host; did you mean 'memory://'?"),
        ("me:hunter2@localhost", "expected scheme://host; did you mean 'nats://me:***@localhost'?"),
        ("nats:/localhost:4222", "expected scheme://host; did you mean 'nats://localhost:4222'?"),
        ("nats:/127.0.0.1:4222", "expected scheme://host; did you mean 'nats://127.0.0.1:4222'?"),
        ("localhost:${PORT}", "expected scheme://host; did you mean 'nats://localhost:${PORT}'?"),
        ("nats:/me:hunter2", "expected scheme://host; did you mean 'nats://localhost:4222'?"),
        ("nats:/me:hunter2@h", "expected scheme://host; did you mean 'nats://me:***@h'?"),
        ("sqlite:/tmp/x.db", "expected scheme://host; did you mean 'sqlite:///tmp/x.db'?"),
        ("memory:", "expected scheme://host; did you mean 'memory://'?"),
        ("nats:localhost", "expected scheme://host; did you mean 'nats://localhost:4222'?"),
        ("://h", "the scheme before '://' is missing; did you mean 'nats://h'?"),
        ("", "it is empty; expected something like 'nats://localhost:4222'"),
        ("1x://h", "bad scheme: expected a name, or name+modifier, of letters, digits, '_', '.' and '-'"),
        ("nats+://h", "bad scheme: expected a name, or name+modifier, of letters, digits, '_', '.' and '-'"),
        ("nats://h:0", "the port of host 'h' is not a number from 1 to 65535"),
        ("nats://h:65536", "the port of host 'h' is not a number from 1 to 65535"),
        ("nats://h:", "the port of host 'h' is not a number from 1 to 65535"),
        ("nats://h:-1", "the port of host 'h' is not a number from 1 to 65535"),
        ("nats://h:٣", "the port of host 'h' is not a number from 1 to 65535"),
        (
            "nats://fe80::1",
            "the port of host 'fe80' is not a number from 1 to 65535 (an IPv6 address goes in brackets)",
        ),
        *(
            (f"nats://{bad}", "bad host: expected a name or address (IPv6 in brackets); a port needs its own ${VAR}")
            for bad in ("::1", "[::1", "[::g]", "[]", "a,,b", ":4222", "a%2Fb", "[::1]x")
        ),
        ("nats://h#x", "a '#' has no meaning here: encode it as %23 or use ${VAR}"),
        ("nats://h/%zz", "bad percent-encoding in the path: expected UTF-8, and %25 for a '%'"),
        ("nats://u:%@h", "bad percent-encoding in the password: expected UTF-8, and %25 for a '%'"),
        ("nats://%FF@h", "bad percent-encoding in the user: expected UTF-8, and %25 for a '%'"),
        ("nats://h?a=%4", "bad percent-encoding in ?a: expected UTF-8, and %25 for a '%'"),
        ("nats://h?a", "a query parameter is not of the form name=value (encode '&' in a value as %26)"),
        ("nats://h?=a", "a query parameter is not of the form name=value (encode '&' in a value as %26)"),
        ("nats://h?token=a&}=a", "a query parameter is not of the form name=value (encode '&' in a value as %26)"),
        ("nats://h?${A}=a", "a query parameter is not of the form name=value (encode '&' in a value as %26)"),
        ("nats://h/a b", "white space or a control character: percent-encode it or use ${VAR}"),
        ("nats://h\x00", "white space or a control character: percent-encode it or use ${VAR}"),
        ("nats://u:a/b@h", "an '@' after a '/', '?' or '#': encode them as %40, %2F, %3F and %23 or use ${VAR}"),
        ("nats://h1,nats://h2", "the scheme is given twice: write it once, as in scheme://host1,host2"),
        (
            "nats://u:p@h1,u:p@h2",
            "user info is given twice: write it once before the first host (encode '@' in a password as %40)",
        ),
        *(
            (
                f"nats://h/{bad}",
                "a '${' does not begin a placeholder: expected ${NAME} or ${NAME:-default}, or $${ for the text",
            )
            for bad in ("${", "${A", "${}", "${1}", "${A-b}", "${A:-b", "${A:-${B}")
        ),
        ("nats://h:${NOPE}", "environment variable NOPE (used in the port) is not set"),
        ("nats://${NOPE}:${X:-1}", "environment variable NOPE (used in the host) is not set"),
        ("nats://${NOPE}@h", "environment variable NOPE (used in the user) is not set"),
        ("nats://u:${NOPE}@h", "environment variable NOPE (used in the password) is not set"),
        ("nats://h/${NOPE}", "environment variable NOPE (used in the path) is not set"),
        ("nats://h?stream=${NOPE}", "environment variable NOPE (used in ?stream) is not set"),
        ("nats://h?stream=${A:-x${NOPE}}", "environment variable NOPE (used in ?stream) is not set"),
        ("${NOPE}://h", "environment variable NOPE (used in the scheme) is not set"),
        ("${NOPE}", "environment variable NOPE (used as the URL) is not set"),
    ],
)
def test_each_problem_is_told_on_one_line(text: str, problem: str) -> None:
    """One mistake gives one problem, without others that follow from it."""
    assert problems_of(text) == [problem]
    assert error_of(text).startswith("bad URL ")
    assert error_of(text).endswith(f": {problem}")
    assert "\n" not in error_of(text)


def test_none_is_told_to_be_empty() -> None:
    """A setting that is not there is often passed on as None."""
    text: str = None  # type: ignore[assignment]
    assert error_of(text) == "bad URL '': it is empty; expected something like 'nats://localhost:4222'"


@pytest.mark.parametrize(
    "text", ["nats:/me:hunter2", "nats:/me:hunter2@h", "nats:/h?token=a://hunter2", "nats:/h?token=hunter2://b"]
)
def test_one_slash_hides_no_less_than_two(text: str):
    assert "hunter2" not in error_of(text)


@pytest.mark.parametrize("given", [{"user": "me", "password": "hunter2"}, ("me", "hunter2"), b"nats://me:hunter2@h", 7])
def test_what_is_no_text_is_not_shown(given: Any):
    """Settings that were not put together yet are named by their type: they hold the password."""
    kind = type(given).__name__
    assert error_of(given) == f"bad URL {kind}: expected a str, got {kind}"


def test_a_url_that_was_read_before_keeps_its_secrets():
    """Reading it again does not take the mask for the password."""
    url = BackendURL.parse("nats://me:hunter2@h?token=s3cr3t")
    again: Any = url
    assert BackendURL.parse(again) == url


def test_all_problems_come_in_one_error() -> None:
    """Nobody has to fix a URL one error at a time."""
    assert error_of("nats://u:${NOPE}@h:x,b:99999?a=%zz&b=${NOPE}&c").splitlines() == [
        "bad URL nats://u:***@h:***:",
        "- environment variable NOPE (used in the password) is not set",
        "- the port of host 'h' is not a number from 1 to 65535",
        "- the port of host 'b' is not a number from 1 to 65535",
        "- bad percent-encoding in ?a: expected UTF-8, and %25 for a '%'",
        "- environment variable NOPE (used in ?b) is not set",
        "- a query parameter is not of the form name=value (encode '&' in a value as %26)",
    ]


def test_a_reading_keeps_what_could_be_read() -> None:
    """A caller may go on to look for further problems."""
    reading = read_url("nats://h:x?a=1&b=${NOPE}", {})
    assert reading.url == BackendURL("nats", hosts=(Host("h"),), query=(("a", "1"),))
    assert reading.unread == ("b",)
    assert len(reading.problems) == 2
    assert str(reading.fail(["one"], hidden=["a"])) == "bad URL nats://h:***: one"


@pytest.mark.parametrize("value", AWKWARD)
@pytest.mark.parametrize(
    "template", ["nats://u:{}@h:1/p?q=r", "nats://{}@h:1/p?q=r", "nats://h:1/{}", "nats://h/?q={}&r=1"]
)
def test_the_value_of_a_variable_cannot_alter_the_structure(template: str, value: str) -> None:
    """A value with awkward characters needs no encoding and stays in the part where its placeholder stands."""
    secret = f"{LEFT}{value}{RIGHT}"
    url = BackendURL.parse(template.format("${V}"), {"V": secret, "X": "wrong"})
    plain = BackendURL.parse(template.format("plain"), {})
    assert secret in (url.user, url.password, url.path.removeprefix("/"), dict(url.query).get("q"))
    assert (url.scheme, url.hosts, len(url.query)) == (plain.scheme, plain.hosts, len(plain.query))


@pytest.mark.parametrize("value", [value for value in AWKWARD if value != "\ud800"])
def test_reveal_reads_back_as_an_equal_url(value: str) -> None:
    """What reveal() gives needs no environment and means the same, whatever the parts hold."""
    environ = {"V": f"{LEFT}{value}{RIGHT}"}
    url = BackendURL.parse("nats+tls://u${V}:${V}@h:1,[::1]/${V}?q=${V}&token=${V}", environ)
    assert BackendURL.parse(url.reveal(), {}) == url


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${A}", "a"),
        ("x${A}y${B}z", "xaybz"),
        ("${NOPE:-d}", "d"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY}", ""),
        ("${A:-d}", "a"),
        ("${NOPE:-}", ""),
        ("${NOPE:-a b@/?#&=:-%41}", "a b@/?#&=:-%41"),
        ("${NOPE:-${A}}", "a"),
        ("${NOPE:-1${NOPE:-2}3}", "123"),
        ("${NOPE:-$$5}", "$5"),
        ("$$", "$"),
        ("$$$$", "$$"),
        ("$${A}", "${A}"),
        ("$$${A}", "$a"),
        ("$A", "$A"),
        ("5$", "5$"),
        ("${LOOP}", "${LOOP}"),
    ],
)
def test_placeholders_are_expanded(text: str, value: str) -> None:
    """A variable, a default for one that is unset or empty, a literal dollar; a value is not expanded again."""
    environ = {"A": "a", "B": "b", "EMPTY": "", "LOOP": "${LOOP}"}
    assert BackendURL.parse(f"memory://?q={text}", environ).query == (("q", value),)


def test_a_port_and_a_scheme_may_come_from_variables() -> None:
    """Every part can be set from outside."""
    url = BackendURL.parse("${S}://${H}:${P}", {"S": "NATS+tls", "H": "h", "P": "4222"})
    assert url == BackendURL("nats", ("tls",), hosts=(Host("h", 4222),))


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a mapping the variables are those of the process."""
    monkeypatch.setenv("PUBSUBKIT_TEST_HOST", "h")
    assert BackendURL.parse("nats://${PUBSUBKIT_TEST_HOST}").hosts == (Host("h"),)


def test_a_lone_placeholder_is_a_url_with_placeholders_of_its_own() -> None:
    """The whole URL may come from a variable, and its password from another one."""
    environ = {"PUBSUB_URL": "nats://u:${PW}@h:1\n", "PW": "@/?#:"}
    expected = BackendURL("nats", user="u", password="@/?#:", hosts=(Host("h", 1),))
    assert BackendURL.parse("${PUBSUB_URL}", environ) == expected
    assert BackendURL.parse("${NOPE:-nats://u:${PW}@h:1}", environ) == expected


def test_what_is_no_scheme_is_not_shown_as_one() -> None:
    """Without a scheme, a password with ``://`` in it must not be taken for one."""
    assert error_of("u:secret://more@h").startswith("bad URL ***://***@h: bad scheme: expected a name")


@pytest.mark.parametrize("value", [f"{LEFT}-{RIGHT}", "${OTHER}"])
def test_a_lone_placeholder_without_a_url_does_not_show_its_value(value: str) -> None:
    """A secret in the wrong variable is not told, and expansion ends after one step."""
    assert error_of("${PUBSUB_URL}", {"PUBSUB_URL": value, "OTHER": "memory://"}) == (
        "bad URL ${PUBSUB_URL}: environment variable PUBSUB_URL does not hold a URL: expected scheme://host"
    )


def test_a_lone_placeholder_that_is_empty() -> None:
    """An empty variable is told from one that holds something else."""
    assert error_of("${PUBSUB_URL}", {"PUBSUB_URL": " "}) == (
        "bad URL ${PUBSUB_URL}: environment variable PUBSUB_URL is empty: expected scheme://host"
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("nats://u:p@h:1,b/x?stream=a.>", "nats://u:***@h:1,b/x?stream=a.>"),
        ("nats://TOKEN@h", "nats://***@h"),
        ("nats://TOKEN:@h", "nats://***@h"),
        (
            "nats+tls://h?nkey_file=a&PASSWORD=b&my-creds=c&ack=d",
            "nats+tls://h?nkey_file=***&PASSWORD=***&my-creds=***&ack=d",
        ),
        ("nats://h?up=x%40y", "nats://h?up=***"),
        ("nats://h?a=x%0Ay%26", "nats://h?a=x%0Ay%26"),
        ("nats://[fe80::1%25e]:1", "nats://[fe80::1%25e]:1"),
    ],
)
def test_a_url_is_shown_without_its_secrets(text: str, shown: str) -> None:
    """str, repr, format and errors mask what is secret and keep the rest."""
    url = BackendURL.parse(text, {})
    assert str(url) == f"{url}" == shown
    assert repr(url) == f"BackendURL({shown!r})"
    assert str(url.fail(["p"])) == f"bad URL {shown}: p"
    assert str(url.fail(["p", "q"])) == f"bad URL {shown}:\n- p\n- q"


def test_a_backend_can_hide_more_parameters() -> None:
    """What a backend declares as secret is masked whatever its name, and the copy is equal otherwise."""
    url = BackendURL.parse("nats://h?sign-with=x&a=b", {})
    assert str(url.hiding(["sign_with"])) == "nats://h?sign-with=***&a=b"
    assert url.hiding(["sign_with"]) == url
    assert url.hiding(["sign_with"]).reveal() == url.reveal()


def test_a_url_is_a_value() -> None:
    """It is immutable, hashable and comparable."""
    url = BackendURL.parse("nats://h", {})
    assert len({url, BackendURL.parse("nats://h", {})}) == 1
    with pytest.raises(FrozenInstanceError):
        url.scheme = "other"  # type: ignore[misc]


LEAKY = [
    "nats://u:{}@h",
    "nats://u:{}@h:4222,b:1/p?q=r",
    "nats://u:{}@h:bad",
    "nats://u:{}@h?q=%zz",
    "nats://u:{}@h#f",
    "nats+tls://u:{}@",
    "://u:{}@h",
    "1x://u:{}@h",
    "nats://h?token={}",
    "nats://h:bad?token={}",
    "nats://h?a=1&API-KEY={}&b=%zz",
    "nats://h/p?jwt={}&x=${{NOPE}}",
    "nats://h?a&seed={}",
    "nats://u:${{NOPE:-{}}}@h:bad",
    "nats://h?token=${{NOPE:-{}}}&b",
]


@pytest.mark.parametrize(("template", "awkward"), list(itertools.product(LEAKY, ["", "x", *AWKWARD])))
def test_a_secret_is_never_shown_whatever_it_holds(template: str, awkward: str) -> None:
    """No half of a secret is in str, repr, the error or redact(), whether the URL can be read or not."""
    text = template.format(f"{LEFT}{awkward}{RIGHT}")
    shown = [redact(text), redact(f"cannot reach {text} today"), redact(f"cannot reach '{text}': refused")]
    try:
        url = BackendURL.parse(text, {})
    except ConfigurationError as error:
        shown += [str(error), repr(error), repr(read_url(text, {}))]
    else:
        shown += [str(url), repr(url), str(url.fail(["p"]))]
    for each in shown:
        assert LEFT not in each, each
        assert RIGHT not in each, each


@pytest.mark.parametrize("awkward", ["", "x", *(value for value in AWKWARD if value not in (":", "://", "\x00"))])
def test_a_token_as_the_user_is_never_shown(awkward: str) -> None:
    """A user without a password is masked as a whole, and so is a password when the scheme was forgotten."""
    text = f"nats://{LEFT}{awkward}{RIGHT}@h:bad"
    for each in (redact(text), error_of(text), error_of(f"u:{LEFT}{awkward}{RIGHT}@h")):
        assert LEFT not in each, each
        assert RIGHT not in each, each


@pytest.mark.parametrize("awkward", AWKWARD)
@pytest.mark.parametrize("template", ["nats://u:${V}@h?stream=a", "nats://${V}@h", "nats://h?token=${V}"])
def test_a_secret_from_a_variable_is_never_shown(template: str, awkward: str) -> None:
    """What comes out of the environment is as well hidden as what stands in the URL."""
    environ = {"V": f"{LEFT}{awkward}{RIGHT}"}
    url = BackendURL.parse(template, environ)
    shown = [
        str(url),
        repr(url),
        str(url.fail(["p"])),
        error_of(f"{template}&b" if "?" in template else f"{template}?b", environ),
    ]
    for each in shown:
        assert LEFT not in each, each
        assert RIGHT not in each, each


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("nothing to see here", "nothing to see here"),
        ("mail bob@example.com at 10:30", "mail bob@example.com at 10:30"),
        ("cannot reach nats://h:4222: refused", "cannot reach nats://h:4222: refused"),
        ("cannot reach nats://u:p@h:4222: refused", "cannot reach nats://u:***@h:4222: refused"),
        ("from nats://a:b@h to nats://c:d@g", "from nats://a:***@h to nats://c:***@g"),
        ("'nats://u:p w@h'", "'nats://u:***@h'"),
        ("user:secret@host is down", "***@host is down"),
        ("url=nats://u:p@h;", "url=nats://u:***@h;"),
        ("('nats://a:b@h', \"nats://c:d@g\")", "('nats://a:***@h', \"nats://c:***@g\")"),
        ("nats://h?token=a&1=b&c=d", "nats://h?token=***&***&c=d"),
        ("nats://u:secret", "nats://u:***"),
        ("nats://[::1]:4222/x", "nats://[::1]:4222/x"),
        ("nats://h?token=a&b=c#d", "nats://h?token=***&b=c#***"),
        ("nats://h?%74oken=a", "nats://h?%74oken=***"),
        ("nats://${USER}:${PW}@${HOST}:${PORT}", "nats://${USER}:***@${HOST}:${PORT}"),
        ("nats://TOKEN:@h", "nats://***@h"),
        ("nats://${TOKEN:-abc}@h", "nats://***@h"),
        ("nats://h?stream=${STREAM:-orders}", "nats://h?stream=${STREAM}"),
        ("cannot reach nats:/h?stream=a&token=b&c=d#e", "cannot reach nats:/h?stream=a&token=***&c=d#***"),
        ("cannot reach nats:/h?token=a#b", "cannot reach nats:/h?token=***#***"),
        ("cannot reach nats:/h?token=a?b", "cannot reach nats:/h?token=***"),
        ("cannot reach nats:/h?token=a&b", "cannot reach nats:/h?token=***&***"),
        ("cannot reach nats:/h?to%6ben=a", "cannot reach nats:/h?to%6ben=***"),
        ("is it so? password=x", "is it so? password=x"),
    ],
)
def test_redact_keeps_what_is_not_secret(text: str, shown: str) -> None:
    """A log line stays readable."""
    assert redact(text) == shown


@pytest.mark.parametrize("part", ["${A:-", "${A:-$$", "a,", "@", "u:", "a://", "%", "a", " ", "[", "&", "$", "?"])
@pytest.mark.timeout(5)
def test_a_long_text_takes_no_long_time(part: str) -> None:
    """No text, however odd, keeps the process busy."""
    for text in (part * 20_000, "nats://" + part * 20_000, "u:p" + part * 20_000 + "@h"):
        assert isinstance(redact(text), str)
        assert read_url(text, {}).url is None or "://" in text
