"""The guide of chains that hold a label: its gradient, where it begins, and what it learns."""

import pytest
import torch

from tests.training.small_trainings import stopping_run
from tests.training.test_dbn import generator
from tests.training.test_exact import machine
from training.dbn import Dbn, stack
from training.guide import Guide, GuideTable, guide_error, restored_guide, train_guide
from training.label_units import label_probabilities
from training.run import Interrupted

LABELS = 3
TABLE = GuideTable(updates=12, batch=20, learning_rate=0.05)


def batch(n: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    h = (torch.rand(n, 4, generator=generator(4)) < 0.5).double()
    return h, torch.randint(LABELS, (n,), generator=generator(5))


def test_a_guide_begins_at_what_the_label_units_say():
    top, (h, _) = machine(4 + LABELS, 6, seed=2), batch()
    log_p = Guide.of(top, labels=LABELS).log_probabilities(top, h)
    torch.testing.assert_close(log_p.exp(), label_probabilities(top, h, labels=LABELS))


def test_its_gradient_is_that_of_the_log_probability_of_the_label():
    top, (h, y) = machine(4 + LABELS, 6, seed=2), batch()
    made = Guide.of(top, labels=LABELS)
    guide = Guide(up=made.up, down=torch.randn(3, 4, generator=generator()).double(),
                  bias=made.bias)  # fmt: skip
    gradient, mean = guide.gradient(top, h, y)
    leaves = [t.clone().requires_grad_() for t in (guide.up, guide.down, guide.bias)]
    exact = Guide(*leaves).log_probabilities(top, h).gather(1, y[:, None]).mean()
    torch.testing.assert_close(mean, exact.detach())
    found = (gradient.up, gradient.down, gradient.bias)
    for ours, autodiff in zip(found, torch.autograd.grad(exact, leaves), strict=True):
        torch.testing.assert_close(ours, autodiff, atol=1e-12, rtol=1e-9)


def network() -> Dbn:
    dbn = stack([machine(12, 8, seed=1)], machine(8 + LABELS, 6, seed=2), labels=LABELS)
    return dbn.to(torch.float32)


def images(n: int = 90) -> tuple[torch.Tensor, torch.Tensor]:
    prototypes = (torch.rand(LABELS, 12, generator=generator(9)) < 0.5).float()
    y = torch.arange(n) % LABELS
    return prototypes[y], y


def go(directory, *, resume=False, stop_after=None, table=TABLE) -> Guide:
    with stopping_run(directory, resume=resume, stop_after=stop_after) as (run, stop):
        return train_guide(network(), *images(), table=table, seed=2, run=run, stop=stop)


def test_a_guide_learns_to_tell_labels_apart_where_the_machine_does_not(tmp_path):
    dbn = network()
    before = guide_error(Guide.of(dbn.top, labels=LABELS), dbn, *images(), seed=1)
    made = go(tmp_path, table=TABLE.model_copy(update={"updates": 150}))
    assert before > 0.3
    assert guide_error(made, dbn, *images(), seed=1) < 0.15
    assert made.down.abs().max() > 0


@pytest.mark.parametrize("stop_after", [1, 7])
def test_a_guide_that_was_stopped_goes_on_to_the_same_bits(tmp_path, stop_after):
    whole = go(tmp_path / "whole")
    with pytest.raises(Interrupted):
        go(tmp_path / "parts", stop_after=stop_after)
    again = go(tmp_path / "parts", resume=True)
    assert torch.equal(again.up, whole.up)
    assert torch.equal(again.down, whole.down)
    assert torch.equal(restored_guide(tmp_path / "parts").up, whole.up)
    assert restored_guide(tmp_path / "nothing") is None


def test_a_stronger_guide_is_surer_of_the_same_label(tmp_path):
    dbn, made = network(), go(tmp_path, table=TABLE.model_copy(update={"updates": 150}))
    h = torch.sigmoid(dbn.layers[0].recognise(images()[0]))
    guided = Guide(up=made.up * 0, down=made.down, bias=made.bias)
    sure, surer = (g.log_probabilities(dbn.top, h) for g in (guided, guided.times(2.0)))
    assert torch.equal(sure.argmax(1), surer.argmax(1))
    assert (surer.max(1).values >= sure.max(1).values).all()
