/*
 * libaei: learned image compression that decodes to the same bits on every machine.
 *
 * This file is made by cbindgen from src/capi; changes belong there. src/capi/README.md tells how to link, and what may change between versions.
 *
 * Every structure starts with its size: set it to sizeof the structure, or where there is an init function, call that: in options of encoding,
 * zeros are not the defaults. Functions return AEI_STATUS_OK or say why not in
 * an AeiError, which may be null. Any function may be called from any thread.
 */

#ifndef AEI_H
#define AEI_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

// Bytes of a message, with the zero at its end.
#define AEI_MESSAGE_SIZE 256

// How a call went. More values may be added.
typedef enum AeiStatus {
  // All went well.
  AEI_STATUS_OK = 0,
  // A mistake in aei.
  AEI_STATUS_INTERNAL = 1,
  // An argument makes no sense: a mistake in the calling program.
  AEI_STATUS_PARAMETER = 2,
  // Reading or writing failed.
  AEI_STATUS_IO = 3,
  // The file is damaged, truncated or of another kind.
  AEI_STATUS_FORMAT = 4,
  // The picture is beyond the limits, or memory has run out.
  AEI_STATUS_LIMITS = 5,
  // The file needs something that this version cannot do.
  AEI_STATUS_UNSUPPORTED = 6,
  // The model is damaged, or not the one that the file was made with.
  AEI_STATUS_MODEL = 7,
  // A callback asked to stop.
  AEI_STATUS_CANCELLED = 8,
} AeiStatus;

// Kinds of metadata.
typedef enum AeiMetadata {
  // Colour profile.
  AEI_METADATA_ICC = 1,
  // EXIF block, from its TIFF header on; its orientation tag is 1.
  AEI_METADATA_EXIF = 2,
  // XMP packet.
  AEI_METADATA_XMP = 3,
} AeiMetadata;

// A file that has been read and checked. Several threads may use one at a time; it is freed with `aei_decoder_free`.
typedef struct AeiDecoder AeiDecoder;

// Called now and then from any thread, with the rows of pixels done and their total. Anything but 0 stops the work with `AEI_STATUS_CANCELLED`.
// It has to return: exceptions and `longjmp` must not leave it.
typedef int32_t (*AeiProgress)(void *user_data, uint64_t done, uint64_t total);

// Options of a decoder; `aei_decode_options_init` fills in the defaults.
typedef struct AeiDecodeOptions {
  // sizeof(AeiDecodeOptions), set by the caller.
  size_t size;
  // Largest number of pixels of the picture, even where a region of it is decoded; 0 stands for 2^28.
  uint64_t max_pixels;
  // Largest number of bytes for samples, latents and features; 0 stands for 2^31.
  uint64_t max_memory;
  // Largest size of the file in bytes; 0 stands for 2^30.
  uint64_t max_file_bytes;
  // Number of threads; 0 stands for one per processor, shared by all calls.
  uint32_t threads;
  // Bits per decoded sample: 8 or 16; 0 leaves it to the `depth` of each `AeiImage`, so that it may be chosen once `AeiInfo` is known: of a lossless file
  // with a `source_depth` above 8, 16 bits keep all, for others 8 are what there is to see.
  uint32_t depth;
  // Told about the progress; may be null.
  AeiProgress progress;
  // Handed to `progress`.
  void *user_data;
  // 1 to decode what is left of a damaged file: tiles that are damaged or missing are then filled from what is around them (with gray in a lossless picture) and are
  // no error, and neither are damaged metadata, a damaged tile index and a missing end. `aei_decoder_damage` tells what is lost. Without the file's header nothing
  // can be done.
  uint32_t salvage;
  // 0; for later versions.
  uint32_t reserved;
} AeiDecodeOptions;

// What went wrong, in memory of the caller.
typedef struct AeiError {
  // sizeof(AeiError), set by the caller.
  size_t size;
  // The same as the function returned.
  enum AeiStatus status;
  // One line of UTF-8 that ends in a zero byte; empty if all went well.
  char message[AEI_MESSAGE_SIZE];
} AeiError;

// What a file says about itself.
typedef struct AeiInfo {
  // sizeof(AeiInfo), set by the caller.
  size_t size;
  // Version of the format.
  uint32_t version;
  // Width in pixels of the coded picture, before its orientation is applied.
  uint32_t width;
  // Height in pixels, likewise.
  uint32_t height;
  // Samples per pixel: 1 gray, 2 gray and alpha, 3 RGB, 4 RGBA.
  uint32_t channels;
  // Bits per sample that the source had, 1 to 16.
  uint32_t source_depth;
  // 1 to 8, as EXIF tag 0x0112: how the decoded picture is to be turned for display.
  uint32_t orientation;
  // Side of a full tile in pixels.
  uint32_t tile_size;
  // Number of tiles.
  uint32_t tiles;
  // Quality index, 0 to 63.
  uint32_t quality_index;
  // 1 if the file was made with the model that is built into this library, and can be decoded; 0 otherwise.
  uint32_t model_built_in;
  // Size of the file in bytes.
  uint64_t file_bytes;
  // Bytes of the colour profile (ICC); 0 if there is none.
  uint64_t icc_bytes;
  // Bytes of the EXIF block; 0 if there is none.
  uint64_t exif_bytes;
  // Bytes of the XMP packet; 0 if there is none.
  uint64_t xmp_bytes;
  // 1 if there is a preview, 0 otherwise.
  uint32_t has_preview;
  // 1 if the samples are stored as they are, 0 otherwise. A lossless file needs no model; `model_built_in` is 1.
  uint32_t lossless;
} AeiInfo;

// Samples in memory of the caller. A row's samples stand together, pixel by pixel; alpha is straight, never premultiplied.
typedef struct AeiImage {
  // sizeof(AeiImage), set by the caller.
  size_t size;
  // First sample of the first row; for 16 bits aligned to 2 bytes, in the machine's byte order. Only read from when encoding.
  void *samples;
  // Bytes from a row to the next; 0 stands for rows without gaps.
  size_t stride;
  // Pixels in a row.
  uint32_t width;
  // Number of rows.
  uint32_t height;
  // Samples per pixel: 1 gray, 2 gray and alpha, 3 RGB, 4 RGBA. Must be the file's own when decoding.
  uint32_t channels;
  // Bits per sample: 8 or 16; 0 stands for 8. When decoding, those of the decoder's options, if they state any.
  uint32_t depth;
} AeiImage;

// Options of encoding; `aei_encode_options_init` fills in the defaults.
typedef struct AeiEncodeOptions {
  // sizeof(AeiEncodeOptions), set by the caller.
  size_t size;
  // Quality index: 0 (smallest file) to 63 (closest to the original).
  uint32_t quality_index;
  // Side of the tiles in pixels, a power of two from 256 to 4096; 0 stands for 1024.
  uint32_t tile_size;
  // 1 to 8, as EXIF tag 0x0112: how the picture is to be turned for display; 0 stands for what the EXIF block says.
  uint32_t orientation;
  // Bits per sample that the source had, 1 to 16, for information; 0 stands for those of the samples.
  uint32_t source_depth;
  // Number of threads; 0 stands for one per processor, shared by all calls.
  uint32_t threads;
  // 1 to store a preview of about 1 KB.
  uint32_t preview;
  // Colour profile (ICC) to store, or null.
  const uint8_t *icc;
  // Its length in bytes.
  size_t icc_length;
  // EXIF block to store, from its TIFF header on, or null.
  const uint8_t *exif;
  // Its length in bytes.
  size_t exif_length;
  // XMP packet to store, or null.
  const uint8_t *xmp;
  // Its length in bytes.
  size_t xmp_length;
  // Told about the progress; may be null.
  AeiProgress progress;
  // Handed to `progress`.
  void *user_data;
  // When to store samples as they are: 0 where it is worth it, as for screenshots and icons; 1 always; 2 never.
  uint32_t lossless;
  // How much work goes into a small file: 0 (least) to 5. Decoding is the same for all.
  uint32_t effort;
  // What an effort above 0 is for: 0 the PSNR, 1 the look.
  uint32_t tune;
  // 1 to keep the colours of transparent pixels as well as the quality keeps any, for programs that use colours without alpha.
  uint32_t keep_invisible;
  // If not 0, the file becomes the best one of at most so many bytes, whatever `quality_index` is. This takes several times as long. Where no file is as small, the status
  // is `AEI_STATUS_PARAMETER`.
  uint64_t max_bytes;
  // Largest number of bytes that encoding may take besides the samples, by an estimate; 0 stands for no bound.
  uint64_t max_memory;
  // As `max_bytes`, in bits for each pixel of the picture. Of `max_bytes`, this, `psnr` and `ssimulacra2` one at most may be other than 0.
  double bits_per_pixel;
  // If not 0, the file becomes the smallest one whose decoded picture has a PSNR, over red, green and blue, of at least so many decibels, whatever `quality_index` is. This
  // takes several times as long. Where no file reaches it, which may be if `lossless` is 2, the status is `AEI_STATUS_PARAMETER`.
  double psnr;
  // The same with SSIMULACRA2, whose best score is 100: 90 is a difference that is not visible, 70 high quality, 50 medium quality. Takes 150 bytes of memory a pixel.
  double ssimulacra2;
} AeiEncodeOptions;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Version of the library, such as "0.1.0". Static memory: not to be freed.
const char *aei_version(void);

// Frees bytes that the library has allocated. A null pointer is ignored.
//
// # Safety
// `bytes` is null or what `aei_encode` or `aei_decoder_damage` stored, with the same `length`, and was not freed before.
void aei_free(uint8_t *bytes, size_t length);

// Fills in the default options. `size` is sizeof(AeiDecodeOptions) as the caller knows it.
//
// # Safety
// `options` points to `size` writable bytes.
enum AeiStatus aei_decode_options_init(struct AeiDecodeOptions *options, size_t size);

// Reads a file from memory and checks everything but its pixels. The bytes are copied. On failure `*decoder` is null.
//
// Limits of pixels and memory are for what is decoded, and checked then: look at the size in `aei_decoder_info` before you allocate memory for a picture.
//
// `options` may be null for the defaults, `error` may be null.
//
// # Safety
// Pointers are null or valid; structures have their `size` set; `file` points to `length` bytes.
enum AeiStatus aei_decoder_new(const uint8_t *file,
                               size_t length,
                               const struct AeiDecodeOptions *options,
                               struct AeiDecoder **decoder,
                               struct AeiError *error);

// Frees a decoder. A null pointer is ignored.
//
// # Safety
// `decoder` is null or from `aei_decoder_new`, was not freed before, and no other thread uses it.
void aei_decoder_free(struct AeiDecoder *decoder);

// Tells what the file says about itself.
//
// # Safety
// Pointers are null or valid; structures have their `size` set.
enum AeiStatus aei_decoder_info(const struct AeiDecoder *decoder, struct AeiInfo *info, struct AeiError *error);

// Decodes the picture, as stored: before its orientation is applied. `image` states where to, and must be of the file's size and channels.
//
// # Safety
// Pointers are null or valid; structures have their `size` set; `image->samples` has room for `height` rows.
enum AeiStatus aei_decoder_decode(const struct AeiDecoder *decoder, const struct AeiImage *image, struct AeiError *error);

// Decodes a part of the picture: the rectangle at (`x`, `y`), from the top left of the picture as stored, of the size that `image` has. The samples equal
// those of the whole; only the tiles that are needed are decoded.
//
// # Safety
// As `aei_decoder_decode`.
enum AeiStatus aei_decoder_decode_region(const struct AeiDecoder *decoder,
                                         uint32_t x,
                                         uint32_t y,
                                         const struct AeiImage *image,
                                         struct AeiError *error);

// Makes a decoder of the preview: `aei_decoder_info` tells its size, `aei_decoder_decode` decodes it, to 8 bits unless
// the image says 16, whatever the options were. It lives on its own and is freed like any other.
// Null if the file has no preview. A preview may be damaged where the picture is whole.
//
// # Safety
// Pointers are null or valid.
enum AeiStatus aei_decoder_preview(const struct AeiDecoder *decoder, struct AeiDecoder **preview, struct AeiError *error);

// Tells what is known to be lost of a file that is read with `salvage`: of the file as a whole and its metadata at once, of its tiles what has turned out when something
// was decoded. `*lines` becomes UTF-8 text of one line for each loss, that ends in a line feed, and a zero byte behind the last. `*length` counts all of these bytes; they are to be
// freed with `aei_free`. Null and 0 if nothing is lost, and on failure. Places are those in the picture as stored.
//
// # Safety
// Pointers are null or valid.
enum AeiStatus aei_decoder_damage(const struct AeiDecoder *decoder,
                                  uint8_t **lines,
                                  size_t *length,
                                  struct AeiError *error);

// Stores a pointer to a piece of metadata, and its length. It points into memory of the decoder, which lives until that is freed. Null and 0 if there is none, and on
// failure.
// `kind` is an `AeiMetadata`.
//
// # Safety
// Pointers are null or valid.
enum AeiStatus aei_decoder_metadata(const struct AeiDecoder *decoder,
                                    int32_t kind,
                                    const uint8_t **metadata,
                                    size_t *length,
                                    struct AeiError *error);

// Fills in the default options. `size` is sizeof(AeiEncodeOptions) as the caller knows it.
//
// # Safety
// `options` points to `size` writable bytes.
enum AeiStatus aei_encode_options_init(struct AeiEncodeOptions *options, size_t size);

// Encodes a picture. On success `*file` points to `*length` bytes, to be freed with `aei_free`; on failure it is null.
//
// `options` may be null for the defaults, `error` may be null.
//
// # Safety
// Pointers are null or valid; structures have their `size` set; `image->samples` points to `height` rows.
enum AeiStatus aei_encode(const struct AeiImage *image,
                          const struct AeiEncodeOptions *options,
                          uint8_t **file,
                          size_t *length,
                          struct AeiError *error);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* AEI_H */
