"""Channels' maps as they are stored: coarser than heatmaps, those of a probe in one chunk, each found again."""

import numpy as np
import pytest

from lrp_monitor.store import codec


def test_codes_are_those_of_the_encoding_in_coarse_steps():
    maps = np.random.default_rng(0).normal(size=(3, 7, 5)).astype(np.float32)
    maps[0, 0, 0] = np.nan
    maps[2] = 0
    chunk, scales = codec.encode_small_maps(maps, "sqrt8")
    data = codec.inflate(chunk, 3 * 35, "maps")
    assert scales == [np.nanmax(np.abs(maps[0])), np.abs(maps[1]).max(), 0.0]
    for at, (one, scale) in enumerate(zip(maps, scales, strict=True)):
        found = codec.decode_values(data[35 * at : 35 * (at + 1)], scale, "sqrt8", (7, 5))
        np.testing.assert_array_equal(np.isnan(found), np.isnan(one))
        # Half a step in the square root, and half a code of the encoding's own twice.
        root, wanted = (np.sign(m) * np.sqrt(np.abs(m) / (scale or 1)) for m in (found, one))
        assert np.nanmax(np.abs(root - wanted)) <= 0.5 / codec.COARSE + 1 / 127
    assert len(set(data)) <= 2 * codec.COARSE + 2


@pytest.mark.parametrize("encoding", ["float16", "float32"])
def test_other_encodings_lose_nothing_more(encoding):
    maps = np.random.default_rng(1).normal(size=(2, 4)).astype(np.float32)
    chunk, scales = codec.encode_small_maps(maps, encoding)
    size = 4 * codec.bytes_a_pixel(encoding)
    data = codec.inflate(chunk, 2 * size, "maps")
    for at, one in enumerate(maps):
        alone, scale = codec.encode_map(one, encoding)
        found = codec.decode_values(data[size * at : size * (at + 1)], scales[at], encoding, (4,))
        np.testing.assert_array_equal(found, codec.decode_map(alone, scale, encoding, (4,), "a map"))
