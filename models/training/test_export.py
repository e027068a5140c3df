"""Tests of the export on the tiny model: pytest models/training."""
from __future__ import annotations

import dataclasses
import hashlib
import math
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("PIL", reason="Pillow is not installed")
import numpy as np
from PIL import Image

import aem
import calibrate
import data
import export
import integer
import model
import quantise
import tables
import tiny
import transforms
import trellis
from test_data import photo


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def built() -> aem.Model:
    return tiny.build()


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """A smooth picture with some noise, uint8 [3, 128, 192]."""
    random = np.random.Generator(np.random.PCG64(3))
    row, column = np.mgrid[:128, :192]
    base = np.stack([row + column / 2, 128 + 90 * np.sin(column / 17), 255 - row])
    return np.clip(base + 8 * random.standard_normal(base.shape), 0, 255).astype(np.uint8)


def all_layers(model: aem.Model) -> list[aem.Layer]:
    out: list[aem.Layer] = []
    for record in [*model.entropy, *model.synthesis, *model.encoder.records]:
        out += record.layers() if isinstance(record, aem.Block) else [record] if isinstance(record, aem.Layer) else []
    return out


def test_export_is_deterministic(built: aem.Model) -> None:
    assert tiny.build().to_bytes() == built.to_bytes()


def test_model_file_round_trip_section_4(built: aem.Model) -> None:
    data = built.to_bytes()
    again = aem.Model.from_bytes(data)
    assert again.header == built.header and again.note == built.note and len(again.tables) == 3 * built.header.scales
    assert again.to_bytes() == data


def test_header_round_trip_section_4_1(built: aem.Model) -> None:
    header = dataclasses.replace(built.header, name="ä1", pixel_fraction=4)
    data = header.to_bytes()
    assert aem.Header.from_bytes(data) == header
    assert data[:12] == bytes([1, 0, 32, 0, 32, 0, 64, 0, 16, 0, 16, 0])  # version, c8, c16, m, nz, ce
    assert data[12:17] == bytes([1, 1, 1, 2, 1])  # blocks: n8_first, n8_second, n16, n_trunk, n_z
    assert data[17:25] == bytes([64, 64, 5, 23, 7, 6, 16, 4]) and data[25:] == b"\x03" + "ä1".encode()
    for wrong in (dict(c8=24), dict(m=96), dict(scales=65), dict(y_fraction=7), dict(y_half_step=0), dict(y_half_step=64), dict(n16=17), dict(name="")):
        with pytest.raises(aem.ModelError):
            dataclasses.replace(header, **wrong).to_bytes()


def test_encoder_header_round_trip_section_4_4(built: aem.Model) -> None:
    header = dataclasses.replace(built.encoder.header, skip_below=5)
    data = header.to_bytes(built.header)
    assert data == bytes([1, 2, 2, 5, 6, 8])  # blocks: a8_first, a8_second, a16; skip_below, input_shift, y_input_fraction
    assert aem.EncoderHeader.read(aem.Reader(data), built.header) == header
    for wrong in (dict(a16=17), dict(skip_below=65), dict(input_shift=7), dict(y_input_fraction=4)):
        with pytest.raises(aem.ModelError):
            dataclasses.replace(header, **wrong).to_bytes(built.header)


def test_id_is_of_what_decodes_section_4(built: aem.Model) -> None:
    bare = dataclasses.replace(built, encoder=None, note={}).to_bytes()
    other = dataclasses.replace(built, header=dataclasses.replace(built.header, name="other")).to_bytes()
    assert aem.model_id(built.to_bytes()) == aem.model_id(bare) == hashlib.sha256(bare).hexdigest()[:16] != aem.model_id(other)


def test_damage_is_found_section_2(built: aem.Model) -> None:
    data = bytearray(built.to_bytes())
    data[len(data) // 2] ^= 1
    with pytest.raises(aem.ModelError, match="damaged"):
        aem.Model.from_bytes(bytes(data))
    with pytest.raises(aem.ModelError):
        aem.Model.from_bytes(bytes(data[:-20]))


def test_no_accumulator_can_overflow_r4_1(built: aem.Model) -> None:
    layers = all_layers(built)
    for layer in layers:
        assert (layer.bound() < 2 ** 31).all() and (layer.shift >= 1).all() and (layer.shift <= 24).all()
    worst = dataclasses.replace(layers[0], bias=np.full(layers[0].outputs, 2 ** 31 - 1, np.int32))
    with pytest.raises(aem.ModelError, match="R4.1"):
        worst.to_bytes()


def test_shift_is_the_largest_that_fits_r4_1() -> None:
    random = np.random.Generator(np.random.PCG64(4))
    weight, bias = random.standard_normal((40, 70)) * np.logspace(-3, 1, 40)[:, None], random.standard_normal(40)
    layer = quantise.quantise(weight, bias, np.full(70, 2048.0), np.full(40, 1024.0))
    for o in np.flatnonzero(layer.shift < 24):
        s = int(layer.shift[o]) + 1
        w, b = np.rint(weight[o] / 2 * 2.0 ** s), np.rint(bias[o] * 1024 * 2.0 ** s)
        assert np.abs(w).max() > 32767 or np.abs(w).sum() * 2 ** 15 + abs(b) + 2 ** (s - 1) >= 2 ** 31


def test_tables_section_4_2() -> None:
    made = tables.all_tables(64, 46 / 32)
    assert len(made) == 3 * 64 and sum(2 + 2 * len(p) for p in made) < 150_000
    for p, (s, odd) in zip(made, tables.kinds(64, 46 / 32), strict=True):
        assert p.sum() == 65536 and p.min() >= 1 and len(p) % 2 == 0
        loss = tables.expected_bits(s, list(p), odd) - tables.ideal_bits(s, odd)
        assert 0 <= loss < 1e-4 + 3e-4 * tables.ideal_bits(s, odd)
    assert tables.sigma(0) == 0.11 and math.isclose(tables.sigma(63), 256)


def test_bins_of_the_odd_quantiser_are_what_is_nearest_to_its_values() -> None:
    assert [tables.edge(v, True) for v in range(4)] == [0.25, 1, 2, 3] and [tables.edge(v) for v in range(3)] == [0.5, 1.5, 2.5]
    for s in (0.3, 1.0, 5.0):
        for odd in (False, True):
            assert math.isclose(sum((1 if v == 0 else 2) * tables.bin_mass(v, s, odd) for v in range(99)), 1)
    symmetric = tables.table(1.0, 4, True)
    assert sum(symmetric) == 65536 and np.abs(np.subtract(symmetric[:-1], symmetric[-2::-1])).max() <= 1
    assert abs(symmetric[4] / 65536 - math.erf(0.25 / 2 ** 0.5)) < 1e-4


def test_escape_bits_r3_5() -> None:
    assert [tables.escape_bits(e) for e in (1, 2, 3, 4, 7, 8)] == [2, 4, 4, 6, 6, 8]


def test_bits_are_counted_from_the_tables(built: aem.Model) -> None:
    codec = integer.Codec(built)
    for quantiser in (trellis.HYPER, trellis.EVEN, trellis.ODD):
        p = built.tables[64 * quantiser + 20] / 65536
        r = (len(p) - 2) // 2
        bits, escapes = codec.cost(np.array([0, -r, r + 5]), quantiser, np.full(3, 20))
        assert escapes == 1
        assert np.allclose(bits, [-np.log2(p[r]), -np.log2(p[0]), -np.log2(p[-1]) + tables.escape_bits(5)])


def plain_layer(x: np.ndarray, layer: aem.Layer) -> np.ndarray:
    """R5.1 and R5.2 in 64-bit integers, one product after another."""
    x, w = x.astype(np.int64), layer.weights.astype(np.int64)
    if layer.depthwise:
        p = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        h, n = x.shape[1:]
        acc = sum(w[:, t, None, None] * p[:, t // 3:t // 3 + h, t % 3:t % 3 + n] for t in range(9))
    else:
        acc = np.einsum("ok,khw->ohw", w, x)
    s = layer.shift.astype(np.int64)[:, None, None]
    return np.clip((acc + layer.bias[:, None, None] + (1 << (s - 1))) >> s, -32768, 32767)


def test_float64_arithmetic_is_exact_r5(built: aem.Model) -> None:
    random = np.random.Generator(np.random.PCG64(5))
    network = integer.Network()
    for layer in all_layers(built):
        x = random.integers(-32768, 32768, (layer.inputs, 4, 5))
        assert (network.layer(x.astype(np.float64), layer, "x") == plain_layer(x, layer)).all()
    x = random.integers(-32768, 32768, (64, 3, 3))
    assert (integer.leaky(x.astype(np.float64)) == np.where(x >= 0, x, x >> 3)).all()
    gain = next(r for r in built.synthesis if isinstance(r, aem.Gain))
    expected = np.clip((x * gain.values[7].astype(np.int64)[:, None, None] + (1 << gain.shift - 1)) >> gain.shift, -32768, 32767)
    assert (network.gain(x.astype(np.float64), gain, 7, "x") == expected).all()


def test_a_layer_is_close_to_its_float_form() -> None:
    """The error of an output is at most half a step, plus half a unit of each weight and of the bias."""
    random = np.random.Generator(np.random.PCG64(6))
    for depthwise in (False, True):
        o, k = (48, 9) if depthwise else (48, 32)
        channels = 48 if depthwise else 32
        weight, bias = random.standard_normal((o, k)) / 4, random.standard_normal(o)
        scale_in, scale_out = 2.0 ** random.integers(8, 14, channels), 2.0 ** random.integers(6, 9, o)
        layer = quantise.quantise(weight, bias, scale_in, scale_out, depthwise)
        x = random.integers(-8000, 8000, (channels, 6, 7)).astype(np.float64)
        real = torch.from_numpy(x / scale_in[:, None, None])[None]
        if depthwise:
            exact = torch.nn.functional.conv2d(real, torch.from_numpy(weight.reshape(o, 1, 3, 3)), torch.from_numpy(bias), padding=1, groups=o)
        else:
            exact = torch.nn.functional.conv2d(real, torch.from_numpy(weight[:, :, None, None]), torch.from_numpy(bias))
        error = np.abs(integer.Network().layer(x, layer, "x") - np.clip(exact[0].numpy() * scale_out[:, None, None], -32768, 32767))
        bound = 0.5 + (0.5 * 8000 * k + 0.5) / 2.0 ** layer.shift.astype(float)
        assert (error.max((1, 2)) <= bound + 1e-6).all()


def rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(x ** 2)))


def synthesis_of_rounded(net: torch.nn.Module, y: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return net.synthesis((y * 32).round() / 32, q)[0]


def test_transforms_follow_the_float_network(built: aem.Model, picture: np.ndarray) -> None:
    net, codec = tiny.network(), integer.Codec(built)
    x = torch.from_numpy(picture)[None].float() / 255
    for quality in (0, 31, 63):
        q = torch.tensor([quality])
        with torch.no_grad():
            y = net.analysis(x, q)
            z = net.hyper_analysis(y / 16)[0] * 4
            out = net.synthesis(y, q)[0]
        whole = codec.analyse(picture, quality)
        assert rms(whole / 256 - y[0].numpy()) < 0.01 * (1 + quality / 8)
        assert np.abs(codec.hyper_analyse(whole) / 128 - z.numpy()).max() < 1
        samples = codec.synthesise(np.rint(y[0].double().numpy() * 32), quality)
        rounding = rms(255 * (out - synthesis_of_rounded(net, y, q)).numpy())  # y_hat in 1/32 is coarse at low qualities
        assert rms(samples / 64 - 255 * out.numpy()) < rounding + 0.25
    assert not codec.saturated


@pytest.mark.parametrize("entropy", ["q9", "calibrated"])
def test_entropy_network_follows_the_float_network(built: aem.Model, picture: np.ndarray, entropy: str) -> None:
    net = tiny.network()
    codec = integer.Codec(built if entropy == "q9" else tiny.build(entropy=entropy))
    y = codec.analyse(picture, 20)
    z = np.clip(codec.hyper_analyse(y), -32768, 32767)
    context = np.clip(np.rint(y / 8), -32768, 32767)
    with torch.no_grad():
        z_hat = torch.from_numpy(z / 128).float()[None]
        base = torch.from_numpy(codec.model.z_index[20].astype(np.float32))[None, :, None, None]
        for k in range(4):
            mean, index = net.entropy.z_step(k, z_hat, base)
            mean_q, index_q = codec.z_step(k, 20, z)
            assert np.abs(mean_q / 128 - mean[0].numpy()).max() < 0.15
            assert np.abs(index_q - index[0].numpy()).max() <= 1.0 and (k > 0) == bool(mean_q.any())
        features = net.entropy.hyper(z_hat / 4)
        for k in range(4):
            mean, index = net.entropy.step(k, features, torch.from_numpy(context / 32).float()[None])
            mean_q, index_q = codec.step(k, codec.hyper(z), context)
            assert np.abs(mean_q / 32 - mean[0].numpy()).max() < 0.15
            assert np.abs(index_q - index[0].numpy()).max() < 1.0


def test_coding_gives_latents_near_y(built: aem.Model, picture: np.ndarray) -> None:
    codec = integer.Codec(dataclasses.replace(built, encoder=dataclasses.replace(built.encoder, header=dataclasses.replace(built.encoder.header, skip_below=0))))
    y = codec.analyse(picture, 40)
    z = codec.hyper_analyse(y)
    z_hat = codec.code_z(z, 40, integer.Coded(np.zeros(y.shape), 0.0, 0.0))
    assert np.abs(z_hat - z).max() <= 64
    coded = codec.code_tile(y, 40)
    error, step = coded.y_hat / 32 - y / 256, built.header.y_step
    assert coded.bits > 0 and np.abs(error).max() < step
    assert np.square(error).mean() < 0.75 * step ** 2 / 12  # rounding to whole steps would leave a twelfth of their square


def test_rounding_in_training_saves_more_than_it_costs() -> None:
    x = torch.arange(-1499, 1500.0) / 256
    for i in (8, 12, 16, 30):
        index = torch.full(x.shape, float(i))
        values, nearest = model.round_cheaply(x, index, model.rounding_thresholds()), (x.abs() + 0.5).floor() * x.sign()
        moved = values != nearest
        assert moved.any() and (values[moved] == (nearest - x.sign())[moved]).all() and (values.flip(0) == -values).all()
        worth = [model.bits(v, model.scale_of(index)) + model.SQUARED_STEP_BITS * (x - v) ** 2 for v in (values, nearest)]
        assert (worth[0] <= worth[1] + 1e-3).all()


def test_symbols_are_in_the_order_of_coding_section_3_3(built: aem.Model, picture: np.ndarray) -> None:
    """A walk position by position, as decoders do it, finds the quantisers and the latents that came out."""
    some_skipped = dataclasses.replace(built.encoder, header=dataclasses.replace(built.encoder.header, skip_below=14))
    skipping, h = dataclasses.replace(built, encoder=some_skipped), built.header
    codec = integer.Codec(skipping)
    y = codec.analyse(picture, 30)
    coded = codec.code_tile(y, 30, keep=True)
    features = codec.hyper(codec.code_z(codec.hyper_analyse(y), 30, integer.Coded(np.zeros(0), 0.0, 0.0)))
    y_hat, skipped = np.zeros(coded.y_hat.shape), 0
    for k in range(4):
        mean, index = codec.step(k, features, np.clip(y_hat, -32768, 32767))
        mask, state = integer.groups_mask(k, *y_hat.shape[1:], h.m), 0
        for row in range(y_hat.shape[1]):
            for column in range(y_hat.shape[2]):
                for channel in np.flatnonzero(mask[:, row, column]):
                    at = channel, row, column
                    symbol, quantiser, kept_index = coded.symbols[(slice(None), *at)]
                    assert kept_index == index[at]
                    y_hat[at] = mean[at]
                    if index[at] < codec.encoder.skip_below:
                        skipped += 1
                        assert symbol == 0
                        continue
                    assert quantiser == (trellis.EVEN, trellis.ODD)[state & 1]
                    y_hat[at] += h.y_half_step * (2 * symbol - (np.sign(symbol) if state & 1 else 0))
                    state = trellis.following(state, symbol)
    assert (y_hat == coded.y_hat).all() and skipped == coded.skipped > 0
    assert (coded.z_symbols[1] == trellis.HYPER).all()
    counts = np.array(export.count_values(skipping, [(30, y)]))
    assert counts.shape[0] == 3 * h.scales and counts[h.scales:].sum() == y_hat.size - skipped and (counts.sum(1).reshape(3, -1).sum(1) > 0).all()


def test_values_are_put_back_where_they_were() -> None:
    random = np.random.Generator(np.random.PCG64(8))
    x, shown = random.integers(1, 99, (4, 2, 3)), random.integers(0, 2, (4, 2, 3)) == 1
    listed = integer.in_order(x, shown)
    assert listed.tolist() == [x[c, i, j] for i in range(2) for j in range(3) for c in range(4) if shown[c, i, j]]
    assert (integer.put_in_order(listed, shown) == x * shown).all()


def test_measured_tables_cost_least_for_what_was_measured() -> None:
    random = np.random.Generator(np.random.PCG64(3))
    for i, odd in ((2, False), (12, False), (30, False), (55, False), (12, True), (30, True)):
        s = tables.sigma(i)
        values = np.abs(random.laplace(scale=s / 2 ** 0.5, size=200_000))
        magnitudes = (np.where(values < 0.25, 0, np.floor(values) + 1) if odd else np.rint(values)).astype(np.int64)
        fitted = tables.measured_table(np.bincount(magnitudes), s, odd)
        assert sum(fitted) == tables.TOTAL and min(fitted) >= 1 and np.abs(np.subtract(fitted[:-1], fitted[-2::-1])).max() <= 1
        bits = []
        for table in (fitted, tables.best_table(s, odd)):
            r = (len(table) - 2) // 2
            inside = magnitudes[magnitudes <= r]
            outside = magnitudes[magnitudes > r] - r
            cost = 16 - np.log2(table)
            bits.append(cost[r + inside].sum() + sum(cost[-1] + tables.escape_bits(int(e)) for e in outside))
        assert bits[0] < 0.99 * bits[1]
    # Nothing counted: the Gaussian.
    s = tables.sigma(20)
    for odd in (False, True):
        middles = [t[len(t) // 2 - 3:len(t) // 2 + 2] for t in (tables.measured_table(np.zeros(1, np.int64), s, odd), tables.best_table(s, odd))]
        assert np.abs(np.subtract(*middles)).max() < 400


def test_calibration_pictures_come_from_folders_and_shards(tmp_path: Path) -> None:
    Image.fromarray(photo(400, 500)).save(tmp_path / "a.png")
    Image.fromarray(photo(800, 800, 2)).save(tmp_path / "b.png")
    files = calibrate.sample(tmp_path, 48)
    assert files == [tmp_path / "a.png", tmp_path / "b.png"] and calibrate.load(files[0]).shape == (3, 448, 512)
    data.pack([tmp_path], tmp_path / "shards", per_picture=4)
    windows = calibrate.sample(tmp_path / "shards", 48)
    assert len(windows) > 2 and all(calibrate.load(w).shape == (3, 384, 384) for w in windows)
    assert calibrate.sample(tmp_path / "shards", 2) == [windows[0], windows[len(windows) // 2]]
    assert calibrate.sample(tmp_path, 48) == [*files, *windows] and len(calibrate.digest([*files, *windows])) == 64
    (tmp_path / "empty").mkdir()
    assert calibrate.sample(tmp_path / "empty", 48) == []


def test_stages_name_every_tensor_once() -> None:
    net = tiny.network()
    stages = transforms.analysis_stages(net.analysis) + transforms.hyper_analysis_stages(net.hyper_analysis) + transforms.synthesis_stages(net.synthesis)
    assert len({s.name for s in stages}) == len(stages)
    measured = calibrate.measure(net, [np.zeros((3, 64, 64), np.uint8)], (0,))
    for stage in stages:
        for j in range(len(stage.blocks)):
            assert {f"{stage.name}.{j}.{part}" for part in ("inp", "depth", "gate")} <= set(measured)


def test_phases_cover_every_latent_once_r3_8() -> None:
    assert (sum(integer.groups_mask(k, 4, 6, 64).astype(int) for k in range(4)) == 1).all()
