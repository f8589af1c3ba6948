"""The adversarial loop: the same run twice, resumed bit for bit, stopped, judged, and given up."""

import math
from pathlib import Path

import pytest
import torch

from training.gan import batch_rows, train_gan
from training.gan_moves import Examples, adversarial_step, cosine
from training.gan_options import GanTraining
from training.networks import (
    Discriminator,
    Encoder,
    Generator,
    Shape,
    class_of,
    of_class,
    seeded,
)
from training.players import Players, UnfitPlayers, follow
from training.run import Interrupted, Run, TrainingDiverged, newest_checkpoint

SHAPE = Shape(latent=4, width=4, classes=3)
IMAGES = torch.rand(24, 1, 28, 28, generator=torch.Generator().manual_seed(3))
DATA = Examples(IMAGES, torch.arange(24) % 3)
EIGHT = DATA.take(torch.arange(8))


def config(**changes) -> GanTraining:
    tiny = {"steps": 6, "batch": 8, "judge_every": 3, "save_every": 3, "log_every": 1}
    return GanTraining(**(tiny | changes))


def judge(_generator, step) -> dict[str, float]:
    return {"judge__spread": 0.2, "judge__frechet": abs(step - 3.0)}


def train(folder: Path, *, resume: bool = False, judged=judge, stop=lambda: False, **changes):
    run = Run(folder, resume=resume, config={})
    try:
        return train_gan(
            DATA, shape=SHAPE, config=config(**changes), seed=5, run=run, judge=judged, stop=stop
        )
    finally:
        run.close()


def weights(players: Players) -> dict[str, torch.Tensor]:
    parts = {"g": players.generator, "d": players.discriminator, "average": players.average}
    return {f"{p}.{k}": v for p, net in parts.items() for k, v in net.state_dict().items()}


def assert_same(a: Players, b: Players) -> None:
    ours, theirs = weights(a), weights(b)
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name


def test_the_same_seed_trains_the_same_players(tmp_path):
    assert_same(train(tmp_path / "a"), train(tmp_path / "b"))


def test_a_stopped_run_resumes_bit_for_bit(tmp_path):
    whole = train(tmp_path / "whole")
    calls = iter(range(100))
    with pytest.raises(Interrupted, match="step 2 of 6"):
        train(tmp_path / "cut", stop=lambda: next(calls) == 1)
    assert newest_checkpoint(tmp_path / "cut")["step"] == 2
    resumed = train(tmp_path / "cut", resume=True)
    assert_same(whole, resumed)
    assert resumed.best["step"] == whole.best["step"]
    assert torch.equal(resumed.noise.get_state(), whole.noise.get_state())


def test_the_average_with_the_least_distance_is_kept(tmp_path):
    kept = []

    def remember(generator, step):
        kept.append({k: v.clone() for k, v in generator.state_dict().items()})
        return judge(generator, step)

    players = train(tmp_path, judged=remember)
    assert players.best["step"] == 3
    assert all(torch.equal(players.best["average"][k], v) for k, v in kept[0].items())


def test_a_generator_of_one_image_is_given_up_with_a_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr("training.gan.COLLAPSE_AFTER", 3)
    blank = {"judge__spread": 0.0, "judge__frechet": 1.0}
    with pytest.raises(TrainingDiverged, match=r"one image at step 3.*gamma"):
        train(tmp_path, judged=lambda *_: blank)


def test_a_loss_that_is_no_number_is_given_up_with_a_remedy():
    players = fresh()
    with torch.no_grad():
        players.discriminator.head.bias.fill_(math.nan)
    with pytest.raises(TrainingDiverged, match="learning_rate"):
        adversarial_step(players, EIGHT, config=config(), step=1)


@pytest.mark.parametrize("loss", ["non_saturating", "hinge", "least_squares", "wasserstein"])
def test_every_game_moves_both_players(loss):
    players = fresh()
    before = {k: v.clone() for k, v in weights(players).items()}
    figures = adversarial_step(players, EIGHT, config=config(loss=loss), step=2)
    after = weights(players)
    assert all(math.isfinite(value) for value in figures.values())
    assert not torch.equal(before["g.layers.0.weight"], after["g.layers.0.weight"])
    assert not torch.equal(before["d.head.weight"], after["d.head.weight"])


def test_the_penalty_is_applied_every_kth_step_only():
    with_it, without = fresh(), fresh()
    lazy = config(penalty_every=2, gamma_real=50.0, gamma_fake=50.0)
    none = config(penalty_every=2, gamma_real=0.0, gamma_fake=0.0)
    adversarial_step(with_it, EIGHT, config=lazy, step=1)
    adversarial_step(without, EIGHT, config=none, step=1)
    assert_same(with_it, without)
    adversarial_step(with_it, EIGHT, config=lazy, step=2)
    adversarial_step(without, EIGHT, config=none, step=2)
    assert not torch.equal(with_it.discriminator.head.weight, without.discriminator.head.weight)


def test_the_average_follows_weights_and_statistics():
    a, b = (seeded(lambda: Generator(SHAPE), seed=s) for s in (0, 1))
    b.layers[1].running_mean.fill_(1.0)
    expected = 0.75 * a.layers[0].weight.detach() + 0.25 * b.layers[0].weight.detach()
    follow(a, b, decay=0.75)
    assert torch.allclose(a.layers[0].weight, expected)
    assert torch.allclose(a.layers[1].running_mean, torch.tensor(0.25))


def test_players_may_know_no_labels_and_numbers_may_be_short(tmp_path):
    players = train(tmp_path, precision="bfloat16")
    assert all(torch.isfinite(v).all() for v in weights(players).values())
    plain = Players.fresh(Shape(latent=4, width=4), config(), seed=1, device=torch.device("cpu"))
    figures = adversarial_step(plain, Examples(IMAGES[:8]), config=config(), step=2)
    assert math.isfinite(figures["loss__g"])


def test_latents_are_moved_to_their_class_and_stay_the_same_numbers():
    z = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(50) % 4
    moved = of_class(z, labels, classes=4)
    assert torch.equal(class_of(moved, classes=4), labels)
    assert torch.equal(moved.sort(1).values, z.sort(1).values)
    assert torch.equal(moved[:, 4:], z[:, 4:])


def test_the_first_latents_choose_and_their_size_hardly_matters():
    generator = seeded(lambda: Generator(SHAPE), seed=0).eval()
    z = torch.tensor([[2.0, 0.0, 0.0, 0.3], [3.0, -1.0, 0.5, 0.3], [0.0, 2.0, 0.0, 0.3]])
    x = generator(z)
    assert torch.allclose(x[0], x[1], atol=1e-6)
    assert not torch.allclose(x[0], x[2], atol=1e-4)


def test_a_discriminator_judges_an_image_as_one_of_its_class():
    d = seeded(lambda: Discriminator(SHAPE), seed=1)
    by_class = torch.stack([d(IMAGES[:2], torch.full((2,), c)) for c in range(3)])
    assert torch.equal(d(IMAGES[:2]), by_class.amax(0))
    assert by_class.std() > 0


def test_an_epoch_shows_every_row_once():
    rows = torch.cat([batch_rows(24, batch=8, step=step, seed=1) for step in (4, 5, 6)])
    assert sorted(rows.tolist()) == list(range(24))
    assert not torch.equal(rows[:8], batch_rows(24, batch=8, step=1, seed=1))


def test_the_cosine_goes_from_one_to_its_end():
    assert cosine(0.0, last=0.1) == pytest.approx(1.0)
    assert cosine(0.5, last=0.1) == pytest.approx(0.55)
    assert cosine(1.0, last=0.1) == pytest.approx(0.1)


@pytest.mark.parametrize(("side", "channels"), [(28, 1), (32, 3), (64, 3)])
def test_the_networks_fit_their_sizes(side, channels):
    shape = Shape(channels=channels, side=side, latent=5, width=4)
    x = Generator(shape)(torch.randn(2, 5))
    assert x.shape == (2, channels, side, side)
    assert x.min() >= 0
    assert x.max() <= 1
    assert Discriminator(shape)(x).shape == (2,)
    assert Encoder(shape)(x, torch.zeros(2, 1, side, side)).shape == (2, 5)


def test_the_encoder_does_not_see_what_is_masked():
    encoder = seeded(lambda: Encoder(SHAPE), seed=0)
    mask = torch.zeros(1, 1, 28, 28)
    mask[..., 7:21, 7:21] = 1.0
    other = torch.where(mask > 0, torch.rand_like(mask), IMAGES[:1])
    assert torch.equal(encoder(IMAGES[:1], mask), encoder(other, mask))


def test_a_size_that_the_networks_lack_is_refused():
    with pytest.raises(ValueError, match="side=30"):
        Shape(side=30)


def fresh(**changes) -> Players:
    return Players.fresh(SHAPE, config(**changes), seed=5, device=torch.device("cpu"))


def test_a_run_may_begin_with_the_players_of_another(tmp_path):
    """The latents that chose a class become the label's indicator: the same weights, told."""
    before = train(tmp_path / "first")
    state = newest_checkpoint(tmp_path / "first")
    told = Shape(latent=1, width=4, classes=3, labelled=True)
    run = Run(tmp_path / "second", resume=False, config={})
    fresh_start = GanTraining(steps=1, batch=8, judge_every=1, learning_rate=1e-12)
    after = train_gan(
        DATA, shape=told, config=fresh_start, seed=5, run=run, judge=judge, start=("first", state)
    )
    run.close()
    chosen = torch.tensor([[9.0, -9.0, -9.0, 0.3], [-9.0, -9.0, 9.0, -0.5]])
    kept = seeded(lambda: Generator(SHAPE), seed=0).eval()
    kept.load_state_dict(before.best["average"])
    label, z = torch.tensor([0, 2]), chosen[:, 3:]
    ours = seeded(lambda: Generator(told), seed=0).eval()
    ours.load_state_dict(before.best["average"])
    assert torch.allclose(ours(z, label), kept(chosen), atol=1e-5)
    assert torch.allclose(
        after.generator.layers[0].weight, before.best["average"]["layers.0.weight"], atol=1e-6
    )
    assert after.origin == {"run": "first", "step": 6, "seconds": state["seconds"]}
    assert newest_checkpoint(tmp_path / "second")["origin"]["run"] == "first"


def test_players_of_another_shape_are_refused(tmp_path):
    train(tmp_path / "first")
    state = newest_checkpoint(tmp_path / "first")
    with pytest.raises(UnfitPlayers, match=r"start='first'.*\[model\]"):
        Players.fresh(
            Shape(latent=9, width=4), config(), seed=1, device=torch.device("cpu")
        ).begin_from("first", state)
