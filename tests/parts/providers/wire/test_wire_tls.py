"""TLS to a provider: the name must be the certificate's and the authority one that we trust."""

import asyncio
import datetime
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from providers.outcomes import ConnectFailed
from providers.wire import Channel, Pool, networks, parse_origin, request
from tests.harness.event_loops import Run
from tests.harness.listener import Listener

LOOPBACK = networks(["127.0.0.0/8"])
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def a_certificate(folder: Path, name: str) -> Path:
    """A self-signed certificate for ``name`` with its key, as one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


async def lookup(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


async def a_tls_server(certificate: Path) -> tuple[Listener, int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n{}"):
                writer.write(ANSWER)
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()

    server = Listener(client)
    return server, await server.start(ssl=context)


async def speak_in_clear(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(ANSWER)
    writer.close()


async def ask(channel: Channel) -> bytes:
    answer = await channel.exchange(request(channel.origin.head("/embeddings", {}), b"{}"), 5.0, 1000)
    return bytes(answer.body)


def test_a_trusted_certificate_for_the_name_is_spoken_to(run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        certificate = a_certificate(tmp_path, "provider.example")
        server, port = await a_tls_server(certificate)
        pool = Pool(tls=ssl.create_default_context(cafile=str(certificate)), lookup=lookup)
        channel = pool.channel(parse_origin(f"https://provider.example:{port}", LOOPBACK))
        assert await ask(channel) == b"ok"
        assert await ask(channel) == b"ok"
        assert channel.open_connections == 1
        await pool.close()
        await server.stop()

    run(scenario())


@pytest.mark.parametrize("fault", ["another name", "unknown authority", "no TLS at all"])
def test_any_other_certificate_is_refused_before_the_request_is_sent(fault: str, run: Run, tmp_path: Path) -> None:
    async def scenario() -> None:
        certificate = a_certificate(tmp_path, "provider.example")
        server, port = await a_tls_server(certificate)
        trusted = ssl.create_default_context(cafile=None if fault == "unknown authority" else str(certificate))
        name = "other.example" if fault == "another name" else "provider.example"
        if fault == "no TLS at all":
            await server.stop()
            server = Listener(speak_in_clear)
            port = await server.start()
        pool = Pool(tls=trusted, lookup=lookup)
        with pytest.raises(ConnectFailed) as caught:
            await ask(pool.channel(parse_origin(f"https://{name}:{port}", LOOPBACK)))
        assert caught.value.detail.startswith("tls: ")
        why = {"another name": "Hostname mismatch", "unknown authority": "self-signed", "no TLS at all": ""}
        assert why[fault] in caught.value.detail
        assert caught.value.step == "tls"
        await server.stop()

    run(scenario())
