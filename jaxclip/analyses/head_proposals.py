"""Heads that hold a property of images: named by the user, or proposed by what texts account for."""

from dataclasses import dataclass
from pathlib import Path

from jaxclip.analyses.ablation import Ablation
from jaxclip.analyses.head_properties import PropertyShares, pool_shares, property_of_pool
from jaxclip.analyses.textspan import head_sizes
from jaxclip.clip import Clip
from jaxclip.data.text_pools import Pool, read_pool
from jaxclip.model.head_names import parse_heads
from jaxclip.numerics.arrays import counted
from jaxclip.numerics.own_terms import on_own_terms
from jaxclip.runs.inputs import open_pool, pool_embeddings
from jaxclip.runs.run import Run
from jaxclip.zeroshot import text_embeddings

Heads = list[tuple[int, int]]


@dataclass(frozen=True, kw_only=True)
class Proposals:
    """How heads are found in one run; all that can be wrong with it is found when it is made, before a model loads.

    Attributes:
      run: with moments, if heads are to be proposed; run.json is enough to make this.
      heads: these, in place of proposed ones.
      late: from so many last layers.
      top: so many of them; None leaves it to their scores.
      steps: of TextSpan.
      own: texts that differ in the property, in place of a category of the pool.
      pool: None where nothing is to be proposed.
    """

    run: Run
    heads: Heads | None
    late: int
    top: int | None
    steps: int
    own: tuple[str, ...] = ()
    pool: Pool | None = None

    @classmethod
    def of(
        cls,
        run: Run,
        properties: tuple[str, ...],
        *,
        heads: str | None,
        late: int,
        top: int | None,
        steps: int,
        texts: str | None,
        property_texts: Path | None,
    ) -> "Proposals":
        """From a command's arguments.

        Raises:
          ValueError, FileNotFoundError: heads, layers, steps or properties that are not there.
        """
        if not properties and heads is None:
            raise ValueError("name the property that heads are to be proposed for with --property, or --heads.")
        vision = run.config.vision
        if not 1 <= late <= vision.n_layers:
            raise ValueError(f"late must be 1 to {vision.n_layers}, the model's layers; got {late}.")
        if top is not None and not 1 <= top <= late * vision.n_heads:
            raise ValueError(
                f"top must be 1 to {late * vision.n_heads}, the heads of {counted(late, 'layer')}; got {top}."
            )
        chosen = None if heads is None else list(dict.fromkeys(parse_heads(heads)))
        Ablation.of(vision.n_layers, vision.n_heads, heads=chosen or ())
        made = cls(run=run, heads=chosen, late=late, top=top, steps=steps)
        if not properties:
            return made
        run.need(moments=True)
        head_sizes(vision.head_dim, vision.embed_dim, steps)
        own = read_pool(property_texts).texts if property_texts else ()
        pool = open_pool(texts, run)
        for name in properties:
            property_of_pool(pool, name, own)
        return cls(run=run, heads=chosen, late=late, top=top, steps=steps, own=own, pool=pool)

    @on_own_terms
    def shares(self, clip: Clip, properties: tuple[str, ...]) -> dict[str, PropertyShares]:
        """How much of every head each property accounts for."""
        if self.pool is None or not properties:
            return {}
        embeddings = pool_embeddings(self.pool, self.run, clip=clip)
        own = text_embeddings(clip, self.own) if self.own else None
        moments = self.run.moments.heads
        return {
            name: pool_shares(
                moments, embeddings, property_of_pool(self.pool, name, self.own)[1], own, steps=self.steps
            )
            for name in properties
        }

    def choose(self, shares: PropertyShares | None) -> Heads:
        """The given heads, else those that the shares propose."""
        return self.heads or (shares.propose(self.late, self.top) if shares else [])
