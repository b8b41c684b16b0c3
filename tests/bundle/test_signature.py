"""Signed bundles: what the signature holds, and what breaks it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nextvit.bundle.manifest import is_bundle, read_bundle
from nextvit.bundle.signature import check_signature, read_private_key, read_public_key, sign_bundle
from nextvit.cli import main as cli
from nextvit.errors import InputError, MissingDependency, NotProven
from tests.runtime.conftest import sealed, write_colour_bundle

pytest.importorskip("cryptography")
pytest.importorskip("onnxruntime")

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa


def write_keys(folder: Path, name: str, key=None) -> Path:
    """NAME.pem and NAME-public.pem; returns the first."""
    key = key or ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.pem").write_bytes(private)
    (folder / f"{name}-public.pem").write_bytes(public)
    return folder / f"{name}.pem"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    for name in ("mine", "other"):
        write_keys(folder, name)
    return folder


@pytest.fixture
def signed(tmp_path: Path, keys: Path) -> Path:
    bundle = write_colour_bundle(tmp_path / "colours.nextvit")
    sign_bundle(bundle, read_private_key(keys / "mine.pem"))
    return bundle


def verify(bundle: Path, public: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Exit code, document and message of `nextvit verify --key`."""
    arguments = ["verify", str(bundle), "--key", str(public), "--json"]
    monkeypatch.setattr(sys, "argv", ["nextvit", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    printed = capsys.readouterr()
    return ended.value.code, json.loads(printed.out), printed.err


def test_a_signed_bundle_is_a_bundle_and_verifies(signed: Path, keys: Path, capsys, monkeypatch):
    assert is_bundle(signed) and (signed / "manifest.sig").stat().st_size == 64
    read_bundle(signed)
    code, document, _ = verify(signed, keys / "mine-public.pem", capsys, monkeypatch)
    assert (code, document["signed_by"]) == (0, str(keys / "mine-public.pem"))


def test_what_the_signature_does_not_hold_for_exits_with_1(signed: Path, keys: Path, capsys, monkeypatch):
    code, _, message = verify(signed, keys / "other-public.pem", capsys, monkeypatch)
    assert code == 1 and "changed, or signed by somebody else" in message
    (signed / "manifest.sig").unlink()
    code, _, message = verify(signed, keys / "mine-public.pem", capsys, monkeypatch)
    assert code == 1 and "not signed, it has no manifest.sig" in message


def test_a_file_that_is_no_such_key_exits_with_2(signed: Path, keys: Path, tmp_path: Path, capsys, monkeypatch):
    for name, content, expected in (
        ("none.pem", None, "no key can be read there"),
        ("text.pem", b"hello", "no public key in PEM form"),
        ("mine.pem", (keys / "mine.pem").read_bytes(), "is a private key"),
    ):
        if content:
            (tmp_path / name).write_bytes(content)
        code, _, message = verify(signed, tmp_path / name, capsys, monkeypatch)
        assert code == 2 and expected in message
        assert message.count("\n") == 1


@pytest.mark.parametrize("change", ["a byte more", "another bundle's", "resealed", "half a signature"])
def test_any_change_breaks_it(signed: Path, keys: Path, change: str):
    public = read_public_key(keys / "mine-public.pem")
    check_signature(signed, public)
    manifest, signature = signed / "manifest.json", signed / "manifest.sig"
    if change == "a byte more":
        manifest.write_bytes(manifest.read_bytes() + b"\n")
    elif change == "another bundle's":
        signature.write_bytes(bytes(reversed(signature.read_bytes())))
    elif change == "resealed":
        (signed / "model.onnx").write_bytes((signed / "model.onnx").read_bytes().replace(b"colours", b"planted"))
        sealed(signed)
        read_bundle(signed)  # a stranger can make all checksums right again, but not the signature
    else:
        signature.write_bytes(signature.read_bytes()[:32])
    with pytest.raises(NotProven, match="the signature is not this key's for this manifest"):
        check_signature(signed, public)


def test_a_changed_model_under_a_whole_signature_is_the_checksums_to_find(signed: Path, keys: Path):
    (signed / "model.onnx").write_bytes((signed / "model.onnx").read_bytes().replace(b"colours", b"planted"))
    check_signature(signed, read_public_key(keys / "mine-public.pem"))
    with pytest.raises(InputError, match=r"model\.onnx: damaged or changed"):
        read_bundle(signed)


def test_keys_of_other_kinds_are_named(tmp_path: Path):
    others = {"ec": ec.generate_private_key(ec.SECP256R1()), "rsa": rsa.generate_private_key(65537, 2048)}
    for name, key in others.items():
        private = write_keys(tmp_path, name, key)
        with pytest.raises(InputError, match="a key of another kind; bundles are signed with Ed25519"):
            read_private_key(private)
        with pytest.raises(InputError, match="a key of another kind; bundles are signed with Ed25519"):
            read_public_key(tmp_path / f"{name}-public.pem")


def test_keys_that_cannot_be_used_are_told(keys: Path, tmp_path: Path):
    with pytest.raises(InputError, match="no private key in PEM form"):
        read_private_key(keys / "mine-public.pem")
    locked = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"word")
    )
    (tmp_path / "locked.pem").write_bytes(locked)
    with pytest.raises(InputError, match="is encrypted; sign with a key file that has no passphrase"):
        read_private_key(tmp_path / "locked.pem")


def test_without_cryptography_the_install_line_is_given(keys: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    with pytest.raises(MissingDependency, match=r"pip install 'nextvit\[sign\]'"):
        read_public_key(keys / "mine-public.pem")


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs the openssl program")
def test_openssl_makes_the_keys_and_checks_the_signature(tmp_path: Path):
    """The commands of docs/serving.md."""

    def openssl(*arguments: str) -> str:
        done = subprocess.run(["openssl", *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout

    openssl("genpkey", "-algorithm", "ed25519", "-out", "key.pem")
    openssl("pkey", "-in", "key.pem", "-pubout", "-out", "public.pem")
    bundle = write_colour_bundle(tmp_path / "colours.nextvit")
    sign_bundle(bundle, read_private_key(tmp_path / "key.pem"))
    check_signature(bundle, read_public_key(tmp_path / "public.pem"))
    names = [str(bundle / name) for name in ("manifest.json", "manifest.sig")]
    told = openssl(
        "pkeyutl", "-verify", "-pubin", "-inkey", "public.pem", "-rawin", "-in", names[0], "-sigfile", names[1]
    )
    assert "Signature Verified Successfully" in told
