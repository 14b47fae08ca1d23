"""The feature loss as one of Keras's own distillation losses."""

import keras

from kd_keras.losses.attentional_pooling import AttentionalPoolingLoss


@keras.saving.register_keras_serializable(package="kd_keras")
class AttentionalPoolingDistillation(keras.distillation.FeatureDistillation):
    """`AttentionalPoolingLoss` between two layers, for `keras.distillation.Distiller`.

    Keras's distiller feeds teacher and student the same clip. Use `kd_keras.Distiller`
    if the student sees an earlier clip than the teacher, or if some clips have no
    label. The two maps may have different sizes, which no loss of Keras can compare.

    Args:
        loss: An `AttentionalPoolingLoss`; None takes one with default arguments.
        teacher_layer_name: Layer of the teacher whose output (batch, ..., channels) is
            compared.
        student_layer_name: The same of the student; None is the same name.
    Raises:
        ValueError: If `loss` is another loss or no layer is named. The distiller raises
            it if a model has no such layer, its output has no positions, or the two
            have different numbers of channels.
    Examples:
        >>> import keras
        >>> import numpy as np
        >>> import kd_keras
        >>> def network(strides):
        ...     clip = keras.Input((4, 8, 8, 3))
        ...     feature_map = keras.layers.Conv3D(6, 3, strides, name="map")(clip)
        ...     x = keras.layers.GlobalAveragePooling3D()(feature_map)
        ...     return keras.Model(clip, keras.layers.Dense(5)(x))
        >>> distiller = keras.distillation.Distiller(
        ...     teacher=network(strides=1),
        ...     student=network(strides=2),
        ...     distillation_losses=[
        ...         keras.distillation.LogitsDistillation(
        ...             temperature=2.0, loss=keras.losses.KLDivergence()
        ...         ),
        ...         kd_keras.AttentionalPoolingDistillation(teacher_layer_name="map"),
        ...     ],
        ...     distillation_loss_weights=[1.0, 0.1],
        ... )
        >>> label_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        >>> distiller.compile(optimizer="adam", loss=label_loss)
        >>> clips = np.random.default_rng(0).uniform(-1, 1, (2, 4, 8, 8, 3))
        >>> history = distiller.fit(clips, np.array([2, 4]), verbose=0).history
        >>> min(history["distillation_loss"]) > 0
        True
    """

    def __init__(
        self,
        loss: AttentionalPoolingLoss | None = None,
        teacher_layer_name: str | None = None,
        student_layer_name: str | None = None,
    ) -> None:
        loss = AttentionalPoolingLoss() if loss is None else loss
        if not isinstance(loss, AttentionalPoolingLoss):
            raise ValueError(
                "`loss` must be an AttentionalPoolingLoss or None. "
                f"Got {loss!r}; keras.distillation.FeatureDistillation takes any loss."
            )
        if teacher_layer_name is None:
            raise ValueError(
                "`teacher_layer_name` must name the layer whose feature map is "
                "compared, such as Mixed_5c of I3D. Got None."
            )
        if student_layer_name is None:
            student_layer_name = teacher_layer_name
        super().__init__(loss, teacher_layer_name, student_layer_name)

    def validate_model_compatibility(
        self, teacher: keras.Model, student: keras.Model
    ) -> None:
        super().validate_model_compatibility(teacher, student)
        teacher_shape = teacher.get_layer(self.teacher_layer_name).output.shape
        student_shape = student.get_layer(self.student_layer_name).output.shape
        for layer, shape in (
            (self.teacher_layer_name, teacher_shape),
            (self.student_layer_name, student_shape),
        ):
            if len(shape) < 3:
                raise ValueError(
                    f"Layer {layer!r} must give a map (batch, ..., channels) with at "
                    f"least one axis of positions. Got {shape}; name a layer before "
                    "global pooling."
                )
        if teacher_shape[-1] != student_shape[-1]:
            raise ValueError(
                "The maps of teacher and student must have the same number of "
                f"channels. Got {teacher_shape} of {self.teacher_layer_name!r} and "
                f"{student_shape} of {self.student_layer_name!r}; project the "
                "student's map with a 1x1x1 convolution, and name that layer."
            )
