"""The command data pack: pictures or arrays into shards."""

from __future__ import annotations

from collections.abc import Mapping

from noisylab.cli.errors import UserError
from noisylab.data import Arrays, ImageFolder, NoisyDataModule
from noisylab.data.shards.manifest import MANIFEST, Manifest
from noisylab.data.shards.packing import pack_source
from noisylab.terminal import visible

__all__ = ["pack_data"]

_MIB = 2**20
_LARGEST = 2047  # MiB: places in a shard have 32 bits
_DEFAULT = 64


def pack_data(flags: Mapping[str, str]) -> int:
    """Read the data as `ImageFolder` or `Arrays` does, and pack it.

    Args:
        flags: of the command, by name.

    Raises:
        UserError: for flags that are missing or contradict each other.
    """
    if ("images" in flags) == ("arrays" in flags):
        raise UserError("noisylab data pack needs --images DIR (and perhaps --labels FILE) or --arrays FILE, one of them")
    if "out" not in flags:
        raise UserError("noisylab data pack needs --out DIR, the folder that the pack is to become")
    alone = [name for name in ("labels", "file_column", "label_column", "skip_unreadable") if name in flags]
    if "arrays" in flags and alone:
        raise UserError(f"--{alone[0]} belongs to --images; the labels of --arrays are its array y")
    size = flags.get("shard_mb", str(_DEFAULT))
    if not size.isdigit() or not 1 <= int(size) <= _LARGEST:
        raise UserError(f"--shard_mb must be a whole number of MiB in 1..{_LARGEST}, got {size!r}")
    data: NoisyDataModule
    if "arrays" in flags:
        data = Arrays(flags["arrays"], standardize=False)
    else:
        data = ImageFolder(
            flags["images"],
            labels_csv=flags.get("labels"),
            load="files",
            file_column=flags.get("file_column"),
            label_column=flags.get("label_column"),
            skip_unreadable="skip_unreadable" in flags,
        )
    source = data.load()
    for line in source.account:
        print(visible(line))
    seed = None if "keep_order" in flags else 0
    out = pack_source(source, flags["out"], shard_bytes=int(size) * _MIB, shuffle_seed=seed)
    packed = Manifest.read(out / MANIFEST, str(out))
    many = f"{packed.num_rows:,} {packed.kind} in {len(packed.shards):,} shards"
    print(visible(f"{out}: {many}; train with --data Shards --data.path {out}"))
    return 0
