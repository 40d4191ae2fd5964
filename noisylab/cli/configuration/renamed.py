"""Names that packaged recipes had before they became rows of others. Each works for one version, with a note."""

from __future__ import annotations

__all__ = ["RENAMED"]

RENAMED: dict[str, tuple[str, str]] = {
    "ce_reuters_v0": ("ce_reuters", "v0"),
    "dividemix_cifar100_sym20": ("dividemix_cifar100", "sym20"),
    "dividemix_cifar100_sym50": ("dividemix_cifar100", "sym50"),
    "dividemix_cifar100_sym80": ("dividemix_cifar100", "sym80"),
    "dividemix_cifar100_sym90": ("dividemix_cifar100", "sym90"),
    "dividemix_cifar10_asym40": ("dividemix_cifar10", "asym40"),
    "dividemix_cifar10_sym20": ("dividemix_cifar10", "sym20"),
    "dividemix_cifar10_sym50": ("dividemix_cifar10", "sym50"),
    "dividemix_cifar10_sym80": ("dividemix_cifar10", "sym80"),
    "dividemix_cifar10_sym90": ("dividemix_cifar10", "sym90"),
    "l2r_reuters_v0": ("l2r_reuters", "v0"),
    "robust_nce_rce_cifar10": ("robust_cifar10", "nce_rce"),
}
"""Old name: recipe and row."""
