"""A bundle's weights in fewer bytes, for checkpoints that ship: float16 with rounded mantissas, compressed.

The file is one that Keras loads like any other; only its values are rounded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sqb_tf.errors import InputError

# Bits of the mantissa that are kept, of the 10 of float16. Word embeddings, 75% of squeezebert-micro, have
# 43.5 dB with 5 bits (MiniLM's): what int8 with a scale per row leaves. All else has 55 dB with 7.
WORD_BITS, BITS = 5, 7
_MANTISSA = 10


def compact_weights(source: Path, target: Path) -> None:
    """Writes the weight file `source` to `target` in fewer bytes."""
    import h5py

    with h5py.File(source) as old, h5py.File(target, "w") as new:

        def copy(name: str, item: Any) -> None:
            if not hasattr(item, "shape"):
                group = new.require_group(name)
                group.attrs.update(item.attrs)
                return
            bits = WORD_BITS if "/word_embeddings/" in name else BITS
            values = round_mantissa(item[...], bits)
            # Below this, HDF5's chunks take more than compression saves.
            deflate = {"compression": "gzip", "compression_opts": 9, "shuffle": True}
            new.create_dataset(name, data=values, **(deflate if values.size >= 4096 else {}))

        old.visititems(copy)


def round_mantissa(values: np.ndarray, bits: int) -> np.ndarray:
    """`values` as float16 whose mantissa has `bits` bits, rounded to the nearest; its other bits are 0.

    Below 6e-5, float16 has fewer bits, so values are rounded to multiples of 2**-14 / 2**`bits`.

    Raises:
        InputError: a value that is not finite, or beyond 65,504.
    """
    dropped = _MANTISSA - bits
    codes: np.ndarray = values.astype(np.float16).view(np.uint16).astype(np.uint32)
    codes += 1 << dropped >> 1
    rounded: np.ndarray = (codes >> dropped << dropped).astype(np.uint16).view(np.float16)
    if not (np.isfinite(values).all() and np.isfinite(rounded).all()):
        raise InputError("weights that are not finite, or too large for float16")
    return rounded
