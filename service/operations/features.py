"""Encode, reconstruct, classify: one map function each, or two in a row."""

from __future__ import annotations

from service.contract import Role
from service.domain.feeding import ByRole
from service.operations.context import Context
from service.queries import (
    Classified,
    Classify,
    Encode,
    Encoded,
    Images,
    Reconstruct,
    Reconstructed,
)


async def encode(context: Context, query: Encode) -> Encoded:
    """Latent codes, or probabilities of hidden units."""
    context.require("encode")
    context.check_images(query.images)
    return Encoded(features=await _features(context, query.images))


async def reconstruct(context: Context, query: Reconstruct) -> Reconstructed:
    """decode(encode(x)), or generate(encode(x))."""
    context.require("reconstruct")
    context.check_images(query.images)
    if "decode" in context.manifest.functions:
        features = await _features(context, query.images)
        x = await context.map_role("decode", {Role.HIDDEN: features}, Role.DATA)
    else:
        x = await context.map_role("generate", await _codes(context, query.images), Role.DATA)
    return Reconstructed(images=context.to_data_space(x))


async def _codes(context: Context, images: Images) -> ByRole:
    """What a generator makes the images from: the encoder's latents, and labels if it reads any."""
    outputs = await context.map("encode", {Role.DATA: context.to_network(images)})
    roles = {Role.HIDDEN: Role.LATENT, Role.LABEL: Role.LABEL}
    return {
        roles[tensor.role]: outputs[tensor.name]
        for tensor in context.spec("encode").outputs
        if tensor.role in roles
    }


async def classify(context: Context, query: Classify) -> Classified:
    """Class probabilities."""
    context.require("classify")
    context.check_images(query.images)
    x = context.to_network(query.images)
    probabilities = await context.map_role("classify", {Role.DATA: x}, Role.PROBABILITIES)
    labels = context.manifest.labels
    names = labels.names if labels else tuple(str(k) for k in range(probabilities.shape[1]))
    return Classified(probabilities=probabilities, labels=names)


async def _features(context: Context, images: Images) -> Images:
    x = context.to_network(images)
    features = await context.map_role("encode", {Role.DATA: x}, Role.HIDDEN)
    return features.reshape(len(images), -1)
