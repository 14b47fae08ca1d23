"""Statistics of results: intervals, calibration, gains by class, pseudo-labels."""

from kd_keras.statistics.bootstrap import (
    BootstrapMean,
    Interval,
    bootstrap_mean,
    mean_interval,
)
from kd_keras.statistics.calibration import (
    cross_fitted,
    cross_fitted_losses,
    expected_calibration_error,
    fit_temperature,
    probability_losses,
    reliability,
    softmax,
)
from kd_keras.statistics.class_gains import class_gains
from kd_keras.statistics.pseudo_labels import pseudo_label_quality

__all__ = [
    "BootstrapMean",
    "Interval",
    "bootstrap_mean",
    "class_gains",
    "cross_fitted",
    "cross_fitted_losses",
    "expected_calibration_error",
    "fit_temperature",
    "mean_interval",
    "probability_losses",
    "pseudo_label_quality",
    "reliability",
    "softmax",
]
