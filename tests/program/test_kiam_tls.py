"""Mutual TLS with certificates of exactly the names, addresses and usages that KiamAlternative asks pulumi-tls for."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from dataclasses import dataclass

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from components.kiam_tls import PROBE_ADDRESS, SERVER_NAME
from tests.program.conftest import run_program
from tests.program.test_kiam_alternative import certificates, kiam

NOW = dt.datetime.now(dt.UTC)
HOUR = dt.timedelta(hours=1)
KEY_USAGES = ("digital_signature", "key_encipherment", "cert_signing", "crl_signing")
EXTENDED_USAGES = {"server_auth": ExtendedKeyUsageOID.SERVER_AUTH, "client_auth": ExtendedKeyUsageOID.CLIENT_AUTH}


@dataclass(frozen=True)
class Signed:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey


def issue(name, usages, hours, *, names=(), addresses=(), by=None, ended=False):
    """A certificate as pulumi-tls makes it from these inputs, signed by the authority given or by itself."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    end = NOW - HOUR if ended else NOW + hours * HOUR
    digital_signature, key_encipherment, cert_signing, crl_signing = (each in usages for each in KEY_USAGES)
    signer = by or Signed(None, key)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - hours * HOUR)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=digital_signature,
                key_encipherment=key_encipherment,
                key_cert_sign=cert_signing,
                crl_sign=crl_signing,
                content_commitment=False,
                data_encipherment=False,
                key_agreement=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key()), critical=False)
    )
    if extended := [EXTENDED_USAGES[each] for each in usages if each in EXTENDED_USAGES]:
        builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
    if names or addresses:
        subjects = [x509.DNSName(each) for each in names]
        subjects += [x509.IPAddress(ipaddress.ip_address(each)) for each in addresses]
        builder = builder.add_extension(x509.SubjectAlternativeName(subjects), critical=False)
    return Signed(builder.sign(signer.key, hashes.SHA256()), key)


@pytest.fixture(scope="module")
def program():
    """The inputs of the certificates, as the component registers them."""
    return run_program(kiam)


@pytest.fixture(scope="module")
def authority(program):
    inputs = program.one("SelfSignedCert").inputs
    return issue(inputs["subject"]["commonName"], inputs["allowedUses"], inputs["validityPeriodHours"])


@pytest.fixture(scope="module")
def leaf(program, authority):
    """Make the certificate of server or agent, with some of it made otherwise."""

    def made(part, **changes):
        request, signed = certificates(program)[part]
        asked = {
            "usages": signed["allowedUses"],
            "hours": signed["validityPeriodHours"],
            "names": request.get("dnsNames", []),
            "addresses": request.get("ipAddresses", []),
            "by": authority,
        }
        return issue(request["subject"]["commonName"], **{**asked, **changes})

    return made


@pytest.fixture(scope="module")
def server(leaf):
    return leaf("server")


@pytest.fixture(scope="module")
def agent(leaf):
    return leaf("agent")


def context(protocol, trusted, own, folder):
    """What Kiam has on either side: its own certificate, and the authority that the other's has to be of."""
    made = ssl.SSLContext(protocol)
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_verify_locations(cadata=trusted.certificate.public_bytes(serialization.Encoding.PEM).decode())
    if own is not None:
        file = folder / f"{protocol}.pem"
        key = own.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
        file.write_bytes(own.certificate.public_bytes(serialization.Encoding.PEM) + key)
        made.load_cert_chain(file)
    return made


def shake_hands(server, client, *, dialled, trusted, folder):
    """A handshake in memory, of a client that dials this name or address; returns once both sides are content.

    Raises ssl.SSLError where one of them is not.
    """
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    listening = context(ssl.PROTOCOL_TLS_SERVER, trusted, server, folder).wrap_bio(
        to_server, to_client, server_side=True
    )
    dialling = context(ssl.PROTOCOL_TLS_CLIENT, trusted, client, folder).wrap_bio(
        to_client, to_server, server_hostname=dialled
    )

    def advance(step):
        try:
            step()
        except ssl.SSLWantReadError:
            return False
        return True

    for _ in range(10):
        if all([advance(dialling.do_handshake), advance(listening.do_handshake)]):
            # In TLS 1.3 a client hears of its refusal with the first answer only.
            listening.write(b"ok")
            assert dialling.read(2) == b"ok"
            return
    raise AssertionError("the handshake did not end")


@pytest.fixture
def meet(authority, tmp_path):
    return lambda server, client, dialled=SERVER_NAME, trusted=authority: shake_hands(
        server, client, dialled=dialled, trusted=trusted, folder=tmp_path
    )


def test_an_agent_and_a_server_know_each_other_by_the_name_of_the_service(meet, server, agent):
    meet(server, agent)


def test_a_server_knows_its_own_probe_by_its_address(meet, server):
    meet(server, server, PROBE_ADDRESS)


def test_a_server_of_another_name_is_refused_by_its_agents(meet, leaf, agent):
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        meet(leaf("server", names=["kiam-7f9c-server", "localhost"]), agent)


def test_a_server_without_the_address_of_its_probe_is_refused_by_it(meet, leaf):
    server = leaf("server", addresses=[])
    with pytest.raises(ssl.SSLCertVerificationError, match="IP address mismatch"):
        meet(server, server, PROBE_ADDRESS)


@pytest.mark.parametrize(("part", "dialled"), [("agent", SERVER_NAME), ("server", PROBE_ADDRESS)])
def test_a_certificate_that_is_none_of_a_client_is_refused_by_the_server(meet, leaf, server, part, dialled):
    client = leaf(part, usages=["digital_signature", "key_encipherment", "server_auth"])
    with pytest.raises(ssl.SSLError, match=r"unsuitable certificate purpose|unsupported certificate"):
        meet(server, client, dialled)


def test_a_certificate_that_is_none_of_a_server_is_refused_by_its_agents(meet, leaf, agent):
    with pytest.raises(ssl.SSLError, match=r"unsuitable certificate purpose|unsupported certificate"):
        meet(leaf("server", usages=["digital_signature", "key_encipherment", "client_auth"]), agent)


def test_an_expired_certificate_is_refused_on_either_side(meet, leaf, server, agent):
    with pytest.raises(ssl.SSLError, match="expired"):
        meet(leaf("server", ended=True), agent)
    with pytest.raises(ssl.SSLError, match="expired"):
        meet(server, leaf("agent", ended=True))


def test_an_agent_without_a_certificate_is_refused(meet, server):
    with pytest.raises(ssl.SSLError, match="peer did not return a certificate"):
        meet(server, None)


def test_a_certificate_of_another_authority_is_refused(meet, leaf, server):
    stranger = issue("kiam-ca", ["cert_signing", "crl_signing"], 24)
    with pytest.raises(ssl.SSLError, match=r"certificate verify failed|signature failure"):
        meet(server, leaf("agent", by=stranger))


def test_an_authority_that_is_renewed_with_its_key_still_vouches_for_the_old_certificates(
    meet, authority, server, agent
):
    renewed = x509.CertificateBuilder(
        issuer_name=authority.certificate.subject,
        subject_name=authority.certificate.subject,
        public_key=authority.key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=NOW,
        not_valid_after=NOW + 24 * HOUR,
        extensions=list(authority.certificate.extensions),
    ).sign(authority.key, hashes.SHA256())
    meet(server, agent, trusted=Signed(renewed, authority.key))
