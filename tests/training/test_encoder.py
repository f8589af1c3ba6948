"""The encoder: it learns, resumes bit for bit, and its score is what the equation says."""

import pytest
import torch

from training.encoder import Encode, EncoderTraining, Frozen, IziF, encoder_losses, train_encoder
from training.export import fold_batch_norm
from training.networks import Discriminator, Encoder, Generator, Shape, seeded
from training.run import Interrupted, Run

SHAPE = Shape(latent=4, width=4)
IMAGES = torch.rand(16, 1, 28, 28, generator=torch.Generator().manual_seed(3))
TINY = EncoderTraining(steps=6, batch=8, save_every=3, log_every=1)


def frozen() -> Frozen:
    generator = seeded(lambda: Generator(SHAPE), seed=0)
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():  # strokes in which images differ
        generator.layers[-1].weight.mul_(20.0)
    for _ in range(20):
        generator(torch.randn(32, 4, generator=noise))
    return Frozen(
        generator=fold_batch_norm(generator),
        discriminator=seeded(lambda: Discriminator(SHAPE), seed=1).eval().requires_grad_(False),
        latent=4,
    )


def train(folder, *, resume=False, stop=lambda: False, config=TINY) -> Encoder:
    run = Run(folder, resume=resume, config={})
    try:
        return train_encoder(
            IMAGES, frozen=frozen(), shape=SHAPE, config=config, seed=2, run=run, stop=stop
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
    train_encoder(IMAGES, frozen=players, shape=SHAPE, config=TINY, seed=2, run=run)
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
    encoder = train_encoder(made, frozen=players, shape=SHAPE, config=config, seed=2, run=run)
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
            images=IMAGES[:4],
            masks=masks,
            z=torch.zeros(2, 4),
            config=EncoderTraining(known=known),
        )["image"]
        for known in (0.0, 1.0)
    )
    made = players.generator(encoder(IMAGES[:4], masks))
    known_error = ((1 - masks) * (IMAGES[:4] - made).square()).mean()
    assert torch.isclose(heavy - plain, known_error, rtol=1e-4)
