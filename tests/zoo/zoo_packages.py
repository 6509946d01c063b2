"""Architectures of three further packages: keras_rs, keras-tcn and k3im."""

from __future__ import annotations

import importlib
from typing import Any

import keras
from keras import layers as kl
from zoo_entry import CLASSES, VOCABULARY, Entry


def _k3im(module: str, function: str, **options: Any) -> keras.Model:
    return getattr(importlib.import_module(f"k3im.{module}"), function)(**options)


def _tcn(**options: Any) -> keras.Model:
    from tcn import TCN

    inputs = keras.Input((12, 3))
    return keras.Model(inputs, kl.Dense(CLASSES)(TCN(nb_filters=6, kernel_size=3, dilations=(1, 2), **options)(inputs)))


def _dcn() -> keras.Model:
    import keras_rs

    ids = keras.Input((3,), dtype="int32", name="ids")
    dense = keras.Input((4,), name="numbers")
    flat = kl.Flatten()(kl.Embedding(VOCABULARY, 4, name="embedding")(ids))
    x0 = kl.Concatenate()([flat, dense])
    x = keras_rs.layers.FeatureCross()(x0)
    x = keras_rs.layers.FeatureCross(projection_dim=5)(x0, x)
    return keras.Model([ids, dense], kl.Dense(CLASSES)(kl.Dense(8, activation="relu")(x)))


def _dlrm() -> keras.Model:
    import keras_rs

    ids = keras.Input((3,), dtype="int32", name="ids")
    dense = keras.Input((4,), name="numbers")
    vectors = keras.ops.unstack(kl.Embedding(VOCABULARY, 6, name="embedding")(ids), 3, axis=1)
    bottom = kl.Dense(6, activation="relu", name="bottom")(dense)
    crossed = keras_rs.layers.DotInteraction()([bottom, *vectors])
    top = kl.Dense(8, activation="relu")(kl.Concatenate()([bottom, crossed]))
    return keras.Model([ids, dense], kl.Dense(CLASSES)(top))


def _bag(combiner: str) -> keras.Model:
    import keras_rs

    ids = keras.Input((5,), dtype="int32", name="ids")
    pooled = keras_rs.layers.EmbedReduce(VOCABULARY, 6, combiner=combiner)(ids)
    return keras.Model(ids, kl.Dense(CLASSES)(kl.Dense(8, activation="gelu")(pooled)))


_IMAGE16 = {"images": (16, 16, 3)}
_PATCHES = {"image_size": 16, "patch_size": 4, "num_classes": CLASSES}
_BLOCKS = {"dim": 8, "depth": 2, "heads": 2, "mlp_dim": 12, "dim_head": 4}


_MIXER = {"image_size": 16, "patch_size": 4, "embedding_dim": 8, "num_blocks": 2, "dropout_rate": 0.1}


def _cct() -> keras.Model:
    return _k3im(
        "cct", "CCT", input_shape=(16, 16, 3), num_heads=2, projection_dim=8, kernel_size=3, stride=1, padding=1,
        transformer_units=[12, 8], stochastic_depth_rate=0.1, transformer_layers=2, num_classes=CLASSES,
    )  # fmt: skip


def _eanet() -> keras.Model:
    return _k3im(
        "eanet", "EANet", input_shape=(16, 16, 3), patch_size=4, embedding_dim=8, num_transformer_blocks=2, mlp_dim=12,
        num_heads=2, dim_coefficient=2, attention_dropout=0.1, projection_dropout=0.1, num_classes=CLASSES,
    )  # fmt: skip


def _windows() -> keras.Model:
    return _k3im(
        "swint", "SwinTModel", img_size=16, patch_size=2, embed_dim=8, num_heads=2, window_size=2, num_mlp=12,
        qkv_bias=True, dropout_rate=0.1, shift_size=1, num_classes=CLASSES,
    )  # fmt: skip


def _patches(module: str, function: str, **options: Any) -> keras.Model:
    return _k3im(module, function, **_PATCHES, **_BLOCKS, **options)


def _mlp_mixer() -> keras.Model:
    options = {"num_classes": CLASSES, "img_size": 16, "patch_size": 4, "num_blocks": 2, "embed_dim": 8}
    return _k3im("mlp_mixer", "MlpMixer", **options)


def _conv_mixer() -> keras.Model:
    options = {"image_size": 16, "filters": 8, "depth": 2, "kernel_size": 3, "num_classes": CLASSES}
    return _k3im("convmixer", "ConvMixer", **options)


def _cross_vit() -> keras.Model:
    small = {f"sm_{name}": value for name, value in {"dim": 8, "patch_size": 4, **_BRANCH}.items()}
    large = {f"lg_{name}": value for name, value in {"dim": 12, "patch_size": 8, **_BRANCH}.items()}
    return _k3im(
        "cross_vit", "CrossViT", image_size=16, num_classes=CLASSES, channels=3, **small, **large, cross_attn_depth=1,
        cross_attn_heads=2, cross_attn_dim_head=4, depth=1,
    )  # fmt: skip


def _focal_net() -> keras.Model:
    return _k3im(
        "focalnet", "FocalNetModel", img_size=16, in_channels=3, patch_size=2, num_classes=CLASSES, embed_dim=8,
        depths=[1, 1], focal_levels=[2, 2], focal_windows=[3, 3], use_layerscale=True,
    )  # fmt: skip


def _video_vit() -> keras.Model:
    return _k3im(
        "vivit", "ViViT", image_size=8, image_patch_size=4, frames=8, frame_patch_size=4, num_classes=CLASSES, dim=8,
        spatial_depth=1, temporal_depth=1, heads=2, mlp_dim=12, dim_head=4,
    )  # fmt: skip


_BRANCH = {"enc_depth": 1, "enc_heads": 2, "enc_mlp_dim": 12, "enc_dim_head": 4}
_TOKENS = ("cls_token", "cls__token", "embedding", "variable")
_SINES = "sines of positions are added, constants that are no weights"

PACKAGES: dict[str, Entry] = {
    "TCN": Entry(_tcn, {"x": (12, 3)}),
    "TCN layer norm": Entry(lambda: _tcn(use_layer_norm=True, activation="gelu"), {"x": (12, 3)}),
    "DCN": Entry(_dcn, {"ids": (3,), "numbers": (4,)}, token_ids=("ids",)),
    "DLRM": Entry(_dlrm, {"ids": (3,), "numbers": (4,)}, token_ids=("ids",)),
    "bag of features, mean": Entry(lambda: _bag("mean"), {"ids": (5,)}, token_ids=("ids",)),
    "bag of features, sqrtn": Entry(lambda: _bag("sqrtn"), {"ids": (5,)}, token_ids=("ids",)),
    "patches ViT": Entry(lambda: _patches("vit", "ViT"), _IMAGE16),
    "CaiT": Entry(lambda: _patches("cait", "CaiTModel", cls_depth=1), _IMAGE16, constants=("cls__token",)),
    "FNet": Entry(lambda: _k3im("fnet", "FNetModel", **_MIXER, num_classes=CLASSES), _IMAGE16),
    "gMLP": Entry(lambda: _k3im("gmlp", "gMLPModel", **_MIXER, num_classes=CLASSES), _IMAGE16),
    "EANet": Entry(
        _eanet, _IMAGE16, constants=("patch_embedding/embedding",),
        keeps="its softmax is a signal of its own, the weights of nothing",
    ),
    "ViT behind FFT": Entry(
        lambda: _patches("simple_vit_with_fft", "SimpleViTFFT", freq_patch_size=8), _IMAGE16, keeps=_SINES
    ),
    "ViT with registers": Entry(
        lambda: _patches("simple_vit_with_register_tokens", "SimpleViT_RT"), _IMAGE16, keeps=_SINES
    ),
    "TokenLearner": Entry(
        lambda: _patches("token_learner", "ViTokenLearner", token_learner_units=3), _IMAGE16,
        constants=("patch_encoder/embedding",),
    ),
    "MLP-Mixer": Entry(_mlp_mixer, _IMAGE16),
    "ConvMixer": Entry(_conv_mixer, _IMAGE16, scale=255.0),  # it divides by that
    "CCT": Entry(_cct, _IMAGE16),
    "window attention": Entry(_windows, _IMAGE16),
    "CrossViT": Entry(_cross_vit, _IMAGE16, constants=_TOKENS),
    "FocalNet": Entry(_focal_net, _IMAGE16),
    "ViViT": Entry(_video_vit, {"frames": (8, 8, 8, 3)}, constants=_TOKENS),
}  # fmt: skip
