"""The distiller's training step on JAX."""

import functools
from collections.abc import Sequence
from typing import TypeAlias

import jax
import keras
from keras import ops

from kd_keras.distill.keras_step import KerasStep
from kd_keras.distill.terms import Batch, Data, Maps, Reader, batch_of
from kd_keras.training.feature_reader import model_with_features

# Two tensors like the map: for the rest of the network, and for the feature loss.
MapPair: TypeAlias = tuple[jax.Array, jax.Array]
# Of the variables of one kind.
Values: TypeAlias = list[jax.Array]
# Values of trained, other, optimizer's and metrics' variables.
State: TypeAlias = tuple[Values, Values, Values, Values]


class JaxStep(KerasStep):
    """Keras's step; with "auto" it also takes gradients for the deepest map.

    JAX has no gradients for what is inside of a network, but for what goes into it.
    Zeros are therefore added to the map: one tensor of them for the feature loss,
    another for the rest of the network.
    """

    _zeros: MapPair | None = None

    def _reader(self, student: keras.Model, layers: tuple[str, ...] | None) -> Reader:
        if self._auto is None or layers is None:
            return super()._reader(student, layers)
        network = model_with_features(student, layers)
        twin = keras.models.clone_model(
            network,
            clone_function=lambda layer: (
                _Added(layer, self) if layer.name == layers[-1] else layer
            ),
        )
        return lambda clips, training=False: twin(clips, training=training)

    def _compared_maps(self, maps: Maps, training: bool) -> Maps:
        if self._zeros is None:
            return maps
        of_others, of_feature = self._zeros
        *others, deepest = maps
        return (*others, deepest - of_others + of_feature)

    def train_step(
        self, state: State, data: Data
    ) -> tuple[dict[str, jax.Array], State]:
        if self._auto is None:
            return super().train_step(state, data)
        trained, others, of_optimizer, _ = state
        batch = batch_of(data)
        with self._having((self.non_trainable_variables, others)):
            weight = self.current_feature_weight()
        (loss, results), (found, scaled) = self._gradients(state, batch)
        unscaled, _, others, of_metrics = results
        trained, of_optimizer = self.optimizer.stateless_apply(
            of_optimizer, found, trained
        )
        slopes = [slope * ops.divide_no_nan(unscaled, loss) for slope in scaled]
        logs, others, of_metrics = self._followed(weight, slopes, others, of_metrics)
        return logs, (trained, others, of_optimizer, of_metrics)

    def _gradients(
        self, state: State, batch: Batch
    ) -> tuple[tuple[jax.Array, tuple], tuple[Values, MapPair]]:
        """Returns what Keras's step computes, and gradients of weights and zeros."""
        trained, others, of_optimizer, of_metrics = state

        def loss_of(trained: Values, zeros: MapPair) -> tuple[jax.Array, tuple]:
            self._zeros = zeros
            try:
                return self.compute_loss_and_updates(
                    trained,
                    others,
                    of_metrics,
                    batch,
                    None,
                    None,
                    training=True,
                    optimizer_variables=of_optimizer,
                )
            finally:
                self._zeros = None

        slope_of = jax.value_and_grad(loss_of, argnums=(0, 1), has_aux=True)
        # Keras takes the values out of the variables while it trains.
        with self._having(
            (self.trainable_variables, trained), (self.non_trainable_variables, others)
        ):
            zeros = self._zeros_of_map(batch)
        return slope_of(trained, zeros)

    def _followed(
        self,
        weight: jax.Array,
        slopes: Sequence[jax.Array],
        others: Values,
        of_metrics: Values,
    ) -> tuple[dict[str, jax.Array], Values, Values]:
        """Returns the metrics, and the values of variables once λ has followed."""
        of_others, of_feature = slopes
        known = (
            (self.non_trainable_variables, others),
            (self.metrics_variables, of_metrics),
        )
        with self._having(*known) as scope:
            self._follow_slopes(weight, of_others + of_feature, of_feature)
            logs = self.get_metrics_result()
        others, of_metrics = (
            [
                value if (new := scope.get_current_value(variable)) is None else new
                for variable, value in zip(variables, values, strict=True)
            ]
            for variables, values in known
        )
        return logs, others, of_metrics

    def _having(
        self, *known: tuple[Sequence[keras.Variable], Values]
    ) -> keras.StatelessScope:
        """A scope in which variables have these values."""
        mapping = [pair for pairs in known for pair in zip(*pairs, strict=True)]
        return keras.StatelessScope(state_mapping=mapping)

    def _zeros_of_map(self, batch: Batch) -> MapPair:
        read = functools.partial(self._read, training=False)
        _, maps = jax.eval_shape(read, batch)
        zeros = ops.zeros(maps[-1].shape, maps[-1].dtype)
        return zeros, zeros


class _Added(keras.layers.Layer):
    """A layer, and the distiller's zeros added to its output."""

    def __init__(self, layer: keras.layers.Layer, distiller: JaxStep) -> None:
        super().__init__(name=layer.name, dtype=layer.dtype_policy)
        self._layer = layer
        # Not an attribute that Keras would track.
        self._zeros = lambda: distiller._zeros

    def call(self, inputs: jax.Array) -> jax.Array:
        output, zeros = self._layer(inputs), self._zeros()
        return output if zeros is None else output + zeros[0]
