"""A real nats-server for each test that asks for one."""

import datetime as dt
import ipaddress
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from node import Node, install
from operators import Operator

from pubsubkit_nats.testing import NatsServer


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """A running server of the test's own."""
    async with NatsServer(tmp_path / "nats") as running:
        yield running


@pytest.fixture(scope="session")
def nodejs(tmp_path_factory: pytest.TempPathFactory) -> Node:
    """Node.js with the scripts of ``nodejs/`` and the packages that they import."""
    return install(tmp_path_factory.mktemp("nodejs"))


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    """An operator of throw-away keys, whose files are in the test's folder."""
    return Operator(tmp_path)


def key_usage(*, ca: bool) -> x509.KeyUsage:
    """What a CA or an end certificate must say of its key; Python 3.13 checks it."""
    names = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only")
    off = dict.fromkeys((*names, "decipher_only"), False)
    return x509.KeyUsage(digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, **off)


@pytest.fixture
def certificates(tmp_path: Path) -> dict[str, Path]:
    """A CA, a server certificate for 127.0.0.1 and a client certificate, in PEM files."""
    ca_key = ec.generate_private_key(ec.SECP256R1())
    files: dict[str, Path] = {}

    def write(name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        files[name], files[f"{name}_key"] = tmp_path / f"{name}.pem", tmp_path / f"{name}.key"
        files[name].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        plain = serialization.NoEncryption()
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        files[f"{name}_key"].write_bytes(pem)

    def make(name: str, key: ec.EllipticCurvePrivateKey, *, ca: bool) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ca")]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(key_usage(ca=ca), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        )
        return builder.sign(ca_key, hashes.SHA256())

    write("ca", ca_key, make("ca", ca_key, ca=True))
    for name in ("server", "client"):
        key = ec.generate_private_key(ec.SECP256R1())
        write(name, key, make(name, key, ca=False))
    return files
