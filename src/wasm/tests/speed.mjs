// How fast and with how much memory a file is decoded in Node: node src/wasm/tests/speed.mjs FILE.aei (AEI_WASM names the folder that build.sh made).

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const folder = pathToFileURL(`${process.env.AEI_WASM ?? "target/wasm"}/`);
const { default: init } = await import(new URL("aei.js", folder));
const { load } = await import(new URL("index.js", folder));
const file = new Uint8Array(readFileSync(process.argv[2]));

const aei = await load();
const { memory } = await init();
const megabytes = () => `${Math.round(memory.buffer.byteLength / 1e6)} MB`;
console.log(`model: ${megabytes()}`);
const { storedWidth, storedHeight } = aei.info(file);
for (let run = 0; run < 4; run++) {
    const start = performance.now();
    aei.samples(file);
    const seconds = (performance.now() - start) / 1000;
    console.log(`${storedWidth}x${storedHeight}: ${seconds.toFixed(2)} s, ${((storedWidth * storedHeight) / 1e6 / seconds).toFixed(2)} MP/s, ${megabytes()}`);
}
