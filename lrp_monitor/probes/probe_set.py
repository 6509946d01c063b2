"""ProbeSet: the fixed, small set of samples whose heatmaps are watched over training.

Knows NumPy alone. Everything about the set is settled (and checked) when it is made: inputs, labels, names,
masks and which class is explained, so that the same probes mean the same thing at every step, in every run
and on every machine; `ProbeSet.hash` says so in 64 hexadecimal digits.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lrp_monitor.archives import DAMAGE, MAX_ARRAY_BYTES, read_arrays, read_file
from lrp_monitor.probes import checks as check
from lrp_monitor.probes.regions import is_region, of_parts, parts

_FORMAT = 1
# Bytes of JSON with names and settings, each of which may become an object many times as large.
_MOST_ABOUT = 16 << 20
_HEADERS = 1 << 20
_REGION = "region_"


class ProbeSet:
    """A fixed set of n samples to explain again and again.

    inputs: (n, ...) finite floats or integers, as the model takes them; kept as a read-only copy.
    labels: (n,) integers >= 0, or one-hot (n, k); None where there are none.
    names: n unique strings. Default "probe 0", "probe 1", ... or, with labels and class_names,
        "triangle 0", "triangle 1", ...
    class_names: one string a class.
    masks: {name: region}; a region is a boolean (or 0/1) array of the map's shape or (n, *map shape), a
        tuple of slices (``np.s_[2:7, 3:8]``), or four integers (top, left, bottom, right), half open. A
        probe whose mask is empty has no mask mass and is left out of means.
    target: the class explained: "label" (the default where labels are given), "predicted" (argmax at the
        first log, kept ever after; the default without labels), one integer, n integers, or, for an output of maps
        such as a segmentation net's, a `targets.Region(where, of)` or `targets.Outputs(weights)`, whose logits are
        summed ("predicted" is then the region that is predicted when the run begins, see `targets.predicted_region`).
    channel_axis: axis of `inputs` that heatmaps are summed over; "auto" is the last one where a sample has
        three axes or more, else none. None: no axis (the map has the sample's shape).
    display: (n, H, W), (n, H, W, 1) or (n, H, W, 3) pictures to show in place of the inputs.

    Raises ValueError that names the argument and the way out.
    """

    def __init__(
        self,
        inputs: ArrayLike,
        labels: ArrayLike | None = None,
        *,
        names: Sequence[str] | None = None,
        class_names: Sequence[str] | None = None,
        masks: Mapping[str, Any] | None = None,
        target: Any = None,
        channel_axis: int | str | None = "auto",
        display: ArrayLike | None = None,
    ) -> None:
        self.inputs: NDArray[Any] = check.checked_inputs(inputs)
        n = len(self.inputs)
        self.class_names = check.checked_class_names(class_names)
        self.labels = check.checked_labels(labels, n, self.class_names)
        self.names = check.checked_names(names, n, self.labels, self.class_names)
        self.channel_axis = check.checked_channel_axis(channel_axis, self.inputs.ndim)
        self.masks = check.checked_masks(masks, self.map_shape, n)
        self.target, self.targets = check.checked_target(target, self.labels, n)
        self.region = target if is_region(target) else None
        """What is explained where it is no class: a target of `lrp_monitor.targets`; else None."""
        self._display = None if display is None else check.checked_display(display, n)
        self._images: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return int(self.inputs.shape[0])

    def __repr__(self) -> str:
        masks = f", masks {', '.join(self.masks)}" if self.masks else ""
        return (
            f"ProbeSet({len(self)} probes of shape {self.sample_shape} {self.inputs.dtype}, "
            f"target {self.target}{masks})"
        )

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return tuple(self.inputs.shape[1:])

    @property
    def map_shape(self) -> tuple[int, ...]:
        """Shape of one heatmap: the sample's without its channel axis."""
        if self.channel_axis is None:
            return self.sample_shape
        at = self.channel_axis - 1
        return self.sample_shape[:at] + self.sample_shape[at + 1 :]

    def heatmaps(self, relevance: ArrayLike) -> NDArray[np.float32]:
        """Relevance of inputs -> heatmaps, summed over channels in float64.

        relevance: (m, *sample_shape), any m. Returns float32 (m, *map_shape). ValueError on another shape.
        """
        values = np.asarray(relevance)
        if values.ndim != self.inputs.ndim or values.shape[1:] != self.sample_shape:
            raise ValueError(
                f"relevance has shape {values.shape}; expected that of the inputs, {self.inputs.shape}, "
                "or another number of samples of it"
            )
        if self.channel_axis is None:
            return values.astype(np.float32)
        heatmaps = np.empty((len(values), *self.map_shape), np.float32)
        for heatmap, one in zip(heatmaps, values, strict=True):
            heatmap[...] = one.sum(axis=self.channel_axis - 1, dtype=np.float64)
        return heatmaps

    @property
    def images(self) -> NDArray[np.uint8]:
        """The probes as pictures, uint8 (n, H, W, 1 or 3).

        `display` where it was given, else the inputs. uint8 values are kept; anything else is mapped
        linearly with one range for the whole set: its minimum is 0, its maximum 255 (a constant set is 0).
        Three channels are red, green, blue; one is grey; any other number is averaged to grey. (F,) becomes
        one row (1, F), (T, C) an image of T rows, a volume (D, H, W) a montage of its D slices, row by row
        in a grid of ceil(sqrt(D)) columns, the rest 0 (further leading axes are flattened into D).
        """
        if self._images is None:
            self._images = check.read_only(self._draw()) if self._display is None else self._display
        return self._images

    def _draw(self) -> NDArray[np.uint8]:
        values = self._channels_last()
        if values.shape[-1] not in (1, 3):
            values = values.mean(axis=-1, keepdims=True, dtype=np.float64)
        return montage(check.to_uint8(values))

    def _channels_last(self) -> NDArray[Any]:
        if self.channel_axis is None:
            return self.inputs[..., None]
        return np.moveaxis(self.inputs, self.channel_axis, -1)

    @property
    def statistics(self) -> dict[str, list[float]]:
        """The inputs' "min", "max", "mean" and "std" per channel (one entry without a channel axis)."""
        values = self._channels_last()
        axes, count = tuple(range(values.ndim - 1)), values.size // values.shape[-1]
        mean = values.sum(axis=axes, dtype=np.float64) / count
        squares = np.zeros(values.shape[-1])
        for one in values:  # one by one: in float64 all of them take twice their memory and more
            squares += ((one - mean) ** 2).sum(axis=axes[:-1])
        return {
            "min": values.min(axis=axes).astype(np.float64).tolist(),
            "max": values.max(axis=axes).astype(np.float64).tolist(),
            "mean": mean.tolist(),
            "std": np.sqrt(squares / count).tolist(),
        }

    @property
    def hash(self) -> str:
        """SHA-256 (hexadecimal) over dtype, shape, bytes of inputs, labels, targets, masks, and names."""
        digest = hashlib.sha256()

        def feed(part: str, value: NDArray[Any] | None) -> None:
            if value is None:
                digest.update(f"{part}:none\n".encode())
                return
            little = np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("<"))
            digest.update(f"{part}:{little.dtype.str}:{little.shape}\n".encode())
            digest.update(little.reshape(-1).view(np.uint8).data)

        feed("inputs", self.inputs)
        feed("labels", self.labels)
        feed("targets", self.targets)
        for name, part in sorted(parts(self.region).items() if self.region is not None else ()):
            feed(f"region {name}", part)
        for name in sorted(self.masks):
            feed(f"mask {json.dumps(name)}", self.masks[name])
        digest.update(json.dumps(self.names).encode())
        return digest.hexdigest()

    def select(self, indices: ArrayLike) -> ProbeSet:
        """The probes at `indices` (integers, or a boolean (n,)), in that order, as a set of their own.

        Masks that cover none of them are dropped. ValueError where nothing is selected.
        """
        wanted = np.atleast_1d(np.asarray(indices))
        chosen = np.arange(len(self))[wanted if wanted.size else slice(0)]
        if not len(chosen):
            raise ValueError("indices select no probe; a set needs at least one")
        return ProbeSet(
            self.inputs[chosen],
            None if self.labels is None else self.labels[chosen],
            names=[self.names[i] for i in chosen],
            class_names=self.class_names,
            masks={name: mask[chosen] for name, mask in self.masks.items() if mask[chosen].any()},
            target=self._target_of(chosen),
            channel_axis=self.channel_axis,
            display=None if self._display is None else self._display[chosen],
        )

    def _target_of(self, chosen: NDArray[Any]) -> Any:
        if self.region is not None:
            of = parts(self.region)
            rows = of.get("rows", np.arange(len(self)))[chosen]
            return of_parts(of | {"rows": rows, "of_set": of.get("of_set", np.asarray(len(self)))})
        return self.targets[chosen] if self.target == "given" and self.targets is not None else self.target

    @classmethod
    def from_dataset(cls, x: ArrayLike, y: ArrayLike, per_class: int = 2, seed: int = 0, **options: Any) -> ProbeSet:
        """A fixed pick: `per_class` samples of every class in `y`, ordered by class, then as in the data.

        x: (N, ...); y: (N,) integers or one-hot (N, k). The same data and seed give the same pick. `options`
        go to ProbeSet. ValueError where a class has fewer samples than asked for.
        """
        samples = np.asarray(x)
        class_names = check.checked_class_names(options.get("class_names"))
        labels = check.checked_labels(y, len(samples), class_names, argument="y")
        if labels is None:
            raise ValueError("y is None: from_dataset picks per class; use ProbeSet(x) without labels")
        if per_class < 1:
            raise ValueError(f"per_class={per_class}: must be at least 1")
        order = np.random.default_rng(seed).permutation(len(samples))
        picked: list[int] = []
        for label in np.unique(labels):
            members = order[labels[order] == label][:per_class]
            if len(members) < per_class:
                raise ValueError(
                    f"per_class={per_class}, but class {label} has {len(members)} sample(s); lower per_class"
                )
            picked.extend(sorted(int(i) for i in members))
        return cls(samples[picked], labels[picked], **options)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the set to one .npz file (no pickle), in one step: a reader never sees half of it.

        ValueError where it is larger than `load` reads.
        """
        about = {
            "format": _FORMAT,
            "names": self.names,
            "class_names": self.class_names,
            "masks": list(self.masks),
            "target": self.target,
            "channel_axis": self.channel_axis,
        }
        arrays: dict[str, NDArray[Any]] = {
            "about": np.frombuffer(json.dumps(about).encode(), dtype=np.uint8),
            "inputs": self.inputs,
        }
        for name, value in (("labels", self.labels), ("targets", self.targets), ("display", self._display)):
            if value is not None:
                arrays[name] = value
        for i, mask in enumerate(self.masks.values()):
            arrays[f"mask_{i}"] = mask
        if self.region is not None:
            arrays |= {f"{_REGION}{name}": part for name, part in parts(self.region).items()}
        taken = sum(array.nbytes for array in arrays.values())
        if taken > MAX_ARRAY_BYTES - _HEADERS or arrays["about"].nbytes > _MOST_ABOUT:
            raise ValueError(
                f"{path}: the set takes {taken:,} bytes, at most {MAX_ARRAY_BYTES:,} are read again: save fewer or "
                f"smaller probes, and at most {_MOST_ABOUT:,} bytes of names"
            )
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # the stubs mistake ** for allow_pickle
        file = Path(path)
        partial = file.with_name(file.name + ".partial")
        partial.write_bytes(buffer.getvalue())
        os.replace(partial, file)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ProbeSet:
        """Read a set that `save` wrote: at most `archives.MAX_ARRAY_BYTES` of arrays, nothing unpickled.

        FileNotFoundError; ValueError (naming the file) on anything else.
        """
        try:
            arrays: dict[str, NDArray[Any]] = dict(read_arrays(read_file(path, MAX_ARRAY_BYTES)))
            if arrays["about"].nbytes > _MOST_ABOUT:
                raise ValueError(f"{arrays['about'].nbytes:,} bytes of names; at most {_MOST_ABOUT:,} are read")
            about = json.loads(arrays["about"].tobytes())
            if about["format"] != _FORMAT:
                raise ValueError(f"format {about['format']!r:.40}, this version reads {_FORMAT}")
            axes = arrays["inputs"].ndim - (about["channel_axis"] is not None)
            if any(arrays[f"mask_{i}"].ndim != axes for i in range(len(about["masks"]))):
                raise ValueError("a mask that is not one of each probe")
            if not isinstance(about["target"], str):
                raise ValueError("a target that is no text")
            return cls(
                arrays["inputs"],
                arrays.get("labels"),
                names=about["names"],
                class_names=about["class_names"],
                masks={name: arrays[f"mask_{i}"] for i, name in enumerate(about["masks"])},
                target=_loaded_target(about["target"], arrays),
                channel_axis=about["channel_axis"],
                display=arrays.get("display"),
            )
        except FileNotFoundError:
            raise
        except DAMAGE as error:
            raise ValueError(f"{path}: not a probe set that ProbeSet.save wrote ({error!s:.400})") from error


def _loaded_target(target: str, arrays: Mapping[str, NDArray[Any]]) -> Any:
    if target != "given":
        return target
    region = {name.removeprefix(_REGION): part for name, part in arrays.items() if name.startswith(_REGION)}
    return of_parts(region) if region else arrays["targets"]


def montage(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(n, *map axes, C) -> (n, H, W, C), laid out in the order that ProbeSet.images documents."""
    if pictures.ndim == 3:
        return pictures[:, None]
    if pictures.ndim == 4:
        return pictures
    n, (height, width, channels) = pictures.shape[0], pictures.shape[-3:]
    slices = pictures.reshape(n, -1, height, width, channels)
    columns = math.ceil(math.sqrt(slices.shape[1]))
    rows = math.ceil(slices.shape[1] / columns)
    sheet = np.zeros((n, rows * columns, height, width, channels), pictures.dtype)
    sheet[:, : slices.shape[1]] = slices
    grid = sheet.reshape(n, rows, columns, height, width, channels).transpose(0, 1, 3, 2, 4, 5)
    return np.ascontiguousarray(grid.reshape(n, rows * height, columns * width, channels))
