"""`nextvit.load`: a predictor for a run, a checkpoint file or a bundle."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nextvit.bundle.card import CARD_KEY, card_from_plain
from nextvit.bundle.manifest import is_bundle, require_model
from nextvit.errors import InputError, MissingDependency
from nextvit.files.durable import locate_folder
from nextvit.files.regular import require_regular
from nextvit.files.run_folder import WEIGHTS, checkpoint_folder
from nextvit.files.structured_text import parse_json
from nextvit.predictions.kind import kind_of, output_names
from nextvit.predictions.segmentation import with_scores
from nextvit.runtime.predictor import Predictor, card_at, load_bundle, make_predictor
from nextvit.runtime.session import check_threads
from nextvit.runtime.tiled_session import Tiling, check_tiling

if TYPE_CHECKING:
    from nextvit.bundle.card import ModelCard
    from nextvit.models.network import Network


def load(
    path: str | Path,
    *,
    threads: int | None = None,
    device: str | None = None,
    image_size: tuple[int, int] | None = None,
    scores: bool = False,
    tiling: Tiling | None = None,
) -> Predictor:
    """A predictor for a run, a checkpoint file (`.safetensors`), or an exported bundle.

    Args:
        path: what `nextvit train` or `nextvit export` wrote.
        threads: CPU threads of the runtime; None: its own choice.
        device: where to compute, by the runtime's own name for it, such as "cuda"; None: the CPU.
        image_size: height and width of the input in pixels, for a run, a checkpoint or a bundle of dynamic size; None:
            the card's.
        scores: give the scores of a segmentation model's classes, too (`predictor.card.facts.scores` says whether it
            does): a run or a checkpoint always has them, a bundle where it was exported with them.
        tiling: tiles or scales at which a segmentation model predicts; None: each whole image, once.

    Raises:
        InputError: there is no model, it is damaged, does not take that size or tiling, or there is no such device.
        MissingDependency: the runtime it needs is not installed.
    """
    path = locate_folder(Path(path))
    if is_bundle(path):
        return load_bundle(path, threads=threads, device=device, image_size=image_size, scores=scores, tiling=tiling)
    check_threads(threads)
    model, card = load_trained(path)
    if kind_of(card).can_be_tiled:
        card = with_scores(card, scores or tiling is not None)
    card = card_at(card, image_size, what=path, any_size=True)
    if tiling:
        check_tiling(tiling, card, what=path, card_of=lambda size: card_at(card, size, what=path, any_size=True))
    from nextvit.runtime.torch_session import TorchSession, torch_device
    from nextvit.tasks.network import deploy_network

    deployed = deploy_network(model, card).to(torch_device(device or "cpu"))
    session = TorchSession(deployed, threads=threads, outputs=output_names(card))
    return make_predictor(session, card, tiling, scores=scores)


def read_trained_card(path: Path) -> "ModelCard | None":
    """The card of a run's best checkpoint or of a checkpoint file, from the file's header alone: nothing is verified,
    and no torch is loaded. None where there is none, for whatever reason; `load_trained` says which."""
    from safetensors import SafetensorError, safe_open

    weights = checkpoint_folder(path, "best") / WEIGHTS if path.is_dir() else path
    try:
        require_regular(weights)
        header: Any = safe_open(weights, framework="numpy")
        with header as file:
            metadata: dict[str, str] = file.metadata() or {}
        return card_from_plain(parse_json(metadata[CARD_KEY], what=str(weights)), what=str(weights))
    except (SafetensorError, OSError, KeyError, ValueError, InputError):
        return None


def load_trained(path: Path) -> "tuple[Network, ModelCard]":
    """The network of a run (its best checkpoint) or of a checkpoint file, as it was trained, and its card."""
    require_model(path)
    try:
        from nextvit.tasks import network
    except ModuleNotFoundError as error:
        raise MissingDependency(error.name or "torch", extra="train") from None
    return network.load_trained(path)
