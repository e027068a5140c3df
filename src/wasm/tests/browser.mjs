// The folder that build.sh made, in Chromium: node src/wasm/tests/browser.mjs (AEI_WASM names the folder, CHROMIUM the program).
// With AEI_PHOTO=FILE.aei it tells instead how long after it was opened a page shows that file.
// Exit status: 0 passed, 1 failed, 77 there is no Chromium.

import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";
import { pathToFileURL } from "node:url";

const folder = process.env.AEI_WASM ?? "target/wasm";
const chromium = process.env.CHROMIUM ?? "chromium";
if (spawnSync(chromium, ["--version"]).error) {
    console.error(`skipped: there is no ${chromium}`);
    process.exit(77);
}

// Pictures of one tile and of six, lossless, so that the decoder-only model does.
const { load } = await import(new URL("index.js", pathToFileURL(`${folder}/`)));
const whole = await load({ model: new Uint8Array(readFileSync(new URL("../../../format-spec/vectors/tiny.aem", import.meta.url))) });
const picture = (width, height, shift) => {
    const data = new Uint8Array(width * height * 3).map((_, i) => ((i % 3) * 60 + ((i / 3 / width) | 0) + (((i / 3) | 0) % width)) >> shift);
    return { data, width, height, file: whole.encode({ data, width, height }, { lossless: true }) };
};
const pictures = { "small.aei": picture(60, 40, 0), "large.aei": picture(2100, 1500, 4) };
const photo = process.env.AEI_PHOTO && new Uint8Array(readFileSync(process.env.AEI_PHOTO));

const photoPage = `<!doctype html><title>waiting</title><script type="module" src="aei/images.js"></script>
<img src="photo.aei" alt="photo"><script type="module">
const img = document.querySelector("img");
new MutationObserver(async () => {
    await img.decode();
    await fetch("result", { method: "POST", body: JSON.stringify({ width: img.naturalWidth, height: img.naturalHeight, ms: Math.round(performance.now()) }) });
}).observe(img, { attributes: true });
</script>`;
const testPage = `<!doctype html><meta charset="utf-8"><title>waiting</title>
<style>body { font: 16px sans-serif } img { max-width: 600px }</style>
<script type="module">
import { watch } from "./aei/images.js";
let workers = 0;
globalThis.Worker = class extends Worker {
    constructor(...given) {
        super(...given);
        workers++;
    }
    terminate() {
        super.terminate();
        workers--;
    }
};
const checked = async (img, name) => {
    await img.decode();
    const canvas = new OffscreenCanvas(img.naturalWidth, img.naturalHeight);
    const context = canvas.getContext("2d");
    context.drawImage(img, 0, 0);
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    const digest = await crypto.subtle.digest("SHA-256", data);
    return [name, canvas.width, canvas.height, Array.from(new Uint8Array(digest), (b) => b.toString(16).padStart(2, "0")).join("")];
};
const shown = (img) => new Promise((resolve, reject) => {
    if (img.src.startsWith("blob:")) return resolve();
    img.addEventListener("aeierror", ({ detail }) => reject(detail), { once: true });
    new MutationObserver(() => img.src.startsWith("blob:") && resolve()).observe(img, { attributes: true });
});
try {
    const results = [];
    for (const id of ["small", "large"]) {
        const img = document.getElementById(id);
        await shown(img);
        results.push(await checked(img, id + ".aei"));
    }
    // One that is added later, and one that changes.
    const later = document.createElement("img");
    later.src = "large.aei";
    document.body.append(later);
    await shown(later);
    results.push(await checked(later, "large.aei"));
    const changed = (img, change) => {
        const before = img.src;
        change(img);
        return new Promise((resolve) => new MutationObserver(() => img.src.startsWith("blob:") && img.src !== before && resolve()).observe(img, { attributes: true }));
    };
    await changed(later, (img) => (img.src = "small.aei"));
    results.push(await checked(later, "small.aei"));
    const small = document.getElementById("small");
    await changed(small, (img) => (img.dataset.aei = "large.aei"));
    results.push(await checked(small, "large.aei"));
    // One that goes and comes back.
    later.remove();
    await new Promise((resolve) => setTimeout(resolve, 50));
    document.body.append(later);
    await new Promise((resolve) => setTimeout(resolve, 50));
    results.push(await checked(later, "small.aei"));
    // A part of the page that is watched twice, for a while.
    const part = document.createElement("p"), twice = document.createElement("img");
    twice.dataset.aei = "small.aei";
    part.append(twice);
    document.body.append(part);
    await shown(twice);
    let changes = 0;
    new MutationObserver((records) => (changes += records.length)).observe(twice, { attributes: true });
    const already = workers, end = watch(part);
    await new Promise((resolve) => setTimeout(resolve, 500));
    results.push(["watched twice", changes, workers - already]);
    // Elsewhere, where nobody else watches: the end of it is that of its workers, and what is under way is not shown.
    const apart = document.createElement("div").attachShadow({ mode: "open" }), alone = document.createElement("img"), late = document.createElement("img");
    alone.dataset.aei = "small.aei";
    apart.append(alone);
    const endApart = watch(apart);
    await shown(alone);
    late.dataset.aei = "large.aei";
    apart.append(late);
    await new Promise((resolve) => setTimeout(resolve));
    end();
    endApart();
    await new Promise((resolve) => setTimeout(resolve, 500));
    results.push(["watched apart", workers - already, late.src]);
    const bad = document.createElement("img");
    bad.dataset.aei = "bad.aei";
    document.body.append(bad);
    const error = await shown(bad).then(() => undefined, (error) => error);
    results.push(["bad.aei", error?.name, error?.kind]);
    await fetch("result", { method: "POST", body: JSON.stringify(results) });
} catch (error) {
    await fetch("result", { method: "POST", body: JSON.stringify({ error: String(error) }) });
}
</script>
<body><p>small <img id="small" data-aei="small.aei" alt="small"> large <img id="large" src="large.aei" alt="large"></p></body>`;

const types = { ".js": "text/javascript", ".wasm": "application/wasm", ".gz": "application/gzip" };
let report;
const reported = new Promise((resolve) => (report = resolve));
const server = createServer((request, response) => {
    const name = new URL(request.url, "http://localhost").pathname.slice(1);
    const send = (body, type) => response.writeHead(200, { "content-type": type, "content-security-policy": csp }).end(body);
    if (name === "") return send(photo ? photoPage : testPage, "text/html");
    if (name === "result") {
        let body = "";
        request.on("data", (piece) => (body += piece)).on("end", () => (send("", "text/plain"), report(JSON.parse(body))));
        return;
    }
    if (name in pictures) return send(pictures[name].file, "image/x-aei");
    if (name === "bad.aei") return send(pictures["small.aei"].file.slice(0, -20), "image/x-aei");
    if (name === "photo.aei" && photo) return send(photo, "image/x-aei");
    try {
        send(readFileSync(join(folder, name.replace(/^aei\//, "").replaceAll("..", ""))), types[extname(name)] ?? "application/octet-stream");
    } catch {
        response.writeHead(404).end();
    }
});
// What README.md tells pages with such a policy to allow (and the script of this page).
const csp = "default-src 'self'; script-src 'self' 'unsafe-inline' 'wasm-unsafe-eval'; style-src 'unsafe-inline'; img-src 'self' blob:; worker-src 'self'";
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));

const profile = mkdtempSync(join(tmpdir(), "aei-chromium-"));
const quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const address = `http://127.0.0.1:${server.address().port}/`;
const browser = spawn(chromium, ["--headless", ...quiet, "--remote-debugging-port=0", `--user-data-dir=${profile}`, address], { stdio: "ignore" });
const late = setTimeout(() => report({ error: "nothing came back within 120 s" }), 120_000);
const results = await reported;
clearTimeout(late);

const rgba = ({ data }) => {
    const out = new Uint8Array((data.length / 3) * 4).fill(255);
    for (let i = 0; i < data.length / 3; i++) out.set(data.subarray(i * 3, i * 3 + 3), i * 4);
    return out;
};
const { createHash } = await import("node:crypto");
const line = (name) => [name, pictures[name].width, pictures[name].height, createHash("sha256").update(rgba(pictures[name])).digest("hex")];
const expected = [...["small.aei", "large.aei", "large.aei", "small.aei", "large.aei", "small.aei"].map(line), ["watched twice", 0, 0], ["watched apart", 0, ""], ["bad.aei", "AeiError", "format"]];
if (photo) console.log(JSON.stringify(results));
const passed = photo ? !results.error : JSON.stringify(results) === JSON.stringify(expected);
if (!photo || !passed) console.log(passed ? "passed" : `failed: ${JSON.stringify(results, null, 1)}\nexpected: ${JSON.stringify(expected, null, 1)}`);
browser.kill();
await new Promise((resolve) => browser.on("exit", resolve));
server.close();
// Its children may still be writing.
for (let attempt = 0; attempt < 20; attempt++) {
    try {
        rmSync(profile, { recursive: true, force: true });
        break;
    } catch {
        await new Promise((resolve) => setTimeout(resolve, 100));
    }
}
process.exit(passed ? 0 : 1);
