// Decoding in the background, by several threads: pictures side by side, and the parts of a large one.

import { fetchModel, fetchModule } from "./index.js";

/**
 * Parts of a picture that are decoded apart, at most `most`: bands of whole tiles across the shorter side. A part costs the entropy decoding of the tiles
 * that touch it, so few large ones are cheaper than tiles.
 */
function bands({ storedWidth: width, storedHeight: height, tileSize }, most) {
    const tall = height >= width;
    const tiles = Math.ceil((tall ? height : width) / tileSize);
    const count = Math.min(tiles, most);
    const cut = (i) => Math.min(Math.round((i * tiles) / count) * tileSize, tall ? height : width);
    return Array.from({ length: count }, (_, i) => {
        const [from, to] = [cut(i), cut(i + 1)];
        return tall ? { x: 0, y: from, width, height: to - from } : { x: from, y: 0, width: to - from, height };
    });
}

export class Pool {
    #size;
    #options;
    #sources;
    #idle = [];
    #all = new Set();
    #queue = [];
    /** Jobs that a worker has, or is being started for. */
    #given = new Set();
    #closed = false;

    constructor({ size = Math.min(navigator.hardwareConcurrency || 2, 8), wasm, model, maxPixels } = {}) {
        this.#size = Math.max(1, size);
        this.#options = { maxPixels };
        this.#sources = { wasm, model };
    }

    async info(file) {
        return this.#ask(0, "info", file);
    }

    async toPng(file) {
        const info = await this.info(file);
        const { storedWidth, storedHeight, channels } = info;
        // One worker is left to other pictures.
        const parts = bands(info, this.#size > 2 ? this.#size - 1 : this.#size);
        if (parts.length === 1) return this.#ask(storedWidth * storedHeight, "png", file);
        const { maxPixels } = this.#options;
        let samples;
        await Promise.all(
            parts.map(async ({ x, y, width, height }) => {
                const part = await this.#ask(width * height, "samples", file, { x, y, width, height, maxPixels });
                // Only now: until something has been decoded, the size is the file's word alone.
                samples ??= new Uint8Array(storedWidth * storedHeight * channels);
                const length = width * channels;
                for (let row = 0; row < height; row++) {
                    samples.set(part.subarray(row * length, (row + 1) * length), ((y + row) * storedWidth + x) * channels);
                }
            }),
        );
        return this.#ask(0, "png", file, { samples, maxPixels });
    }

    close() {
        this.#closed = true;
        for (const worker of this.#all) worker.terminate();
        this.#all.clear();
        // A worker that has ended answers nobody.
        for (const { reject } of [...this.#given, ...this.#queue.splice(0)]) reject(new Error("the pool was closed"));
        this.#given.clear();
    }

    /** Has a job done, before those that cost more. */
    #ask(cost, job, file, options) {
        if (this.#closed) return Promise.reject(new Error("the pool was closed"));
        return new Promise((resolve, reject) => {
            const before = this.#queue.findIndex((other) => other.cost > cost);
            const entry = { cost, input: { job, file, options: { ...this.#options, ...options } }, resolve, reject };
            this.#queue.splice(before < 0 ? this.#queue.length : before, 0, entry);
            this.#next();
        });
    }

    #next() {
        while (this.#queue.length > 0) {
            const worker = this.#idle.pop();
            if (worker) this.#give(worker, this.#queue.shift());
            else if (this.#all.size < this.#size) this.#start();
            else return;
        }
    }

    /** Everything is fetched once; each thread has a copy of the model. */
    #fetched() {
        const { wasm, model } = this.#sources;
        this.#sources.both ??= Promise.all([fetchModule(wasm), fetchModel(model)]);
        return this.#sources.both;
    }

    #start() {
        const entry = this.#queue.shift();
        let worker;
        try {
            worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
        } catch (error) {
            // The page may not start any, as where the folder comes from elsewhere.
            return entry.reject(error);
        }
        this.#all.add(worker);
        this.#give(worker, entry, this.#fetched());
    }

    async #give(worker, entry, fetched) {
        const { input, resolve, reject } = entry;
        this.#given.add(entry);
        const drop = (error) => {
            worker.terminate();
            this.#all.delete(worker);
            this.#given.delete(entry);
            reject(error);
            if (!this.#closed) this.#next();
        };
        try {
            if (fetched) {
                const [wasm, model] = await fetched;
                if (this.#closed) return;
                await answer(worker, { job: "load", wasm, model });
            }
        } catch (error) {
            // What could not be fetched may be there the next time.
            this.#sources.both = undefined;
            return drop(error);
        }
        try {
            resolve(await answer(worker, input));
        } catch (error) {
            if (error.broken) return drop(error);
            reject(error);
        }
        this.#given.delete(entry);
        this.#idle.push(worker);
        this.#next();
    }
}

/** Sends a message to a thread and waits for what comes back. */
function answer(worker, message) {
    return new Promise((resolve, reject) => {
        worker.onmessage = ({ data: { result, error, broken } }) => {
            if (error) reject(Object.assign(new Error(error.message), { name: error.name, kind: error.kind, broken }));
            else resolve(result);
        };
        worker.onerror = ({ message }) => reject(Object.assign(new Error(message ?? "the worker could not be started"), { broken: true }));
        worker.postMessage(message);
    });
}
