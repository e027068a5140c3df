/* Decodes and encodes with libaei: libaei info|decode|preview|encode. Pictures are binary PGM and PPM. See src/capi/README.md for how to build it. */
#include <aei.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned char *read_file(const char *name, size_t *length) {
    FILE *f = fopen(name, "rb");
    if (!f) {
        perror(name);
        return NULL;
    }
    unsigned char *bytes = NULL;
    size_t room = 0;
    *length = 0;
    for (;;) {
        if (*length == room) {
            room = room ? 2 * room : 65536;
            unsigned char *larger = realloc(bytes, room);
            if (!larger) break;
            bytes = larger;
        }
        size_t n = fread(bytes + *length, 1, room - *length, f);
        if (n == 0) break;
        *length += n;
    }
    fclose(f);
    return bytes;
}

static int failed(const char *name, const AeiError *error) {
    fprintf(stderr, "%s: %s\n", name, error->message);
    return (int)error->status;
}

/* x, y, width and height of a region, or width 0 for the whole picture; or its preview. */
static int decode(const char *from, const char *to, uint32_t x, uint32_t y, uint32_t width, uint32_t height, int preview) {
    AeiError error = {.size = sizeof error};
    size_t length;
    unsigned char *file = read_file(from, &length);
    if (!file) return AEI_STATUS_IO;

    AeiDecodeOptions options;
    aei_decode_options_init(&options, sizeof options);
    options.max_pixels = 100000000; /* a file from a stranger must not take all memory */
    AeiDecoder *decoder;
    AeiStatus status = aei_decoder_new(file, length, &options, &decoder, &error);
    free(file);
    if (status != AEI_STATUS_OK) return failed(from, &error);
    if (preview) {
        AeiDecoder *small;
        status = aei_decoder_preview(decoder, &small, &error);
        aei_decoder_free(decoder);
        if (status != AEI_STATUS_OK) return failed(from, &error);
        if (!small) {
            fprintf(stderr, "%s: no preview\n", from);
            return 1;
        }
        decoder = small;
    }

    AeiInfo info = {.size = sizeof info};
    aei_decoder_info(decoder, &info, NULL);
    if (!to) {
        printf("%" PRIu32 "x%" PRIu32 ", %" PRIu32 " channels, quality index %" PRIu32 ", %" PRIu64 " bytes\n", info.width, info.height, info.channels,
               info.quality_index, info.file_bytes);
        aei_decoder_free(decoder);
        return 0;
    }
    AeiImage image = {.size = sizeof image, .channels = info.channels, .width = info.width, .height = info.height};
    if (width) {
        image.width = width;
        image.height = height;
    }
    if ((uint64_t)image.width * image.height > options.max_pixels) {
        fprintf(stderr, "%s: more than %" PRIu64 " pixels\n", from, options.max_pixels);
        aei_decoder_free(decoder);
        return AEI_STATUS_LIMITS;
    }
    size_t bytes = (size_t)image.width * image.height * image.channels;
    image.samples = malloc(bytes);
    if (!image.samples) {
        fprintf(stderr, "%s: no memory for %zu bytes\n", from, bytes);
        aei_decoder_free(decoder);
        return AEI_STATUS_LIMITS;
    }
    status = width ? aei_decoder_decode_region(decoder, x, y, &image, &error) : aei_decoder_decode(decoder, &image, &error);
    aei_decoder_free(decoder);
    FILE *f = status == AEI_STATUS_OK ? fopen(to, "wb") : NULL;
    if (f) {
        static const char *const types[] = {"GRAYSCALE", "GRAYSCALE_ALPHA", "RGB", "RGB_ALPHA"};
        fprintf(f, "P7\nWIDTH %" PRIu32 "\nHEIGHT %" PRIu32 "\nDEPTH %" PRIu32 "\nMAXVAL 255\nTUPLTYPE %s\nENDHDR\n", image.width, image.height,
                image.channels, types[image.channels - 1]);
        if (fwrite(image.samples, 1, bytes, f) != bytes || fclose(f)) status = AEI_STATUS_IO;
    }
    free(image.samples);
    return status == AEI_STATUS_OK && !f ? (perror(to), AEI_STATUS_IO) : status == AEI_STATUS_OK ? 0 : failed(from, &error);
}

/* Called from any thread; anything but 0 would stop the work. */
static int32_t progress(void *user_data, uint64_t done, uint64_t total) {
    (void)user_data;
    fprintf(stderr, "\r%3" PRIu64 " %%%s", 100 * done / total, done == total ? "\n" : "");
    return 0;
}

static int encode(const char *from, const char *to, uint32_t quality_index, uint32_t effort, uint32_t tune) {
    AeiError error = {.size = sizeof error};
    size_t length;
    unsigned char *file = read_file(from, &length);
    if (!file) return AEI_STATUS_IO;
    char kind;
    uint32_t width, height;
    int start = 0;
    char head[64] = {0};
    memcpy(head, file, length < sizeof head - 1 ? length : sizeof head - 1);
    if (sscanf(head, "P%c %" SCNu32 " %" SCNu32 " 255%n", &kind, &width, &height, &start) != 3 || (kind != '5' && kind != '6') || !start ||
        length < (size_t)start + 1 + (size_t)width * height * (kind == '6' ? 3 : 1)) {
        fprintf(stderr, "%s: not a binary PGM or PPM file of 8 bits without comments\n", from);
        free(file);
        return AEI_STATUS_FORMAT;
    }
    AeiImage image = {.size = sizeof image, .samples = file + start + 1, .width = width, .height = height, .channels = kind == '6' ? 3 : 1};
    AeiEncodeOptions options;
    aei_encode_options_init(&options, sizeof options);
    options.quality_index = quality_index;
    options.effort = effort;
    options.tune = tune;
    options.progress = progress;
    uint8_t *coded;
    size_t coded_length;
    AeiStatus status = aei_encode(&image, &options, &coded, &coded_length, &error);
    free(file);
    if (status != AEI_STATUS_OK) return failed(from, &error);
    FILE *f = fopen(to, "wb");
    if (!f || fwrite(coded, 1, coded_length, f) != coded_length || fclose(f)) {
        perror(to);
        status = AEI_STATUS_IO;
    }
    aei_free(coded, coded_length);
    return status;
}

int main(int argc, char **argv) {
    if (argc == 3 && !strcmp(argv[1], "info")) return decode(argv[2], NULL, 0, 0, 0, 0, 0);
    if (argc == 4 && !strcmp(argv[1], "decode")) return decode(argv[2], argv[3], 0, 0, 0, 0, 0);
    if (argc == 4 && !strcmp(argv[1], "preview")) return decode(argv[2], argv[3], 0, 0, 0, 0, 1);
    if (argc == 8 && !strcmp(argv[1], "decode"))
        return decode(argv[2], argv[3], (uint32_t)atoi(argv[4]), (uint32_t)atoi(argv[5]), (uint32_t)atoi(argv[6]), (uint32_t)atoi(argv[7]), 0);
    if (argc >= 5 && argc <= 7 && !strcmp(argv[1], "encode"))
        return encode(argv[2], argv[3], (uint32_t)atoi(argv[4]), argc >= 6 ? (uint32_t)atoi(argv[5]) : 0, argc == 7 ? (uint32_t)atoi(argv[6]) : 0);
    fprintf(stderr, "aei %s\nlibaei info FILE.aei\nlibaei decode FILE.aei OUT.pam [X Y WIDTH HEIGHT]\nlibaei preview FILE.aei OUT.pam\nlibaei encode PICTURE.ppm FILE.aei QUALITY_INDEX [EFFORT [TUNE]]\n",
            aei_version());
    return 2;
}
