"""Diffusion models with random weights, small enough for tests; built from configurations alone."""

from __future__ import annotations

from pathlib import Path

SIDES = (16, 16, 16, 16)  # four levels, so that latents are eight times smaller, as in real models
WIDTH = 16


def save_pipeline(folder: Path) -> Path:
    """A Stable Diffusion of SD 1.5's shape in diffusers' layout; returns ``folder``."""
    import diffusers
    import torch

    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(
        sample_size=8, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH, attention_head_dim=8,
    )  # fmt: skip
    vae = diffusers.AutoencoderKL(
        block_out_channels=SIDES, norm_num_groups=8, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
    scheduler = diffusers.PNDMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True,
        steps_offset=1,
    )  # fmt: skip
    diffusers.StableDiffusionPipeline(
        unet=unet, vae=vae, scheduler=scheduler, text_encoder=_text_encoder(),
        tokenizer=_tokenizer(), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def save_controlnet(folder: Path) -> Path:
    """A ControlNet that fits :func:`save_pipeline` and, unlike a new one, acts."""
    import diffusers
    import torch

    torch.manual_seed(1)
    net = diffusers.ControlNetModel(
        block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), cross_attention_dim=WIDTH,
        attention_head_dim=8, conditioning_embedding_out_channels=(8, 16, 16, 16),
    )  # fmt: skip
    for part in (*net.controlnet_down_blocks, net.controlnet_mid_block):
        torch.nn.init.normal_(part.weight, std=0.3)  # zero in a new one
    torch.nn.init.normal_(net.controlnet_cond_embedding.conv_out.weight, std=0.3)
    net.save_pretrained(folder)
    return folder


def _text_encoder():
    import transformers

    size = {"hidden_size": WIDTH, "intermediate_size": 16, "num_hidden_layers": 1}
    ends = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    return transformers.CLIPTextModel(
        transformers.CLIPTextConfig(**size, **ends, num_attention_heads=2, vocab_size=80)
    )


def _tokenizer():
    import transformers

    letters = "abcdefghijklmnopqrstuvwxyz0123456789,."
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{c}</w>" for c in letters)]
    return transformers.CLIPTokenizer(
        vocab={word: number for number, word in enumerate(words)}, merges=[], model_max_length=77
    )
