"""TensorRT bundle built elsewhere -> a bundle for this machine's GPU and TensorRT version, from its ONNX file.

    python -m nextvit.backends.rebuild_tensorrt photos.nextvit photos-here.nextvit

The engine of the old bundle is not opened, so this is also how to use a bundle from an untrusted source, whose native
code you do not want to run. Needs neither torch nor onnx.
"""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

from nextvit.backends.tensorrt_engine import build_engine, build_plan
from nextvit.bundle.manifest import CARD_PAGE, MANIFEST, SUFFIX, Manifest, read_bundle, write_manifest
from nextvit.errors import InputError, MissingDependency, NotProven
from nextvit.files.durable import compute_sha256, durable_folder
from nextvit.proof.golden import golden_parity
from nextvit.report.bundle_card import bundle_card
from nextvit.runtime.session import open_session

ONNX_FILE = "model.onnx"


def rebuild(bundle: Path, out: Path) -> Manifest:
    """Build a new engine in the bundle `out`, and verify it on the golden examples.

    Raises:
        InputError: `bundle` is damaged or not for TensorRT, `out` exists, or TensorRT cannot build the network.
        MissingDependency: TensorRT is not installed.
        NotProven: the outputs of the new engine differ by more than the precision allows; then `out` is not written.
    """
    manifest = read_bundle(bundle)
    if manifest.backend != "tensorrt" or ONNX_FILE not in manifest.sha256:
        raise InputError(
            f"{bundle}: is for {manifest.backend}; only bundles for tensorrt are rebuilt, from their {ONNX_FILE}"
        )
    if out.suffix != SUFFIX or out.exists():
        raise InputError(f"{out}: choose a new name that ends in {SUFFIX}")
    plan = build_plan(manifest.card.input.image_size, manifest.precision, dynamic_size=manifest.dynamic_size)
    engine = build_engine((bundle / ONNX_FILE).read_bytes(), plan)
    with durable_folder(out) as folder:
        for name in manifest.sha256.keys() - {manifest.model_file}:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle / name, folder / name)
        (folder / manifest.model_file).write_bytes(engine)
        session = open_session(folder, manifest)
        parity = golden_parity(session, folder, manifest)
        rebuilt = {"runtime": session.facts(), "golden_max_error": parity.max_error}
        manifest = replace(manifest, verification={**manifest.verification, "rebuilt": rebuilt})
        (folder / CARD_PAGE).write_text(bundle_card(manifest), encoding="utf-8")
        names = [name for name in manifest.sha256 if name != MANIFEST]
        manifest = replace(manifest, sha256={name: compute_sha256(folder / name) for name in names})
        write_manifest(folder, manifest)
    return manifest


def main() -> None:
    """Run the command line; exit codes as those of `nextvit`."""
    if len(sys.argv) != 3:
        sys.exit("usage: python -m nextvit.backends.rebuild_tensorrt BUNDLE.nextvit NEW.nextvit")
    codes = {NotProven: 1, InputError: 2, MissingDependency: 3}
    try:
        manifest = rebuild(Path(sys.argv[1]), Path(sys.argv[2]))
    except tuple(codes) as error:
        print(f"nextvit: {error}", file=sys.stderr)
        sys.exit(codes[type(error)])
    print(f"bundle: {sys.argv[2]}, golden examples within {manifest.verification['rebuilt']['golden_max_error']:.2e}")


if __name__ == "__main__":
    main()
