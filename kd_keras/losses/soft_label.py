"""The classification terms of eq. (1) as one KL divergence to a target distribution."""

import keras
from keras import ops

from kd_keras.losses import feature_maps
from kd_keras.losses.tensor import Tensor


def soft_targets(
    label: Tensor, labeled: Tensor, teacher_probabilities: Tensor
) -> Tensor:
    """Returns one-hot labels for labeled examples, the teacher's prediction for others.

    Args:
        label: Class indices (batch,); any value if `labeled` is false.
        labeled: Booleans (batch,).
        teacher_probabilities: (batch, classes).
    Returns:
        Target distributions (batch, classes), float32.
    Raises:
        ValueError: If the number of examples differs.
    Examples:
        >>> import keras
        >>> import numpy as np
        >>> from kd_keras.losses import soft_targets
        >>> predicted = np.array([[0.25, 0.75], [0.25, 0.75]], "float32")
        >>> targets = soft_targets(np.array([0, 0]), np.array([True, False]), predicted)
        >>> keras.ops.convert_to_numpy(targets).tolist()
        [[1.0, 0.0], [0.25, 0.75]]
    """
    teacher_probabilities = ops.cast(teacher_probabilities, "float32")
    label, labeled = ops.convert_to_tensor(label), ops.cast(labeled, "bool")
    _check_rows("label", label, teacher_probabilities)
    _check_rows("labeled", labeled, teacher_probabilities)
    # PyTorch's `one_hot` refuses a class that is out of range.
    classes = ops.arange(teacher_probabilities.shape[-1])
    one_hot = ops.cast(ops.equal(ops.expand_dims(label, -1), classes), "float32")
    return ops.where(ops.expand_dims(labeled, -1), one_hot, teacher_probabilities)


def _check_rows(name: str, values: Tensor, distributions: Tensor) -> None:
    """Raises unless there is one value to a distribution."""
    if feature_maps.differ(values.shape, distributions.shape[:1]):
        raise ValueError(
            f"`{name}` must have shape (batch,), one value for each of the "
            f"distributions {tuple(distributions.shape)}. Got {tuple(values.shape)}."
        )


def soft_label_divergence(
    targets: Tensor, logits: Tensor, temperature: float | Tensor = 1.0
) -> Tensor:
    """KL(targets || softmax(logits)) of each example, in nats.

    With a temperature T both distributions are softened, the target to
    softmax(log p / T) and the prediction to softmax(z / T), and the divergence is
    multiplied by T² so that its gradient keeps its scale (Hinton et al., 2015). A
    one-hot target gives the cross-entropy.

    Args:
        targets: Distributions (batch, classes). They get no gradient. One that is NaN
            or all zeros, as of a label out of range, gives NaN.
        logits: (batch, classes).
        temperature: T > 0, one number or one per example (batch,).
    Returns:
        (batch,), float32.
    Examples:
        A uniform prediction costs log 2 if the target is certain.

        >>> import numpy as np
        >>> from kd_keras.losses import soft_label_divergence
        >>> targets = np.array([[1, 0], [0.5, 0.5]], "float32")
        >>> divergence = soft_label_divergence(targets, np.zeros((2, 2), "float32"))
        >>> [round(float(value), 3) for value in divergence]
        [0.693, 0.0]
    """
    if feature_maps.differ(targets.shape, logits.shape) or len(logits.shape) != 2:
        raise ValueError(
            "Targets and logits must both have shape (batch, classes). Got "
            f"{tuple(targets.shape)} and {tuple(logits.shape)}; teacher and student "
            "need the same examples and the same classes."
        )
    targets = ops.stop_gradient(ops.cast(targets, "float32"))
    logits = ops.cast(logits, "float32")
    temperature = ops.reshape(ops.cast(temperature, "float32"), (-1, 1))

    log_targets = ops.log_softmax(ops.log(targets) / temperature)
    log_predictions = ops.log_softmax(logits / temperature)
    softened = ops.exp(log_targets)
    # A class of probability 0 adds 0. The product would be 0 · (-inf), which is nan.
    # A target that is no distribution stays nan: it must not look like a loss of 0.
    terms = softened * (log_targets - log_predictions)
    terms = ops.where(ops.equal(softened, 0.0), 0.0, terms)
    return ops.sum(terms, axis=-1) * ops.square(ops.squeeze(temperature, -1))


@keras.saving.register_keras_serializable(package="kd_keras")
class SoftLabelLoss(keras.losses.Loss):
    """KL divergence from a target distribution to the student's prediction.

    Args:
        temperature: Softens targets and predictions of unlabeled examples, > 0.
        reduction, name: As in every Keras loss.
        dtype: As in every Keras loss, but values are float32 under any policy.
    Shapes:
        y_true: Targets (batch, classes), as `soft_targets` makes them; or the pair
            (targets, labeled), labeled (batch,): labeled examples then keep
            temperature 1.
        y_pred: Student logits (batch, classes). Unreduced result: (batch,).
    Raises:
        ValueError: If `temperature` is not positive or the shapes differ.
    Examples:
        >>> import numpy as np
        >>> import kd_keras
        >>> targets = np.array([[1, 0], [0.5, 0.5]], "float32")
        >>> logits = np.zeros((2, 2), "float32")
        >>> round(float(kd_keras.SoftLabelLoss()(targets, logits)), 4)
        0.3466
    """

    def __init__(
        self,
        temperature: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str = "soft_label_loss",
        dtype: str | keras.DTypePolicy | None = None,
    ) -> None:
        # Not `dtype`: half precision would lose the logits before `call` sees them.
        super().__init__(name=name, reduction=reduction, dtype="float32")
        feature_maps.check_positive("temperature", temperature)
        self.temperature = temperature

    def call(self, y_true: Tensor | tuple[Tensor, Tensor], y_pred: Tensor) -> Tensor:
        if not isinstance(y_true, (tuple, list)):
            return soft_label_divergence(y_true, y_pred, self.temperature)
        targets, labeled = y_true
        labeled = ops.reshape(ops.cast(labeled, "bool"), (-1,))
        _check_rows("labeled", labeled, targets)
        temperature = ops.where(labeled, 1.0, self.temperature)
        return soft_label_divergence(targets, y_pred, temperature)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "temperature": self.temperature,
            "dtype": self.dtype,
        }
