"""KerasHub's backbones and tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import layers as kl
from zoo_entry import CLASSES, TOKENS, VOCABULARY, Entry


def _hub() -> Any:
    import keras_hub

    return keras_hub.models


def _head(backbone: keras.Model, of: Callable[[Any], Any] | None = None) -> keras.Model:
    """Class logits on what a backbone puts out, averaged over all positions."""
    made = backbone.output if of is None else of(backbone.output)
    if len(made.shape) > 2:
        made = keras.ops.mean(made, axis=tuple(range(1, len(made.shape) - 1)))
    return keras.Model(backbone.input, kl.Dense(CLASSES, name="head")(made))


# --- vision ---


def _vit() -> keras.Model:
    backbone = _hub().ViTBackbone(
        image_shape=(16, 16, 3), patch_size=4, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=12
    )
    return _hub().ViTImageClassifier(backbone, num_classes=CLASSES)


def _deit() -> keras.Model:
    backbone = _hub().DeiTBackbone(
        image_shape=(16, 16, 3), patch_size=4, num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=12
    )
    return _hub().DeiTImageClassifier(backbone, num_classes=CLASSES)


def _clip() -> keras.Model:
    hub = _hub()
    vision = hub.CLIPVisionEncoder(
        patch_size=4, hidden_dim=8, num_layers=2, num_heads=2, intermediate_dim=12, image_shape=(12, 12, 3)
    ) if hasattr(hub, "CLIPVisionEncoder") else None  # fmt: skip
    from keras_hub.src.models.clip.clip_text_encoder import CLIPTextEncoder
    from keras_hub.src.models.clip.clip_vision_encoder import CLIPVisionEncoder

    vision = vision or CLIPVisionEncoder(
        patch_size=4, hidden_dim=8, num_layers=2, num_heads=2, intermediate_dim=12, image_shape=(12, 12, 3)
    )
    text = CLIPTextEncoder(
        vocabulary_size=VOCABULARY, embedding_dim=8, hidden_dim=8, num_layers=2, num_heads=2, intermediate_dim=12,
        max_sequence_length=TOKENS,
    )  # fmt: skip
    return hub.CLIPBackbone(vision, text, projection_dim=6)


def _siglip() -> keras.Model:
    from keras_hub.src.models.siglip.siglip_text_encoder import SigLIPTextEncoder
    from keras_hub.src.models.siglip.siglip_vision_encoder import SigLIPVisionEncoder

    vision = SigLIPVisionEncoder(
        patch_size=4, hidden_dim=8, num_layers=2, num_heads=2, intermediate_dim=12, image_shape=(12, 12, 3)
    )
    text = SigLIPTextEncoder(
        vocabulary_size=VOCABULARY, embedding_dim=8, hidden_dim=8, num_layers=2, num_heads=2, intermediate_dim=12,
        max_sequence_length=TOKENS,
    )  # fmt: skip
    return _hub().SigLIPBackbone(vision, text)


def _dinov2(swiglu: bool = False) -> keras.Model:
    return _head(
        _hub().DINOV2Backbone(
            patch_size=4, num_layers=2, hidden_dim=8, num_heads=2, intermediate_dim=12, num_register_tokens=2,
            use_swiglu_ffn=swiglu, image_shape=(16, 16, 3), position_embedding_shape=(16, 16, 3),
        )
    )  # fmt: skip


def _dinov3(gated: bool = False) -> keras.Model:
    return _head(
        _hub().DINOV3Backbone(
            patch_size=4, num_layers=2, hidden_dim=8, num_heads=2, intermediate_dim=12, num_register_tokens=2,
            use_gated_mlp=gated, hidden_activation="silu" if gated else "gelu", image_shape=(16, 16, 3),
        )
    )  # fmt: skip


def _mit_backbone() -> keras.Model:
    return _hub().MiTBackbone(
        layerwise_depths=[1, 1], num_layers=2, layerwise_num_heads=[1, 2], layerwise_sr_ratios=[2, 1],
        max_drop_path_rate=0.1, layerwise_patch_sizes=[7, 3], layerwise_strides=[4, 2], image_shape=(32, 32, 3),
        hidden_dims=[8, 12],
    )  # fmt: skip


def _mit() -> keras.Model:
    return _hub().MiTImageClassifier(_mit_backbone(), num_classes=CLASSES)


def _segformer() -> keras.Model:
    encoder = _hub().MiTBackbone(
        layerwise_depths=[1, 1, 1, 1], num_layers=4, layerwise_num_heads=[1, 1, 2, 2],
        layerwise_sr_ratios=[4, 2, 1, 1], max_drop_path_rate=0.1, layerwise_patch_sizes=[7, 3, 3, 3],
        layerwise_strides=[4, 2, 2, 2], image_shape=(64, 64, 3), hidden_dims=[4, 6, 8, 10],
    )  # fmt: skip
    backbone = _hub().SegFormerBackbone(image_encoder=encoder, projection_filters=8)
    return _hub().SegFormerImageSegmenter(backbone=backbone, num_classes=CLASSES)


def _swin() -> keras.Model:
    backbone = _hub().SwinTransformerBackbone(
        image_shape=(16, 16, 3), embed_dim=8, depths=[2, 2], num_heads=[2, 2], window_size=2, patch_size=2
    )
    return _hub().SwinTransformerImageClassifier(backbone, num_classes=CLASSES)


def _resnet_backbone(pre: bool, block: str, size: int = 32) -> keras.Model:
    return _hub().ResNetBackbone(
        input_conv_filters=[8], input_conv_kernel_sizes=[7], stackwise_num_filters=[64, 8, 8, 8],
        stackwise_num_blocks=[1, 2, 1, 1], stackwise_num_strides=[1, 2, 2, 2], block_type=block,
        use_pre_activation=pre, image_shape=(size, size, 3),
    )  # fmt: skip


def _resnet(pre: bool, block: str) -> keras.Model:
    return _hub().ResNetImageClassifier(_resnet_backbone(pre, block), num_classes=CLASSES)


def _deeplab() -> keras.Model:
    backbone = _hub().DeepLabV3Backbone(
        image_encoder=_resnet_backbone(False, "bottleneck_block"), spatial_pyramid_pooling_key="P4", upsampling_size=4,
        dilation_rates=[2, 3], low_level_feature_key="P2", projection_filters=4, image_shape=(32, 32, 3),
    )  # fmt: skip
    return _hub().DeepLabV3ImageSegmenter(backbone=backbone, num_classes=CLASSES)


def _mobilenetv5() -> keras.Model:
    none = [[0], [0, 0, 0], [0]]
    backbone = _hub().MobileNetV5Backbone(
        stackwise_block_types=[["er"], ["uir", "uir", "mqa"], ["mqa"]], stackwise_num_blocks=[1, 3, 1],
        stackwise_num_filters=[[8], [8, 8, 8], [8]], stackwise_strides=[[2], [2, 1, 1], [1]],
        stackwise_act_layers=[["relu"], ["gelu", "gelu", "gelu"], ["gelu"]],
        stackwise_exp_ratios=[[2.0], [2.0, 2.0, 2.0], [2.0]], stackwise_se_ratios=[[0.0], [0.0, 0.0, 0.0], [0.0]],
        stackwise_dw_kernel_sizes=[[0], [5, 3, 3], [3]], stackwise_dw_start_kernel_sizes=[[0], [3, 0, 0], [0]],
        stackwise_dw_end_kernel_sizes=none, stackwise_exp_kernel_sizes=[[3], [0, 0, 0], [0]],
        stackwise_pw_kernel_sizes=[[1], [0, 0, 0], [0]], stackwise_num_heads=[[0], [0, 0, 2], [2]],
        stackwise_key_dims=[[0], [0, 0, 4], [4]], stackwise_value_dims=[[0], [0, 0, 4], [4]],
        stackwise_kv_strides=[[0], [0, 0, 2], [1]], stackwise_use_cpe=[[False], [False, False, False], [False]],
        stem_size=8, num_features=16, use_msfa=True, msfa_output_resolution=4, layer_scale_init_value=0.1,
        image_shape=(32, 32, 3),
    )  # fmt: skip
    return _hub().MobileNetV5ImageClassifier(backbone, num_classes=CLASSES, head_hidden_size=12)


def _cspdarknet() -> keras.Model:
    backbone = _hub().CSPNetBackbone(
        stem_filters=8, stem_kernel_size=3, stem_strides=1, stackwise_depth=[1, 2], stackwise_strides=[2, 2],
        stackwise_num_filters=[8, 12], block_type="dark_block", stage_type="csp", bottle_ratio=[0.5],
        block_ratio=[0.5], expand_ratio=[1.0], down_growth=True, image_shape=(16, 16, 3),
    )  # fmt: skip
    return _hub().CSPNetImageClassifier(backbone, num_classes=CLASSES)


def _hgnet() -> keras.Model:
    backbone = _hub().HGNetV2Backbone(
        depths=[1, 1], embedding_size=8, hidden_sizes=[8, 8], stem_channels=[3, 4, 8], hidden_act="relu",
        use_learnable_affine_block=True, stackwise_stage_filters=[[8, 8, 8, 1, 2, 3], [8, 8, 8, 1, 2, 3]],
        apply_downsample=[False, True], use_lightweight_conv_block=[False, True], image_shape=(32, 32, 3),
    )  # fmt: skip
    return _hub().HGNetV2ImageClassifier(backbone=backbone, preprocessor=None, num_classes=CLASSES, head_filters=8)


def _vae_decoder() -> keras.Model:
    from keras_hub.src.models.vae.vae_layers import VAEDecoder

    latent = keras.Input((4, 4, 4))
    return keras.Model(latent, VAEDecoder([32, 32], [1, 1], output_channels=3)(latent))


# --- text ---

_ENCODER = {"vocabulary_size": VOCABULARY, "num_layers": 2, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 12}
_ROTARY = {
    "vocabulary_size": VOCABULARY, "num_layers": 2, "num_query_heads": 4, "num_key_value_heads": 2, "hidden_dim": 16,
    "intermediate_dim": 12,
}  # fmt: skip


def _classifier(name: str, **options: Any) -> keras.Model:
    hub = _hub()
    backbone = getattr(hub, f"{name}Backbone")(**{**_ENCODER, **options})
    return getattr(hub, f"{name}TextClassifier")(backbone, num_classes=CLASSES)


def _electra() -> keras.Model:
    backbone = _hub().ElectraBackbone(
        vocab_size=VOCABULARY, num_layers=2, num_heads=2, hidden_dim=8, embedding_dim=6, intermediate_dim=12,
        max_sequence_length=TOKENS,
    )  # fmt: skip
    return keras.Model(backbone.input, kl.Dense(CLASSES, name="head")(backbone.output["pooled_output"]))


def _xlnet() -> keras.Model:
    backbone = _hub().XLNetBackbone(**_ENCODER)
    return keras.Model(backbone.input, kl.Dense(CLASSES, name="head")(backbone.output[:, 0]))


def _t5(gated: bool = True) -> keras.Model:
    backbone = _hub().T5Backbone(
        **_ENCODER, key_value_dim=4, use_gated_activation=gated, activation="gelu" if gated else "relu"
    )
    logits = backbone.token_embedding(backbone.output["decoder_sequence_output"], reverse=True)
    return keras.Model(backbone.input, logits)


def _causal(name: str, base: dict[str, Any] = _ROTARY, **options: Any) -> keras.Model:
    hub = _hub()
    return getattr(hub, f"{name}CausalLM")(backbone=getattr(hub, f"{name}Backbone")(**{**base, **options}))


def _gemma3() -> keras.Model:
    hub = _hub()
    backbone = hub.Gemma3Backbone(
        **_ROTARY, image_size=16, head_dim=4, use_post_ffw_norm=True, use_post_attention_norm=True,
        use_sliding_window_attention=True, sliding_window_size=4, vision_encoder=None,
    )  # fmt: skip
    return hub.Gemma3CausalLM(preprocessor=None, backbone=backbone)


def _whisper() -> keras.Model:
    backbone = _hub().WhisperBackbone(
        **_ENCODER, num_mels=6, max_encoder_sequence_length=16, max_decoder_sequence_length=TOKENS
    )
    logits = backbone.token_embedding(backbone.output["decoder_sequence_output"], reverse=True)
    return keras.Model(backbone.input, logits)


def _gpt_oss() -> keras.Model:
    return _causal("GptOss", num_experts=3, top_k=2, sliding_window=4)


def _qwen_moe() -> keras.Model:
    return _causal("QwenMoe", moe_intermediate_dim=6, shared_expert_intermediate_dim=6, num_experts=3, top_k=2)


def _falcon() -> keras.Model:
    hub = _hub()
    backbone = hub.FalconBackbone(
        vocabulary_size=VOCABULARY, num_layers=2, num_attention_heads=2, hidden_dim=8, intermediate_dim=12
    )
    return hub.FalconCausalLM(backbone=backbone)


def _rwkv7() -> keras.Model:
    hub = _hub()
    backbone = hub.RWKV7Backbone(
        hidden_size=12, head_size=4, num_layers=2, vocabulary_size=VOCABULARY, intermediate_dim=12, gate_lora=4,
        mv_lora=3, aaa_lora=3, decay_lora=3,
    )  # fmt: skip
    return hub.RWKV7CausalLM(backbone, preprocessor=None)


def _gemma3n() -> keras.Model:
    return _hub().Gemma3nBackbone(
        text_vocab_size=VOCABULARY, text_hidden_size=8, num_hidden_layers=2, pad_token_id=0, num_attention_heads=2,
        num_key_value_heads=1, head_dim=4, intermediate_size=[12, 12], hidden_activation="gelu_approximate",
        layer_types=["full_attention", "sliding_attention"], sliding_window=4, rope_theta=100.0,
        max_position_embeddings=TOKENS, vocab_size_per_layer_input=VOCABULARY, hidden_size_per_layer_input=4,
        altup_num_inputs=2, laurel_rank=2, activation_sparsity_pattern=[0.5, 0.0],
    )  # fmt: skip


def _esm() -> keras.Model:
    return _hub().ESMBackbone(**_ENCODER, max_sequence_length=TOKENS)


_IMAGE16 = {"images": (16, 16, 3)}
_IMAGE32 = {"images": (32, 32, 3)}
_PADDED = {"token_ids": (TOKENS,), "padding_mask": (TOKENS,)}
_SEGMENTS = {**_PADDED, "segment_ids": (TOKENS,)}
_PIXEL, _LATE, _MIDDLE = (9, 11, 1), (5, 3), (3, 3)


def _text(build: Callable[[], keras.Model], **options: Any) -> Entry:
    return Entry(build, _PADDED, token_ids=("token_ids",), masks=("padding_mask",), named=True, **options)


def _segments(build: Callable[[], keras.Model], **options: Any) -> Entry:
    ids = ("token_ids", "segment_ids")
    return Entry(build, _SEGMENTS, token_ids=ids, masks=("padding_mask",), named=True, **options)


def _language(build: Callable[[], keras.Model], **options: Any) -> Entry:
    return _text(build, causal=True, target=_MIDDLE, **options)


HUB: dict[str, Entry] = {
    "ViT": Entry(_vit, _IMAGE16),
    "DeiT": Entry(_deit, _IMAGE16),
    "CLIP": Entry(
        _clip, {"images": (12, 12, 3), "token_ids": (TOKENS,)}, token_ids=("token_ids",), named=True, samples=1,
        target=(0,), output="vision_logits", constants=("class_embedding",),
    ),
    "SigLIP": Entry(
        _siglip, {"images": (12, 12, 3), "token_ids": (TOKENS,)}, token_ids=("token_ids",), named=True, samples=1,
        target=(0,), output="vision_logits", constants=("head/variable",),
    ),
    "DINOv2": Entry(_dinov2, _IMAGE16),
    "DINOv2 SwiGLU": Entry(lambda: _dinov2(True), _IMAGE16),
    "DINOv3": Entry(_dinov3, _IMAGE16),
    "DINOv3 gated": Entry(lambda: _dinov3(True), _IMAGE16),
    "MiT": Entry(_mit, _IMAGE32),
    "SegFormer": Entry(_segformer, {"images": (64, 64, 3)}, target=_PIXEL),
    "Swin": Entry(_swin, _IMAGE16),
    "ResNet v1": Entry(lambda: _resnet(False, "bottleneck_block"), _IMAGE32),
    "ResNet v2": Entry(lambda: _resnet(True, "bottleneck_block"), _IMAGE32),
    "DeepLab v3": Entry(_deeplab, _IMAGE32, target=_PIXEL),
    "MobileNet v5": Entry(_mobilenetv5, _IMAGE32),
    "CSPDarkNet": Entry(_cspdarknet, _IMAGE16),
    "HGNet v2": Entry(_hgnet, _IMAGE32),
    "VAE decoder": Entry(_vae_decoder, {"latent": (4, 4, 4)}, target=(3, 4, 1)),
    "BERT": _segments(lambda: _classifier("Bert", max_sequence_length=TOKENS)),
    "RoBERTa": _text(lambda: _classifier("Roberta", max_sequence_length=TOKENS)),
    "ALBERT": _segments(
        lambda: _classifier("Albert", embedding_dim=6, num_groups=1, max_sequence_length=TOKENS)
    ),
    "DistilBERT": _text(lambda: _classifier("DistilBert", max_sequence_length=TOKENS)),
    "DeBERTa v3": _text(lambda: _classifier("DebertaV3", max_sequence_length=TOKENS, bucket_size=4)),
    "ELECTRA": _segments(_electra),
    "XLNet": _segments(_xlnet, reads_padding=True),
    "T5": Entry(
        _t5,
        {
            "encoder_token_ids": (TOKENS,), "encoder_padding_mask": (TOKENS,), "decoder_token_ids": (TOKENS,),
            "decoder_padding_mask": (TOKENS,),
        },
        token_ids=("encoder_token_ids", "decoder_token_ids"), masks=("encoder_padding_mask", "decoder_padding_mask"),
        named=True, causal=True, target=_MIDDLE,
    ),
    "GPT-2": _language(lambda: _causal("GPT2", _ENCODER, max_sequence_length=TOKENS)),
    "OPT": _language(lambda: _causal("OPT", _ENCODER, max_sequence_length=TOKENS)),
    "Llama": _language(lambda: _causal("Llama")),
    "Gemma": _language(lambda: _causal("Gemma", head_dim=4)),
    "Gemma soft cap": _language(
        lambda: _causal("Gemma", head_dim=4, attention_logit_soft_cap=5.0, final_logit_soft_cap=9.0)
    ),
    "Gemma 3": _language(_gemma3),
    "Phi 3": _language(lambda: _causal("Phi3", max_sequence_length=TOKENS, pretraining_sequence_length=TOKENS)),
    "Qwen": _language(lambda: _causal("Qwen")),
    "Mistral": _language(lambda: _causal("Mistral", sliding_window=4)),
    "Falcon": _language(_falcon),
    "GPT-OSS": _language(_gpt_oss, keeps="sinks, which are no tokens, take a share of attention"),
    "Qwen MoE": _language(_qwen_moe),
    "Gemma 3n": _language(_gemma3n),
    "RWKV 7": _language(_rwkv7),
    "ESM": Entry(_esm, {"token_ids": (TOKENS,)}, token_ids=("token_ids",), named=True, target=_MIDDLE),
    "Mixtral": _language(lambda: _causal("Mixtral", num_experts=3, sliding_window=4)),
    "Whisper": Entry(
        _whisper,
        {"encoder_features": (16, 6), "decoder_token_ids": (TOKENS,), "decoder_padding_mask": (TOKENS,)},
        token_ids=("decoder_token_ids",), masks=("decoder_padding_mask",), named=True, causal=True, target=_MIDDLE,
    ),
}  # fmt: skip
