/* Calls that the example does not make: calls FILE.aei. Silent if all is as it should be. */
#define _DEFAULT_SOURCE
#include <aei.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(condition)                                                                    \
    do {                                                                                    \
        if (!(condition)) {                                                                 \
            fprintf(stderr, "calls.c:%d: %s: %s\n", __LINE__, #condition, error.message);   \
            exit(1);                                                                        \
        }                                                                                   \
    } while (0)

static AeiError error = {.size = sizeof error};
static unsigned char *file;
static size_t length;
static unsigned char *expected;
static size_t expected_bytes;

/* Decodes to memory that is there already. */
static AeiStatus decode(unsigned char *samples) {
    AeiDecoder *decoder;
    AeiStatus status = aei_decoder_new(file, length, NULL, &decoder, &error);
    if (status != AEI_STATUS_OK) return status;
    AeiInfo info = {.size = sizeof info};
    aei_decoder_info(decoder, &info, NULL);
    AeiImage image = {.size = sizeof image, .channels = info.channels, .width = info.width, .height = info.height, .samples = samples};
    status = aei_decoder_decode(decoder, &image, &error);
    aei_decoder_free(decoder);
    return status;
}

/* How much memory the process has taken, in bytes. */
static size_t taken(void) {
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%lu", &pages) != 1) pages = 0;
    if (f) fclose(f);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* In a process of its own: a decode that finds this much memory ends with a status, and another one, with all memory, is right. */
static void with_little_memory(size_t bytes, unsigned char *samples) {
    pid_t child = fork();
    if (child == 0) {
        struct rlimit before, limit;
        getrlimit(RLIMIT_AS, &before);
        limit = before;
        limit.rlim_cur = taken() + bytes;
        setrlimit(RLIMIT_AS, &limit);
        AeiStatus status = decode(samples);
        setrlimit(RLIMIT_AS, &before);
        CHECK(status == AEI_STATUS_OK || status == AEI_STATUS_LIMITS);
        CHECK(decode(samples) == AEI_STATUS_OK && !memcmp(samples, expected, expected_bytes));
        _exit(0);
    }
    int how = 0;
    CHECK(child > 0 && waitpid(child, &how, 0) == child);
    if (!WIFEXITED(how) || WEXITSTATUS(how)) {
        fprintf(stderr, "calls.c: with %zu bytes the process ended in another way than with a status (%d)\n", bytes, how);
        exit(1);
    }
}

/* Decodes bytes that are there with options that are there, to 8 bits. */
static AeiStatus decode_with(const AeiDecodeOptions *options, const unsigned char *bytes, size_t count, unsigned char *samples, AeiDecoder **decoder) {
    AeiStatus status = aei_decoder_new(bytes, count, options, decoder, &error);
    if (status != AEI_STATUS_OK) return status;
    AeiInfo info = {.size = sizeof info};
    aei_decoder_info(*decoder, &info, NULL);
    AeiImage image = {.size = sizeof image, .channels = info.channels, .width = info.width, .height = info.height, .samples = samples};
    return aei_decoder_decode(*decoder, &image, &error);
}

/* A file without its end: what is left, and what is said to be lost. */
static void salvage(size_t row_bytes) {
    unsigned char *samples = calloc(expected_bytes, 1);
    AeiDecodeOptions options;
    AeiDecoder *decoder;
    uint8_t *lines;
    size_t count, cut = length - 60;
    CHECK(aei_decode_options_init(&options, sizeof options) == AEI_STATUS_OK && !options.salvage && !options.reserved);
    CHECK(decode_with(&options, file, cut, samples, &decoder) == AEI_STATUS_FORMAT && !decoder);
    options.salvage = 1;
    CHECK(decode_with(&options, file, cut, samples, &decoder) == AEI_STATUS_OK);
    CHECK(!memcmp(samples, expected, 100 * row_bytes) && memcmp(samples, expected, expected_bytes));
    CHECK(aei_decoder_damage(decoder, &lines, &count, &error) == AEI_STATUS_OK && lines);
    CHECK(strlen((char *)lines) + 1 == count && lines[count - 2] == '\n' && strstr((char *)lines, "truncated"));
    CHECK(strstr((char *)lines, "\ntile 3 (128x128 pixels at 256,256) is lost: ") && !strstr((char *)lines, "tile 0"));
    aei_free(lines, count);
    /* Nothing is left over from before in what failed. */
    CHECK(aei_decoder_damage(NULL, &lines, &count, &error) == AEI_STATUS_PARAMETER && !lines && !count);
    CHECK(aei_decoder_damage(decoder, NULL, &count, &error) == AEI_STATUS_PARAMETER);
    aei_decoder_free(decoder);

    /* What is damaged in the middle of a tile turns out when that is decoded. */
    file[length / 2] ^= 1;
    CHECK(decode_with(&options, file, length, samples, &decoder) == AEI_STATUS_OK && memcmp(samples, expected, expected_bytes));
    CHECK(aei_decoder_damage(decoder, &lines, &count, &error) == AEI_STATUS_OK && lines && strstr((char *)lines, "\ntile "));
    aei_free(lines, count);
    aei_decoder_free(decoder);
    file[length / 2] ^= 1;

    /* Of a whole file nothing is lost. */
    CHECK(decode_with(&options, file, length, samples, &decoder) == AEI_STATUS_OK && !memcmp(samples, expected, expected_bytes));
    lines = file;
    CHECK(aei_decoder_damage(decoder, &lines, &count, &error) == AEI_STATUS_OK && !lines && !count);
    aei_decoder_free(decoder);

    /* Callers of before have no such field, whatever stands behind their structure. */
    options.size = offsetof(AeiDecodeOptions, salvage);
    CHECK(decode_with(&options, file, cut, samples, &decoder) == AEI_STATUS_FORMAT);
    options.size = sizeof options;
    options.salvage = 2;
    CHECK(aei_decoder_new(file, length, &options, &decoder, &error) == AEI_STATUS_PARAMETER && strstr(error.message, "salvage is 2"));
    options.salvage = 0;
    options.reserved = 1;
    CHECK(aei_decoder_new(file, length, &options, &decoder, &error) == AEI_STATUS_PARAMETER && strstr(error.message, "reserved"));
    free(samples);
}

/* Bits per sample that are chosen when the file is known already. */
static void depths(void) {
    enum { WIDTH = 30, HEIGHT = 20 };
    static uint16_t deep[HEIGHT][WIDTH], deep_back[HEIGHT][WIDTH];
    static uint8_t back[HEIGHT][WIDTH];
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++) deep[y][x] = (uint16_t)(x * 2000 + y * 301 + x % 7);
    AeiImage image = {.size = sizeof image, .channels = 1, .width = WIDTH, .height = HEIGHT, .samples = deep, .depth = 16};
    AeiEncodeOptions options;
    aei_encode_options_init(&options, sizeof options);
    options.lossless = 1;
    options.preview = 1;
    uint8_t *coded;
    size_t coded_length;
    CHECK(aei_encode(&image, &options, &coded, &coded_length, &error) == AEI_STATUS_OK);
    AeiDecoder *decoder, *preview;
    AeiDecodeOptions stated;
    aei_decode_options_init(&stated, sizeof stated);
    CHECK(aei_decoder_new(coded, coded_length, &stated, &decoder, &error) == AEI_STATUS_OK);
    AeiInfo info = {.size = sizeof info};
    CHECK(aei_decoder_info(decoder, &info, &error) == AEI_STATUS_OK && info.lossless && info.source_depth == 16);
    image.samples = deep_back;
    CHECK(aei_decoder_decode(decoder, &image, &error) == AEI_STATUS_OK && !memcmp(deep_back, deep, sizeof deep));
    /* The same decoder gives both. */
    image.samples = back;
    for (uint32_t depth = 0; depth <= 8; depth += 8) {
        memset(back, 0, sizeof back);
        image.depth = depth;
        CHECK(aei_decoder_decode(decoder, &image, &error) == AEI_STATUS_OK);
        for (int y = 0; y < HEIGHT; y++)
            for (int x = 0; x < WIDTH; x++) CHECK(abs(257 * back[y][x] - deep[y][x]) <= 129);
    }
    AeiImage part = {.size = sizeof part, .channels = 1, .width = 5, .height = 4, .samples = deep_back, .depth = 16};
    CHECK(aei_decoder_decode_region(decoder, 7, 3, &part, &error) == AEI_STATUS_OK);
    for (int y = 0; y < 4; y++) CHECK(!memcmp(&deep_back[0][5 * y], &deep[3 + y][7], 5 * sizeof deep[0][0]));
    image.depth = 12;
    CHECK(aei_decoder_decode(decoder, &image, &error) == AEI_STATUS_PARAMETER);
    aei_decoder_free(decoder);

    /* What the options state holds for all pictures, but for the preview. */
    for (stated.depth = 8; stated.depth <= 16; stated.depth += 8) {
        CHECK(aei_decoder_new(coded, coded_length, &stated, &decoder, &error) == AEI_STATUS_OK);
        for (image.depth = 8; image.depth <= 16; image.depth += 8) {
            image.samples = deep_back;
            AeiStatus status = aei_decoder_decode(decoder, &image, &error);
            CHECK(status == (image.depth == stated.depth ? AEI_STATUS_OK : AEI_STATUS_PARAMETER));
            CHECK(aei_decoder_preview(decoder, &preview, &error) == AEI_STATUS_OK && preview);
            aei_decoder_info(preview, &info, NULL);
            AeiImage small = {.size = sizeof small, .channels = info.channels, .width = info.width, .height = info.height, .depth = image.depth};
            small.samples = malloc((size_t)6 * info.width * info.height);
            CHECK(aei_decoder_decode(preview, &small, &error) == AEI_STATUS_OK);
            free(small.samples);
            aei_decoder_free(preview);
        }
        aei_decoder_free(decoder);
    }
    aei_free(coded, coded_length);
}

/* The mean square error of a file's picture. */
static double error_of(const uint8_t *coded, size_t coded_length) {
    unsigned char *samples = malloc(expected_bytes);
    AeiDecoder *decoder;
    double sum = 0;
    CHECK(decode_with(NULL, coded, coded_length, samples, &decoder) == AEI_STATUS_OK);
    for (size_t i = 0; i < expected_bytes; i++) sum += (samples[i] - expected[i]) * (samples[i] - expected[i]);
    aei_decoder_free(decoder);
    free(samples);
    return sum / (double)expected_bytes;
}

/* A size or a score in place of a quality index. */
static void targets(const AeiImage *image) {
    AeiEncodeOptions options;
    aei_encode_options_init(&options, sizeof options);
    CHECK(options.bits_per_pixel == 0 && options.psnr == 0 && options.ssimulacra2 == 0);
    options.lossless = 2;
    uint8_t *coded, *same;
    size_t low, high, same_length;
    options.psnr = 30;
    CHECK(aei_encode(image, &options, &coded, &low, &error) == AEI_STATUS_OK);
    CHECK(error_of(coded, low) <= 255 * 255 / 1e3 && error_of(coded, low) > 255 * 255 / 1e4);
    aei_free(coded, low);
    options.psnr = 40;
    CHECK(aei_encode(image, &options, &coded, &high, &error) == AEI_STATUS_OK && high > low);
    CHECK(error_of(coded, high) <= 255 * 255 / 1e4);
    aei_free(coded, high);
    options.psnr = 200;
    CHECK(aei_encode(image, &options, &coded, &low, &error) == AEI_STATUS_PARAMETER && !coded && strstr(error.message, "200 cannot be reached"));
    options.psnr = 0.0 / 0.0;
    CHECK(aei_encode(image, &options, &coded, &low, &error) == AEI_STATUS_PARAMETER && !coded);

    /* The script beside this asks `aei` what score it has. */
    options.psnr = 0;
    options.ssimulacra2 = 60;
    CHECK(aei_encode(image, &options, &coded, &low, &error) == AEI_STATUS_OK);
    FILE *f = fopen("scored.aei", "wb");
    CHECK(f && fwrite(coded, 1, low, f) == low && !fclose(f));
    aei_free(coded, low);
    options.ssimulacra2 = 101;
    CHECK(aei_encode(image, &options, &coded, &low, &error) == AEI_STATUS_PARAMETER && !coded);

    options.ssimulacra2 = 0;
    options.bits_per_pixel = 0.25;
    CHECK(aei_encode(image, &options, &coded, &low, &error) == AEI_STATUS_OK);
    options.bits_per_pixel = 0;
    options.max_bytes = (uint64_t)image->width * image->height / 32;
    CHECK(aei_encode(image, &options, &same, &same_length, &error) == AEI_STATUS_OK);
    CHECK(same_length == low && low <= options.max_bytes && low > options.max_bytes / 10 * 9 && !memcmp(same, coded, low));
    aei_free(coded, low);
    aei_free(same, same_length);
    options.bits_per_pixel = -1;
    CHECK(aei_encode(image, &options, &coded, &low, &error) == AEI_STATUS_PARAMETER && !coded);

    /* One at most. */
    options.bits_per_pixel = 0;
    options.psnr = 30;
    CHECK(aei_encode(image, &options, &coded, &low, &error) == AEI_STATUS_PARAMETER && !coded && strstr(error.message, "max_bytes, psnr"));
    /* Callers of before have no such fields, whatever stands behind their structure. */
    options.size = offsetof(AeiEncodeOptions, bits_per_pixel);
    CHECK(aei_encode(image, &options, &coded, &low, &error) == AEI_STATUS_OK && low <= options.max_bytes);
    aei_free(coded, low);
}

int main(int argc, char **argv) {
    FILE *f = argc == 2 ? fopen(argv[1], "rb") : NULL;
    if (!f) return 2;
    file = malloc(1 << 24);
    length = fread(file, 1, 1 << 24, f);
    fclose(f);

    /* Before anything was decoded here, so that each has to load the model. */
    AeiDecoder *decoder;
    CHECK(aei_decoder_new(file, length, NULL, &decoder, &error) == AEI_STATUS_OK);
    AeiInfo info = {.size = sizeof info};
    aei_decoder_info(decoder, &info, NULL);
    expected_bytes = (size_t)info.width * info.height * info.channels;
    expected = malloc(expected_bytes);
    unsigned char *samples = malloc(expected_bytes);
    pid_t child = fork();
    if (child == 0) {
        /* What is right comes from a process with all memory. */
        CHECK(decode(expected) == AEI_STATUS_OK);
        f = fopen("expected.raw", "wb");
        CHECK(f && fwrite(expected, 1, expected_bytes, f) == expected_bytes && !fclose(f));
        _exit(0);
    }
    int how = 0;
    CHECK(waitpid(child, &how, 0) == child && WIFEXITED(how) && !WEXITSTATUS(how));
    f = fopen("expected.raw", "rb");
    CHECK(f && fread(expected, 1, expected_bytes, f) == expected_bytes);
    fclose(f);
    if (taken()) {
        for (size_t bytes = 0; bytes < (size_t)160 << 20; bytes += bytes / 4 + 300000) with_little_memory(bytes, samples);
    }

    /* Threads do not outlive a fork: the child starts its own. */
    CHECK(decode(samples) == AEI_STATUS_OK && !memcmp(samples, expected, expected_bytes));
    child = fork();
    if (child == 0) {
        alarm(120);
        memset(samples, 0, expected_bytes);
        CHECK(decode(samples) == AEI_STATUS_OK && !memcmp(samples, expected, expected_bytes));
        _exit(0);
    }
    CHECK(waitpid(child, &how, 0) == child && WIFEXITED(how) && !WEXITSTATUS(how));

    /* Nothing is left over from before in what failed. */
    const uint8_t *metadata = file;
    size_t bytes = 1;
    CHECK(aei_decoder_metadata(decoder, 99, &metadata, &bytes, &error) == AEI_STATUS_PARAMETER && !metadata && !bytes);
    aei_decoder_free(decoder);

    /* Options of a caller that knows their beginning alone: the rest is as by default. */
    AeiImage image = {.size = sizeof image, .channels = info.channels, .width = info.width, .height = info.height, .samples = expected};
    AeiEncodeOptions defaults, small = {.size = offsetof(AeiEncodeOptions, tile_size) + sizeof small.tile_size, .quality_index = 38};
    aei_encode_options_init(&defaults, sizeof defaults);
    uint8_t *one, *two;
    size_t one_length, two_length;
    defaults.quality_index = 38;
    CHECK(aei_encode(&image, &defaults, &one, &one_length, &error) == AEI_STATUS_OK);
    CHECK(aei_encode(&image, &small, &two, &two_length, &error) == AEI_STATUS_OK);
    CHECK(one_length == two_length && !memcmp(one, two, one_length));
    aei_free(one, one_length);
    aei_free(two, two_length);
    CHECK(aei_encode(NULL, NULL, &one, &one_length, &error) == AEI_STATUS_PARAMETER && !one && !one_length);

    /* A size in place of a quality, and a limit of memory. */
    defaults.max_bytes = 5000;
    CHECK(aei_encode(&image, &defaults, &one, &one_length, &error) == AEI_STATUS_OK && one_length > 4000 && one_length <= 5000);
    aei_free(one, one_length);
    defaults.max_bytes = 10;
    CHECK(aei_encode(&image, &defaults, &one, &one_length, &error) == AEI_STATUS_PARAMETER && !one);
    defaults.max_bytes = 0;
    defaults.max_memory = 1000;
    CHECK(aei_encode(&image, &defaults, &one, &one_length, &error) == AEI_STATUS_LIMITS && !one);

    salvage((size_t)info.width * info.channels);
    depths();
    targets(&image);

    /* A width that is refused before anything of it is copied. */
    image.width = 0x7fffffff;
    CHECK(aei_encode(&image, &defaults, &one, &one_length, &error) == AEI_STATUS_PARAMETER && !one);
    free(samples);
    free(expected);
    free(file);
    return 0;
}
