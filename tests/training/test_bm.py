"""The machine with any connections, its mean-field and its learning, against enumeration."""

import pytest
import torch

from tests.training.test_dbm import deep_machine, joint
from tests.training.test_exact import machine as restricted_machine
from training import exact
from training.bm import Bm, bm_of, mean_field, named_tensors, unnormalised_bound
from training.bm_connections import (
    check_links,
    colour_blocks,
    connections,
    hidden_blocks,
    layered,
    place,
    single_units,
)
from training.bm_exact import (
    data_moments,
    distribution,
    enumerable,
    log_evidence,
    log_likelihood,
    log_z,
    model_moments,
    moments,
)
from training.bm_learning import BmLearner, LearningRule, centred_gradient, update
from training.dbm import MeanField
from training.exact import binary_states

# What is connected: (visible-visible, hidden-hidden).
KINDS = {
    "full": ("all", "all"),
    "semi-restricted": ("all", "none"),
    "neighbours": ("neighbours", "none"),
    "hidden alone": ("none", "all"),
    "restricted": ("none", "none"),
}
# Two rows of pixels, so that some are not neighbours.
SHAPE = (1, 2, 3)
VISIBLE, HIDDEN = 6, 4


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def links_of(kind: str) -> torch.Tensor:
    visible_links, hidden_links = KINDS[kind]
    return connections(SHAPE, hidden=HIDDEN, visible_links=visible_links, hidden_links=hidden_links)


def random_bm(links: torch.Tensor, *, visible: int = VISIBLE, seed: int = 0, scale=1.0) -> Bm:
    g = generator(seed)
    drawn = torch.randn(len(links), len(links), generator=g).double().triu(1)
    b = torch.randn(len(links), generator=g).double()
    return Bm(W=scale * (drawn + drawn.T) * links, b=scale * b, visible=visible)


def machine_of(kind: str, **options) -> Bm:
    return random_bm(links_of(kind), **options)


def log_evidence_by_definition(bm: Bm, v: torch.Tensor) -> torch.Tensor:
    h = binary_states(bm.units - bm.visible)
    states = [torch.cat([row.expand(len(h), -1), h], 1) for row in v.double()]
    return torch.stack([torch.logsumexp(-bm.energy(x), 0) for x in states])


@pytest.mark.parametrize("kind", KINDS)
def test_links_are_as_asked_and_blocks_hold_units_without_links(kind):
    links = links_of(kind)
    visible_links, hidden_links = KINDS[kind]
    check_links(links)
    assert links[:VISIBLE, VISIBLE:].all()
    pairs = {"none": 0, "neighbours": 22, "all": 30}[visible_links]
    assert int(links[:VISIBLE, :VISIBLE].sum()) == pairs
    assert int(links[VISIBLE:, VISIBLE:].sum()) == (12 if hidden_links == "all" else 0)
    blocks = colour_blocks(links, visible=VISIBLE)
    assert sorted(unit for block in blocks for unit in block) == list(range(10))
    for block in blocks:
        assert not links[list(block)][:, list(block)].any()
        assert len({unit < VISIBLE for unit in block}) == 1
    expected = {"full": 10, "semi-restricted": 7, "neighbours": 5, "hidden alone": 5}
    assert len(blocks) == expected.get(kind, 2)


def test_a_grid_of_pixels_has_four_blocks_and_layers_have_two():
    grid = connections((1, 8, 8), hidden=3, visible_links="neighbours", hidden_links="none")
    assert [len(b) for b in colour_blocks(grid, visible=64)] == [16, 16, 16, 16, 3]
    deep = colour_blocks(layered([4, 3, 3]), visible=4)
    assert deep == ((0, 1, 2, 3), (4, 5, 6), (7, 8, 9))
    assert hidden_blocks(deep, visible=4) == deep[1:]
    assert single_units(3) == ((0,), (1,), (2,))
    assert place((4, 5, 6)) == slice(4, 7)
    assert place((0, 2)) == [0, 2]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda links: links[:3], r"must be \[units, units\]"),
        (lambda links: links | torch.eye(10, dtype=torch.bool), "itself"),
        (lambda links: links.triu(), "symmetric"),
    ],
)
def test_links_that_make_no_machine_are_refused(change, complaint):
    with pytest.raises(ValueError, match=complaint):
        colour_blocks(change(links_of("full")), visible=VISIBLE)


def test_a_machine_without_lateral_links_is_a_restricted_one():
    rbm = restricted_machine(5, 4)
    bm = bm_of({"weight.1": rbm.W, "bias.0": rbm.b, "bias.1": rbm.c})
    v, h = binary_states(9).split([5, 4], 1)
    torch.testing.assert_close(bm.energy(torch.cat([v, h], 1)), rbm.energy(v, h))
    assert float(log_z(bm)) == pytest.approx(exact.log_z(rbm))
    v = binary_states(5)
    torch.testing.assert_close(unnormalised_bound(bm, mean_field(bm, v)), -rbm.free_energy(v))
    assert set(named_tensors(bm)) == {"weight.1", "bias.0", "bias.1"}


def test_a_machine_with_layered_links_is_a_deep_one():
    dbm = deep_machine(4, 3, 3)
    W = torch.zeros(10, 10).double()
    W[:4, 4:7], W[4:7, 7:] = dbm.W
    bm = Bm(W=W + W.T, b=torch.cat(dbm.b), visible=4)
    assert torch.equal(bm.W != 0, layered([4, 3, 3]))
    states = joint(dbm)
    torch.testing.assert_close(bm.energy(torch.cat(states, 1)), dbm.energy(states))


@pytest.mark.parametrize("kind", KINDS)
def test_named_tensors_give_the_machine_back(kind):
    bm = machine_of(kind)
    again = bm_of(named_tensors(bm))
    assert torch.equal(again.W, bm.W)
    assert torch.equal(again.b, bm.b)
    assert again.visible == bm.visible


@pytest.mark.parametrize("kind", KINDS)
def test_evidence_and_log_z_are_sums_over_states(kind):
    bm = machine_of(kind)
    v = binary_states(VISIBLE)
    evidence = log_evidence_by_definition(bm, v)
    torch.testing.assert_close(log_evidence(bm, v), evidence)
    torch.testing.assert_close(log_z(bm), torch.logsumexp(evidence, 0))
    p = distribution(bm).reshape(len(v), -1).sum(1)
    torch.testing.assert_close(p, torch.exp(evidence - log_z(bm)))


@pytest.mark.parametrize("kind", KINDS)
def test_an_input_is_the_log_odds_of_a_unit_given_all_others(kind):
    bm = machine_of(kind)
    x = binary_states(10)[::17]
    for unit in range(10):
        on, off = x.clone(), x.clone()
        on[:, unit], off[:, unit] = 1, 0
        expected = bm.energy(off) - bm.energy(on)
        torch.testing.assert_close(bm.input(x, place((unit,)))[:, 0], expected)
    seen = torch.sigmoid(bm.input(x, slice(0, VISIBLE)))
    torch.testing.assert_close(bm.reconstruction(x), seen)


@pytest.mark.parametrize("kind", KINDS)
def test_the_bound_never_exceeds_the_evidence_and_rises_with_mean_field(kind):
    bm = machine_of(kind, seed=3, scale=0.7)
    v = binary_states(VISIBLE)
    evidence = log_evidence(bm, v)
    rules = [MeanField(updates=n, tolerance=0, damping=0.5) for n in (0, 2, 10, 100)]
    bounds = [unnormalised_bound(bm, mean_field(bm, v, rule)) for rule in rules]
    for bound in bounds:
        assert bool((bound <= evidence + 1e-9).all())
    means = [float(bound.mean()) for bound in bounds]
    assert means == sorted(means)
    if bm.hidden_are_free:
        torch.testing.assert_close(bounds[-1], evidence)
    else:
        assert float((evidence - bounds[-1]).mean()) < 0.2
        assert means[-1] > means[0]


@pytest.mark.parametrize("kind", KINDS)
def test_the_plain_gradient_is_that_of_the_exact_likelihood(kind):
    """A link is one parameter: W = U + Uᵀ of the upper triangle U."""
    bm, links = machine_of(kind, seed=1), links_of(kind)
    v = binary_states(VISIBLE)[[3, 5, 6, 9, 9, 40]]
    upper, b = bm.W.triu().requires_grad_(), bm.b.clone().requires_grad_()
    leaf = Bm(W=upper + upper.T, b=b, visible=VISIBLE)
    dU, db = torch.autograd.grad(log_likelihood(leaf, v), (upper, b))
    found = centred_gradient(
        data=data_moments(bm, v),
        model=model_moments(bm),
        offsets=torch.zeros(10).double(),
        links=links,
    )
    torch.testing.assert_close(found.W.triu(), (dU * links).triu())
    torch.testing.assert_close(found.W, found.W.T)
    torch.testing.assert_close(found.b, db)


@pytest.mark.parametrize("kind", KINDS)
def test_the_centred_gradient_is_the_exact_gradient_of_the_centred_parameters(kind):
    """With b' = b + Wo, following the gradient in (W, b') moves (W, b) by the centred gradient."""
    bm, links = machine_of(kind, seed=2), links_of(kind)
    v = binary_states(VISIBLE)[[1, 2, 12]]
    o = torch.rand(10, generator=generator(3)).double()
    upper = bm.W.triu().requires_grad_()
    centred = (bm.b + bm.W @ o).requires_grad_()
    W = upper + upper.T
    ordinary = Bm(W=W, b=centred - W @ o, visible=VISIBLE)
    dU, db = torch.autograd.grad(log_likelihood(ordinary, v), (upper, centred))
    found = centred_gradient(
        data=data_moments(bm, v), model=model_moments(bm), offsets=o, links=links
    )
    torch.testing.assert_close(found.W.triu(), (dU * links).triu())
    torch.testing.assert_close(found.b, db - found.W @ o)


def digits_like(n: int = 60, visible: int = VISIBLE, seed: int = 0) -> torch.Tensor:
    g = generator(seed)
    prototypes = (torch.rand(3, visible, generator=g) < 0.5).float()
    flips = (torch.rand(n, visible, generator=g) < 0.05).float()
    return (prototypes[torch.randint(3, (n,), generator=g)] - flips).abs()


def learner_of(kind: str, data: torch.Tensor, *, chains: int = 100) -> BmLearner:
    links = links_of(kind)
    blocks = colour_blocks(links, visible=VISIBLE)
    return BmLearner.begin(
        links,
        blocks,
        visible_mean=data.mean(0),
        scale=0.01,
        chains=chains,
        generator=generator(),
    )


RULES = {
    "exact": LearningRule(sweeps=1, gradient="exact", ema_decay=0.9),
    "mean-field": LearningRule(sweeps=3, ema_decay=0.9, momentum=0.5, weight_decay=1e-4),
    "clamped Gibbs": LearningRule(sweeps=3, ema_decay=0.9, posterior="gibbs", scan="random"),
    "uncentred": LearningRule(sweeps=3, ema_decay=0.9, offset_rate=None, scan="units"),
}


@pytest.mark.parametrize("kind", ["full", "neighbours"])
@pytest.mark.parametrize("rule", RULES)
def test_learning_raises_the_exact_likelihood_above_the_base_rates(kind, rule):
    data = digits_like()
    learner = learner_of(kind, data)
    mean = data.mean(0).double()
    base_rates = -(torch.xlogy(mean, mean) + torch.xlogy(1 - mean, 1 - mean)).sum()
    g = generator(7)
    for _ in range(150):
        update(learner, data, rule=RULES[rule], learning_rate=0.2, generator=g)
    after = float(log_likelihood(learner.averaged, data))
    assert after > float(-base_rates) + 0.5
    assert torch.equal(learner.now.W, learner.now.W.T)
    assert not bool(learner.now.W[~links_of(kind)].any())


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("kind", "posterior"),
    [("full", "gibbs"), ("neighbours", "gibbs"), ("neighbours", "mean-field")],
)
def test_the_sampled_gradient_approaches_the_exact_one(kind, posterior):
    """With many chains and sweeps; tolerance: five standard errors.

    The mean-field of connected hidden units is an approximation, and so is not among these.
    """
    rows = 40_000
    bm = machine_of(kind, seed=4, scale=0.5).to(torch.float32)
    data = binary_states(VISIBLE)[[3, 5, 6, 9]].float().repeat(rows // 4, 1)
    learner = learner_of(kind, data, chains=rows)
    learner.now.W, learner.now.b = bm.W.clone(), bm.b.clone()
    rule = LearningRule(
        sweeps=30, posterior=posterior, posterior_sweeps=20, offset_rate=None, ema_decay=0.0
    )
    update(learner, data, rule=rule, learning_rate=1.0, generator=generator(5))
    exact_gradient = centred_gradient(
        data=data_moments(bm, data[:4]),
        model=model_moments(bm),
        offsets=torch.zeros(10).double(),
        links=links_of(kind),
    )
    tolerance = 5 * 0.5 * (2 / rows) ** 0.5
    assert float((learner.now.W - bm.W - exact_gradient.W).abs().max()) < tolerance
    assert float((learner.now.b - bm.b - exact_gradient.b).abs().max()) < tolerance


def test_a_machine_too_large_to_enumerate_is_refused():
    links = connections((1, 4, 4), hidden=8)
    big = random_bm(links, visible=16)
    assert not enumerable(big)
    assert enumerable(machine_of("full"))
    with pytest.raises(ValueError, match="24"):
        model_moments(big)
    free = random_bm(connections((1, 4, 4), hidden=8, hidden_links="none"), visible=16)
    assert enumerable(free)


def test_particles_grow_by_copies_and_a_learner_is_restored_whole():
    data = digits_like()
    learner = learner_of("full", data, chains=3)
    first = learner.particles.clone()
    learner.grow(7)
    assert torch.equal(learner.particles[3:6], first)
    kept = {name: t.clone() for name, t in learner.tensors().items()}
    other = learner_of("full", data, chains=2)
    other.restore(kept)
    for name, tensor in other.tensors().items():
        assert torch.equal(tensor, kept[name]), name


def test_moments_of_probabilities_are_products_of_independent_units():
    x = torch.tensor([[1.0, 0.5], [0.0, 0.25]])
    found = moments(x)
    assert found.pairs[0, 1] == 0.25
    assert found.means.tolist() == [0.5, 0.375]
