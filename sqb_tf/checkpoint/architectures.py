"""The model types of `transformers` whose weights our models hold: SqueezeBERT and BERT.

A BERT is a SqueezeBERT whose projections have one group each and whose norms share one epsilon. Weight names
are those of `transformers`' `models/squeezebert` and `models/bert`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping
from typing import Any

from sqb_tf.config import GROUP_FIELDS, OWN_FIELDS, SqueezeBertConfig
from sqb_tf.errors import InputError
from sqb_tf.heads.head import Head

POOLER = "pooler"
_EMBEDDING_LAYERS = {
    "embeddings/word_embeddings": "embeddings.word_embeddings",
    "embeddings/position_embeddings": "embeddings.position_embeddings",
    "embeddings/token_type_embeddings": "embeddings.token_type_embeddings",
    "embeddings/layer_norm": "embeddings.LayerNorm",
    POOLER: "pooler.dense",
}


@dataclasses.dataclass(frozen=True)
class Architecture:
    """How a model type of `transformers` names and stores what our models have.

    Attributes:
        model_type: in its `config.json`.
        class_prefix: of its classes; the rest is the head's (`Head.hf_class`).
        weights_prefix: precedes the encoder's names in a model with a head.
        layers: our encoder's layer paths -> its names; `{i}` is the block's index.
        grouped: its projections are grouped convolutions, with kernels of rank 3; else dense layers with
            kernels of rank 2, and the blocks' norms have the config's epsilon.
        missing_classes: heads' classes that it does not have -> the class that loads their weights.
        pooled_classes: the heads' classes that have a pooler; None: all.
    """

    model_type: str
    class_prefix: str
    weights_prefix: str
    layers: Mapping[str, str]
    grouped: bool
    missing_classes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    pooled_classes: Collection[str] | None = None

    def class_name(self, head: type[Head]) -> str:
        """Its class for a head."""
        return self.class_prefix + self.missing_classes.get(head.hf_class, head.hf_class)

    def has_pooler(self, head: type[Head]) -> bool:
        """Whether its class for a head has a pooler."""
        return self.pooled_classes is None or head.hf_class in self.pooled_classes

    def read_config(self, settings: Mapping[str, Any]) -> SqueezeBertConfig:
        """The config of the same architecture, always with self-attention.

        Args:
            settings: the contents of its `config.json`.

        Raises:
            InputError: a variant that our models do not have, or values that are not valid.
        """
        fields = {field.name for field in dataclasses.fields(SqueezeBertConfig)}
        shared = {
            name: value for name, value in settings.items() if name in fields - set(OWN_FIELDS)
        }
        hidden = settings.get("hidden_size", SqueezeBertConfig.hidden_size)
        if settings.get("embedding_size", hidden) != hidden:
            raise InputError(
                f"embedding_size {settings['embedding_size']!r:.40} is not hidden_size {hidden!r:.40}: "
                "expected embeddings as wide as the layers"
            )
        if not self.grouped:
            _check_bert(settings)
            eps = settings.get("layer_norm_eps", SqueezeBertConfig.layer_norm_eps)
            shared |= {**dict.fromkeys(GROUP_FIELDS, 1), "block_norm_eps": eps}
        return SqueezeBertConfig.from_dict(shared)

    def settings(self, config: SqueezeBertConfig) -> dict[str, Any]:
        """The part of its `config.json` that a config decides.

        Raises:
            InputError: the model type has no such architecture.
        """
        reason = self.obstacle(config)
        if reason is not None:
            raise InputError(f"{reason}: `transformers` has no such {self.model_type} model")
        left_out = {*OWN_FIELDS, *(() if self.grouped else GROUP_FIELDS)}
        settings = {name: value for name, value in config.to_dict().items() if name not in left_out}
        if self.grouped:
            settings["embedding_size"] = config.hidden_size
        return {"model_type": self.model_type, **settings}

    def obstacle(self, config: SqueezeBertConfig) -> str | None:
        """What keeps a config from being of this model type; None if nothing does."""
        if config.token_mixer != "self_attention":
            return f"token_mixer={config.token_mixer!r}"
        if self.grouped:
            block_norm_eps = SqueezeBertConfig.block_norm_eps
        else:
            block_norm_eps = config.layer_norm_eps
            for name in GROUP_FIELDS:
                if getattr(config, name) != 1:
                    return f"{name}={getattr(config, name)}"
        if config.block_norm_eps != block_norm_eps:
            return f"block_norm_eps={config.block_norm_eps} instead of {block_norm_eps}"
        return None


SQUEEZEBERT = Architecture(
    model_type="squeezebert",
    class_prefix="SqueezeBert",
    weights_prefix="transformer.",
    layers={
        **_EMBEDDING_LAYERS,
        "encoder_{i}/attention/query": "encoder.layers.{i}.attention.query",
        "encoder_{i}/attention/key": "encoder.layers.{i}.attention.key",
        "encoder_{i}/attention/value": "encoder.layers.{i}.attention.value",
        "encoder_{i}/post_attention": "encoder.layers.{i}.post_attention.conv1d",
        "encoder_{i}/post_attention_norm": "encoder.layers.{i}.post_attention.layernorm",
        "encoder_{i}/intermediate": "encoder.layers.{i}.intermediate.conv1d",
        "encoder_{i}/output_projection": "encoder.layers.{i}.output.conv1d",
        "encoder_{i}/output_norm": "encoder.layers.{i}.output.layernorm",
    },
    grouped=True,
    # It has no sentence order; the masked LM's class ignores that layer.
    missing_classes={"ForPreTraining": "ForMaskedLM"},
)
BERT = Architecture(
    model_type="bert",
    class_prefix="Bert",
    weights_prefix="bert.",
    layers={
        **_EMBEDDING_LAYERS,
        "encoder_{i}/attention/query": "encoder.layer.{i}.attention.self.query",
        "encoder_{i}/attention/key": "encoder.layer.{i}.attention.self.key",
        "encoder_{i}/attention/value": "encoder.layer.{i}.attention.self.value",
        "encoder_{i}/post_attention": "encoder.layer.{i}.attention.output.dense",
        "encoder_{i}/post_attention_norm": "encoder.layer.{i}.attention.output.LayerNorm",
        "encoder_{i}/intermediate": "encoder.layer.{i}.intermediate.dense",
        "encoder_{i}/output_projection": "encoder.layer.{i}.output.dense",
        "encoder_{i}/output_norm": "encoder.layer.{i}.output.LayerNorm",
    },
    grouped=False,
    pooled_classes=(
        "Model",
        "ForSequenceClassification",
        "ForMultipleChoice",
        "ForPreTraining",
    ),
)
ARCHITECTURES = {architecture.model_type: architecture for architecture in (SQUEEZEBERT, BERT)}
_BERT_WEIGHT = re.compile(r"(bert\.)?encoder\.layer\.0\.attention\.self\.query\.")
# Types that users try, and what in them is not BERT's.
_OTHER_TYPES = {
    "albert": "its layers share their weights, and its embeddings are narrower than its layers",
    "camembert": "its tokenizer is SentencePiece, and its positions begin at 2",
    "deberta": "its attention has relative positions",
    "deberta-v2": "its attention has relative positions",
    "distilbert": "it has no token types and no pooler",
    "electra": "it has no pooler, and its embeddings may be narrower than its layers",
    "mobilebert": "its layers are bottlenecks without layer norms",
    "modernbert": "it has rotary positions and gated feed-forward layers",
    "mpnet": "its attention has relative positions",
    "new": "it has rotary positions and gated feed-forward layers",
    "nomic_bert": "it has rotary positions and gated feed-forward layers",
    "roberta": "its tokenizer is byte-level BPE, and its positions begin at 2",
    "roformer": "it has rotary positions",
    "xlm-roberta": "its tokenizer is SentencePiece, and its positions begin at 2",
}


def find(settings: Mapping[str, Any], weights: Collection[str]) -> Architecture:
    """The architecture of a transformers folder.

    Args:
        settings: the contents of its `config.json`.
        weights: the names in its weight files. They decide where `settings` has no `model_type`, as in
            Google's BERT miniatures of 2020.

    Raises:
        InputError: another model type; the message says what is different in it.
    """
    model_type = settings.get("model_type")
    model_type = model_type if model_type is None else str(model_type)
    if model_type is None and any(_BERT_WEIGHT.match(name) for name in weights):
        return BERT
    if model_type in ARCHITECTURES:
        return ARCHITECTURES[model_type]
    expected = " or ".join(repr(name) for name in ARCHITECTURES)
    reason = _OTHER_TYPES.get(model_type or "")
    raise InputError(
        f"model_type {model_type!r}: expected {expected}{'' if reason is None else f': {reason}'}"
    )


def of_config(config: SqueezeBertConfig) -> Architecture:
    """The model type that a config is written as by default: BERT where every projection has one group."""
    return BERT if BERT.obstacle(config) is None else SQUEEZEBERT


def _check_bert(settings: Mapping[str, Any]) -> None:
    """`InputError` for a variant of BERT that is computed in another way."""
    for name, expected in (
        ("position_embedding_type", "absolute"),
        ("is_decoder", False),
        ("add_cross_attention", False),
    ):
        if settings.get(name, expected) != expected:
            raise InputError(f"{name} {settings[name]!r}: expected {expected!r}")
