"""LAMB, the optimizer of SqueezeBERT's pretraining (arXiv 2006.11316, section 4.2)."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from sqb_tf.training.optimizer import SummedGradients


@keras.saving.register_keras_serializable(package="sqb_tf")
class Lamb(SummedGradients, keras.optimizers.Lamb):
    """`keras.optimizers.Lamb` with the weight decay of the paper (You et al. 2020, algorithm 2).

    There the decay is part of the update whose norm determines the trust ratio; Keras applies it separately.
    As in the reference implementation, variables excluded from decay (norms, biases) have a trust ratio of 1.
    """

    def _apply_weight_decay(self, variables: Any) -> None:
        """Does nothing: `update_step` decays the weights; Keras calls this before it."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates one variable."""
        dtype, index = variable.dtype, self._get_variable_index(variable)
        gradient, rate = ops.cast(gradient, dtype), ops.cast(learning_rate, dtype)
        step = ops.cast(self.iterations + 1, dtype)
        mean, square = self._momentums[index], self._velocities[index]
        self.assign_add(mean, (gradient - mean) * (1 - self.beta_1))
        self.assign_add(square, (ops.square(gradient) - square) * (1 - self.beta_2))
        # `ops.power` of floats: `**` would compute with the backend's integer step.
        mean_hat = mean / (1 - ops.power(ops.cast(self.beta_1, dtype), step))
        square_hat = square / (1 - ops.power(ops.cast(self.beta_2, dtype), step))
        update = mean_hat / (ops.sqrt(square_hat) + self.epsilon)
        if self._use_weight_decay(variable):
            update = update + (self.weight_decay or 0.0) * variable
            weight_norm, norm = (ops.sqrt(ops.sum(ops.square(x))) for x in (variable, update))
            both = ops.logical_and(weight_norm > 0, norm > 0)
            rate = rate * ops.where(both, weight_norm / ops.where(both, norm, 1.0), 1.0)
        self.assign_sub(variable, rate * update)
