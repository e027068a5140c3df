import type { DecodeOptions, Info, LoadOptions } from "./index.js";

/** Decodes in the background, in workers that are started as they are needed. Each has the model in memory: some 30 MB. */
export class Pool {
    /** `size`: most workers at a time. Default: one per processor, at most 8. */
    constructor(options?: LoadOptions & DecodeOptions & { size?: number });
    info(file: Uint8Array): Promise<Info>;
    /** A PNG file: upright, with colour profile and metadata. A picture of several tiles is decoded by several workers. */
    toPng(file: Uint8Array): Promise<Uint8Array>;
    /** Ends the workers. What is not finished is rejected. */
    close(): void;
}
