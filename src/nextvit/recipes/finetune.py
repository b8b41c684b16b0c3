"""The default for a user's own folder of images."""

from nextvit.train.recipe import Model, Optim, Recipe, Schedule


def finetune() -> Recipe:
    """A few hundred to some ten thousand images, from published weights where the variant has them, else from scratch.

    nextvit train DATA --out runs/mine --weights bd_ssld_6m_in1k

    What is "auto" is settled by the dataset and the start, printed, and written into the run's recipe.yaml. From weights
    early blocks learn more slowly than late ones. The average of the weights is what is evaluated; training ends when
    it was not better for 15 epochs.

    Measured from scratch, on two CPU cores: nextvit_nano at 64 px on 1,628 photographs of ten hand signs passes 90 %
    top-1 within a minute and reaches 98.85 % in 30 epochs and 212 s, at a rate of 1e-3
    (benchmarks/results/signdigits10.jsonl); at 96 px on 3,067 photographs of ten kinds of clothes it reaches 78.8 % in 25
    epochs and 320 s (benchmarks/results/yardstick.jsonl).
    """
    return Recipe(
        model=Model(weights="published"),
        optim=Optim(lr="auto", layer_decay="auto"),
        schedule=Schedule(epochs="auto", patience=15),
    )
