"""PyTorch and the exported file predict the same real images, and the difference is measured."""

from dataclasses import asdict, dataclass
from typing import Any, cast

from nextvit.bundle.card import ModelCard
from nextvit.data.samples import Sample
from nextvit.errors import InputError
from nextvit.export.proof_images import ProofImages
from nextvit.metrics.bootstrap import interval_95, resample_counts
from nextvit.models.network import Network
from nextvit.predictions.kind import Comparison, Parity, kind_of
from nextvit.runtime.session import Session
from nextvit.tasks.predict_split import make_batches
from nextvit.tasks.task import Evaluator, get_task


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What both sides put out."""

    samples: list[Sample]
    comparison: Comparison
    """Expected is PyTorch."""
    parity: Parity
    unreadable: list[str]
    source: str

    def record(self, evaluator: Evaluator | None) -> dict[str, Any]:
        """What a manifest says of the proof: differences, and with labels the scores with 95 % intervals."""
        record: dict[str, Any] = {"source": self.source, **asdict(cast(Any, self.parity))}
        if self.unreadable:
            record["unreadable"] = {"images": len(self.unreadable), "first": self.unreadable[:3]}
        return {**record, **self.scores(evaluator)} if evaluator else record

    def scores(self, evaluator: Evaluator) -> dict[str, Any]:
        """The main scores before and after the export, and the paired drop of the first."""
        expected, got = self.comparison.expected, self.comparison.got
        before, after = (evaluator.score(self.samples, each) for each in (expected, got))
        counts = resample_counts(len(self.samples))
        drops = evaluator.resampled_scores(self.samples, expected, counts) - evaluator.resampled_scores(
            self.samples, got, counts
        )
        record: dict[str, Any] = {}
        for name, evaluation in (("before", before), ("after", after)):
            record[name] = {
                "metric": evaluation.main_score,
                "score": evaluation.scores[evaluation.main_score],
                "interval_95": evaluation.interval_95,
                "images": evaluation.images,
            }
        record["drop"] = record["before"]["score"] - record["after"]["score"]
        record["drop_interval_95"] = interval_95(drops)
        if evaluator.further_scores:
            record["further"] = {
                name: {"before": before.scores[name], "after": after.scores[name]} for name in evaluator.further_scores
            }
        return record


def prove(model: Network, card: ModelCard, session: Session, images: ProofImages) -> Proof:
    """Run both sides on the same images, from the files on disk to what is scored; each file is read once.

    Raises:
        InputError: none of the images can be read.
    """
    task, comparison = get_task(card.task), kind_of(card).comparison()
    samples: list[Sample] = []
    unreadable: list[str] = []
    for batch in make_batches(images.samples, card):
        unreadable += batch.unreadable
        if batch.samples:
            samples += batch.samples
            expected = task.reference_outputs(model, card, batch.inputs)
            comparison.add(expected, session.run(batch.inputs), batch.images)
    if not samples:
        raise InputError(f"{images.source}: no image can be read; first: {unreadable[0]}")
    return Proof(
        samples=samples,
        comparison=comparison,
        parity=comparison.parity(),
        unreadable=unreadable,
        source=images.source,
    )
