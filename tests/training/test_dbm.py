"""The deep machine and its learning rule, against enumeration and autodiff."""

import itertools

import pytest
import torch

from training.dbm import (
    Dbm,
    MeanField,
    binary_entropy,
    mean_field,
    rounded,
    unnormalised_bound,
)
from training.dbm_bound import mean_bound
from training.dbm_gradient import Statistics, centred_gradient, statistics
from training.dbm_learning import DbmLearner, LearningRule, dbm_of, named_tensors, update
from training.exact import binary_states, log_z, state_index, visible_distribution
from training.rbm import draw

SIZES = [(4, 3, 3), (3, 3, 2, 2), (3, 2, 2, 2, 1)]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def deep_machine(*sizes: int, seed: int = 0, scale: float = 1.0) -> Dbm:
    g = generator(seed)
    made = [torch.randn(shape, generator=g).double() for shape in itertools.pairwise(sizes)]
    biases = [torch.randn(n, generator=g).double() for n in sizes]
    return Dbm(W=tuple(scale * W for W in made), b=tuple(scale * b for b in biases))


def joint(dbm: Dbm) -> list[torch.Tensor]:
    """Every state of the whole machine, by layers."""
    return list(binary_states(sum(dbm.sizes)).split(dbm.sizes, 1))


def log_evidence(dbm: Dbm, v: torch.Tensor) -> torch.Tensor:
    """log p(v) + log Z of each row, by enumeration of the hidden units; differentiable."""
    hidden = binary_states(sum(dbm.sizes[1:])).split(dbm.sizes[1:], 1)
    rows = [
        torch.logsumexp(-dbm.energy([row.expand(len(hidden[0]), -1), *hidden]), 0)
        for row in v.double()
    ]
    return torch.stack(rows)


def log_partition(dbm: Dbm) -> torch.Tensor:
    """log Z by the definition: every state of every layer; differentiable."""
    return torch.logsumexp(-dbm.energy(joint(dbm)), 0)


def exact_statistics(dbm: Dbm, v: torch.Tensor | None) -> Statistics:
    """<h^{l-1} h^lᵀ> and <h^l> under p(h | v) of a batch, or under the machine itself."""
    if v is None:
        states = joint(dbm)
        weight = torch.softmax(-dbm.energy(states), 0)
        return weighted(states, weight)
    hidden = binary_states(sum(dbm.sizes[1:])).split(dbm.sizes[1:], 1)
    parts = []
    for row in v.double():
        states = [row.expand(len(hidden[0]), -1), *hidden]
        parts.append(weighted(states, torch.softmax(-dbm.energy(states), 0)))
    return Statistics(
        pairs=tuple(torch.stack(p).mean(0) for p in zip(*(s.pairs for s in parts), strict=True)),
        means=tuple(torch.stack(m).mean(0) for m in zip(*(s.means for s in parts), strict=True)),
    )


def weighted(states: list[torch.Tensor], weight: torch.Tensor) -> Statistics:
    return Statistics(
        pairs=tuple((weight[:, None] * a).T @ b for a, b in itertools.pairwise(states)),
        means=tuple(weight @ a for a in states),
    )


def autodiff_gradient(dbm: Dbm, v: torch.Tensor) -> Dbm:
    """∇ of the exact mean log-likelihood."""
    leaf = Dbm(*(tuple(t.clone().requires_grad_() for t in part) for part in (dbm.W, dbm.b)))
    value = log_evidence(leaf, v).mean() - log_partition(leaf)
    found = torch.autograd.grad(value, (*leaf.W, *leaf.b))
    return Dbm(W=found[: len(leaf.W)], b=found[len(leaf.W) :])


@pytest.mark.parametrize("sizes", SIZES)
def test_the_bipartite_view_is_the_same_distribution(sizes):
    dbm = deep_machine(*sizes)
    assert log_z(dbm.bipartite()) == pytest.approx(float(log_partition(dbm)))
    states = joint(dbm)
    even = torch.cat([states[layer] for layer in dbm.even], 1)
    odd = torch.cat([states[layer] for layer in dbm.odd], 1)
    torch.testing.assert_close(dbm.bipartite().energy(even, odd), dbm.energy(states))


@pytest.mark.parametrize("sizes", SIZES)
def test_the_free_energy_sums_the_even_layers_out(sizes):
    dbm = deep_machine(*sizes)
    states = joint(dbm)
    odd = {layer: states[layer] for layer in dbm.odd}
    flat = torch.cat(list(odd.values()), 1)
    torch.testing.assert_close(dbm.free_energy(odd), dbm.bipartite().hidden_free_energy(flat))


@pytest.mark.parametrize("sizes", SIZES)
def test_the_gradient_with_the_exact_posterior_is_that_of_the_exact_likelihood(sizes):
    dbm = deep_machine(*sizes, seed=1)
    v = binary_states(sizes[0])[[1, 3, 5, 5]]
    found = centred_gradient(
        data=exact_statistics(dbm, v),
        model=exact_statistics(dbm, None),
        offsets=tuple(torch.zeros(n).double() for n in sizes),
    )
    expected = autodiff_gradient(dbm, v)
    for a, b in zip((*found.W, *found.b), (*expected.W, *expected.b), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("upper_share", [1.0, 3.0])
@pytest.mark.parametrize("sizes", SIZES)
def test_the_centred_gradient_is_the_exact_gradient_of_the_centred_parameters(sizes, upper_share):
    """With b'^l = b^l + o^{l-1}W^l + W^{l+1}o^{l+1}, the centred machine is an ordinary one.

    Following the gradient in (W, b') moves (W, b) by the centred gradient, also where what is above
    the first hidden layer is followed further.
    """
    dbm = deep_machine(*sizes, seed=2)
    v = binary_states(sizes[0])[[1, 2, 7]]
    o = [torch.rand(n, generator=generator(n)).double() for n in sizes]

    def told(W, i):
        below = o[i - 1] @ W[i - 1] if i else 0
        above = W[i] @ o[i + 1] if i < len(W) else 0
        return below + above

    W = [t.clone().requires_grad_() for t in dbm.W]
    centred = [(b + told(dbm.W, i)).clone().requires_grad_() for i, b in enumerate(dbm.b)]
    plain = Dbm(W=tuple(W), b=tuple(b - told(W, i) for i, b in enumerate(centred)))
    value = log_evidence(plain, v).mean() - log_partition(plain)
    grads = torch.autograd.grad(value, (*W, *centred))
    shares = [1.0] * 2 + [upper_share] * (len(sizes) - 2)
    dW = [step * share for step, share in zip(grads[: len(W)], shares[1:], strict=True)]
    db = [step * share for step, share in zip(grads[len(W) :], shares, strict=True)]
    found = centred_gradient(
        data=exact_statistics(dbm, v),
        model=exact_statistics(dbm, None),
        offsets=tuple(o),
        upper_share=upper_share,
    )
    for i, step in enumerate(dW):
        torch.testing.assert_close(found.W[i], step)
    for i, step in enumerate(db):
        torch.testing.assert_close(found.b[i], step - told(dW, i))


@pytest.mark.parametrize("sizes", SIZES)
def test_the_bound_never_exceeds_the_exact_likelihood_and_rises_with_every_round(sizes):
    dbm = deep_machine(*sizes, seed=3, scale=1.5)
    v = binary_states(sizes[0])
    exact = log_evidence(dbm, v)
    assert torch.exp(exact - log_partition(dbm)).sum() == pytest.approx(1)
    before = torch.full_like(exact, -torch.inf)
    for updates in range(8):
        mu = mean_field(dbm, v, MeanField(updates=updates, tolerance=0))
        bound = unnormalised_bound(dbm, mu)
        assert bool((bound <= exact + 1e-9).all())
        assert bool((bound >= before - 1e-9).all()), f"round {updates}"
        before = bound


def test_the_bound_is_exact_where_the_posterior_factorises():
    dbm = deep_machine(4, 3, 2)
    loose = Dbm(W=(dbm.W[0], torch.zeros(3, 2).double()), b=dbm.b)
    v = binary_states(4)
    found = mean_bound(loose, v, log_z=float(log_partition(loose)), rule=MeanField(updates=3))
    exact = float((log_evidence(loose, v) - log_partition(loose)).mean())
    assert found == pytest.approx(exact)


def test_mean_field_ends_at_a_fixed_point_and_damping_ends_at_the_same():
    dbm = deep_machine(5, 4, 3, 2, seed=4, scale=0.5)
    v = binary_states(5)
    ends = [
        mean_field(dbm, v, MeanField(updates=2000, tolerance=1e-12, damping=damping))
        for damping in (0.0, 0.5)
    ]
    for layer in (1, 2, 3):
        h = dict(enumerate(ends[0]))
        torch.testing.assert_close(torch.sigmoid(dbm.input(layer, h)), ends[0][layer])
        torch.testing.assert_close(ends[0][layer], ends[1][layer])


def test_the_tolerance_stops_the_rounds():
    dbm = deep_machine(4, 3, 2)
    v = binary_states(4)
    one = mean_field(dbm, v, MeanField(updates=50, tolerance=1.0))
    expected = mean_field(dbm, v, MeanField(updates=1, tolerance=0))
    for found, wanted in zip(one, expected, strict=True):
        assert torch.equal(found, wanted)


def test_the_entropy_is_in_nats_and_zero_at_the_ends():
    found = binary_entropy(torch.tensor([[0.0, 0.5, 1.0]]))
    torch.testing.assert_close(found, torch.tensor([[0.0, 0.6931472, 0.0]]))


@pytest.mark.statistical
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_sweeps_leave_the_exact_distribution_where_it_is(sizes, precision):
    dbm = deep_machine(*sizes, seed=5, scale=0.8).to(torch.bfloat16).to(torch.float32)
    flat = dbm.bipartite()
    p = visible_distribution(flat)
    n = 20_000
    rows = torch.multinomial(p, n, replacement=True, generator=generator(1))
    h = draw(
        torch.sigmoid(flat.hidden_input(binary_states(len(flat.b)).float()[rows])), generator()
    )
    odd = dict(zip(dbm.odd, h.split([sizes[i] for i in dbm.odd], 1), strict=True))
    g = generator(2)
    floor = 0.5 * float((p * (1 - p) / n).sqrt().sum())
    for done in range(1, 17):
        even, odd = rounded(dbm, precision).sweep(odd, g)
        if done in {1, 4, 16}:
            states = state_index(torch.cat(list(even.values()), 1))
            seen = torch.bincount(states, minlength=len(p)) / n
            distance = 0.5 * float((seen - p).abs().sum())
            assert distance < 4 * floor, f"after {done} sweeps"


@pytest.mark.parametrize("posterior_sweeps", [0, 2])
@pytest.mark.parametrize("sizes", SIZES)
def test_learning_raises_the_exact_likelihood(sizes, posterior_sweeps):
    g = generator(3)
    data = binary_states(sizes[0])[[0, -1]].repeat(30, 1).float()
    data = (data - (torch.rand(data.shape, generator=g) < 0.05).float()).abs()
    start = deep_machine(*sizes, scale=0.05).to(torch.float32)

    def likelihood(dbm):
        exact = dbm.to(torch.float64)
        return float(log_evidence(exact, data).mean() - log_partition(exact))

    learner = DbmLearner.begin(start, data=data, chains=50, generator=g)
    rule = LearningRule(
        sweeps=2,
        posterior_sweeps=posterior_sweeps,
        momentum=0.5,
        ema_decay=0.9,
        weight_decay=1e-4,
    )
    for _ in range(300):
        update(learner, data, rule=rule, learning_rate=0.1, generator=g)
    assert likelihood(learner.averaged) > likelihood(start) + 0.5


def test_a_learner_is_restored_from_its_tensors_to_the_bit():
    g = generator()
    data = (torch.rand(20, 5, generator=g) < 0.5).float()
    learner = DbmLearner.begin(
        deep_machine(5, 4, 3, 2).to(torch.float32), data=data, chains=7, generator=g
    )
    update(learner, data, rule=LearningRule(sweeps=1), learning_rate=0.1, generator=g)
    again = DbmLearner.restored(learner.tensors(), torch.device("cpu"))
    assert again.chains == 7
    first, second = learner.tensors(), again.tensors()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_parameters_have_the_names_of_the_weights_file():
    dbm = deep_machine(4, 3, 2)
    named = named_tensors(dbm)
    assert list(named) == ["weight.1", "weight.2", "bias.0", "bias.1", "bias.2"]
    assert all(a is b for a, b in zip(dbm_of(named).W, dbm.W, strict=True))


def test_particles_grow_by_copies_and_shrink_to_the_first():
    g = generator()
    data = (torch.rand(3, 4, generator=g) < 0.5).float()
    learner = DbmLearner.begin(deep_machine(4, 3, 2).to(torch.float32), data=data, chains=2,
                               generator=g)  # fmt: skip
    first = learner.particles[1].clone()
    learner.grow(5)
    assert torch.equal(learner.particles[1], first[[0, 1, 0, 1, 0]])
    learner.grow(1)
    assert torch.equal(learner.particles[1], first[:1])


def test_statistics_are_means_over_the_batch():
    h = [torch.tensor([[1.0, 0.0], [1.0, 1.0]]), torch.tensor([[1.0], [0.0]])]
    found = statistics(h)
    assert found.pairs[0].tolist() == [[0.5], [0.0]]
    assert found.means[0].tolist() == [1.0, 0.5]
