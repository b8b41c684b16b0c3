"""Predict with a bundle that you do not trust, in a child process with limits of memory, time and files.

python predict.py BUNDLE IMAGE...

nextvit refuses what is not data. But a model can still be large or slow on purpose: its graph may ask for any memory,
and a loop in it may never end. Only a process can be stopped then. Linux and macOS; on Windows use a container.
"""

import json
import subprocess
import sys

MEMORY_BYTES = 4 * 2**30
"""Of addresses, which are more than what is used: a runtime takes some 2 GiB before it allocates anything large."""
SECONDS = 30
CHILD = "--child"


def predict(bundle: str, images: list[str]) -> list[dict[str, object]]:
    """A record for each image: its label and probability, for a classifier.

    Raises:
        RuntimeError: the child ended with an error, or exceeded a limit.
    """
    command = [sys.executable, __file__, CHILD, bundle, *images]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:  # it was killed
        raise RuntimeError(f"{bundle}: took more than {SECONDS} s") from None
    if done.returncode < 0:
        raise RuntimeError(f"{bundle}: the child was ended by signal {-done.returncode}")
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no reason given"])[-1])
    return [json.loads(line) for line in done.stdout.splitlines()]


def predict_in_child(bundle: str, images: list[str]) -> None:
    """Set the limits, then load the bundle and print a line for each image."""
    import resource  # not on Windows

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # it writes to the pipe alone
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import nextvit

    predictor = nextvit.load(bundle, threads=1)
    for image, prediction in zip(images, predictor.stream(images, batch_size=1, workers=0), strict=True):
        print(json.dumps({"image": image, "label": prediction.label, "probability": prediction.probability}))


if __name__ == "__main__":
    if sys.argv[1:2] == [CHILD]:
        predict_in_child(sys.argv[2], sys.argv[3:])
    elif len(sys.argv) < 3:
        sys.exit("usage: predict.py BUNDLE IMAGE...")
    else:
        try:
            print(json.dumps(predict(sys.argv[1], sys.argv[2:])))
        except RuntimeError as error:
            sys.exit(f"refused: {error}")
