// Pictures in the calling thread. Decoding a megapixel takes seconds: pages use pool.js or images.js, which work in the background.

import init, { Decoder, Model, encode } from "./aei.js";

/** Reads a file that stands beside this module, or anywhere. Node's fetch knows no files. */
async function read(url) {
    if (url.protocol === "file:") {
        const { readFile } = await import("node:fs/promises");
        return new Uint8Array(await readFile(url));
    }
    const response = await fetch(url);
    if (!response.ok) throw new Error(`${url}: ${response.status} ${response.statusText}`);
    return new Uint8Array(await response.arrayBuffer());
}

/** What gzip packed, unpacked; anything else as it is. */
async function unpacked(bytes) {
    if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** What was given, an address as a URL: relative to the page, or to this module where there is none. By default the file `name` beside this module. */
function source(given, name) {
    if (given === undefined) return new URL(name, import.meta.url);
    if (given instanceof Uint8Array || given instanceof WebAssembly.Module) return given;
    return new URL(given, globalThis.document?.baseURI ?? globalThis.location?.href ?? import.meta.url);
}

/** The module, compiled. */
export async function fetchModule(from) {
    const given = source(from, "./aei_bg.wasm");
    if (given instanceof WebAssembly.Module) return given;
    return WebAssembly.compile(given instanceof URL ? await read(given) : given);
}

/** The bytes of the model file. */
export async function fetchModel(from) {
    const given = source(from, "./aei1.aem.gz");
    return unpacked(given instanceof URL ? await read(given) : given);
}

/** Loads the module and the model. */
export async function load({ wasm, model } = {}) {
    const [module, bytes] = await Promise.all([fetchModule(wasm), fetchModel(model)]);
    await init({ module_or_path: module });
    return new Aei(new Model(bytes));
}

class Aei {
    #model;

    constructor(model) {
        this.#model = model;
    }

    get modelId() {
        return this.#model.id;
    }

    info(file) {
        return this.#with(file, {}, describe);
    }

    decode(file, options = {}) {
        return this.#with(file, options, (decoder) => {
            const { width, height } = describe(decoder);
            const data = decoder.rgba(whole(decoder));
            return { width, height, data: new Uint8ClampedArray(data.buffer, data.byteOffset, data.byteLength) };
        });
    }

    samples(file, { x = 0, y = 0, width, height, ...options } = {}) {
        [x, y] = [integer(x, "x"), integer(y, "y")];
        return this.#with(file, options, (decoder) => {
            const [w, h] = [width ?? Math.max(decoder.width - x, 0), height ?? Math.max(decoder.height - y, 0)];
            return decoder.samples(x, y, integer(w, "width"), integer(h, "height"));
        });
    }

    toPng(file, { samples, ...options } = {}) {
        return this.#with(file, options, (decoder) => decoder.png(samples ?? whole(decoder)));
    }

    previewPng(file, options = {}) {
        return this.#with(file, options, (decoder) => decoder.preview());
    }

    metadata(file, options = {}) {
        return this.#with(file, options, (decoder) => decoder.metadata());
    }

    encode(pixels, options = {}) {
        const { data, icc, exif, xmp, orientation } = pixels;
        const { quality, maxBytes, effort = 0, tune = "psnr", lossless, preview = false, keepInvisible = false, tileSize = 1024 } = options;
        if (data?.BYTES_PER_ELEMENT !== 1) throw new TypeError("samples have to be bytes: a Uint8Array or a Uint8ClampedArray");
        const bytes = bytesOf(data, "samples"), width = integer(pixels.width, "width"), height = integer(pixels.height, "height");
        const channels = bytes.length / (width * height);
        if (![1, 2, 3, 4].includes(channels)) throw wrong(`${bytes.length} samples are not 1 to 4 for each of ${width}x${height} pixels`);
        if (!["psnr", "visual"].includes(tune)) throw wrong(`tune is ${tune}, not "psnr" or "visual"`);
        if (quality !== undefined && maxBytes !== undefined) throw wrong("give quality or maxBytes, not both");
        const number = (value, name) => (value === undefined || value === null ? undefined : integer(value, name));
        const block = (value, name) => (value === undefined || value === null ? undefined : bytesOf(value, name));
        // In the order of the module's arguments.
        return encode(bytes, width, height, channels, this.#model, number(quality, "quality") ?? 60, integer(effort, "effort"),
            lossless === undefined || lossless === null ? undefined : flag(lossless, "lossless"), flag(preview, "preview"), block(icc, "icc"), block(exif, "exif"),
            block(typeof xmp === "string" ? new TextEncoder().encode(xmp) : xmp, "xmp"), number(orientation, "orientation"), tune === "visual",
            flag(keepInvisible, "keepInvisible"), integer(tileSize, "tileSize"), number(maxBytes, "maxBytes"));
    }

    /** Calls `use` with a decoder, and gives its memory back. */
    #with(file, { maxPixels }, use) {
        const bytes = bytesOf(file, "a file");
        if (maxPixels !== undefined && maxPixels !== null && !(maxPixels >= 0)) throw wrong(`maxPixels cannot be ${maxPixels}`);
        const decoder = new Decoder(bytes, this.#model, maxPixels);
        let result;
        try {
            result = use(decoder);
        } catch (error) {
            // After a trap the decoder counts as in use: freeing it would hide what happened behind another error.
            if (!trapped(error)) decoder.free();
            throw error;
        }
        decoder.free();
        return result;
    }
}

/** What the module throws for a wrong argument. */
const wrong = (message) => Object.assign(new Error(message), { name: "AeiError", kind: "parameter" });

/** A number as the module takes it, perhaps from a form. Any other would become one of 32 bits on the way: NaN 0, and 2^32 too. */
function integer(value, name) {
    const number = typeof value === "string" && value.trim() ? Number(value) : value;
    if (Number.isInteger(number) && number >= 0 && number < 2 ** 32) return number;
    throw wrong(`${name} cannot be ${String(value)}`);
}

/** A boolean, and not "never", which would be true. */
function flag(value, name) {
    if (typeof value === "boolean") return value;
    throw wrong(`${name} is ${String(value)}, not true or false`);
}

/** The bytes of what holds some. A constructor would make a file of a list, and an empty one of much else. */
function bytesOf(given, name) {
    if (given instanceof Uint8Array) return given;
    if (ArrayBuffer.isView(given)) return new Uint8Array(given.buffer, given.byteOffset, given.byteLength);
    // Those of other windows too.
    if (/^\[object (Shared)?ArrayBuffer\]$/.test(Object.prototype.toString.call(given))) return new Uint8Array(given);
    throw wrong(`${name} has to be bytes: a Uint8Array or an ArrayBuffer`);
}

/** Whether the module's memory is in an unknown state. A stack that overflows is a RangeError. */
export const trapped = (error) => error instanceof WebAssembly.RuntimeError || error instanceof RangeError;

const whole = (decoder) => decoder.samples(0, 0, decoder.width, decoder.height);

/** Width and height as displayed, and what else a file says about itself. */
function describe(decoder) {
    const { width: storedWidth, height: storedHeight, channels, orientation, tileSize, qualityIndex, lossless, modelId } = decoder;
    const [width, height] = orientation > 4 ? [storedHeight, storedWidth] : [storedWidth, storedHeight];
    return { width, height, storedWidth, storedHeight, channels, orientation, tileSize, qualityIndex, lossless, modelId };
}
