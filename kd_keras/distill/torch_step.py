"""The distiller's training step on PyTorch."""

import torch

from kd_keras.distill.keras_step import KerasStep
from kd_keras.distill.terms import Data, Maps


class TorchStep(KerasStep):
    """Keras's step; with "auto" it looks at the gradients for the deepest map."""

    # The two tensors of the map that the last step looked at.
    _beside: tuple[torch.Tensor, ...] = ()

    def _compared_maps(self, maps: Maps, training: bool) -> Maps:
        if not training or self._auto is None:
            return maps
        # One tensor for the feature loss, another for the rest of the network: a single
        # backward pass then tells their gradients apart.
        *others, deepest = maps
        self._beside = deepest, deepest.clone()
        for tensor in self._beside:
            tensor.retain_grad()
        return (*others, self._beside[-1])

    def train_step(self, data: Data) -> dict[str, torch.Tensor]:
        if self._auto is None:
            return super().train_step(data)
        weight = self.current_feature_weight()
        super().train_step(data)
        with torch.no_grad():
            scale = self.optimizer.scale_loss(torch.tensor(1.0))
            slopes = [tensor.grad.float() / scale for tensor in self._beside]
            self._beside = ()
            self._follow_slopes(weight, *slopes)
        return self.get_metrics_result()
