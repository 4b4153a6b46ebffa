"""Resolves the Delta jars once, into the project's own folder, whatever ~/.m2 and ~/.ivy2 hold.

Spark's own ``--packages`` looks into ~/.m2 first and fails on half-downloaded artifacts there. Ivy itself comes with
Spark; called with settings that name Maven Central only and a cache of its own, it does not.
"""

import re
import shutil
import ssl
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tidemark.core.errors import PreconditionError
from tidemark.core.settings import Settings
from tidemark.core.spark_start.conf import java_executable, pyspark_folder

SPARK = "4.2"
"""The Spark that is installed here."""
DELTA_ARTIFACT = ("io.delta", "delta-spark_{spark}_2.13", "4.4.0")
"""Its group, name and version; the name says which Spark it is for."""
_UNTRUSTED = "PKIX path building failed"
"""What Java says of a server whose certificate comes from an authority that it does not know."""
_SYSTEM_AUTHORITIES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_IVY_SETTINGS = """<ivysettings>
  <settings defaultResolver="central"/>
  <resolvers><ibiblio name="central" m2compatible="true"/></resolvers>
</ivysettings>
"""


def ensure_jars(settings: Settings, say: Callable[[str], None], spark: str = SPARK) -> list[Path]:
    """The Delta jars for a version of Spark, downloaded on the first call only, and whole or not at all.

    Raises:
        PreconditionError: no version, no Java, or the download failed; the message holds Ivy's last lines.
    """
    if not re.fullmatch(r"\d+\.\d+", spark):
        raise PreconditionError(f"{spark!r} is not a version of Spark: write its first two numbers, such as {SPARK}")
    folder = settings.jars_dir if spark == SPARK else settings.jars_dir.with_name(f"{settings.jars_dir.name}-{spark}")
    artifact = tuple(part.format(spark=spark) for part in DELTA_ARTIFACT)
    present = sorted(folder.glob("*.jar"))
    if present:
        return present
    java = java_executable()
    spark_jars = pyspark_folder() / "jars"
    say(f"Resolving {':'.join(artifact)} (once, about 90 MB) …")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="jars-") as scratch:
        work = Path(scratch)
        (work / "ivysettings.xml").write_text(_IVY_SETTINGS)
        done = _ivy(java, spark_jars, work, artifact)
        if _UNTRUSTED in done.stdout + done.stderr and (authorities := _system_authorities()):
            done = _ivy(java, spark_jars, work, artifact, *_trusting(authorities, work))
        found = sorted((work / "jars").glob("*.jar"))
        if done.returncode or not any(jar.name.startswith(artifact[1]) for jar in found):
            tail = "\n".join((done.stdout + done.stderr).splitlines()[-8:])
            remedy = "check the network and try again"
            if _UNTRUSTED in tail:
                remedy = "set SSL_CERT_FILE to a file with the authority (PEM) that the server's certificate comes from"
            raise PreconditionError(f"the Delta jars could not be downloaded; {remedy}:\n{tail}")
        shipped = {jar.name.rsplit("-", 1)[0] for jar in spark_jars.glob("*.jar")}
        ready = work / "ready"
        ready.mkdir()
        for jar in found:
            if jar.name.rsplit("-", 1)[0] not in shipped:
                shutil.move(jar, ready / jar.name)
        shutil.rmtree(folder, ignore_errors=True)
        ready.rename(folder)
    return sorted(folder.glob("*.jar"))


def _ivy(
    java: str, spark_jars: Path, work: Path, artifact: tuple[str, ...], *java_options: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [
            java, *java_options, "-cp", f"{spark_jars}/*", "org.apache.ivy.Main",
            "-settings", str(work / "ivysettings.xml"), "-cache", str(work / "cache"),
            "-dependency", *artifact, "-confs", "default",
            "-retrieve", str(work / "jars" / "[artifact]-[revision].[ext]"),
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def _system_authorities() -> Path | None:
    """The file of the authorities that SSL_CERT_FILE names, or that this system trusts; None without one."""
    places = (ssl.get_default_verify_paths().cafile, *_SYSTEM_AUTHORITIES)
    return next((Path(place) for place in places if place and Path(place).is_file()), None)


def _trusting(authorities: Path, folder: Path) -> list[str]:
    """Java's options to trust the authorities of a PEM file; Java itself reads none, and many JDKs bring their own."""
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12
    from cryptography.x509 import load_pem_x509_certificate

    named = []
    with warnings.catch_warnings(action="ignore"):  # stores hold old certificates that break today's rules
        for number, text in enumerate(_CERTIFICATE.findall(authorities.read_bytes())):
            with suppress(ValueError):
                named.append(pkcs12.PKCS12Certificate(load_pem_x509_certificate(text), b"%d" % number))
    store = folder / "authorities.p12"
    store.write_bytes(pkcs12.serialize_java_truststore(named, BestAvailableEncryption(b"public")))
    return [f"-Djavax.net.ssl.trustStore={store}", "-Djavax.net.ssl.trustStorePassword=public"]
