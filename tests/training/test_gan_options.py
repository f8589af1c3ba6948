"""The remedies of adversarial training: each does what its paper says, and resumes bit for bit."""

import math
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from training.gan import rows_of_step, train_gan
from training.gan_config import GanConfig
from training.gan_moves import (
    Examples,
    adversarial_step,
    discriminator_step,
    generator_step,
    look,
    packed,
)
from training.gan_options import GanTraining
from training.networks import PointShape, Shape, unbound
from training.players import Players
from training.run import Interrupted, Run

DRAW = torch.Generator().manual_seed(3)
POINTS = PointShape(size=2, latent=2, width=8, depth=2, generator_norm="none")
DOTS = Examples(torch.randn(24, 2, generator=DRAW))
IMAGES = Examples(torch.rand(24, 1, 28, 28, generator=DRAW), torch.arange(24) % 3)


def config(**changes) -> GanTraining:
    tiny = {"steps": 6, "batch": 8, "judge_every": 3, "save_every": 3, "log_every": 1}
    calm = {"gamma_real": 0.0, "gamma_fake": 0.0}
    return GanTraining(**(tiny | calm | changes))


def fresh(how: GanTraining, shape=POINTS) -> Players:
    return Players.fresh(shape, how, seed=5, device=torch.device("cpu"))


def state(players: Players) -> dict[str, torch.Tensor]:
    parts = {"g": players.generator, "d": players.discriminator, "average": players.average}
    return {f"{p}.{k}": v.clone() for p, net in parts.items() for k, v in net.state_dict().items()}


def judge(_generator, _step) -> dict[str, float]:
    return {"judge__spread": 0.2, "judge__frechet": 1.0}


def train(folder: Path, how: GanTraining, shape=POINTS, *, resume=False, stop=lambda: False):
    run = Run(folder, resume=resume, config={})
    data = IMAGES if isinstance(shape, Shape) else DOTS
    try:
        return train_gan(data, shape=shape, config=how, seed=5, run=run, judge=judge, stop=stop)
    finally:
        run.close()


REMEDIES = {
    "n_critic": {"n_critic": 2},
    "two rates": {"discriminator_rate": 1e-3},
    "smoothing": {"loss": "non_saturating", "label_smoothing": 0.1},
    "clip": {"loss": "wasserstein", "clip": 0.05},
    "wgan-gp": {"loss": "wasserstein", "wgan_gp": 10.0},
    "feature matching": {"feature_matching": 1.0},
    "packing": {"packing": 2},
    "deviation": {"minibatch_std": True},
    "kernels": {"minibatch_discrimination": 3},
    "spectral norm": {"spectral_norm": True},
    "adaptive": {"augment": "adaptive", "augment_p": 0.5, "transforms": ["noise"]},
}


@pytest.mark.parametrize("name", REMEDIES)
def test_every_remedy_resumes_bit_for_bit(tmp_path, name):
    how = config(**REMEDIES[name])
    whole = train(tmp_path / "whole", how)
    calls = iter(range(100))
    with pytest.raises(Interrupted, match="step 4 of 6"):
        train(tmp_path / "cut", how, stop=lambda: next(calls) == 3)
    resumed = train(tmp_path / "cut", how, resume=True)
    ours, theirs = state(whole), state(resumed)
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)
    assert resumed.augmentation == whole.augmentation


@pytest.mark.parametrize("name", REMEDIES)
def test_every_remedy_changes_the_course(name):
    """It would be easy to declare an option that nothing reads."""
    chosen = REMEDIES[name]
    base = {key: chosen[key] for key in ("loss",) if key in chosen}
    ends = []
    for how in (config(**base), config(**chosen)):
        players = fresh(how)
        for step in (1, 2):
            rows = rows_of_step(24, config=how, step=step, seed=5)
            adversarial_step(players, DOTS.take(rows), config=how, step=step)
        ends.append(state(players))
    assert any(ends[0].get(k) is None or not torch.equal(ends[0][k], ends[1][k]) for k in ends[1])


def test_the_critic_moves_n_times_on_images_of_its_own():
    rows = rows_of_step(24, config=config(n_critic=3), step=1, seed=5)
    assert sorted(rows.tolist()) == list(range(24))
    assert torch.equal(
        rows_of_step(24, config=config(), step=2, seed=5),
        rows_of_step(24, config=config(n_critic=2), step=1, seed=5)[8:],
    )


def test_two_time_scales_give_each_player_its_own_rate():
    how = config(learning_rate=1e-4, discriminator_rate=4e-4, final_rate=1.0)
    players = fresh(how)
    adversarial_step(players, DOTS.take(torch.arange(8)), config=how, step=1)
    rates = {name: o.param_groups[0]["lr"] for name, o in players.optimizers.items()}
    assert rates == {"generator": 1e-4, "discriminator": 4e-4}


def test_clipping_bounds_every_weight():
    how = config(loss="wasserstein", clip=0.01)
    players = fresh(how)
    adversarial_step(players, DOTS.take(torch.arange(8)), config=how, step=1)
    assert all(p.detach().abs().max() <= 0.01 for p in players.discriminator.parameters())


def test_packs_are_rows_one_behind_the_other():
    assert packed(torch.arange(12.0).view(6, 2), 3).tolist() == [
        [0, 1, 2, 3, 4, 5],
        [6, 7, 8, 9, 10, 11],
    ]
    images = torch.rand(4, 3, 5, 5)
    assert torch.equal(packed(images, 2)[1], torch.cat([images[2], images[3]]))


def test_a_packed_critic_gives_one_logit_a_pack_and_takes_a_row_alone():
    how = config(packing=4)
    players = fresh(how)
    assert look(players, DOTS.take(torch.arange(8))).logits.shape == (2,)
    alone = DOTS.images[:1]
    assert torch.equal(players.discriminator(alone), players.discriminator(alone.repeat(1, 4)))


def test_the_gradient_penalty_of_packs_is_one_a_pack():
    how = config(loss="wasserstein", wgan_gp=10.0, packing=2)
    figures = adversarial_step(fresh(how), DOTS.take(torch.arange(8)), config=how, step=1)
    assert math.isfinite(figures["loss__d"])


def test_a_critic_of_batches_sees_real_and_generated_rows_apart():
    how = config(minibatch_std=True)
    players, real = fresh(how), DOTS.take(torch.arange(8))
    same = Examples(real.images[:1].expand(8, 2).clone())
    apart = look(players, real).logits
    assert not torch.allclose(look(players, same).logits, apart[:1].expand(8))
    before = [look(players, half).logits for half in (real, same)]
    figures = discriminator_step(players, real, same, config=how, strength=0.0)
    expected = float((before[0] > before[1]).float().mean())
    assert figures["accuracy__pairs"] == pytest.approx(expected)


def test_feature_matching_adds_the_distance_of_the_mean_features():
    weight, real = 3.0, DOTS.take(torch.arange(8))
    fake = Examples(torch.randn(8, 2, requires_grad=True))
    players = fresh(config())
    with torch.no_grad():
        means = [players.discriminator.features(x.images).mean(0) for x in (real, fake)]
    expected = weight * float((means[0] - means[1]).square().sum())
    # Adam's step hides the scale, the gradient's norm does not: compare with a loss that is this.
    seen = {}
    for matching in (0.0, weight):
        players = fresh(config())
        players.generator.layers[1].weight.grad = None
        made = Examples(players.generator(fake.images.detach()))
        generator_step(players, real, made, config=config(feature_matching=matching))
        seen[matching] = players.generator.layers[1].weight.grad.clone()
    players = fresh(config())
    made = players.generator(fake.images.detach())
    features = players.discriminator.features
    loss = weight * (features(made).mean(0) - features(real.images).mean(0)).square().sum()
    (alone,) = torch.autograd.grad(loss, players.generator.layers[1].weight)
    assert torch.allclose(seen[weight] - seen[0.0], alone, atol=1e-6)
    assert expected > 0


def test_spectral_norm_bounds_every_layer_and_can_be_taken_off():
    how = config(spectral_norm=True)
    players = fresh(how)
    for step in range(1, 6):
        adversarial_step(players, DOTS.take(torch.arange(8)), config=how, step=step)
    d = players.discriminator.eval()
    before = d(DOTS.images)
    for layer in d.modules():
        if isinstance(layer, torch.nn.Linear):
            assert torch.linalg.matrix_norm(layer.weight, 2) < 1.2
    plain = unbound(d)
    assert not any("parametrizations" in k for k in plain.state_dict())
    assert torch.allclose(plain(DOTS.images), before, atol=1e-6)


def test_the_augmentation_is_steered_by_how_often_the_critic_is_right():
    augmentation = config(augment="adaptive", augment_images=100).augmentation()
    for _ in range(200):
        augmentation.heed(1.0, images=1)
    assert augmentation.p > 0.3
    assert augmentation.overfitting > 0.9
    for _ in range(400):
        augmentation.heed(0.5, images=1)
    assert augmentation.p == 0.0


@pytest.mark.parametrize("mixed", [{"precision": "bfloat16"}, {"gamma_real": 1.0}])
def test_remedies_go_together_on_images_with_labels(mixed):
    how = config(
        spectral_norm=True, minibatch_std=True, minibatch_discrimination=2, n_critic=2,
        feature_matching=0.1, augment="fixed", augment_p=0.5, penalty_every=1, **mixed,
    )  # fmt: skip
    shape = Shape(latent=4, width=4, classes=3, labelled=True)
    players = fresh(how, shape)
    figures = adversarial_step(players, IMAGES.take(torch.arange(16)), config=how, step=1)
    assert all(math.isfinite(value) for value in figures.values())


@pytest.mark.parametrize(
    ("fault", "remedy"),
    [
        ({"loss": "hinge", "label_smoothing": 0.1}, "label_smoothing"),
        ({"packing": 3}, "use a batch of 9"),
        ({"packing": 8, "minibatch_std": True}, "raise train.batch"),
    ],
)
def test_remedies_that_do_not_go_together_are_refused(fault, remedy):
    with pytest.raises(ValidationError, match=remedy):
        config(**fault)


@pytest.mark.parametrize(
    ("how", "shape", "remedy"),
    [
        ({"packing": 2}, Shape(latent=4, width=4, classes=3), "packing to 1"),
        ({"gamma_real": 1.0}, PointShape(discriminator_norm="batch"), "gamma_real"),
        ({"augment": "fixed"}, PointShape(), "leave 'noise'"),
    ],
)
def test_networks_that_a_remedy_does_not_fit_are_refused(how, shape, remedy):
    with pytest.raises(ValueError, match=remedy):
        fresh(config(**how), shape)


def test_a_choice_that_was_not_made_is_not_in_the_record_of_a_run():
    document = {"name": "a", "kind": "gan", "data": {"name": "mnist"}}
    plain = GanConfig.model_validate(document).trained_part()
    assert set(plain["model"]) == {"latent", "width", "classes"}
    assert "n_critic" not in plain["train"]
    chosen = GanConfig.model_validate(
        document | {"train": {"n_critic": 5}, "model": {"network": "mlp"}}
    ).trained_part()
    assert chosen["train"]["n_critic"] == 5
    assert chosen["model"]["network"] == "mlp"
