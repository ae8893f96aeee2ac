"""How does MiniLM turn sentences into vectors? A BERT encoder in plain torch."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as fn

LAYERS, HEADS, EPSILON = 6, 12, 1e-12  # config.json beside the weights
TOKENS_MAX = 256  # sentence_bert_config.json: longer text is cut


class MiniLM:
    """Call it with sentences, get one vector of length 1 for each."""

    def __init__(self, folder: Path) -> None:
        self.weights = load_file(folder / "model.safetensors")
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(TOKENS_MAX)
        self.tokenizer.enable_padding(pad_id=0, pad_token="[PAD]")

    @torch.inference_mode()
    def __call__(self, sentences: list[str]) -> Tensor:
        encoded = self.tokenizer.encode_batch(sentences)
        real = torch.tensor([one.attention_mask for one in encoded], dtype=torch.bool)
        x = self.embed(torch.tensor([one.ids for one in encoded]))
        for number in range(LAYERS):
            x = self.layer(x, real[:, None, None, :], f"encoder.layer.{number}")
        share = real / real.sum(1, keepdim=True)
        return fn.normalize((x * share[:, :, None]).sum(1), dim=-1)  # the mean of all real tokens

    def embed(self, ids: Tensor) -> Tensor:
        words = self.weights["embeddings.word_embeddings.weight"][ids]
        places = self.weights["embeddings.position_embeddings.weight"][: ids.shape[1]]
        kind = self.weights["embeddings.token_type_embeddings.weight"][0]
        return self.norm(words + places + kind, "embeddings.LayerNorm")

    def layer(self, x: Tensor, mask: Tensor, name: str) -> Tensor:
        attention, output = f"{name}.attention.output", f"{name}.output"
        parts = [f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
        query, key, value = (self.heads(self.linear(x, part)) for part in parts)
        seen = fn.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        seen = self.linear(seen.transpose(1, 2).flatten(2), f"{attention}.dense")
        x = self.norm(x + seen, f"{attention}.LayerNorm")
        inner = fn.gelu(self.linear(x, f"{name}.intermediate.dense"))
        return self.norm(x + self.linear(inner, f"{output}.dense"), f"{output}.LayerNorm")

    def heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)

    def linear(self, x: Tensor, name: str) -> Tensor:
        return fn.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return fn.layer_norm(x, x.shape[-1:], weight, bias, EPSILON)
