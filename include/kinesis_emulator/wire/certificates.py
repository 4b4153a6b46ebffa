"""Certificates for TLS: those that are given, or one that is made for the occasion."""

import datetime as dt
import ipaddress
import ssl
import tempfile
from pathlib import Path


class CertificateError(Exception):
    """The certificate or its key cannot be used; the message says why, and what to do."""


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS for a server with this certificate (with those that signed it behind it) and key, both PEM; offers HTTP/2.

    Raises:
        CertificateError: a file cannot be read, is not PEM, or the key is another certificate's.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:  # ssl.SSLError is one, too
        why = f"the certificate {certificate} with the key {key} cannot be used ({error.strerror or error})"
        raise CertificateError(f"{why}; give PEM files that belong together with --tls-cert and --tls-key") from error
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


def made_tls_context(host: str) -> ssl.SSLContext:
    """TLS with a certificate that is made now and signs itself: for ``host``, localhost and loopback, for ten years.

    Clients can have it from the connection (``ssl.get_server_certificate``); its key is kept in no file.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "certificate.pem", Path(folder) / "key.pem"
        for file, content in zip(files, _made_certificate(host), strict=True):
            file.write_bytes(content)
        return tls_context(*files)


def _made_certificate(host: str) -> tuple[bytes, bytes]:
    # Imported where it is used: few ask for it, and it takes as long as half of the emulator's start.
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kinesis-emulator")])
    places: list[x509.GeneralName] = [x509.DNSName("localhost")]
    for address in dict.fromkeys(("127.0.0.1", "::1", host)):
        try:
            places.append(x509.IPAddress(ipaddress.ip_address(address)))
        except ValueError:
            places.append(x509.DNSName(address))
    now = dt.datetime.now(dt.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=3650))
        .add_extension(x509.SubjectAlternativeName(places), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
