/** Where the module or the model comes from: an address (relative to the page), its bytes, or what is compiled. Default: the files beside index.js. */
export type Source = string | URL | Uint8Array;

export interface LoadOptions {
    wasm?: Source | WebAssembly.Module;
    /** A model file, as it is or packed by gzip. */
    model?: Source;
}

/** Thrown for files that cannot be decoded and for wrong arguments. */
export interface AeiError extends Error {
    name: "AeiError";
    /** Whose fault it is: the file's (format, unsupported), the caller's (parameter), that of a bound (limits) or of the model (model). */
    kind: "io" | "format" | "parameter" | "limits" | "unsupported" | "model" | "other";
}

export interface Info {
    /** In pixels, as displayed. */
    width: number;
    height: number;
    /** In pixels, as stored. */
    storedWidth: number;
    storedHeight: number;
    /** Samples per pixel: 1 gray, 2 gray and alpha, 3 RGB, 4 RGBA. */
    channels: 1 | 2 | 3 | 4;
    /** How the stored picture is turned for display: 1 to 8, as in EXIF. */
    orientation: number;
    /** Side of the tiles in pixels. */
    tileSize: number;
    /** 0 to 63. */
    qualityIndex: number;
    lossless: boolean;
    /** Id of the model that the file was made with: 16 hexadecimal digits. */
    modelId: string;
}

export interface DecodeOptions {
    /** Larger pictures are refused. Default: 2^28. */
    maxPixels?: number;
}

/** Samples for display: upright, RGBA with straight alpha, in the picture's own colours. `new ImageData(data, width, height)` takes them. */
export interface Pixels {
    width: number;
    height: number;
    data: Uint8ClampedArray;
}

/** What to encode: 8 bits a sample, 1 to 4 samples a pixel (as many as `data` has room for). An ImageData is one. */
export interface PixelSource {
    width: number;
    height: number;
    data: Uint8Array | Uint8ClampedArray;
    /** A colour profile to store. */
    icc?: Uint8Array | ArrayBuffer;
    /** An EXIF block to store, from its TIFF header on. */
    exif?: Uint8Array | ArrayBuffer;
    /** An XMP packet to store. */
    xmp?: Uint8Array | ArrayBuffer | string;
    /** How the picture is to be turned for display: 1 to 8, as in EXIF. Default: what `exif` says. */
    orientation?: number;
}

/** The blocks of metadata that a file has. */
export interface Metadata {
    /** Colour profile. Without one, colours are sRGB. */
    icc?: Uint8Array;
    /** From its TIFF header on; its orientation is 1. */
    exif?: Uint8Array;
    xmp?: Uint8Array;
}

export interface EncodeOptions {
    /** 0 (smallest file) to 100 (closest to the original). Default: 60. */
    quality?: number;
    /** In place of a quality: the best file of at most so many bytes, which takes several times as long. */
    maxBytes?: number;
    /** 0 to 5: more time for a smaller file. Default: 0. */
    effort?: number;
    /** What an effort above 0 is for: the PSNR, or the look. Default: "psnr". */
    tune?: "psnr" | "visual";
    /** Whether samples are stored as they are. Default: where that is worth it. */
    lossless?: boolean;
    /** Whether to store a preview of about 1 KB. Default: false. */
    preview?: boolean;
    /** Whether transparent pixels keep their colours as well as the quality keeps any. Default: false. */
    keepInvisible?: boolean;
    /** Side of the tiles in pixels, a power of two from 256 to 4096. Default: 1024. */
    tileSize?: number;
}

/** The codec with its model. Everything is done in the calling thread. */
export interface Aei {
    readonly modelId: string;
    info(file: Uint8Array | ArrayBuffer): Info;
    decode(file: Uint8Array | ArrayBuffer, options?: DecodeOptions): Pixels;
    /** Samples as stored, of the whole or of a part. A part has exactly the samples of the whole. */
    samples(file: Uint8Array | ArrayBuffer, options?: DecodeOptions & { x?: number; y?: number; width?: number; height?: number }): Uint8Array;
    /** A PNG file: upright, with colour profile and metadata. `samples`: the whole picture's, where they have been decoded already. */
    toPng(file: Uint8Array | ArrayBuffer, options?: DecodeOptions & { samples?: Uint8Array }): Uint8Array;
    /** The preview as a PNG file, if there is one. */
    previewPng(file: Uint8Array | ArrayBuffer, options?: DecodeOptions): Uint8Array | undefined;
    metadata(file: Uint8Array | ArrayBuffer, options?: DecodeOptions): Metadata;
    /** Makes a file. Needs a whole model: that of build.sh can only decode unless it was told otherwise. */
    encode(pixels: PixelSource, options?: EncodeOptions): Uint8Array;
}

export function load(options?: LoadOptions): Promise<Aei>;
export function fetchModule(from?: Source | WebAssembly.Module): Promise<WebAssembly.Module>;
export function fetchModel(from?: Source): Promise<Uint8Array>;
