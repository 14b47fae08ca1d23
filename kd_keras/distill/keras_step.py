"""The distiller's training step on JAX and PyTorch: the one that Keras has there."""

from keras import ops

from kd_keras.training.feature_reader import feature_reader


class KerasStep:
    """What of the `Distiller` is not TensorFlow's.

    Keras's own step calls the model with a batch, asks `compute_loss` for a number, and
    goes down its gradient. On JAX it compiles all of that.
    """

    def _prepare(self, student, layers, feature_loss, gradient_ratio, rematerialize):
        if gradient_ratio is not None:
            raise ValueError(
                'feature_weight="auto" needs KERAS_BACKEND=tensorflow. Give a number '
                "or a function of the step."
            )
        if rematerialize:
            raise ValueError("rematerialize=True needs KERAS_BACKEND=tensorflow.")
        # Half precision is the student's own choice.
        self.autocast = False
        self._auto = None
        self._read_student = feature_reader(student, layers or None)
        self._feature_loss = None if feature_loss is None else feature_loss.call
        # The optimizer's own counter is a constant to a compiled `compute_loss`.
        self._step = self.add_weight(
            name="step", shape=(), dtype="int32", initializer="zeros", trainable=False
        )

    def call(self, inputs, training=False):
        """The student's logits of clips; of a batch, its logits and projected maps."""
        if isinstance(inputs, dict):
            return self._student_outputs(inputs, training)
        return self.student(inputs, training=training)

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        targets = self._teacher_targets(x)
        losses = self._example_losses(x, targets, y_pred)
        terms = self._loss_terms(x, losses, self.current_feature_weight())
        loss = sum(terms.values())
        self._update_metrics(x, targets, y_pred, losses, loss)
        if training:
            self._step.assign(self._step + 1)
        return loss

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        return self.get_metrics_result()

    def current_feature_weight(self):
        """Returns λ of the next step."""
        weight = self.feature_weight
        return weight(ops.convert_to_tensor(self._step)) if callable(weight) else weight
