"""The encoder: it learns, resumes bit for bit, and its score is what the equation says."""

import pytest
import torch

from training.encoder import Encode, EncoderTraining, Frozen, IziF, encoder_losses, train_encoder
from training.export import fold_batch_norm
from training.gan_moves import Examples
from training.networks import Discriminator, Encoder, Generator, Shape, seeded
from training.run import Interrupted, Run

SHAPE = Shape(latent=4, width=4)
IMAGES = torch.rand(16, 1, 28, 28, generator=torch.Generator().manual_seed(3))
DATA = Examples(IMAGES, torch.arange(16) % 3)
LABELLED = Shape(latent=4, width=4, classes=3, labelled=True)
TINY = EncoderTraining(steps=6, batch=8, save_every=3, log_every=1)


def frozen(shape: Shape = SHAPE) -> Frozen:
    generator = seeded(lambda: Generator(shape), seed=0)
    label = torch.arange(32) % max(shape.classes, 1)
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():  # strokes in which images differ
        generator.layers[-1].weight.mul_(20.0)
    for _ in range(20):
        generator(torch.randn(32, 4, generator=noise), label)
    return Frozen(
        generator=fold_batch_norm(generator),
        discriminator=seeded(lambda: Discriminator(shape), seed=1).eval().requires_grad_(False),
        latent=4,
    )


def train(folder, *, resume=False, stop=lambda: False, config=TINY, shape=SHAPE) -> Encoder:
    run = Run(folder, resume=resume, config={})
    try:
        return train_encoder(
            DATA, frozen=frozen(shape), shape=shape, config=config, seed=2, run=run, stop=stop
        )
    finally:
        run.close()


def test_a_stopped_encoder_resumes_bit_for_bit(tmp_path):
    whole = train(tmp_path / "whole").state_dict()
    calls = iter(range(100))
    with pytest.raises(Interrupted, match="step 4 of 6"):
        train(tmp_path / "cut", stop=lambda: next(calls) == 3)
    resumed = train(tmp_path / "cut", resume=True).state_dict()
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)


def test_the_players_are_left_as_they_were(tmp_path):
    before = frozen()
    players = frozen()
    run = Run(tmp_path, resume=False, config={})
    train_encoder(DATA, frozen=players, shape=SHAPE, config=TINY, seed=2, run=run)
    run.close()
    for a, b in (
        (before.generator, players.generator),
        (before.discriminator, players.discriminator),
    ):
        ours, theirs = a.state_dict(), b.state_dict()
        assert all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_an_encoder_learns_to_make_its_images_again(tmp_path):
    players = frozen()
    made = players.generator(torch.randn(16, 4, generator=torch.Generator().manual_seed(5)))
    run = Run(tmp_path, resume=False, config={})
    # These images differ by little: next to them, the latents' own loss would be all that counts.
    config = EncoderTraining(steps=100, batch=16, learning_rate=5e-3, latent=0.0, kappa=0.0)
    encoder = train_encoder(
        Examples(made), frozen=players, shape=SHAPE, config=config, seed=2, run=run
    )
    run.close()

    def error(e: Encoder) -> float:
        return float((players.generator(Encode(e)(made)) - made).detach().square().mean())

    assert error(encoder) < 0.5 * error(seeded(lambda: Encoder(SHAPE), seed=5))


def test_the_score_is_the_mean_square_of_pixels_and_of_features():
    players = frozen()
    encoder = seeded(lambda: Encoder(SHAPE), seed=4)
    score, heatmap = IziF(
        generator=players.generator,
        encoder=encoder,
        discriminator=players.discriminator,
        kappa=2.0,
    )(IMAGES[:3])
    made = players.generator(encoder(IMAGES[:3], torch.zeros(3, 1, 28, 28)))
    features = players.discriminator.features
    for i in range(3):
        pixels = (IMAGES[i] - made[i]).square().mean()
        deep = (features(IMAGES[i : i + 1]) - features(made[i : i + 1])).square().mean()
        assert torch.isclose(score[i], pixels + 2.0 * deep, rtol=1e-4)
    assert torch.allclose(heatmap, (IMAGES[:3] - made).abs(), atol=1e-6)


def test_known_pixels_weigh_more_than_the_hole():
    players = frozen()
    encoder = seeded(lambda: Encoder(SHAPE), seed=4)
    masks = torch.zeros(4, 1, 28, 28)
    masks[..., :14] = 1.0
    plain, heavy = (
        encoder_losses(
            encoder,
            players,
            DATA.take(torch.arange(4)),
            masks=masks,
            z=torch.zeros(2, 4),
            config=EncoderTraining(known=known),
        )["image"]
        for known in (0.0, 1.0)
    )
    made = players.generator(encoder(IMAGES[:4], masks))
    known_error = ((1 - masks) * (IMAGES[:4] - made).square()).mean()
    assert torch.isclose(heavy - plain, known_error, rtol=1e-4)


def test_the_score_of_a_labelled_generator_goes_by_the_class_that_is_read():
    players = frozen(LABELLED)
    encoder = seeded(lambda: Encoder(LABELLED), seed=4).eval()
    _, heatmap = IziF(
        generator=players.generator,
        encoder=encoder,
        discriminator=players.discriminator,
        kappa=2.0,
    )(IMAGES[:3])
    made = players.generator(*encoder.understand(IMAGES[:3], torch.zeros(3, 1, 28, 28)))
    assert torch.allclose(heatmap, (IMAGES[:3] - made).abs(), atol=1e-6)


def test_a_labelled_encoder_resumes_bit_for_bit(tmp_path):
    whole = train(tmp_path / "whole", shape=LABELLED).state_dict()
    calls = iter(range(100))
    with pytest.raises(Interrupted):
        train(tmp_path / "cut", shape=LABELLED, stop=lambda: next(calls) == 3)
    resumed = train(tmp_path / "cut", shape=LABELLED, resume=True).state_dict()
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)
