"""The options of a probe set, as types: for functions that hand them on to `ProbeSet`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from lrp_monitor.engine.targets import Position, Weighted

    ProbeTarget = Literal["label", "predicted"] | int | Sequence[int] | NDArray[Any] | Weighted | Position | None

Kind = Literal["image", "volume", "series", "tokens", "table", "grid"]
"""What a sample of an input can be, which says how it is shown."""
Kinds = Kind | Mapping[str, Kind | None] | None
ChannelAxis = int | Literal["auto"] | None
ChannelAxes = ChannelAxis | Mapping[str, ChannelAxis]
FeatureNames = Sequence[str] | Mapping[str, Sequence[str] | None] | None
Texts = Sequence[Sequence[str | bytes]] | NDArray[Any] | Callable[[Any], Sequence[str | bytes]]
Tokens = Texts | Mapping[str, Texts | None] | None


class ProbeOptions(TypedDict, total=False):
    """What `ProbeSet` takes besides inputs and labels."""

    names: Sequence[str] | None
    class_names: Sequence[str] | None
    masks: Mapping[str, Any] | None
    target: ProbeTarget
    channel_axis: ChannelAxes
    display: ArrayLike | None
    kind: Kinds
    feature_names: FeatureNames
    tokens: Tokens
    watch: Sequence[str] | str | None
    multi_label: bool | None
    model: Any
