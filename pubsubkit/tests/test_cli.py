"""The command line where no broker of its own process is needed: help, wrong input, backends, demo, a missing click."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from pubsubkit import ConsumerOptions, PublisherOptions, PubSubError, StreamOptions, TransientError, connect
from pubsubkit.cli.app import application
from pubsubkit.cli.failure import one_line
from pubsubkit.cli.samples import sample_events
from pubsubkit.registry import register_backend, unregister_backend
from pubsubkit_memory import MemoryDriver

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pubsubkit import Backend

pytestmark = pytest.mark.usefixtures("command_line")

SECRET = "hunter2"


def run(*arguments: str, stdin: bytes | str | None = None) -> Result:
    return CliRunner().invoke(application, arguments, input=stdin, prog_name="pubsubkit")


def assert_one_line(result: Result, code: int, text: str) -> None:
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("pubsubkit: ")
    assert result.stderr.count("\n") == 1
    assert text in result.stderr
    assert "Traceback" not in result.stderr
    assert SECRET not in result.stderr


@pytest.mark.parametrize("command", [[], ["pub"], ["sub"], ["backends"], ["backends", "show"], ["demo"]])
def test_help_teaches_by_example(command: list[str]) -> None:
    """Every command has help with a command line to copy."""
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert f"\n    pubsubkit {command[0] if command else 'demo'}" in result.stdout


def test_help_documents_exit_codes_and_environment() -> None:
    """The general help says what the exit codes mean and which variable holds the URL; no command is help too."""
    result = run("--help")
    assert all(text in result.stdout for text in ("Exit codes", "\n    130 ", "NO_COLOR", "PUBSUBKIT_URL"))
    assert run().stdout == result.stdout
    assert run().exit_code == 0


def test_version() -> None:
    """--version names the program and its version."""
    assert run("--version").stdout.startswith("pubsubkit 0.")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["pub", "a.b", "c"], "no broker given: use --url"),
        (["sub", "a.>"], "PUBSUBKIT_URL"),
        (["bup"], "No such command 'bup'"),
        (["pub"], "give a SUBJECT, or --jsonl FILE"),
        (["sub"], "Missing argument 'FILTER'"),
        (["pub", "a.b", "--retyr", "1"], "--retry"),
        (["pub", "a.b", "c", "--retry", "-1"], "--retry"),
        (["pub", "a.b", "c", "--timeout", "soon"], "expected a duration such as 500ms"),
        (["pub", "a.b", "c", "--timeout", "0"], "expected more than 0"),
        (["pub", "a.b", "c", "--storage", "disk"], "'disk' is not one of"),
        (["pub", "a.b", "c", "-H", "no colon"], "expected 'Name: value'"),
        (["pub", "a.b", "c", "-H", "Nats-Msg-Id: 1"], "the broker's own"),
        (["pub", "a.b", "c", "-H", "A: 1", "-H", "a: 2"], "a header is given twice"),
        (["pub", "a.b", "--jsonl", "-"], "with --jsonl the lines say the subjects"),
        (["pub", "--jsonl", "missing.jsonl"], "missing.jsonl"),
        (["pub", "a b", "c"], "invalid subject 'a b'"),
        (["pub", "a.*", "c"], "wildcards are for filters only"),
        (["pub", "a..b", "c"], "empty token"),
        (["sub", "*.b"], "give --stream NAME"),
        (["sub", "a.b>"], "invalid filter 'a.b>'"),
        (["sub", "a.>", "--from", "yesterday"], "expected all, new, last"),
        (["sub", "a.>", "--from", "0"], "expected all, new, last"),
        (["sub", "a.>", "--from", "2026-01-31T12:00:00"], "has no time zone"),
        (["sub", "a.>", "--count", "0"], "--count"),
        (["backends", "show", "nast"], "did you mean 'nats'?"),
    ],
)
def test_wrong_usage_is_one_line(arguments: list[str], text: str) -> None:
    """What is wrong with a command line is said in one line, and the exit code is 2."""
    assert_one_line(run(*arguments), 2, text)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        (f"nats://user:{SECRET}@localhost?strem=X", "unknown parameter 'strem'"),
        (f"nats://user:{SECRET}@localhost?connect_timeout=soon&strem=1", "or 5m; unknown parameter 'strem'"),
        (f"nats://user:{SECRET}@localhost:port", "port"),
        (f"nats://user:{SECRET}@localhost?token={SECRET}", "several ways to authenticate"),
        (f"nast://user:{SECRET}@localhost", "did you mean 'nats'?"),
        (f"user:{SECRET}@localhost", "expected scheme://host"),
        ("nats://user:${PUBSUBKIT_UNSET}@localhost", "PUBSUBKIT_UNSET"),
        ("rabbit://localhost", "no backend for scheme 'rabbit'"),
        ("nats+tsl://localhost", "does not have the modifier 'tsl'"),
    ],
)
@pytest.mark.parametrize("command", [["pub", "a.b", "c"], ["sub", "a.>"], ["demo"]])
def test_wrong_url_is_one_line_without_secrets(url: str, text: str, command: list[str]) -> None:
    """All problems of a URL come in one line that does not show the password, and the exit code is 2."""
    assert_one_line(run("--url", url, *command), 2, text)


def test_misplaced_url_is_not_shown() -> None:
    """A URL in the place of another argument does not show its password in the error."""
    url = f"nats://user:{SECRET}@localhost"
    assert_one_line(run("--url", "memory://", "pub", url, "c"), 2, "expected a name")
    assert_one_line(run("--url", "memory://", "sub", "a.>", "--stream", url), 2, "expected a name")
    assert_one_line(run("backends", "show", url.removeprefix("nats://")), 2, "is no scheme")
    assert_one_line(run("pub", "a.b", "c", f"nats://user:{SECRET}@localhost"), 2, "unexpected extra argument")
    assert_one_line(run(f"nats://user:{SECRET}@localhost"), 2, "No such command")


def test_url_of_the_command_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """--url after the command beats --url before it, which beats the environment."""
    monkeypatch.setenv("PUBSUBKIT_URL", "first://")
    assert_one_line(run("sub", "a.>"), 2, "'first'")
    assert_one_line(run("--url", "second://", "sub", "a.>"), 2, "'second'")
    assert_one_line(run("--url", "second://", "sub", "--url", "third://", "a.>"), 2, "'third'")


@pytest.mark.parametrize("command", [["pub", "a.b", "c"], ["sub", "a.>"], ["demo"], ["dlq", "list", "a"], ["contract"]])
def test_variable_that_holds_no_url_is_not_shown(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What PUBSUBKIT_URL holds may be a secret in the wrong place."""
    monkeypatch.setenv("PUBSUBKIT_URL", SECRET)
    assert_one_line(run(*command), 2, "environment variable PUBSUBKIT_URL does not hold a URL")


def test_empty_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty PUBSUBKIT_URL is told from one that is not set; for the demo it is the same."""
    monkeypatch.setenv("PUBSUBKIT_URL", "")
    assert_one_line(run("pub", "a.b", "c"), 2, "environment variable PUBSUBKIT_URL is empty")
    assert " to memory://" in run("demo").stdout.splitlines()[0]


@pytest.mark.parametrize("command", [["pub", "a.b", "c"], ["sub", "a.>"], ["demo"]])
def test_refused_connection(command: list[str], unused_tcp_port: int) -> None:
    """A broker that is not there is reported at once, with exit code 1."""
    started = time.monotonic()
    result = run("--url", f"nats://user:{SECRET}@127.0.0.1:{unused_tcp_port}", *command)
    assert_one_line(result, 1, f"127.0.0.1:{unused_tcp_port}")
    assert time.monotonic() - started < 3


def test_publish_says_what_it_did() -> None:
    """A publish tells that it makes the stream, and ends with a line that has the count and the stream."""
    result = run("--url", "memory://", "pub", "orders.created", "{}")
    assert (result.exit_code, result.stdout) == (0, "")
    created, published = result.stderr.splitlines()
    assert created == "there is no stream orders yet: creating it (memory storage)"
    assert published.startswith("published 1 message to stream orders in ")


def test_subject_of_one_token() -> None:
    """A subject without a dot gets a stream that holds it."""
    result = run("--url", "memory://", "pub", "orders", "{}")
    assert "\npublished 1 message to stream orders in " in result.stderr


def test_payload_that_is_too_large() -> None:
    """A payload beyond the broker's limit is wrong input, from an argument, stdin or a line."""
    url, data = "memory://?max_payload=1000", "x" * 1001
    assert_one_line(run("--url", url, "pub", "a.b", data), 2, "more than the 1000")
    assert_one_line(run("--url", url, "pub", "a.b", stdin=data), 2, "more than the 1000")
    result = run("--url", url, "pub", "--jsonl", "-", stdin=json.dumps({"subject": "a.b", "data": data}))
    assert result.exit_code == 2
    assert result.stderr.splitlines()[0] == "published 0 messages"
    assert result.stderr.splitlines()[1].startswith("pubsubkit: stdin:1: the message has 1003 bytes")


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("{", "not JSON: "),
        ("[]", "expected an object such as"),
        ('{"data": 1}', "'subject' is missing"),
        ('{"subject": "a.b"}', "give one of 'data', 'text' and 'base64'"),
        ('{"subject": "a.b", "data": 1, "text": "1"}', "data and text: give one of"),
        ('{"subject": "a.b", "data": NaN}', "NaN is not a JSON value"),
        ('{"subject": "a.b", "data": 1e999}', "cannot be written as JSON"),
        ('{"subject": "a.b", "data": "\\ud800"}', "cannot be written as JSON"),
        ('{"subject": "a.b", "text": 1}', "'text' must be text"),
        ('{"subject": "a.b", "base64": "?"}', "'base64' cannot be decoded"),
        ('{"subject": "a b", "data": 1}', "invalid subject 'a b'"),
        ('{"subject": 7, "data": 1}', "expected str, got int"),
        ('{"subject": "a.b", "data": 1, "header": {}}', "did you mean 'headers'?"),
        ('{"subject": "a.b", "data": 1, "headers": []}', "'headers' must be an object"),
        ('{"subject": "a.b", "data": 1, "headers": {"A": 1}}', "the value must be str"),
        ('{"subject": "a.b", "data": 1, "message_id": ""}', "invalid message id"),
        ("[" * 100_000, "nested too deeply"),
        (b"\xff", "not UTF-8"),
    ],
)
def test_wrong_line(line: str | bytes, text: str, tmp_path: Path) -> None:
    """A wrong line is named with its file and number, and the lines before it are published and counted."""
    path = tmp_path / "events.jsonl"
    good = b'{"subject": "a.b", "data": 1}\n\n'
    path.write_bytes(good * 2 + (line.encode() if isinstance(line, str) else line) + b"\n" + good)
    result = run("--url", "memory://", "pub", "--jsonl", str(path))
    assert (result.exit_code, result.stdout) == (2, "")
    _, summary, error = result.stderr.splitlines()
    assert summary.startswith("published 2 messages to stream a in ")
    assert error.startswith(f"pubsubkit: {path}:5: ")
    assert text in error


def test_empty_input() -> None:
    """No lines are no messages, which is no error."""
    result = run("--url", "memory://", "pub", "--jsonl", "-", stdin="\n\n")
    assert (result.exit_code, result.stderr) == (0, "published 0 messages\n")


@pytest.mark.parametrize("arguments", [["a.b"], ["a.b", "-"], ["--jsonl", "-"]])
def test_closed_stdin(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A process without stdin is told so, however stdin was asked for."""
    assert run_without("stdin", monkeypatch, "pub", *arguments) == (2, b"pubsubkit: stdin is closed\n")


@pytest.mark.parametrize("arguments", [["sub", "a.>"], ["demo"], ["contract"]])
def test_closed_stdout(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that is there for what it prints refuses to run without stdout."""
    assert run_without("stdout", monkeypatch, *arguments) == (2, b"pubsubkit: stdout is closed\n")


def run_without(stream: str, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[object, bytes]:
    with CliRunner().isolation() as (_, err, _):
        monkeypatch.setattr(sys, stream, None)
        with pytest.raises(SystemExit) as ended:
            application(["--url", "memory://", *arguments], prog_name="pubsubkit")
        return ended.value.code, err.getvalue()


def test_lines_from_other_systems(tmp_path: Path) -> None:
    """A byte order mark, CR LF, and a last line without a line feed are fine."""
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"subject": "a.b", "data": 1}\r\n{"subject": "a.b", "data": 2}')
    assert "\npublished 2 messages " in run("--url", "memory://", "pub", "--jsonl", str(path)).stderr


def test_demo_keeps_its_promises() -> None:
    """The demo runs on memory:// by default, shows a redelivery and ends with ok."""
    result = run("demo")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "delivery number 2" in result.stdout
    assert result.stdout.endswith("\nok\n")


def test_demo_as_json() -> None:
    """With --json the demo is one line: which delivery of which event each run has seen."""
    result = run("demo", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    (line,) = result.stdout.splitlines()
    facts = json.loads(line)
    assert facts["ok"] is True
    assert (facts["published"], facts["left"]) == (12, 0)
    assert facts["first_run"]["3"] == [1, 2]
    assert len(facts["first_run"]) + len(facts["second_run"]) == 12


def test_demo_notices_a_broken_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    """When a message is lost, the demo says so and fails."""
    lossy = list(sample_events())[:-1]
    monkeypatch.setattr("pubsubkit.cli.demo.sample_events", lambda: [*lossy, lossy[0]])
    monkeypatch.setattr("pubsubkit.cli.demo._TERM", 4)
    monkeypatch.setattr("pubsubkit.cli.demo._NAK", 99)
    result = run("demo")
    assert result.exit_code == 1
    assert result.stderr.startswith("pubsubkit: promise not kept: event 99 was delivered None and not [1, 2]")
    assert not result.stdout.endswith("ok\n")


def test_backends_as_a_table() -> None:
    """Backends lists scheme, distribution, version and modifiers."""
    rows = [line.split() for line in run("backends").stdout.splitlines()]
    assert rows[0] == ["SCHEME", "DISTRIBUTION", "VERSION", "MODIFIERS"]
    assert rows[1][:2] == ["memory", "pubsubkit-memory"]
    assert rows[2][:2] == ["nats", "pubsubkit-nats"]
    assert rows[2][3:] == ["embedded,", "tls,", "ws,", "wss"]


def test_backends_as_json() -> None:
    """Backends --json has one object per scheme."""
    rows = json.loads(run("backends", "--json").stdout)
    assert {"memory", "nats"} <= {row["scheme"] for row in rows}
    assert all(row["problem"] is None for row in rows)


def test_backends_shows_why_one_does_not_load() -> None:
    """A backend that cannot be used is listed with the reason, and the others are not affected."""
    register_backend("odd", object())  # type: ignore[arg-type]
    try:
        listed = run("backends")
        shown = run("backends", "show", "odd")
    finally:
        unregister_backend("odd")
    assert listed.exit_code == 0
    assert any("does not load: backend 'odd'" in line for line in listed.stdout.splitlines())
    assert_one_line(shown, 2, "is not a driver class")


def test_backend_parameters() -> None:
    """Backends show lists every parameter with type, default and meaning, and a URL that can be opened."""
    text = run("backends", "show", "nats").stdout
    rows = {line.split()[0]: line.split() for line in text.splitlines() if line}
    assert rows["connect_timeout"][1:3] == ["duration", "5s"]
    assert rows["token"][1:4] == ["text", "(secret)", "-"]
    assert "nats+tls://" in text
    assert rows["Example:"][1].startswith("nats://localhost?")


def test_backend_parameters_as_json() -> None:
    """Backends show --json has the same, for programs."""
    shown = json.loads(run("backends", "show", "nats://", "--json").stdout)
    token = next(each for each in shown["parameters"] if each["name"] == "token")
    assert token["secret"] is True
    assert shown["modifiers"] == ["embedded", "tls", "ws", "wss"]


def test_verbose_logs_to_stderr() -> None:
    """--verbose adds log lines on stderr, with the traceback of an error, before or after the command."""
    for arguments in (["-v", "pub", "a.b", "c"], ["pub", "a.b", "c", "--verbose"]):
        result = run("--url", f"nats://user:{SECRET}@localhost?strem=1", *arguments)
        assert "DEBUG   pubsubkit.cli: the command failed\nTraceback" in result.stderr
        assert SECRET not in result.stderr
        assert result.stdout == ""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\n- b\n- c", "a b; c"),
        (f"no nats://u:{SECRET}@h", "no nats://u:***@h"),
        ("", "str"),
    ],
)
def test_errors_are_one_line(text: str, line: str) -> None:
    """An error of several lines becomes one, and secrets are hidden."""
    assert one_line(text) == line


async def _other_settings(backend: Backend) -> None:
    stream = StreamOptions(name="a", subjects=("a.>",))
    async with backend.consumer(ConsumerOptions(stream=stream, consumer_name="c")):
        pass
    async with backend.consumer(ConsumerOptions(stream=stream, consumer_name="c", ack_wait=9)):
        pass


async def _subject_outside(backend: Backend) -> None:
    stream = StreamOptions(name="a", subjects=("a.>",))
    async with backend.publisher(PublisherOptions(stream=stream)) as publisher:
        await publisher.publish("b.c", b"")


async def _filter_outside(backend: Backend) -> None:
    stream = StreamOptions(name="a", subjects=("a.>",))
    async with backend.consumer(ConsumerOptions(stream=stream, filter_subject="b.>")):
        pass


async def _no_backend(_: Backend) -> None:
    connect("nosuch://")


@pytest.mark.parametrize(
    ("failing", "advice"),
    [
        (_other_settings, "change one of them, or leave the option out: ack_wait: 30.0 -> 9"),
        (_subject_outside, "it holds a.>. Give another subject, or another --stream"),
        (_filter_outside, "which holds a.>; change the filter"),
        (_no_backend, ". Install the distribution that offers it"),
    ],
)
async def test_advice_is_for_the_command_line(failing: Callable[[Backend], Awaitable[None]], advice: str) -> None:
    """What the library advises a program is said in terms of the command line."""
    with pytest.raises(PubSubError) as caught:
        async with connect("memory://") as backend:
            await failing(backend)
    assert one_line(caught.value).endswith(advice)


def python(code: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PUBSUBKIT_URL"}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False, env=environment
    )


@pytest.mark.parametrize("module", ["pubsubkit.backend", "click", "pubsubkit.cli.demo"])
def test_ctrl_c_while_it_is_starting(module: str) -> None:
    """Ctrl-C during any of the command's imports ends it with 130 and without a traceback."""
    done = python(
        f"""
import sys
from importlib.metadata import entry_points
class CtrlC:
    def find_spec(self, name, *_):
        if name == {module!r}:
            raise KeyboardInterrupt
sys.meta_path.insert(0, CtrlC())
[command] = entry_points(group="console_scripts", name="pubsubkit")
command.load()()
"""
    )
    assert (done.returncode, done.stderr) == (130, "")


def test_missing_click() -> None:
    """Without click the command says in one line how to get it, with exit code 2."""
    result = python("import sys; sys.modules['click'] = None; from pubsubkit.cli import main; main()")
    wanted = "pubsubkit: the command line needs click; install it with: pip install 'pubsubkit[cli]'\n"
    assert (result.returncode, result.stdout, result.stderr) == (2, "", wanted)


def test_library_does_not_need_click() -> None:
    """Importing pubsubkit, or the module of the entry point, imports no click."""
    result = python(
        "import sys, pubsubkit, pubsubkit.cli; print(any(name.startswith('click') for name in sys.modules))"
    )
    assert (result.returncode, result.stdout.strip()) == (0, "False")


def test_another_missing_module_is_not_blamed_on_click() -> None:
    """When something else cannot be imported, the error is that one."""
    result = python("import sys; sys.modules['pubsubkit.cli.app'] = None; from pubsubkit.cli import main; main()")
    assert "needs click" not in result.stderr
    assert "pubsubkit.cli.app" in result.stderr


def test_publishing_tells_where_messages_are(tmp_path: Path) -> None:
    """With --json pub prints a line for each message: its receipt, or why it was not stored."""
    path = tmp_path / "events.jsonl"
    path.write_text('{"subject": "a.b", "data": 1}\n{"subject": "other", "data": 2}\n')
    stored = run("--url", "memory://", "pub", "a.b", "c", "--json")
    assert json.loads(stored.stdout) == {"stream": "a", "sequence": 1, "duplicate": False}
    assert run("--url", "memory://", "pub", "a.b", "c").stdout == ""
    failed = run("--url", "memory://", "pub", "--jsonl", str(path), "--json")
    assert failed.exit_code == 1
    first, second = map(json.loads, failed.stdout.splitlines())
    assert first["sequence"] == 1
    assert "does not hold the subject" in second["error"]


def test_receipts_onto_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was published is counted also when it cannot be listed, and a message that failed comes first."""
    path = tmp_path / "lines.jsonl"
    path.write_text('{"subject": "a.b", "data": "1"}\n')
    with Path("/dev/full").open("wb", buffering=0) as full:
        monkeypatch.setattr("pubsubkit.cli.publish.standard_stream", lambda _: full)
        done = run("--url", "memory://", "pub", "--jsonl", str(path), "--json")
        path.write_text('{"subject": "a.b", "data": "1"}\n{"subject": "other.c", "data": "2"}\n')
        failed = run("--url", "memory://", "pub", "--jsonl", str(path), "--json")
    assert (done.exit_code, failed.exit_code) == (1, 1)
    assert "published 1 message to stream a" in done.stderr
    assert "cannot write to stdout: " in done.stderr
    assert "does not hold the subject" in failed.stderr
    assert "cannot write to stdout" not in failed.stderr


def test_a_group_without_a_command_shows_its_help() -> None:
    """Its help as it is laid out, and the exit code of wrong usage."""
    result = run("dlq")
    assert result.exit_code == 2
    assert "\n  replay " in result.stderr
    assert "pubsubkit: Usage" not in result.stderr


def test_a_broker_that_is_not_there() -> None:
    """The error says what to look at."""
    assert_one_line(run("--url", "nats://127.0.0.1:1", "streams"), 1, "is the broker running, and are host and port")


def test_a_broker_without_a_host_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is said of a host and a port where the URL has none."""

    async def fail(*_: object) -> None:
        raise TransientError("locked")

    monkeypatch.setattr(MemoryDriver, "open", fail)
    result = run("--url", "memory://", "streams")
    assert (result.exit_code, result.stderr) == (1, "pubsubkit: locked\n")
