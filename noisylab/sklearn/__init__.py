"""noisylab's methods as scikit-learn estimators."""

from noisylab.sklearn.classifier import NoisyLabelClassifier

__all__ = ["NoisyLabelClassifier"]
