"""Vectors of sentence-transformers: sentence_reference.py OUTPUT COUNT [SEED], --encode or --losses FOLDER.

Runs in the environment of benchmarks/torch-requirements.txt. Builds COUNT embedders with random configs and
writes each to OUTPUT/0, OUTPUT/1 and so on, as sentence-transformers saves it, with the vectors of its texts
in `vectors.npy`. With `--encode` it loads FOLDER and writes `vectors.npy` into it. With `--losses` it
computes two losses of the vectors of pairs in `FOLDER/pairs.npy`, and of the cosines that they should have in
`targets.npy`, into `losses.npy`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
import transformers
from reference import PREFIXES, random_config, randomize
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import losses
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

TEXTS = ["w1", "w2 w3 w1, w9", "w5 " * 40, "W3 w4 zz \u00e9t\u00e9 w1"]


def embedder(index: int, rng: np.random.Generator, folder: Path) -> SentenceTransformer:
    """A random model; its encoder is saved to `folder` first, from where sentence-transformers loads it.

    Of four models in a row no two have the same type, pooling and normalization.
    """
    model_type = list(PREFIXES)[index % 2]
    config = random_config(rng, model_type, "encoder")
    encoder = getattr(transformers, f"{PREFIXES[model_type]}Model")(config)
    randomize(encoder, rng)
    encoder.save_pretrained(folder)
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ","]
    tokens += [f"w{i}" for i in range(config.vocab_size - len(tokens))]
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n")
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    longest = int(rng.integers(5, config.max_position_embeddings + 1))
    modules: list = [Transformer(str(folder), max_seq_length=longest)]
    modules.append(Pooling(config.hidden_size, ["mean", "cls"][index // 2 % 2]))
    if index % 4 in (1, 2):
        modules.append(Normalize())
    return SentenceTransformer(modules=modules, device="cpu")


def pair_losses(pairs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """`CosineSimilarityLoss` and `MultipleNegativesRankingLoss` of pairs of vectors `[n, 2, hidden]`."""
    columns = [{"sentence_embedding": torch.tensor(pairs[:, side])} for side in (0, 1)]
    vectors_as_they_are = torch.nn.Identity()  # in place of the model
    cosine = losses.CosineSimilarityLoss(vectors_as_they_are)
    ranking = losses.MultipleNegativesRankingLoss(vectors_as_they_are)
    labels = torch.tensor(targets)
    return np.array([float(cosine(columns, labels)), float(ranking(columns, None))])


def main() -> None:
    """Runs the command; see the module's docstring."""
    if sys.argv[1] == "--encode":
        folder = Path(sys.argv[2])
        np.save(
            folder / "vectors.npy", SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
        )
        return
    if sys.argv[1] == "--losses":
        folder = Path(sys.argv[2])
        computed = pair_losses(np.load(folder / "pairs.npy"), np.load(folder / "targets.npy"))
        np.save(folder / "losses.npy", computed)
        return
    output, count = Path(sys.argv[1]), int(sys.argv[2])
    rng = np.random.default_rng(int(sys.argv[3]) if len(sys.argv) > 3 else 0)
    for index in range(count):
        folder = output / str(index)
        model = embedder(index, rng, output / f"encoder-{index}")
        model.save_pretrained(str(folder))
        np.save(folder / "vectors.npy", model.encode(TEXTS))


if __name__ == "__main__":
    main()
