"""Starts the networks of a method from the weights of an earlier run, which may be of another method."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from noisylab.arguments import check_arguments
from noisylab.checkpoints.atomic import check_checkpoint, newest_readable
from noisylab.checkpoints.encoder_start import check_same_data, encoder_tensors, fusion_of
from noisylab.reading import regular

__all__ = ["Started", "WarmStart", "warm_start"]

_SHOWN = 4  # names in a message


class Startable(Protocol):
    """What is asked of a method."""

    networks: nn.ModuleDict
    started_from: list[dict[str, Any]]

    def weights_replaced(self, names: Collection[str]) -> None:
        """Called once networks have other weights than they were built with."""
        ...


@dataclass(frozen=True)
class WarmStart:
    """Which weights of which run to start from, and in which networks.

    A tensor is loaded if its name and shape match. The tensors of the head, the last layer, keep their start values if the
    classes or a shape differ, or if the run learned no labels. Any other difference is refused, unless `leave` names it.

    Args:
        run: folder of a run, or a checkpoint file of one.
        checkpoint: which checkpoint of the folder: "last" or "best".
        source: network of that run, such as "first" or "network_average"; None for its headline predictor or, if that is an
            ensemble, for the network of the same name, or else the first.
        networks: networks of the new method; None for all.
        into: part of these networks to load into, such as "encoders.0" of a `FusionNet`; all of them if empty.
        part: "all", or "encoder" for all but the head; None for what the run learned: the encoder if it learned no labels.
        leave: prefixes of the names of tensors that keep their start values: "features.9", or "second.features.9" for one
            network.
        sha256: of the file, in hexadecimal digits; any other file is refused.
        encoders: views whose encoders in a `FusionNet` are loaded into, an empty list for all of its views: in place of `into`,
            and with more care. The run must be of the same data, rows and labels, and of this view and network alone, or of a
            `FusionNet` that has such an encoder.

    Raises:
        TypeError: for a value of the wrong type.
        ValueError: without a run, or for an unknown word.

    Example:
        >>> WarmStart("runs/simclr", networks=["first"], part="encoder").checkpoint
        'last'
    """

    run: str
    checkpoint: Literal["last", "best"] = "last"
    source: str | None = None
    networks: list[str] | None = None
    into: str = ""
    part: Literal["all", "encoder"] | None = None
    leave: list[str] = field(default_factory=list)
    sha256: str | None = None
    encoders: list[str] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.run, str) or not self.run.strip():
            raise ValueError(f"run must be the folder of a run, or a checkpoint file, got {self.run!r}")
        for name in ("networks", "leave", "encoders"):
            value = getattr(self, name)
            if isinstance(value, str) or not all(isinstance(item, str) for item in value or ()):
                raise TypeError(f"{name} must be a list of names, got {value!r}")
        if self.encoders is not None and self.into:
            raise ValueError(f"into={self.into!r} and encoders={self.encoders} both say what is loaded into; give one of the two")
        check_arguments(type(self), {"checkpoint": self.checkpoint, "part": self.part})


@dataclass(frozen=True)
class Started:
    """What was loaded into one network.

    Args:
        network: its name.
        into: the part of it that was loaded into; empty for all of it.
        file: the checkpoint.
        sha256: of the file.
        method: of the run.
        source: network of the run.
        epoch: of the checkpoint.
        loaded: number of tensors loaded.
        tensors: number of tensors in all.
        left: names of the others.
        why: why the head is among the others, if it is.
    """

    network: str
    into: str
    file: str
    sha256: str
    method: str
    source: str
    epoch: int
    loaded: int
    tensors: int
    left: tuple[str, ...]
    why: str

    def __str__(self) -> str:
        where = self.network + (f".{self.into}" if self.into else "")
        why = f" ({self.why})" if self.why else ""
        rest = f"; left at their start: {_some(self.left)}{why}" if self.left else ""
        whose = f"{self.source!r} of {self.file} ({self.method}, epoch {self.epoch})"
        return f"{where}: loaded {self.loaded} of {self.tensors} tensors from {whose}{rest}"

    def record(self) -> dict[str, Any]:
        """The same as plain values, for a checkpoint or a summary."""
        return {**vars(self), "left": list(self.left)}


def warm_start(
    method: Startable,
    start: WarmStart | str | Path,
    class_names: Sequence[str] | None = None,
    data: Mapping[str, Any] | None = None,
) -> tuple[Started, ...]:
    """Load weights of an earlier run into the networks of a method that has not been trained yet.

    Averaged copies start from the loaded weights as well. What was loaded is added to ``method.started_from``, which checkpoints
    and the run's summary keep. A run that is resumed takes its weights from its own checkpoint: do not call this for one.

    Args:
        method: before its fit; changed in place.
        start: which weights; a path alone means those of the run's headline predictor, for all networks.
        class_names: of the new data. If they differ from the run's, the head keeps its start values; None compares only the
            numbers of classes.
        data: of the new data, see `noisylab.checkpoints.stamp.data_stamp`; compared with the run's where encoders are loaded.
            None compares nothing.

    Returns:
        For each network, or each encoder, what was loaded and what was not.

    Raises:
        FileNotFoundError: without a checkpoint.
        ValueError: the file is no checkpoint of noisylab or not the one that `sha256` names; the run or the method has no such
            network; or the networks differ in more than their heads.

    Example:
        >>> from noisylab import CrossEntropy, DivideMix, SmallCNN
        >>> method = DivideMix(10, SmallCNN)
        >>> for started in warm_start(method, "runs/simclr"):  # doctest: +SKIP
        ...     print(started)
        first: loaded 24 of 26 tensors from 'network' of runs/simclr/checkpoints/last.ckpt (SimCLR, epoch 100); left at ...
    """
    if not isinstance(start, WarmStart):
        start = WarmStart(str(start))
    file, digest, checkpoint = _read(start)
    stamp, states = checkpoint["noisylab"], _states(checkpoint["state_dict"])
    names = list(method.networks) if start.networks is None else start.networks
    for name in names:
        if name not in method.networks:
            raise ValueError(f"networks names {name!r}; the networks of {type(method).__name__} are {', '.join(method.networks)}")
    plans: list[tuple[str, _Plan]] = []
    for name in names:
        source = _source(start, stamp, states, name)
        for one, tensors, why in _loads(method.networks, name, start, checkpoint, states[source], class_names, data):
            plan = _Plan(method.networks, name, tensors, one, why)
            plan.check(f"{source!r} of {file} ({stamp['method']})")
            plans.append((source, plan))
    started = []
    for source, plan in plans:  # only now that all are known to fit
        plan.load()
        started.append(
            Started(
                network=plan.name,
                into=plan.start.into,
                file=str(file),
                sha256=digest,
                method=str(stamp["method"]),
                source=source,
                epoch=int(checkpoint.get("epoch", 0)) + 1,
                loaded=len(plan.taken),
                tensors=len(plan.own),
                left=tuple(plan.left),
                why=plan.why if plan.headless else "",
            )
        )
    method.weights_replaced(names)
    method.started_from = [*method.started_from, *(item.record() for item in started)]
    return tuple(started)


def _read(start: WarmStart) -> tuple[Path, str, dict[str, Any]]:
    """The checkpoint file, its SHA-256, and its content, still in the file."""
    path = Path(start.run).expanduser()
    if path.is_dir():
        path, _ = newest_readable(path / "checkpoints" / f"{start.checkpoint}.ckpt")
    check_checkpoint(path)
    with regular(path).open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    if start.sha256 is not None and digest != start.sha256.lower():
        raise ValueError(
            f"{path} has the SHA-256 {digest}, not {start.sha256}: the run was trained further or replaced; leave sha256 out to "
            "start from the file as it is"
        )
    checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    if "method" not in checkpoint.get("noisylab", {}) or "state_dict" not in checkpoint:
        raise ValueError(f"{path} was not written by noisylab fit; give the folder of a run, or one of its checkpoints")
    return path, digest, checkpoint


def _states(state: Mapping[str, Any]) -> dict[str, dict[str, Tensor]]:
    """The tensors of each network and of each averaged copy, by the name of its predictor."""
    found: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        kind, _, rest = key.partition(".")
        name, _, tensor = rest.partition(".")
        if kind == "averages" and tensor.startswith("network."):
            name, tensor = f"{name}_average", tensor.removeprefix("network.")
        elif kind != "networks":
            continue
        if isinstance(value, Tensor):
            found.setdefault(name, {})[tensor] = value
    return found


def _source(start: WarmStart, stamp: Mapping[str, Any], states: Mapping[str, Any], network: str) -> str:
    """The network of the run that a network of the method starts from."""
    if start.source is not None:
        if start.source not in states:
            raise ValueError(f"source names {start.source!r}; the networks of {start.run} are {', '.join(states)}")
        return start.source
    plain = [name for name in states if not name.endswith("_average")]
    headline = str(stamp.get("headline", plain[0] if len(plain) == 1 else "ensemble"))
    if headline in states:
        return headline
    ending = "_average" if headline.endswith("_average") else ""
    return f"{network if network in plain else plain[0]}{ending}"


def _loads(
    networks: nn.ModuleDict,
    name: str,
    start: WarmStart,
    checkpoint: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    class_names: Sequence[str] | None,
    data: Mapping[str, Any] | None,
) -> list[tuple[WarmStart, Mapping[str, Tensor], str]]:
    """For each part of a network that is loaded into: the start that names it, the tensors, and why the head is left."""
    stamp = checkpoint["noisylab"]
    if start.encoders is None:
        return [(start, tensors, _why_not_head(start, stamp, class_names))]
    check_same_data(stamp.get("data", {}), data, start.run)
    network = fusion_of(networks, name)
    found: list[tuple[WarmStart, Mapping[str, Tensor], str]] = []
    for view in start.encoders or network.view_names:
        part = network.encoder_of(view)
        theirs, whole = encoder_tensors(checkpoint, tensors, view, network.get_submodule(part), start.run)
        why = "only the encoder is taken over" if start.part == "encoder" else "" if whole else "there it tells classes apart"
        found.append((replace(start, into=part, encoders=None), theirs, why))
    return found


def _why_not_head(start: WarmStart, stamp: Mapping[str, Any], class_names: Sequence[str] | None) -> str:
    """Why the head is not taken over whatever its shape; empty if it is."""
    if start.part == "encoder":
        return "only the encoder is taken over"
    if start.part is None and not stamp.get("learns_labels", True):
        return f"{stamp['method']} learns no labels"
    if class_names is not None and list(class_names) != list(stamp["class_names"]):
        return "the classes differ"
    return ""


class _Plan:
    """Which tensors of one network are taken over.

    Args:
        networks: of the method.
        name: of the one.
        theirs: the tensors of the run's network.
        start: what was asked for.
        why: why the head stays, if that is known without looking at it.
    """

    def __init__(self, networks: nn.ModuleDict, name: str, theirs: Mapping[str, Tensor], start: WarmStart, why: str) -> None:
        self.name, self.theirs, self.start = name, theirs, start
        target = self._part(networks[name])
        self.own = {key: value for key, value in target.state_dict().items() if isinstance(value, Tensor)}
        self.head = f"{_head(target)}."
        firsts = [(prefix, *prefix.partition(".")[::2]) for prefix in start.leave]
        self.prefixes = [rest if first == name else prefix for prefix, first, rest in firsts if first not in {*networks} - {name}]
        self.kept = {key for key in {*self.own, *theirs} if any(_begins(key, prefix) for prefix in self.prefixes)}
        self.differing = [
            key
            for key in dict.fromkeys([*self.own, *theirs])
            if key not in self.kept and _shape(self.own.get(key)) != _shape(theirs.get(key))
        ]
        self.why = why
        if any(key.startswith(self.head) for key in self.differing):
            self.why = why or "the shapes differ"
        self.taken = [key for key in self.own if key not in self.kept and not (self.why and key.startswith(self.head))]
        self.left = [key for key in self.own if key not in set(self.taken)]
        self.headless = bool(self.why) and any(key.startswith(self.head) for key in self.left)

    def _part(self, network: nn.Module) -> nn.Module:
        try:
            return network.get_submodule(self.start.into)
        except AttributeError:
            parts = ", ".join(key for key, _ in network.named_children())
            raise ValueError(
                f"into={self.start.into!r} is no part of the network {self.name!r} ({type(network).__name__}), which has {parts}"
            ) from None

    def check(self, source: str) -> None:
        """Refuse networks that differ in more than their heads, and names in `leave` that nothing has."""
        wrong = [key for key in self.differing if not key.startswith(self.head)]
        encoder = {key for key in self.own if not key.startswith(self.head)}
        if not (encoder or set(self.own)) & set(self.theirs):
            raise ValueError(
                f"no tensor of {source} fits the network {self.name!r}: it has {_some(list(self.own))}, that has "
                f"{_some(list(self.theirs))}; build the network with the class and the arguments of that run"
            )
        if wrong:
            shown = "; ".join(f"{key} {_compared(self.own.get(key), self.theirs.get(key))}" for key in wrong[:2])
            more = f"; {len(wrong) - 2} more" if len(wrong) > 2 else ""
            raise ValueError(
                f"the network {self.name!r} differs from {source} in more than its head: {shown}{more}. Build it with the "
                "arguments of that run, or name in leave what is to stay at its start"
            )
        if not self.taken:
            raise ValueError(
                f"nothing of {source} would be loaded into the network {self.name!r}: leave or part leave it all out"
            )
        for prefix in self.prefixes:
            if not any(_begins(key, prefix) for key in self.own):
                raise ValueError(f"leave names {prefix!r}, with which no tensor of the network {self.name!r} begins")

    @torch.no_grad()
    def load(self) -> None:
        """Copy the tensors, each in the type and on the device of its place."""
        for key in self.taken:
            self.own[key].copy_(self.theirs[key])


def _head(module: nn.Module) -> str:
    """The name of the last layer; one that no tensor has if there is none."""
    if isinstance(getattr(module, "head", None), nn.Module):
        return "head"
    linear = [name for name, part in module.named_modules() if isinstance(part, nn.Linear)]
    return linear[-1] if linear else "-"


def _begins(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


def _shape(value: Tensor | None) -> tuple[int, ...] | None:
    return None if value is None else tuple(value.shape)


def _compared(here: Tensor | None, there: Tensor | None) -> str:
    if here is None or there is None:
        where, other = ("here", "there") if here is None else ("there", "here")
        return f"is missing {where} and has the shape {_shape(there if here is None else here)} {other}"
    return f"has the shape {_shape(here)}, there {_shape(there)}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
