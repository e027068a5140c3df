// A thread of a pool: does one thing at a time, as pool.js asks.

import { load, trapped } from "./index.js";

let aei;

const jobs = {
    load: async ({ wasm, model }) => {
        aei = await load({ wasm, model });
    },
    info: ({ file, options }) => aei.info(file, options),
    samples: ({ file, options }) => aei.samples(file, options),
    png: ({ file, options }) => aei.toPng(file, options),
};

self.onmessage = async ({ data: { job, ...input } }) => {
    try {
        const result = await jobs[job](input);
        self.postMessage({ result }, result instanceof Uint8Array ? [result.buffer] : []);
    } catch (error) {
        const { name, kind, message } = error;
        self.postMessage({ error: { name, kind, message }, broken: trapped(error) });
    }
};
