"""Bundle and Ed25519 key -> manifest.sig, a signature of the manifest, and its verification.

The signature covers the exact bytes of the manifest, which contains the checksums of all other files. It is 64 raw
bytes, which OpenSSL can create and verify, too. Needs cryptography.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nextvit.bundle.manifest import MANIFEST, MAX_MANIFEST_BYTES, SIGNATURE
from nextvit.errors import InputError, MissingDependency, NotProven, first_line, suggest_path
from nextvit.files.durable import write_durably
from nextvit.files.regular import read_regular

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


MAX_KEY_BYTES = 2**16
"""Of a key file, and of a signature, which has 64."""


def read_private_key(path: Path) -> "Ed25519PrivateKey":
    """Read the key to sign with, from a PEM file without a passphrase.

    Raises:
        InputError: there is no such file, or it contains something else.
        MissingDependency: cryptography is not installed.
    """
    serialization, ed25519, UnsupportedAlgorithm = load_cryptography()
    content = read_key_file(path)
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except TypeError:
        raise InputError(f"{path}: is encrypted; sign with a key file that has no passphrase") from None
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(f"{path}: no private key in PEM form ({first_sentence(error)})") from None
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise InputError(f"{path}: a key of another kind; bundles are signed with Ed25519")
    return key


def read_public_key(path: Path) -> "Ed25519PublicKey":
    """Read the key to verify with, from a PEM file.

    Raises:
        InputError: there is no such file, or it contains something else.
        MissingDependency: cryptography is not installed.
    """
    serialization, ed25519, UnsupportedAlgorithm = load_cryptography()
    content = read_key_file(path)
    if b"PRIVATE KEY" in content:
        raise InputError(f"{path}: is a private key; keep it with whoever signs, and check with the public one")
    try:
        key = serialization.load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(f"{path}: no public key in PEM form ({first_sentence(error)})") from None
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise InputError(f"{path}: a key of another kind; bundles are signed with Ed25519")
    return key


def sign_bundle(folder: Path, key: "Ed25519PrivateKey") -> None:
    """Write the signature of a bundle's manifest beside it."""
    write_durably(folder / SIGNATURE, key.sign(read_regular(folder / MANIFEST, max_bytes=MAX_MANIFEST_BYTES)))


def check_signature(folder: Path, key: "Ed25519PublicKey") -> None:
    """Check that the holder of the private key signed this manifest.

    `nextvit.bundle.manifest.read_bundle` checks that the files are those of the manifest.

    Raises:
        NotProven: there is no signature, or it does not match this manifest and key.
    """
    from cryptography.exceptions import InvalidSignature

    if not (folder / SIGNATURE).is_file():
        raise NotProven(f"{folder}: not signed, it has no {SIGNATURE}")
    try:
        signature = read_regular(folder / SIGNATURE, max_bytes=MAX_KEY_BYTES)
        key.verify(signature, read_regular(folder / MANIFEST, max_bytes=MAX_MANIFEST_BYTES))
    except InvalidSignature:
        raise NotProven(
            f"{folder}: the signature is not this key's for this {MANIFEST}; it was changed, or signed by somebody else"
        ) from None


def read_key_file(path: Path) -> bytes:
    if not path.exists():
        raise InputError(f"{path}: no key can be read there (no such file){suggest_path(path)}")
    return read_regular(path, max_bytes=MAX_KEY_BYTES)


def first_sentence(error: Exception) -> str:
    """The first sentence of an error's message; the further ones of cryptography are links and parser details."""
    return first_line(error).partition(".")[0]


def load_cryptography() -> tuple[Any, Any, Any]:
    """Import cryptography's modules for key files and for Ed25519, and its error for unsupported keys."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ModuleNotFoundError:
        raise MissingDependency("cryptography", extra="sign") from None
    return serialization, ed25519, UnsupportedAlgorithm
