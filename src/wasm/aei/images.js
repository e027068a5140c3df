// `<script type="module" src="aei/images.js"></script>` makes `<img data-aei="photo.aei">` and `<img src="photo.aei">` work in a page, now and later.

import { Pool } from "./pool.js";

/** The address of the picture that a page wants in an image, if it is one of ours. */
function wanted(img) {
    const src = img.getAttribute("src") ?? "";
    return img.dataset.aei ?? (/\.aei(?:[?#]|$)/i.test(src) ? src : undefined);
}

/** Addresses and pictures of images: of all of the page, as several may watch the same one. */
const shown = new WeakMap();
// An image that is taken out of the page may come back: its picture is kept for as long as somebody knows it.
const forgotten = new FinalizationRegistry((url) => URL.revokeObjectURL(url));

/** Shows the `.aei` pictures in `root`, and those that come to be there. Returns a function that ends this. */
export function watch(root = document, given) {
    const pool = given ?? new Pool();
    let ended = false;

    async function show(img) {
        const address = wanted(img), current = shown.get(img);
        if (current && (address === current.address || (!address && img.getAttribute("src") === current.url))) {
            // A page that gives an image its address anew means the same picture.
            if (current.url && img.getAttribute("src") !== current.url) img.src = current.url;
            return;
        }
        if (current?.url) URL.revokeObjectURL(current.url);
        shown.delete(img);
        if (!address) return;
        const entry = { address };
        shown.set(img, entry);
        try {
            const response = await fetch(new URL(address, img.baseURI));
            if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
            const png = await pool.toPng(new Uint8Array(await response.arrayBuffer()));
            if (ended) throw new Error("nobody watches any more");
            // Another picture may be wanted by now.
            if (shown.get(img) !== entry) return;
            entry.url = URL.createObjectURL(new Blob([png], { type: "image/png" }));
            forgotten.register(img, entry.url);
            img.src = entry.url;
        } catch (error) {
            if (shown.get(img) === entry) shown.delete(img);
            if (ended) return;
            console.warn(`${address}: ${error.message}`);
            img.dispatchEvent(new CustomEvent("aeierror", { detail: error, bubbles: true }));
        }
    }

    // What is loaded lazily waits until it is near.
    const near = new IntersectionObserver(
        (entries) => {
            for (const { isIntersecting, target } of entries) {
                if (!isIntersecting) continue;
                near.unobserve(target);
                show(target);
            }
        },
        { rootMargin: "50%" },
    );
    const consider = (img) => (img.loading === "lazy" ? near.observe(img) : show(img));
    const images = (node) => [...(node.matches?.("img") ? [node] : []), ...(node.querySelectorAll?.("img") ?? [])];

    const changes = new MutationObserver((records) => {
        for (const { type, target, addedNodes } of records) {
            if (type === "attributes") consider(target);
            for (const node of addedNodes) images(node).forEach(consider);
        }
    });
    changes.observe(root, { childList: true, subtree: true, attributes: true, attributeFilter: ["src", "data-aei"] });
    images(root).forEach(consider);
    return () => {
        ended = true;
        changes.disconnect();
        near.disconnect();
        if (!given) pool.close();
    };
}

watch();
