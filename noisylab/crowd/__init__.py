"""Labels by several annotators: reading them, a consensus, and how far each annotator can be trusted."""

from noisylab.crowd.annotations import Annotations
from noisylab.crowd.consensus import Consensus, majority_vote, soft_labels
from noisylab.crowd.crowdlab import CrowdLab, crowdlab
from noisylab.crowd.dawid_skene import dawid_skene
from noisylab.crowd.report import confusion_text, crowd_lines, crowd_table, pairwise_agreement, write_crowd
from noisylab.crowd.tables import read_annotations

__all__ = [
    "Annotations",
    "Consensus",
    "CrowdLab",
    "confusion_text",
    "crowd_lines",
    "crowd_table",
    "crowdlab",
    "dawid_skene",
    "majority_vote",
    "pairwise_agreement",
    "read_annotations",
    "soft_labels",
    "write_crowd",
]
