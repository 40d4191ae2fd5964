"""Losses: pure functions of tensors, stable in at least float32 whatever the precision of training."""

from noisylab.losses.agreement import symmetric_kl
from noisylab.losses.cores2 import cores2, cores2_keeps, cores2_regularizer, cores2_weight
from noisylab.losses.criteria import (
    CORES2,
    GCE,
    GLS,
    MAE,
    RCE,
    SCE,
    ActivePassive,
    Bootstrap,
    FDivergence,
    Focal,
    PeerLoss,
    TruncatedGCE,
)
from noisylab.losses.criterion import Criterion, LossFactory
from noisylab.losses.cross_entropy import cross_entropy, soft_cross_entropy
from noisylab.losses.dmi import dmi_loss, joint_matrix
from noisylab.losses.elr import elr_loss, elr_regularizer, elr_target, given_share, predicts_given, reweighted_labels
from noisylab.losses.entropy import negative_entropy
from noisylab.losses.f_divergence import f_divergence
from noisylab.losses.fairness import fairness
from noisylab.losses.jensen_shannon import jensen_shannon
from noisylab.losses.mixmatch import prior_penalty, sharpen, squared_error
from noisylab.losses.normalized import active_passive, focal, normalized
from noisylab.losses.nt_xent import nt_xent
from noisylab.losses.peer import peer_loss, peer_weight, shifted_cross_entropy
from noisylab.losses.robust import gce, mae, rce, sce, truncated_gce
from noisylab.losses.smoothing import smoothed
from noisylab.losses.soft_hgr import soft_hgr
from noisylab.losses.softened import bootstrap, gls
from noisylab.losses.supervision import co_guess, consistency, logit_norm, pseudo_labels
from noisylab.losses.transition import (
    backward_loss,
    forward_loss,
    given_log_probs,
    importance_weights,
    log_volume,
    reweighted_loss,
)
from noisylab.losses.unlabeled import guess_loss, mixed_loss, pi_consistency, sharp_guess, weighted_mean
from noisylab.renamed import old_names

__all__ = [
    "CORES2",
    "GCE",
    "GLS",
    "MAE",
    "RCE",
    "SCE",
    "ActivePassive",
    "Bootstrap",
    "Criterion",
    "FDivergence",
    "Focal",
    "LossFactory",
    "PeerLoss",
    "TruncatedGCE",
    "active_passive",
    "backward_loss",
    "bootstrap",
    "co_guess",
    "consistency",
    "cores2",
    "cores2_keeps",
    "cores2_regularizer",
    "cores2_weight",
    "cross_entropy",
    "dmi_loss",
    "elr_loss",
    "elr_regularizer",
    "elr_target",
    "f_divergence",
    "fairness",
    "focal",
    "forward_loss",
    "gce",
    "given_log_probs",
    "given_share",
    "gls",
    "guess_loss",
    "importance_weights",
    "jensen_shannon",
    "joint_matrix",
    "log_volume",
    "logit_norm",
    "mae",
    "mixed_loss",
    "negative_entropy",
    "normalized",
    "nt_xent",
    "peer_loss",
    "peer_weight",
    "pi_consistency",
    "predicts_given",
    "prior_penalty",
    "pseudo_labels",
    "rce",
    "reweighted_labels",
    "reweighted_loss",
    "sce",
    "sharp_guess",
    "sharpen",
    "shifted_cross_entropy",
    "smoothed",
    "soft_cross_entropy",
    "soft_hgr",
    "squared_error",
    "symmetric_kl",
    "truncated_gce",
    "weighted_mean",
]

__getattr__ = old_names(
    __name__, {"cores2_regulariser": "cores2_regularizer", "elr_regulariser": "elr_regularizer", "normalised": "normalized"}
)
