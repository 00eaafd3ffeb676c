"""Brokers of applications that are configured by pydantic-settings."""

import importlib
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from pubsubkit import ConfigurationError, connect, settings
from pubsubkit.settings import BrokerURL, PubSubSettings
from pubsubkit.url import BackendURL


class Settings(PubSubSettings):
    billing_url: BrokerURL
    others: dict[str, BrokerURL]


class Model(BaseModel):
    url: BrokerURL


async def test_several_brokers(monkeypatch: pytest.MonkeyPatch):
    """Each field is a variable with the prefix, and its value connects."""
    monkeypatch.setenv("PUBSUBKIT_URL", "memory://main")
    monkeypatch.setenv("PUBSUBKIT_BILLING_URL", "memory://billing")
    monkeypatch.setenv("PUBSUBKIT_OTHERS", '{"a": "memory://other"}')
    found = Settings()  # type: ignore[call-arg]
    async with connect(found.url) as one, connect(found.billing_url) as two, connect(found.others["a"]) as three:
        assert [each.address for each in (one, two, three)] == ["memory://main", "memory://billing", "memory://other"]


def test_secrets(monkeypatch: pytest.MonkeyPatch):
    """A password of another variable is in the URL, and in nothing that is shown or serialised."""
    monkeypatch.setenv("PUBSUBKIT_TEST_PW", "hunter2/@:?#$${X}")
    monkeypatch.setenv("PUBSUBKIT_URL", "nats://user:${PUBSUBKIT_TEST_PW}@host?token=hunter2")
    found = PubSubSettings()  # type: ignore[call-arg]
    assert found.url.password == "hunter2/@:?#$${X}"
    assert BackendURL.parse(found.url.reveal()) == found.url
    for shown in (repr(found), str(found), str(found.model_dump()), found.model_dump_json()):
        assert "nats://user:***@host?token=***" in shown
        assert "hunter2" not in shown
    assert PubSubSettings.model_json_schema()["properties"]["url"]["type"] == "string"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("nats://user:hunter2@host:x", "the port of host 'host' is not a number"),
        ("hunter2", "expected a URL"),
        ("${PUBSUBKIT_TEST_NOPE}", "environment variable PUBSUBKIT_TEST_NOPE .* is not set"),
        (b"hunter2", "expected a URL"),
        (5, "expected a URL"),
    ],
)
def test_what_is_no_url(value: object, words: str):
    """It is a validation error that says what is wrong and does not show the value, in any model."""
    with pytest.raises(ValidationError, match=words) as caught:
        Model.model_validate({"url": value})
    error = caught.value
    assert "hunter2" not in f"{error} {error!r} {error.errors()} {error.json()}"


def test_a_parsed_url_is_taken_as_it_is():
    """A URL that was parsed already is the same URL."""
    url = BackendURL.parse("memory://")
    assert Model(url=url).url is url


def test_env_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A file of variables may hold others as well."""
    monkeypatch.delenv("PUBSUBKIT_URL", raising=False)
    (tmp_path / ".env").write_text("PUBSUBKIT_URL=memory://file\nPUBSUBKIT_UNKNOWN=1\nOTHER=2\n", encoding="utf-8")
    found = PubSubSettings(_env_file=tmp_path / ".env")  # type: ignore[call-arg]
    assert str(found.url) == "memory://file"


def test_without_pydantic_settings(monkeypatch: pytest.MonkeyPatch):
    """Without the package the module says what to install."""
    monkeypatch.setitem(sys.modules, "pydantic_settings", None)
    monkeypatch.delitem(sys.modules, settings.__name__)
    with pytest.raises(ConfigurationError, match=r"pip install 'pubsubkit\[settings\]'"):
        importlib.import_module(settings.__name__)
