"""Files of labeling tools: Label Studio's exports and COCO files, read by row id and written back with corrections."""

from noisylab.data.exports.export import Export, ExportRow
from noisylab.data.exports.files import export_images, read_pictures
from noisylab.data.exports.found import controls_of, export_of, is_export, read_export, read_label_studio

__all__ = [
    "Export",
    "ExportRow",
    "controls_of",
    "export_images",
    "export_of",
    "is_export",
    "read_export",
    "read_label_studio",
    "read_pictures",
]
