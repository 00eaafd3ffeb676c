"""How a URL finds its backend; the distributions are real folders of metadata on ``sys.path``."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import distributions
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

import pytest

from pubsubkit.errors import ConfigurationError
from pubsubkit.params import param
from pubsubkit.registry import (
    GROUP,
    SUPPORTED_API_VERSION,
    create_driver,
    find_backend,
    installed_backends,
    refresh,
    register_backend,
    unregister_backend,
)
from pubsubkit.url import BackendURL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pubsubkit.driver import Driver

DRIVER = """
from dataclasses import dataclass
from pubsubkit.params import duration, param

@dataclass(frozen=True, kw_only=True)
class Options:
    stream: str = param(doc="the stream")
    timeout: float = param(2.0, doc="how long to wait", parse=duration)
    signature: str | None = param(None, doc="who you are", secret=True)

class Driver:
    API_VERSION = 1
    OPTIONS = Options
    MODIFIERS = frozenset({"tls", "ws"})

    def __init__(self, url, options):
        self.url, self.options = url, options

    @classmethod
    def from_url(cls, url, options):
        return cls(url, options)
"""


class Install(Protocol):
    """Writes a distribution with one module and puts it first on ``sys.path``."""

    def __call__(
        self, distribution: str, entries: dict[str, str], source: str = DRIVER, version: str = "0.1.0"
    ) -> None:
        """Install it; the keys of *entries* are schemes, the values names in its module."""
        ...


def module_of(distribution: str) -> str:
    """Return the module that a fake distribution has."""
    return "fake_" + distribution.replace("-", "_")


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Hide the backends that are really installed and let the test install its own."""
    offering = [str(path) for path in sys.path if _offers_backends(path)]
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in offering])
    refresh()
    before = set(sys.modules)

    def put(distribution: str, entries: dict[str, str], source: str = DRIVER, version: str = "0.1.0") -> None:
        folder = tmp_path / f"site{len(list(tmp_path.iterdir()))}"
        metadata = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        lines = [f"{scheme} = {module_of(distribution)}:{target}" for scheme, target in entries.items()]
        (metadata / "entry_points.txt").write_text("\n".join((f"[{GROUP}]", *lines, "")))
        (folder / f"{module_of(distribution)}.py").write_text(source)
        sys.path.insert(0, str(folder))
        importlib.invalidate_caches()
        refresh()

    yield put
    for name in set(sys.modules) - before:
        if name.startswith("fake_"):
            del sys.modules[name]
    for scheme in [scheme for scheme, info in installed_backends().items() if not info.distribution]:
        unregister_backend(scheme)
    monkeypatch.undo()
    refresh()


def _offers_backends(path: str) -> bool:
    return any(each.group == GROUP for found in distributions(path=[path]) for each in found.entry_points)


@dataclass(frozen=True, kw_only=True)
class LocalOptions:
    """Parameters of a driver of this process."""

    stream: str = param("s", doc="the stream")


class Local:
    """A driver of this process, as far as the registry looks at it."""

    API_VERSION: ClassVar[int] = SUPPORTED_API_VERSION
    OPTIONS: ClassVar[type[Any]] = LocalOptions
    MODIFIERS: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def from_url(cls, url: BackendURL, options: Any) -> Driver:
        """Return something that tells what it was made from."""
        return cast("Driver", (url, options))


class Other(Local):
    """Another one."""


def find(text: str) -> Any:
    """Return the class for a URL."""
    return find_backend(BackendURL.parse(text, {}))


def error_of(text: str, **keywords: object) -> str:
    """Return the message of the error that opening *text* raises."""
    with pytest.raises(ConfigurationError) as caught:
        create_driver(text, keywords)
    return str(caught.value)


def test_a_backend_is_found_by_its_scheme(install: Install) -> None:
    """The class of the entry point serves the scheme, in any case."""
    install("pubsubkit-redis", {"redis": "Driver"})
    assert find("REDIS://h").__module__ == module_of("pubsubkit-redis")


def test_a_backend_is_imported_only_when_its_scheme_is_opened(install: Install) -> None:
    """Listing imports nothing, and a broken neighbour does not matter."""
    install("pubsubkit-redis", {"redis": "Driver"})
    install("pubsubkit-broken", {"broken": "Driver"}, "raise RuntimeError('never imported')", "7.2")
    assert [(each.scheme, str(each), each.target) for each in installed_backends().values()] == [
        ("broken", "pubsubkit-broken 7.2", "fake_pubsubkit_broken:Driver"),
        ("redis", "pubsubkit-redis 0.1.0", "fake_pubsubkit_redis:Driver"),
    ]
    assert not [name for name in sys.modules if name.startswith("fake_")]
    find("redis://h")
    assert [name for name in sys.modules if name.startswith("fake_")] == ["fake_pubsubkit_redis"]


def test_the_list_of_backends_cannot_be_changed(install: Install) -> None:
    """The cache is not at the mercy of its readers."""
    install("pubsubkit-redis", {"redis": "Driver"})
    with pytest.raises(TypeError):
        installed_backends()["x"] = installed_backends()["redis"]  # type: ignore[index]


def test_refresh_finds_what_was_installed_since(install: Install, tmp_path: Path) -> None:
    """The metadata are read once, until refresh() is called."""
    install("pubsubkit-redis", {"redis": "Driver"})
    assert list(installed_backends()) == ["redis"]
    (entries,) = tmp_path.glob("*/*.dist-info/entry_points.txt")
    entries.write_text(entries.read_text().replace("redis =", "valkey ="))
    assert list(installed_backends()) == ["redis"]
    refresh()
    assert list(installed_backends()) == ["valkey"]


def test_a_modifier_that_the_class_lists_is_accepted(install: Install) -> None:
    """The base scheme serves its variants."""
    install("pubsubkit-redis", {"redis": "Driver"})
    assert find("redis+tls://h") is find("redis+ws+tls://h") is find("redis://h")


def test_an_entry_for_the_whole_scheme_comes_first(install: Install) -> None:
    """A variant can have a class of its own, whose MODIFIERS need not list it."""
    install("pubsubkit-redis", {"redis": "Driver", "redis+quic": "Quic"}, f"{DRIVER}\nclass Quic(Driver): pass")
    assert find("redis+quic://h").__name__ == "Quic"
    assert find("redis://h").__name__ == "Driver"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("redis+tsl://h?stream=s", "does not have the modifier 'tsl'; it has: tls, ws; did you mean 'tls'?"),
        ("redis+tls+quic://h?stream=s", "does not have the modifier 'quic'; it has: tls, ws"),
    ],
)
def test_an_unknown_modifier_is_answered_by_the_known_ones(install: Install, text: str, problem: str) -> None:
    """The error lists the modifiers and suggests the nearest."""
    install("pubsubkit-redis", {"redis": "Driver"})
    assert error_of(text) == f"bad URL {text}: backend 'redis' {problem}"
    with pytest.raises(ConfigurationError, match="does not have the modifier"):
        find(text)


def test_a_backend_without_modifiers_says_so() -> None:
    """There is nothing to list."""
    register_backend("local", Local)
    try:
        assert error_of("local+tls://") == (
            "bad URL local+tls://: backend 'local' does not have the modifier 'tls'; it has none"
        )
    finally:
        unregister_backend("local")


@pytest.mark.parametrize(
    ("scheme", "message"),
    [
        ("nats", "no backend for scheme 'nats'; installed: redis. Install it with: pip install pubsubkit-nats"),
        ("memory", "no backend for scheme 'memory'; installed: redis. Install it with: pip install pubsubkit-memory"),
        ("natz", "no backend for scheme 'natz'; installed: redis; did you mean 'nats'?"),
        ("rediss", "no backend for scheme 'rediss'; installed: redis; did you mean 'redis'?"),
        (
            "xyzzy",
            "no backend for scheme 'xyzzy'; installed: redis. "
            "Install the distribution that offers it, or call register_backend()",
        ),
    ],
)
def test_a_missing_backend_is_answered_by_what_to_do(install: Install, scheme: str, message: str) -> None:
    """The error lists what is installed and says what to install or what was meant."""
    install("pubsubkit-redis", {"redis": "Driver"})
    assert error_of(f"{scheme}://u:secret@h") == message


@pytest.mark.usefixtures("install")
def test_without_any_backend_the_error_says_none() -> None:
    """An empty list is not left empty."""
    assert error_of("nats://h").startswith("no backend for scheme 'nats'; installed: none. Install it with")


def test_two_distributions_for_one_scheme_are_an_error(install: Install) -> None:
    """Neither wins silently; the error names both and the way out."""
    install("pubsubkit-redis", {"redis": "Driver"}, version="1.0")
    install("Acme-Redis", {"redis": "Driver"}, version="2.0")
    assert error_of("redis://h") == (
        "scheme 'redis' is claimed by Acme-Redis 2.0 (fake_Acme_Redis:Driver) and "
        "pubsubkit-redis 1.0 (fake_pubsubkit_redis:Driver): "
        "uninstall one or call register_backend('redis', ..., replace=True)"
    )
    info = installed_backends()["redis"]
    assert (str(info), [str(each) for each in info.rivals]) == ("Acme-Redis 2.0", ["pubsubkit-redis 1.0"])


def test_a_clash_is_resolved_by_registering(install: Install) -> None:
    """The application decides, and can take its decision back."""
    install("pubsubkit-redis", {"redis": "Driver"})
    install("acme-redis", {"redis": "Driver"})
    with pytest.raises(
        ConfigurationError, match=r"scheme 'redis' is taken by acme-redis 0\.1\.0; use register_backend"
    ):
        register_backend("redis", Local)
    register_backend("redis", Local, replace=True)
    assert find("redis://h") is Local
    unregister_backend("redis")
    assert "is claimed by" in error_of("redis://h")


def test_one_distribution_seen_twice_is_no_clash(install: Install) -> None:
    """An editable and a stale installation of the same distribution may both be on the path; the first one counts."""
    install("pubsubkit-redis", {"redis": "Driver"}, version="1.0")
    install("pubsubkit_redis", {"redis": "Driver"}, version="2.0")
    assert str(installed_backends()["redis"]) == "pubsubkit_redis 2.0"
    assert find("redis://h").__name__ == "Driver"


def test_one_distribution_may_not_claim_a_scheme_twice(install: Install) -> None:
    """Two classes in different case of the same scheme are a clash as well."""
    install("pubsubkit-redis", {"redis": "Driver", "Redis": "Other"})
    assert "fake_pubsubkit_redis:Driver) and pubsubkit-redis 0.1.0 (fake_pubsubkit_redis:Other)" in error_of(
        "redis://h"
    )


@pytest.mark.parametrize(
    ("source", "target", "reason", "cause"),
    [
        (
            "import nowhere_to_be_found",
            "Driver",
            "ModuleNotFoundError: No module named 'nowhere_to_be_found'",
            ImportError,
        ),
        ("x = 1", "Driver", "AttributeError: module 'fake_pubsubkit_nats' has no attribute 'Driver'", AttributeError),
        ("raise RuntimeError('no libc')", "Driver", "RuntimeError: no libc", RuntimeError),
    ],
)
def test_a_failing_import_is_told_with_its_distribution(
    install: Install, source: str, target: str, reason: str, cause: type[Exception]
) -> None:
    """The error names who is to blame, and the original is its cause."""
    install("pubsubkit-nats", {"nats": target}, source)
    with pytest.raises(ConfigurationError) as caught:
        create_driver("nats://h", {})
    assert str(caught.value) == f"backend 'nats' (pubsubkit-nats 0.1.0) failed to import: {reason}"
    assert isinstance(caught.value.__cause__, cause)


@pytest.mark.parametrize(
    ("version", "remedy"),
    [
        ("2", "pip install --upgrade pubsubkit"),
        ("0", "pip install --upgrade pubsubkit-nats"),
        ("None", "pip install --upgrade pubsubkit-nats"),
    ],
)
def test_another_interface_version_says_what_to_upgrade(install: Install, version: str, remedy: str) -> None:
    """The older side is to be upgraded."""
    install("pubsubkit-nats", {"nats": "Driver"}, DRIVER.replace("API_VERSION = 1", f"API_VERSION = {version}"))
    assert error_of("nats://h") == (
        f"backend 'nats' (pubsubkit-nats 0.1.0) was written for driver interface {version}, "
        f"and this pubsubkit has {SUPPORTED_API_VERSION}: {remedy}"
    )


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("class Driver: pass", "it lacks API_VERSION, OPTIONS, MODIFIERS, from_url"),
        ("Driver = None", "it lacks API_VERSION, OPTIONS, MODIFIERS, from_url"),
        (DRIVER.replace("OPTIONS = Options", "OPTIONS = dict"), "its OPTIONS is no dataclass"),
    ],
)
def test_what_is_no_driver_class_is_refused(install: Install, source: str, why: str) -> None:
    """The author of a backend is told what is missing."""
    install("pubsubkit-nats", {"nats": "Driver"}, source)
    assert error_of("nats://h") == (
        f"backend 'nats' (pubsubkit-nats 0.1.0): fake_pubsubkit_nats:Driver is not a driver class: {why}"
    )


@pytest.mark.usefixtures("install")
def test_a_class_of_this_process_can_be_registered() -> None:
    """No distribution is needed; a second class needs replace=True, the same one does not."""
    register_backend("Local", Local)
    register_backend("local", Local)
    assert find("LOCAL://") is Local
    assert installed_backends()["local"].target == f"{Local.__module__}:Local"
    with pytest.raises(
        ConfigurationError, match=r"scheme 'local' is taken by .*:Local, registered in this process; use"
    ):
        register_backend("local", Other)
    register_backend("local", Other, replace=True)
    assert find("local://") is Other
    refresh()
    assert find("local://") is Other
    unregister_backend("LOCAL")
    unregister_backend("local")
    assert "local" not in installed_backends()


@pytest.mark.parametrize("scheme", ["", "local://", "1st", "a b", "+tls", "a+"])
def test_only_a_scheme_can_be_registered(scheme: str) -> None:
    """A name that no URL can have is refused."""
    with pytest.raises(ConfigurationError, match="bad scheme"):
        register_backend(scheme, Local)


def test_a_driver_is_made_from_the_url_and_the_options(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets the parsed URL, which hides what the backend declared as secret, and the bound options."""
    install("pubsubkit-nats", {"nats": "Driver"})
    monkeypatch.setenv("PUBSUBKIT_TEST_PW", "@/?#:")
    driver: Any = create_driver("nats+tls://u:${PUBSUBKIT_TEST_PW}@h:1?stream=a&signature=xyz", {"timeout": "500ms"})
    assert driver.url.password == "@/?#:"
    assert str(driver.url) == "nats+tls://u:***@h:1?stream=a&signature=***"
    assert (driver.options.stream, driver.options.timeout, driver.options.signature) == ("a", 0.5, "xyz")


def test_problems_of_the_url_the_modifiers_and_the_parameters_come_at_once(install: Install) -> None:
    """One error lists everything that is wrong, without secrets and without what follows from another problem."""
    install("pubsubkit-nats", {"nats": "Driver"})
    text = "nats+tsl://u:secret@h:x?stream=${PUBSUBKIT_TEST_NOPE}&strem=b&signature=xyz&signature=xyz"
    assert error_of(text, timeout="soon", stream="c").splitlines() == [
        "bad URL nats+tsl://u:***@h:***:",
        "- the port of host 'h' is not a number from 1 to 65535",
        "- environment variable PUBSUBKIT_TEST_NOPE (used in ?stream) is not set",
        "- backend 'nats' does not have the modifier 'tsl'; it has: tls, ws; did you mean 'tls'?",
        "- unknown parameter 'strem'; did you mean 'stream'?",
        "- parameter 'signature' is given twice",
        "- timeout='soon': expected a duration such as 500ms, 30s or 5m",
        "- parameter 'stream' is given twice, in the URL and as a keyword",
    ]


@pytest.mark.parametrize("text", ["nats://h?signature=xyz&stream=${PUBSUBKIT_TEST_NOPE}", "nats://h?signature=xyz"])
def test_a_declared_secret_is_hidden_whatever_its_name(install: Install, text: str) -> None:
    """Also when the URL itself could not be read in full."""
    install("pubsubkit-nats", {"nats": "Driver"})
    assert "?signature=***" in error_of(text)
    assert "xyz" not in error_of(text)


def test_an_unset_variable_is_the_only_problem_of_its_parameter(install: Install) -> None:
    """A required parameter whose value is not set is not reported as missing on top."""
    install("pubsubkit-nats", {"nats": "Driver"})
    assert error_of("nats://h?stream=${PUBSUBKIT_TEST_NOPE}") == (
        "bad URL nats://h?stream=${PUBSUBKIT_TEST_NOPE}: "
        "environment variable PUBSUBKIT_TEST_NOPE (used in ?stream) is not set"
    )


@pytest.mark.usefixtures("install")
def test_a_bad_url_with_an_unknown_scheme_tells_both() -> None:
    """The scheme is one more problem in the list."""
    assert error_of("nats://h:x").splitlines() == [
        "bad URL nats://h:***:",
        "- the port of host 'h' is not a number from 1 to 65535",
        "- no backend for scheme 'nats'; installed: none. Install it with: pip install pubsubkit-nats",
    ]


@pytest.mark.parametrize("text", ["localhost", "1x://h", "nats://u:a/b@h"])
def test_a_url_that_cannot_be_split_is_told_alone(text: str) -> None:
    """Nothing is guessed about its parameters."""
    assert error_of(text, anything=1).count("\n") == 0


def test_importing_the_registry_does_not_import_the_slow_modules() -> None:
    """The metadata machinery and difflib are needed only when a backend is looked for."""
    code = (
        "import sys; before = set(sys.modules); import pubsubkit.registry; "
        "print({'importlib.metadata', 'difflib'} & (set(sys.modules) - before))"
    )
    path = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=path)
    assert result.stdout.strip() == "set()"
