// The folder that build.sh made, in Node: node --test src/wasm/tests/node.mjs
// AEI_WASM names the folder; AEI_PROGRAM the program, with which files are compared.
// What it decodes is compared with format-spec/vectors/digests.txt.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { inflateSync } from "node:zlib";

const folder = pathToFileURL(`${process.env.AEI_WASM ?? "target/wasm"}/`);
const root = new URL("../../../", import.meta.url);
const vectors = new URL("format-spec/vectors/", root);
const read = (name, from = vectors) => new Uint8Array(readFileSync(new URL(name, from)));
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");
const { load } = await import(new URL("index.js", folder));
const aei = await load();

/** The lines of digests.txt, and the models that names are to be decoded with. */
function expected() {
    const models = new Map(), lines = [];
    for (const line of readFileSync(new URL("digests.txt", vectors), "utf8").split("\n")) {
        const words = line.replace(/#.*/, "").trim().split(/\s+/);
        if (words[0] === "model") models.set(words[2], words[1]);
        // Parts of a file other than its picture, in a fourth form of line.
        else if (words.length === 3 && !["samples16", "metadata", "preview"].includes(words[0])) lines.push(words);
    }
    return lines.map(([first, second, third]) =>
        first === "refused" ? { name: third, rule: second, model: models.get(third) } : { name: second, digest: first, shape: third, model: models.get(second) },
    );
}

test("every vector decodes to its digest or is refused by its rule", async () => {
    const codecs = new Map([[undefined, aei]]);
    let decoded = 0, refused = 0;
    for (const { name, rule, digest, shape, model } of expected()) {
        if (!codecs.has(model)) codecs.set(model, await load({ model: read(model) }));
        const codec = codecs.get(model);
        if (rule) {
            assert.throws(() => codec.samples(read(name)), (error) => error.name === "AeiError" && error.message.includes(`(${rule})`), name);
            refused++;
        } else {
            const { storedWidth, storedHeight, channels } = codec.info(read(name));
            assert.equal(`${storedWidth}x${storedHeight}x${channels}`, shape, name);
            assert.equal(sha256(codec.samples(read(name))), digest, name);
            decoded++;
        }
    }
    assert.ok(decoded > 50 && refused > 50, `${decoded} decoded, ${refused} refused`);
});

/** A picture of several tiles, made with the model of the vectors. */
function tiled() {
    const codec = whole;
    const [width, height] = [1300, 1100];
    const data = new Uint8Array(width * height * 3).map((_, i) => (i * 7 + ((i / 3900) | 0) * 3) & 127);
    return { codec, width, height, file: codec.encode({ width, height, data }, { quality: 30, lossless: false }) };
}

test("parts are those of the whole", () => {
    const { codec, width, height, file } = tiled();
    const all = codec.samples(file);
    assert.equal(all.length, width * height * 3);
    const [x, y, w, h] = [1000, 900, 200, 190];
    const part = codec.samples(file, { x, y, width: w, height: h });
    for (let row = 0; row < h; row++) {
        const from = ((y + row) * width + x) * 3;
        assert.ok(Buffer.compare(part.subarray(row * w * 3, (row + 1) * w * 3), all.subarray(from, from + w * 3)) === 0, `row ${row}`);
    }
});

const program = process.env.AEI_PROGRAM;
test("files and pictures are those of the program", { skip: program ? false : "AEI_PROGRAM is not set" }, (t) => {
    const place = mkdtempSync(join(tmpdir(), "aei-"));
    t.after(() => rmSync(place, { recursive: true }));
    const at = (name) => join(place, name), model = ["--quiet", "--model", fileURLToPath(new URL("tiny.aem", vectors))];
    const [width, height] = [150, 90], data = Uint8Array.from({ length: width * height * 3 }, (_, i) => (i * 5 + (i / 450) * 3) & 255);
    writeFileSync(at("a.ppm"), Buffer.concat([Buffer.from(`P6 ${width} ${height} 255\n`), data]));
    for (const [flags, options] of [
        [["--lossless=never"], { lossless: false }],
        [["--lossless=never", "--effort", "2"], { lossless: false, effort: 2 }],
        [["--lossless=never", "--effort", "1", "--tune", "visual", "--tile-size", "256"], { lossless: false, effort: 1, tune: "visual", tileSize: 256 }],
        [["--lossless", "--preview"], { lossless: true, preview: true }],
    ]) {
        execFileSync(program, ["encode", "--force", ...model, "-q", "40", ...flags, at("a.ppm"), "-o", at("a.aei")]);
        const file = new Uint8Array(readFileSync(at("a.aei")));
        assert.equal(sha256(whole.encode({ width, height, data }, { quality: 40, ...options })), sha256(file), flags.join(" "));
        execFileSync(program, ["decode", "--force", ...model, at("a.aei"), "-o", at("b.ppm")]);
        assert.equal(sha256(whole.samples(file)), sha256(readFileSync(at("b.ppm")).subarray(-data.length)), flags.join(" "));
    }
});

/** The samples of a PNG file of 8 bits that is not interlaced (PNG specification, 9.2). */
function pngSamples(png) {
    const view = new DataView(png.buffer, png.byteOffset);
    const width = view.getUint32(16), height = view.getUint32(20), channels = { 0: 1, 2: 3, 4: 2, 6: 4 }[png[25]];
    const parts = [];
    for (let at = 8; at < png.length; at += 12 + view.getUint32(at)) {
        if (String.fromCharCode(...png.subarray(at + 4, at + 8)) === "IDAT") parts.push(png.subarray(at + 8, at + 8 + view.getUint32(at)));
    }
    const raw = inflateSync(Buffer.concat(parts)), stride = width * channels, out = new Uint8Array(height * stride);
    const paeth = (a, b, c) => {
        const [pa, pb, pc] = [Math.abs(b - c), Math.abs(a - c), Math.abs(a + b - 2 * c)];
        return pa <= pb && pa <= pc ? a : pb <= pc ? b : c;
    };
    for (let y = 0; y < height; y++) {
        const filter = raw[y * (stride + 1)];
        for (let i = 0; i < stride; i++) {
            const a = i >= channels ? out[y * stride + i - channels] : 0, b = y ? out[(y - 1) * stride + i] : 0;
            const c = y && i >= channels ? out[(y - 1) * stride + i - channels] : 0;
            out[y * stride + i] = raw[y * (stride + 1) + 1 + i] + [0, a, b, (a + b) >> 1, paeth(a, b, c)][filter];
        }
    }
    return { width, height, channels, samples: out };
}

test("PNG files and pixels for display hold the samples", () => {
    const [width, height] = [5, 3];
    const data = Uint8Array.from({ length: width * height * 3 }, (_, i) => i * 5);
    const file = lossless({ width, height, data });
    const png = pngSamples(aei.toPng(file));
    assert.deepEqual([png.width, png.height, png.channels], [width, height, 3]);
    assert.deepEqual(png.samples, data);
    assert.deepEqual(pngSamples(aei.toPng(file, { samples: data.map((v) => v + 1) })).samples, data.map((v) => v + 1));
    assert.deepEqual([...aei.decode(file).data.subarray(0, 8)], [0, 5, 10, 255, 15, 20, 25, 255]);
    const other = (channels, samples) => [...aei.decode(lossless({ width: 1, height: 1, data: Uint8Array.from(samples.slice(0, channels)) })).data];
    assert.deepEqual(other(1, [7]), [7, 7, 7, 255]);
    assert.deepEqual(other(2, [7, 9]), [7, 7, 7, 9]);
    assert.deepEqual(other(4, [1, 2, 3, 4]), [1, 2, 3, 4]);
});

test("what is displayed is upright", async () => {
    // Where a pixel of the upright picture stands in the stored one, of width W and height H (EXIF, tag 0x0112).
    const from = {
        1: (x, y) => [x, y], 2: (x, y, W) => [W - 1 - x, y], 3: (x, y, W, H) => [W - 1 - x, H - 1 - y], 4: (x, y, W, H) => [x, H - 1 - y],
        5: (x, y) => [y, x], 6: (x, y, W, H) => [y, H - 1 - x], 7: (x, y, W, H) => [W - 1 - y, H - 1 - x], 8: (x, y, W) => [W - 1 - y, x],
    };
    let turned = 0;
    for (const { name, digest, model } of expected()) {
        if (!digest || (model && model !== "tiny.aem")) continue;
        const codec = model ? whole : aei;
        const { orientation, width, height, storedWidth, storedHeight, channels } = codec.info(read(name));
        if (orientation === 1 || channels < 3) continue;
        const samples = codec.samples(read(name)), { data } = codec.decode(read(name)), png = pngSamples(codec.toPng(read(name)));
        assert.deepEqual([png.width, png.height, data.length], [width, height, width * height * 4], name);
        for (let y = 0; y < height; y++) {
            for (let x = 0; x < width; x++) {
                const [u, v] = from[orientation](x, y, storedWidth, storedHeight);
                const stored = [...samples.subarray((v * storedWidth + u) * channels, (v * storedWidth + u + 1) * channels)];
                assert.deepEqual([...data.subarray((y * width + x) * 4, (y * width + x) * 4 + channels)], stored, name);
                assert.deepEqual([...png.samples.subarray((y * width + x) * channels, (y * width + x + 1) * channels)], stored, name);
            }
        }
        turned++;
    }
    assert.ok(turned > 0);
});

/** Only a model with its analysis encodes, and that of the vectors is one. */
let whole;
test.before(async () => {
    whole = await load({ model: read("tiny.aem") });
});
const lossless = (pixels) => whole.encode(pixels, { lossless: true });

test("errors say whose fault they are", () => {
    const kind = (wanted) => (error) => error instanceof Error && error.name === "AeiError" && error.kind === wanted;
    assert.throws(() => aei.info(new Uint8Array(20)), kind("format"));
    const file = lossless({ width: 40, height: 30, data: new Uint8Array(40 * 30 * 4).fill(9) });
    assert.throws(() => aei.samples(file, { maxPixels: 1000 }), kind("limits"));
    assert.throws(() => aei.samples(file, { x: 30, width: 11 }), kind("parameter"));
    assert.throws(() => whole.encode({ width: 3, height: 3, data: new Uint8Array(7) }), /channels|samples/);
    assert.throws(() => whole.encode({ width: 4, height: 4, data: new Uint16Array(16) }), /have to be bytes/);
    assert.throws(() => whole.encode({ width: 1, height: 1, data: new Uint8Array(3) }, { quality: 101 }), kind("parameter"));
    assert.throws(() => whole.encode({ width: 1, height: 1, data: new Uint8Array(3) }, { quality: 256 + 60 }), kind("parameter"));
    assert.throws(() => whole.encode({ width: 1, height: 1, data: new Uint8Array(3) }, { effort: -1 }), kind("parameter"));
});

test("arguments that would become others on the way are refused", () => {
    const wrong = (name) => (error) => error.name === "AeiError" && error.kind === "parameter" && error.message.includes(name);
    const pixels = { width: 2, height: 1, data: new Uint8Array(6) }, file = lossless(pixels);
    for (const value of [NaN, Infinity, null, 2 ** 32 + 60, 60.5, "best", "", -1, true, {}]) {
        if (value !== null) assert.throws(() => whole.encode(pixels, { quality: value }), wrong("quality"), String(value));
        assert.throws(() => whole.encode(pixels, { effort: value }), wrong("effort"), String(value));
        assert.throws(() => aei.samples(file, { x: value }), wrong("x"), String(value));
        assert.throws(() => whole.encode({ ...pixels, width: value }), wrong("width"), String(value));
    }
    assert.deepEqual(whole.encode(pixels, { quality: "40", lossless: false }), whole.encode(pixels, { quality: 40, lossless: false }));
    for (const name of ["lossless", "preview", "keepInvisible"]) assert.throws(() => whole.encode(pixels, { [name]: "never" }), wrong(name));
    assert.throws(() => whole.encode(pixels, { tune: "nice" }), wrong("tune"));
    assert.throws(() => whole.encode(pixels, { quality: 3, maxBytes: 100 }), wrong("maxBytes"));
    for (const value of [NaN, -1, "many"]) assert.throws(() => aei.samples(file, { maxPixels: value }), wrong("maxPixels"));
    assert.equal(aei.samples(file, { maxPixels: Infinity }).length, 6);
    assert.throws(() => aei.samples(file, { x: 3 }), wrong("3,0,0,1"));
    for (const value of [null, undefined, "file", 5, [1, 2], new Blob([file])]) assert.throws(() => aei.info(value), wrong("a file has to be bytes"));
    const buffer = file.slice().buffer;
    for (const value of [buffer, new DataView(buffer), Buffer.from(file)]) assert.equal(aei.info(value).width, 2);
});

test("options and metadata go into files and come out", () => {
    const [width, height] = [64, 48];
    const data = Uint8Array.from({ length: width * height * 4 }, (_, i) => (i % 4 === 3 ? (i % 256 < 128 ? 255 : 0) : (i * i) >> 6));
    // One directory of one entry: orientation, SHORT, 1, value 6.
    const exif = Uint8Array.of(73, 73, 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0);
    const file = whole.encode({ width, height, data, exif, xmp: "<ä/>", icc: new ArrayBuffer(5) }, { tileSize: 256, lossless: false });
    const { icc, exif: back, xmp } = aei.metadata(file);
    assert.deepEqual([icc, new TextDecoder().decode(xmp), back.length, back[18]], [new Uint8Array(5), "<ä/>", exif.length, 1]);
    assert.deepEqual([aei.info(file).orientation, aei.info(file).tileSize], [6, 256]);
    assert.equal(aei.info(whole.encode({ width, height, data, exif, orientation: 3 }, {})).orientation, 3);
    assert.deepEqual(aei.metadata(lossless({ width, height, data })), {});
    assert.throws(() => whole.encode({ width, height, data, icc: new Uint8Array((64 << 20) + 1) }), (error) => error.kind === "parameter");
    assert.throws(() => whole.encode({ width, height, data, orientation: 9 }), /orientation 9/);
    assert.throws(() => whole.encode({ width, height, data }, { tileSize: 100 }), /tiles of 100/);
    const size = (options) => whole.encode({ width, height, data }, { lossless: false, ...options }).length;
    assert.ok(size({ keepInvisible: true }) > size({}));
    assert.notDeepEqual(whole.encode({ width, height, data }, { lossless: false, effort: 1 }), whole.encode({ width, height, data }, { lossless: false, effort: 1, tune: "visual" }));
    assert.ok(size({ maxBytes: size({}) - 50 }) <= size({}) - 50);
    assert.throws(() => size({ maxBytes: 10 }), (error) => error.kind === "parameter");
});

test("a wrong model is refused", async () => {
    await assert.rejects(load({ model: new Uint8Array(100) }), (error) => error.kind === "model");
    const { file } = tiled();
    assert.throws(() => aei.samples(file), (error) => error.kind === "unsupported");
});

/** A stand-in for the threads of a page: `answers` says what comes back to a job, or is undefined for nothing. */
function threads(t, answers) {
    const before = globalThis.Worker, seen = { started: 0, ended: 0, files: [] };
    globalThis.Worker = class {
        constructor() {
            if (seen.forbidden) throw new Error("no workers here");
            seen.started++;
        }
        postMessage({ job, file }) {
            if (job !== "load") seen.files.push(file[0]);
            const result = job === "load" ? null : answers(file);
            if (result !== undefined) setTimeout(() => this.onmessage({ data: { result } }));
        }
        terminate() {
            seen.ended++;
        }
    };
    t.after(() => (globalThis.Worker = before));
    return seen;
}

const { Pool } = await import(new URL("pool.js", folder));
const settled = (promise) => Promise.race([promise.then(() => "done", ({ message }) => message), new Promise((resolve) => setTimeout(resolve, 2000, "nothing"))]);

test("a pool that is closed leaves nobody waiting", async (t) => {
    const seen = threads(t, () => undefined);
    const pool = new Pool({ size: 2 }), starting = new Pool({ size: 1 });
    const jobs = [1, 2, 3].map((n) => pool.info(Uint8Array.of(n)));
    while (seen.files.length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    jobs.push(starting.info(Uint8Array.of(4)));
    pool.close();
    starting.close();
    assert.deepEqual(await Promise.all(jobs.map(settled)), Array(4).fill("the pool was closed"));
    assert.deepEqual([seen.started, seen.ended, seen.files], [3, 3, [1, 2]]);
    assert.equal(await settled(pool.info(Uint8Array.of(5))), "the pool was closed");
});

test("what no worker can be started for is not kept", async (t) => {
    const seen = threads(t, () => 0);
    const pool = new Pool({ size: 1 });
    seen.forbidden = true;
    assert.equal(await settled(pool.info(Uint8Array.of(1))), "no workers here");
    seen.forbidden = false;
    assert.equal(await settled(pool.info(Uint8Array.of(2))), "done");
    assert.deepEqual(seen.files, [2]);
});
