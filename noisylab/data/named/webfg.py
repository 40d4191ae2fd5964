"""The three sets of WebFG-496, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from noisylab.data.base import Source
from noisylab.data.folders import list_images
from noisylab.data.named.lists import folder_names
from noisylab.data.release import NamedRelease, ReleaseReport
from noisylab.data.web import WebImages

__all__ = ["WebFG"]

_CLASSES = {"aircraft": 100, "bird": 200, "car": 196}


class WebFG(WebImages, NamedRelease):
    """Web-aircraft, Web-bird or Web-car of WebFG-496: 100 airplanes, 200 birds or 196 cars, from a web search (Sun et al., ICCV
    2021).

    `WebImages` of one of the three: ``web-<kind>/train/<class>/*.jpg`` to train on and ``web-<kind>/val/<class>/*.jpg``, the
    clean test images of FGVC-Aircraft, CUB-200-2011 or Stanford Cars, in `root`, which may also be the folder ``web-<kind>``
    itself. The number of classes is checked; the numbers of images are reported, none of which is confirmed.

    Args:
        root: folder of the set, or of several.
        kind: which set.
        verify: refuse another number of classes than that of the set.
        **kwargs: see `WebImages`.

    Raises:
        FileNotFoundError: in ``setup``, naming the folders that are missing.
        ValueError: in ``setup``, for another number of classes, test classes that are not those of training, an empty class
            folder, or files that are no images.
    """

    def __init__(
        self, root: str, kind: Literal["aircraft", "bird", "car"] = "aircraft", verify: bool = True, **kwargs: Any
    ) -> None:
        if kind not in _CLASSES:
            raise ValueError(f"kind must be 'aircraft', 'bird' or 'car', got {kind!r}")
        inside = Path(root) / f"web-{kind}"
        super().__init__(str(inside) if inside.is_dir() else root, **kwargs)
        self.kind, self.verify = kind, verify

    @classmethod
    def check_release(cls, root: Path) -> ReleaseReport:
        """Look at the folders of every set that is in `root`, or of the one that it is."""
        report = ReleaseReport(cls.__name__, root)
        own = [name for name in _CLASSES if root.absolute().name == f"web-{name}"]
        names = own or [name for name in _CLASSES if (root / f"web-{name}").is_dir()]
        if not names:
            report.missing.append("web-aircraft, web-bird or web-car: folder of a set, with train and val")
        for name in names:
            _look(report, root if own else root / f"web-{name}", name, verify=True)
        return report

    def load(self) -> Source:
        """Refuse what `check_release` calls wrong, then list and decode the files as `WebImages` does."""
        report = ReleaseReport(type(self).__name__, self.root)
        _look(report, self.root, self.kind, self.verify)
        report.refuse()
        source = super().load()
        source.account += [f"{what}: {found:,}" for what, found, _ in report.counts]
        return source


def _look(report: ReleaseReport, folder: Path, name: str, verify: bool) -> None:
    """Count the classes and the images of a set."""
    inside = {part: folder_names(folder / part) for part in ("train", "val")}
    said = {"train": "training images by class", "val": "test images by class"}
    report.missing += [f"{folder / part}: {said[part]}" for part, names in inside.items() if not names]
    if any(not names for names in inside.values()):
        return
    for part, names in inside.items():
        each = {label: len(list_images(folder / part / label).images) for label in names}
        report.missing += [f"{folder / part / label}: {said[part]}" for label, found in each.items() if not found]
        report.counts.append((f"classes of web-{name}/{part}", len(names), _CLASSES[name] if verify else None))
        report.counts.append((f"images of web-{name}/{part}", sum(each.values()), None))
    odd = sorted(set(inside["train"]) ^ set(inside["val"]))
    if odd:
        report.faults.append(
            f"{folder}: train and val have other class folders ({', '.join(odd[:5])} in one alone); name them alike"
        )
