"""CIFAR-10 as JPEG bytes to arrays for `Arrays`, or to image files with tables for `ImageFolder`."""

from __future__ import annotations

from collections.abc import Sequence

from converting import arguments, convert_images


def main(argv: Sequence[str] | None = None) -> None:
    convert_images(arguments(__doc__ or "", files=True).parse_args(argv), "cifar10_jpeg/cifar10_jpeg.npz")


if __name__ == "__main__":
    main()
