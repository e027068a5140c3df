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
import integer
import model
import quantise
import tables
import tiny
import transforms
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
    assert again.header == built.header and again.note == built.note
    assert again.to_bytes() == data


def test_header_round_trip_section_4_1(built: aem.Model) -> None:
    header = dataclasses.replace(built.header, name="ä1", pixel_fraction=4)
    data = header.to_bytes()
    assert aem.Header.from_bytes(data) == header
    assert data[:12] == bytes([1, 0, 32, 0, 32, 0, 64, 0, 16, 0, 16, 0])  # version, c8, c16, m, nz, ce
    assert data[12:17] == bytes([1, 1, 1, 2, 1])  # blocks: n8_first, n8_second, n16, n_trunk, n_z
    assert data[17:24] == bytes([64, 64, 5, 7, 6, 16, 4]) and data[24:] == b"\x03" + "ä1".encode()
    for wrong in (dict(c8=24), dict(m=96), dict(scales=65), dict(y_fraction=7), dict(n16=17), dict(name="")):
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
    made = tables.all_tables()
    assert sum(2 + 2 * len(p) for p in made) < 60_000
    for i, p in enumerate(made):
        assert p.sum() == 65536 and p.min() >= 1 and len(p) % 2 == 0
        s = tables.sigma(i)
        loss = tables.expected_bits(s, list(p)) - tables.ideal_bits(s)
        assert 0 <= loss < 1e-4 + 3e-4 * tables.ideal_bits(s)
    assert tables.sigma(0) == 0.11 and math.isclose(tables.sigma(63), 256)


def test_escape_bits_r3_5() -> None:
    assert [tables.escape_bits(e) for e in (1, 2, 3, 4, 7, 8)] == [2, 4, 4, 6, 6, 8]


def test_bits_are_counted_from_the_tables(built: aem.Model) -> None:
    codec = integer.Codec(built)
    i = 20
    r = int(codec.radius[i])
    bits, escapes = codec.cost(np.array([0, -r, r + 5]), np.full(3, i))
    p = built.tables[i] / 65536
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
    assert coded.bits > 0 and np.abs(coded.y_hat / 32 - y / 256).max() < 1 + 1 / 256
    codec.thresholds[:] = -256
    nearest = codec.code_tile(y, 40)
    assert np.abs(nearest.y_hat / 32 - y / 256).max() <= 0.5 + 1 / 256 and nearest.bits > coded.bits


def test_rounding_saves_more_than_it_costs(built: aem.Model) -> None:
    codec = integer.Codec(built)
    x = np.arange(-1499, 1500.0)
    for i in (3, 9, 15, 30):
        index = np.full(x.shape, i)
        values, nearest = codec.rounded(x, index), np.floor(np.abs(x) / 256 + 0.5) * np.sign(x)
        moved = values != nearest
        assert (values[moved] == nearest[moved] - np.sign(x[moved])).all() and (values[::-1] == -values).all()
        bits = [np.array([codec.cost(v[k:k + 1], index[k:k + 1])[0][0] for k in range(len(x))]) for v in (values, nearest)]
        worth = [b + model.SQUARED_STEP_BITS * (x / 256 - v) ** 2 for b, v in zip(bits, (values, nearest))]
        assert moved.any() and (worth[0] <= worth[1] + 0.2).all()


def test_rounding_in_training_is_that_of_the_tables(built: aem.Model) -> None:
    """With Gaussian tables, for values that are not far out in their tails."""
    trained, coded = model.rounding_thresholds().numpy(), integer.rounding_thresholds(built.tables, 8) / 256
    for i in range(8, 50):
        near = slice(1, max(2, min(model.THRESHOLD_VALUES, round(3 * tables.sigma(i))) + 1))
        assert np.abs(trained[i, near] - coded[i, near]).max() < 0.01
    assert (trained[:, [0, -1]] == -1).all()


def test_measured_tables_cost_least_for_what_was_measured() -> None:
    random = np.random.Generator(np.random.PCG64(3))
    for i in (2, 12, 30, 55):
        s = tables.sigma(i)
        magnitudes = np.abs(np.rint(random.laplace(scale=s / 2 ** 0.5, size=200_000))).astype(np.int64)
        fitted = tables.measured_table(np.bincount(magnitudes), s)
        assert sum(fitted) == tables.TOTAL and min(fitted) >= 1 and fitted[:-1] == fitted[-2::-1] or np.abs(np.subtract(fitted[:-1], fitted[-2::-1])).max() <= 1
        costs, radius, _ = integer.cost_tables([np.array(t) for t in (fitted, tables.best_table(s))])
        bits = []
        for table in (fitted, tables.best_table(s)):
            r = (len(table) - 2) // 2
            inside = magnitudes[magnitudes <= r]
            outside = magnitudes[magnitudes > r] - r
            cost = 16 - np.log2(table)
            bits.append(cost[r + inside].sum() + sum(cost[-1] + tables.escape_bits(int(e)) for e in outside))
        assert bits[0] < 0.99 * bits[1]
    # Nothing counted: the Gaussian.
    s = tables.sigma(20)
    middles = [t[len(t) // 2 - 3:len(t) // 2 + 2] for t in (tables.measured_table(np.zeros(1, np.int64), s), tables.best_table(s))]
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
