"""nextvit models"""

from dataclasses import asdict

from nextvit.cli.console import AsJson, make_table, show


def models(*, as_json: AsJson = False) -> None:
    """The networks: parameters, multiply-adds, published accuracy, weights and their licence.

    Example: nextvit models --json
    """
    from nextvit.models.config import VARIANTS
    from nextvit.models.cost import cost
    from nextvit.models.published import LICENCE, PUBLISHED

    costs = {name: cost(config) for name, config in VARIANTS.items()}
    rows = [(name, f"{each.parameters / 1e6:.2f} M", f"{each.macs / 1e9:.2f} G") for name, each in costs.items()]
    weights = [(each.variant, each.tag, f"{each.image_size_px} px", f"{each.top1:.1f} %") for each in PUBLISHED]
    show(
        as_json,
        make_table(["model", "parameters", "MACs at 224 px"], rows),
        "",
        make_table(["weights for", "tag", "trained at", "ImageNet-1k top-1, as published"], weights, left=2),
        f"licence of the published weights: {LICENCE}",
        document={
            "verb": "models",
            "models": {name: asdict(each) for name, each in costs.items()},
            "weights": [{**asdict(each), "repository": each.repository} for each in PUBLISHED],
            "weights_licence": LICENCE,
        },
    )
