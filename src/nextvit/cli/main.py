"""`nextvit VERB ...`: finds the verb, and turns exceptions into one clear line and an exit code.

0 done; 1 the work was done and the answer is no; 2 the request or the input is wrong; 3 an optional package is missing;
130 interrupted.
"""

import sys
import warnings
from collections.abc import Sequence

from cyclopts import App, CycloptsError, Parameter

import nextvit
from nextvit.cli.console import printable, to_json
from nextvit.errors import InputError, MissingDependency, NotProven, first_line, shorten

VERBS = {  # in the order of a model's life
    "quickstart": "nextvit.cli.quickstart:quickstart",
    "models": "nextvit.cli.models:models",
    "check": "nextvit.cli.check:check",
    "convert": "nextvit.cli.convert:convert",
    "shard": "nextvit.cli.shard:shard",
    "train": "nextvit.cli.train:train",
    "report": "nextvit.cli.report:report",
    "eval": "nextvit.cli.eval:evaluate",
    "predict": "nextvit.cli.predict:predict",
    "export": "nextvit.cli.export:export",
    "verify": "nextvit.cli.verify:verify",
    "bench": "nextvit.cli.bench:bench",
    "info": "nextvit.cli.info:info",
}
MAX_MESSAGE_CHARACTERS = 2000
"""Of an error's line: a file may give its parts names of megabytes."""
EXTRA_OF = {
    "torch": "train",
    "torchvision": "train",
    "safetensors": "train",
    "huggingface_hub": "train",
    "matplotlib": "train",
    "faster_coco_eval": "train",
    "onnx": "train",
    "onnxscript": "train",
    "onnxruntime": "onnx",
    "openvino": "openvino",
    "executorch": "executorch",
    "coremltools": "coreml",
    "cryptography": "sign",
    "sklearn": "quickstart",
}


def build_app() -> App:
    """The parser; each verb's module is imported when the verb is called."""
    app = App(
        name="nextvit",
        help="Give it your images and a budget; get a vision model that is proven to meet it.",
        version=nextvit.__version__,
        help_format="plaintext",
        default_parameter=Parameter(negative=()),
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )
    for order, (verb, target) in enumerate(VERBS.items()):
        app.command(target, name=verb, sort_key=order)
    return app


def run(arguments: Sequence[str]) -> int:
    """Run one command line, and return its exit code; exceptions pass."""
    app = build_app()
    if not arguments or arguments[0] in ("--help", "-h"):
        for verb in VERBS:
            app[verb]  # the list of verbs shows each one's first line, so all their modules are imported
    code = app(list(arguments), exit_on_error=False, print_error=False)
    return code if isinstance(code, int) else 0


def main() -> None:
    """The console script."""
    # Pillow warns about odd metadata; the pixels are what we judge, and what cannot be read is reported by name.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        sys.exit(run(sys.argv[1:]))
    except KeyboardInterrupt:
        fail("interrupted", 130)
    except BrokenPipeError:  # the reader of our output left, as `head` does
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        outcome = describe_error(error)
        if outcome is None:
            raise
        fail(*outcome)


def describe_error(error: Exception) -> tuple[str, int] | None:
    """The line and the exit code for an exception; None for one that is our own fault."""
    match error:
        case NotProven():
            return str(error), 1
        case InputError() | CycloptsError():
            return str(error), 2
        case MissingDependency():
            return str(error), 3
        case ModuleNotFoundError():
            package = (error.name or "").partition(".")[0]
            return (str(MissingDependency(package, extra=EXTRA_OF[package])), 3) if package in EXTRA_OF else None
        case OSError():  # a full disk, a folder that may not be written
            return f"{error.filename or 'input or output'}: {error.strerror or error}", 2
        case MemoryError():
            return f"the memory is not enough for this input ({first_line(error)})", 2
        case RecursionError():
            return "the input is nested too deeply", 2
        case UnicodeError():
            return f"a text or a name is no valid Unicode ({first_line(error)})", 2
        case _:
            return None


def fail(message: str, code: int) -> None:
    """One line on stderr, and with --json one document on stdout, then out."""
    message = shorten(message, MAX_MESSAGE_CHARACTERS)
    print(f"nextvit: {printable(message)}", file=sys.stderr)
    if "--json" in sys.argv:
        print(to_json({"error": message, "exit_code": code}))
    sys.exit(code)
