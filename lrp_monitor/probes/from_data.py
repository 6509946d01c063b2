"""Probe sets out of the data that people have: data sets and folders."""

from __future__ import annotations

import os
from typing import Any, Literal, Self, Unpack

import numpy as np

from lrp_monitor.arguments import check_keywords
from lrp_monitor.probes import checks as check
from lrp_monitor.probes.options import ProbeOptions
from lrp_monitor.probes.picking import LIMIT, arrays, frame_columns, pair_of_arrays, pick, rows, rows_of_arrays


class FromData:
    """Ways to make a ProbeSet other than from its very samples."""

    @classmethod
    def from_dataset(
        cls,
        x: Any,
        y: Any = None,
        per_class: int = 2,
        seed: int = 0,
        *,
        count: int | None = None,
        limit: int | None = LIMIT,
        batched: bool | None = None,
        **options: Unpack[ProbeOptions],
    ) -> Self:
        """A fixed pick: `per_class` samples of every class.

        Args:
            x: the data. Arrays (N, ...) in the structure that the model takes, with y, or a tuple (x, y) of such; a
                pandas DataFrame, with y a column's name or the labels; or a data set that gives (x, y): a
                `tf.data.Dataset` (batched or not, such as `image_dataset_from_directory` makes), a Keras PyDataset, a
                torch DataLoader, or any iterable of pairs. Class names and file names are taken over where the data set
                knows them.
            y: (N,) integers or one-hot (N, k) where x holds arrays.
            per_class: samples of each class, ordered by class.
            seed: of the pick. The same data and seed give the same samples. Of a data set that is read, samples are
                chosen by their content, so that neither its order nor its batches matter; what augments at random
                cannot be fixed.
            count: samples in all, instead of per_class; for labels that are no classes.
            limit: samples of a data set that are read at most; None for all.
            batched: whether a data set's elements are batches; None finds it out.
            options: of ProbeSet.

        Raises:
            ValueError: that names the argument, TypeError for data that give no pairs and for an unknown option.
        """
        made: Any = cls  # whose arguments are ProbeSet's
        check_keywords(cls.from_dataset, options, made.__init__)
        given: dict[str, Any] = dict(options)
        class_names = check.checked_class_names(given.get("class_names"))
        if hasattr(x, "iloc") and hasattr(x, "columns"):
            x, y, features = frame_columns(x, y)
            given = ({} if features is None else {"feature_names": features}) | given
        elif y is None and (pair := pair_of_arrays(x)) is not None:
            x, y = pair
        elif y is None and not getattr(x, "ndim", 0):
            found = pick(
                x, per_class=per_class, count=count, seed=seed, limit=limit, batched=batched, class_names=class_names
            )
            return made(found.inputs, found.labels, **{"names": found.names, "class_names": found.class_names} | given)
        x = arrays(x)
        chosen = rows_of_arrays(x, y, per_class=per_class, count=count, seed=seed, class_names=class_names)
        return made(rows(x, chosen), None if y is None else rows(y, chosen), **given)

    @classmethod
    def from_directory(
        cls,
        directory: str | os.PathLike[str],
        per_class: int = 2,
        seed: int = 0,
        *,
        count: int | None = None,
        size: tuple[int, int] | None = None,
        color_mode: Literal["rgb", "grayscale", "rgba"] = "rgb",
        fit: Literal["stretch", "crop"] = "stretch",
        scale: float = 1.0,
        offset: float = 0.0,
        **options: Unpack[ProbeOptions],
    ) -> Self:
        """A fixed pick out of a folder of pictures, float32 (n, H, W, C) of 0 to 255.

        Args:
            directory: with one folder a class, numbered in alphabetical order as by Keras'
                `image_dataset_from_directory`, or with pictures and no labels. A file `NAME.MASK.png` beside the
                picture `NAME.jpg` (or another type) is its mask of that name: what is brighter than half.
            per_class: pictures of each class (without classes in all).
            count: pictures in all, instead of per_class.
            seed: of the pick, which depends on the names of the files alone.
            size: (height, width) as the model takes them; needed where the pictures differ in size.
            color_mode: "rgb", "grayscale" or "rgba".
            fit: "stretch" to that size, or "crop" to the middle of its form first.
            scale: what the values are multiplied by, as by Keras' Rescaling; by default they stay 0 to 255.
            offset: what is added to them then.
            options: of ProbeSet.

        Raises:
            ValueError: that names the argument or the file.
        """
        made: Any = cls  # whose arguments are ProbeSet's
        check_keywords(cls.from_directory, options, made.__init__)
        from lrp_monitor.probes.folder import read_folder  # for those who ask: needs Pillow

        found = read_folder(
            os.fspath(directory), per_class=per_class, count=count, seed=seed, size=size, color_mode=color_mode, fit=fit
        )
        values = found.values if (scale, offset) == (1, 0) else found.values * np.float32(scale) + np.float32(offset)
        known = {"names": found.names, "class_names": found.class_names, "masks": found.masks or None}
        return made(values, found.labels, **known | {"kind": "image"} | dict(options))
