"""Sample: latents through the generator, or Markov chains from a random start.

GAN:     (seed, row) ──► z ──ψ·z──► generate ──► x
energy:  (seed, row) ──► start ──burn-in sweeps at β = 1/T──► readout ──► x
         or rested chains of the pool ──► readout ──► x
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from service.contract import Latent, Role, TableData
from service.domain import latent
from service.domain.arrays import Arrays
from service.domain.feeding import ByRole
from service.domain.randomness import draw_seed
from service.errors import InvalidInput, MissingCapability
from service.generation import GENERATE, SAMPLES, seeded_rows
from service.model import CHAIN, free_of_clamps
from service.operations.chain import Chains, diagnose, known, read_out, run_chains
from service.operations.context import Context
from service.operations.rows import sample_rows
from service.queries import Diagnostics, Sample, Sampled


async def sample(context: Context, query: Sample) -> Sampled:
    """`query.n` draws."""
    context.require("sample")
    context.check_rows(query.n, "/n")
    if GENERATE in context.manifest.functions:
        return await _generate(context, query)
    return await _chains(context, query)


async def _generate(context: Context, query: Sample) -> Sampled:
    if isinstance(context.manifest.data, TableData):
        return await _generate_rows(context, query)
    if query.latents is None:
        query = with_seed(query)
        assert query.seed is not None
        outputs = await context.model.maps[GENERATE].submit(
            generator_inputs(context, query), context.call
        )
        return Sampled(samples=outputs[SAMPLES], seed=query.seed)
    _refuse_chain_fields(context, query)
    z = _given_latents(context, query)
    inputs: ByRole = {Role.LATENT: latent.truncate(z, _psi(context, query))}
    labels = draw_labels(context, query.labels, function=GENERATE, seed=0, rows=range(len(z)))
    if labels is not None:
        inputs[Role.LABEL] = labels
    x = await context.map_role(GENERATE, inputs, Role.DATA)
    return Sampled(samples=context.to_data_space(x), seed=None)


async def _generate_rows(context: Context, query: Sample) -> Sampled:
    _refuse_chain_fields(context, query)
    if query.latents is not None:
        _given_latents(context, query)
    known_labels(context, query.labels, function=GENERATE, n=query.n)
    return await sample_rows(context, query, psi=_psi(context, query))


def with_seed(query: Sample) -> Sample:
    """The query with a seed of its own, drawn if it brings none."""
    return query if query.seed is not None else replace(query, seed=draw_seed())


def generator_inputs(context: Context, query: Sample) -> Arrays:
    """What a generator's queue is given for a query that has a seed.

    Raises:
        InvalidInput, MissingCapability: the query asks for what this model does not have.
    """
    assert query.seed is not None
    _refuse_chain_fields(context, query)
    latent_of(context)
    rows = range(query.n)
    labels = known_labels(context, query.labels, function=GENERATE, n=query.n)
    return seeded_rows(seed=query.seed, rows=rows, psi=_psi(context, query), labels=labels)


def _refuse_chain_fields(context: Context, query: Sample) -> None:
    for name, given in (("temperature", query.temperature), ("burn_in", query.burn_in)):
        if given is not None:
            raise InvalidInput(f"{context.model.id} has no Markov chain: leave {name} out",
                               pointer=f"/{name}")  # fmt: skip
    if query.start == "pool":
        raise MissingCapability(f"{context.model.id} keeps no pool of chains: use start=fresh")


def _psi(context: Context, query: Sample) -> float:
    return query.truncation or context.manifest.defaults.truncation or 1.0


async def _chains(context: Context, query: Sample) -> Sampled:
    for name, given in (("truncation", query.truncation), ("latents", query.latents)):
        if given is not None:
            raise InvalidInput(f"{context.model.id} samples by a Markov chain: leave {name} out",
                               pointer=f"/{name}")  # fmt: skip
    return await (_from_pool if _wants_pool(context, query) else _burn_in)(context, query)


def _wants_pool(context: Context, query: Sample) -> bool:
    """Whether to take warm chains: when asked, or by default where nothing else was asked."""
    pool = context.model.pool
    chosen = {"seed": query.seed, "burn_in": query.burn_in, "temperature": query.temperature,
              "labels": query.labels}  # fmt: skip
    given = [name for name, value in chosen.items() if value is not None]
    if query.start == "pool":
        if pool is None:
            raise MissingCapability(f"{context.model.id} keeps no pool of chains: use start=fresh")
        if given:
            raise InvalidInput(
                f"the pool's chains run as they are: leave {', '.join(given)} out, or use "
                "start=fresh",
                pointer=f"/{given[0]}",
            )
        if query.n > pool.rows:
            raise InvalidInput(
                f"n={query.n} exceeds the {pool.rows} chains of the pool: use start=fresh",
                pointer="/n",
            )
        return True
    return query.start is None and not given and pool is not None and query.n <= pool.rows \
        and pool.ready  # fmt: skip


async def _from_pool(context: Context, query: Sample) -> Sampled:
    pool = context.model.pool
    assert pool is not None
    drawn = await pool.take(query.n, context.call)
    chains = free_chains(context, seed=draw_seed(), rows=range(query.n), sweeps=0)
    x = await read_out(context, chains, drawn.state, values=query.values)
    return Sampled(
        samples=context.to_data_space(x),
        seed=None,
        diagnostics=Diagnostics(
            sweeps=pool.thinning,
            split_rhat=known(drawn.split_rhat),
            ess=known(drawn.ess),
            chain_age_sweeps=drawn.age_sweeps,
        ),
    )


async def _burn_in(context: Context, query: Sample) -> Sampled:
    seed = draw_seed() if query.seed is None else query.seed
    chains = free_chains(
        context,
        seed=seed,
        rows=range(query.n),
        sweeps=query.burn_in,
        beta=_beta(query),
        labels=query.labels,
    )
    outcome = await run_chains(context, chains)
    x = await read_out(context, chains, outcome.state, values=query.values)
    return Sampled(
        samples=context.to_data_space(x),
        seed=seed,
        diagnostics=await diagnose(context, chains, outcome),
    )


def free_chains(
    context: Context,
    *,
    seed: int,
    rows: range,
    sweeps: int | None = None,
    beta: float = 1.0,
    labels: tuple[int, ...] | None = None,
) -> Chains:
    """Chains with nothing clamped but the label, of the model's default length unless told."""
    if sweeps is None:
        sweeps = context.manifest.defaults.burn_in or 0
    context.check_sweeps(sweeps, "/burn_in")
    fixed = free_of_clamps(context.manifest, len(rows), beta=beta)
    drawn = draw_labels(context, labels, function=CHAIN, seed=seed, rows=rows)
    if drawn is not None:
        fixed[Role.LABEL] = drawn
    return Chains(
        step=CHAIN,
        seed=seed,
        rows=rows,
        sweeps=sweeps,
        fixed=fixed,
        traced=True,
    )


def draw_latents(context: Context, *, seed: int, rows: range) -> Float[np.ndarray, "rows latent"]:
    """The prior's draws for these rows of this seed."""
    prior = latent_of(context)
    return latent.draw(prior=prior.prior, size=prior.size, seed=seed, rows=rows)


def latent_of(context: Context) -> Latent:
    """The prior, which a model that generates has."""
    found = context.manifest.latent
    if found is None:
        raise MissingCapability(f"{context.model.id} has no latent prior")
    return found


def draw_labels(
    context: Context,
    labels: tuple[int, ...] | None,
    *,
    function: str,
    seed: int,
    rows: range,
) -> NDArray[np.int64] | None:
    """The labels asked for, one or n; drawn evenly by (seed, row) when `function` wants them."""
    known = known_labels(context, labels, function=function, n=len(rows))
    if known is not None:
        return np.resize(np.array(known, dtype=np.int64), len(rows))
    names = context.manifest.labels
    if names is None or context.spec(function).input(Role.LABEL) is None:
        return None
    return latent.draw_classes(classes=len(names.names), keys=[(seed, row) for row in rows])


def known_labels(
    context: Context, labels: tuple[int, ...] | None, *, function: str, n: int
) -> tuple[int, ...] | None:
    """The labels that were asked for, checked: one for all, or n; None if none were.

    Raises:
        InvalidInput: `function` takes none, or they are not 1 or n, or out of range.
    """
    if labels is None:
        return None
    names = context.manifest.labels
    if names is None or not _takes_labels(context, function):
        raise InvalidInput(
            f"{context.model.id} is not conditional: leave labels out", pointer="/labels"
        )
    if len(labels) not in {1, n}:
        raise InvalidInput(
            f"{len(labels)} labels for {n} samples: give 1 or {n}", pointer="/labels"
        )
    classes = len(names.names)
    for i, label in enumerate(labels):
        if not 0 <= label < classes:
            raise InvalidInput(
                f"label {label} is not between 0 and {classes - 1}", pointer=f"/labels/{i}"
            )
    return labels


def _takes_labels(context: Context, function: str) -> bool:
    """Whether a function is told its class: by an input, or, of tables, in the label's column."""
    data = context.manifest.data
    in_a_column = isinstance(data, TableData) and data.label_column is not None
    return in_a_column or context.spec(function).input(Role.LABEL) is not None


def _given_latents(context: Context, query: Sample) -> Float[np.ndarray, "n latent"]:
    assert query.latents is not None
    size = latent_of(context).size
    if query.seed is not None:
        raise InvalidInput("give latents or a seed, not both", pointer="/latents")
    if query.latents.ndim != 2 or query.latents.shape[1] != size:
        raise InvalidInput(
            f"latents of shape {list(query.latents.shape)} must be [n, {size}]", pointer="/latents"
        )
    context.check_rows(len(query.latents), "/latents")
    if query.n not in {1, len(query.latents)}:
        raise InvalidInput(
            f"n={query.n}, but there are {len(query.latents)} latents: leave n out", pointer="/n"
        )
    return query.latents


def _beta(query: Sample) -> float:
    return 1.0 if query.temperature is None else 1.0 / query.temperature
