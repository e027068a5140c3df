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
        return this.#with(file, options, (decoder) => decoder.samples(x, y, width ?? decoder.width - x, height ?? decoder.height - y));
    }

    toPng(file, { samples, ...options } = {}) {
        return this.#with(file, options, (decoder) => decoder.png(samples ?? whole(decoder)));
    }

    previewPng(file, options = {}) {
        return this.#with(file, options, (decoder) => decoder.preview());
    }

    encode({ data, width, height, icc }, { quality = 60, effort = 0, lossless, preview = false } = {}) {
        if (data.BYTES_PER_ELEMENT !== 1) throw new TypeError("samples have to be bytes: a Uint8Array or a Uint8ClampedArray");
        const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
        const channels = bytes.length / (width * height);
        return encode(bytes, width, height, channels, this.#model, quality, effort, lossless, preview, icc);
    }

    /** Calls `use` with a decoder, and gives its memory back. */
    #with(file, { maxPixels }, use) {
        const bytes = file instanceof Uint8Array ? file : new Uint8Array(file);
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

/** Whether the module's memory is in an unknown state. A stack that overflows is a RangeError. */
export const trapped = (error) => error instanceof WebAssembly.RuntimeError || error instanceof RangeError;

const whole = (decoder) => decoder.samples(0, 0, decoder.width, decoder.height);

/** Width and height as displayed, and what else a file says about itself. */
function describe(decoder) {
    const { width: storedWidth, height: storedHeight, channels, orientation, tileSize, qualityIndex, lossless, modelId } = decoder;
    const [width, height] = orientation > 4 ? [storedHeight, storedWidth] : [storedWidth, storedHeight];
    return { width, height, storedWidth, storedHeight, channels, orientation, tileSize, qualityIndex, lossless, modelId };
}
