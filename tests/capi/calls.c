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

    /* A size in place of a quality, a limit of memory, and a width that is refused before anything of it is copied. */
    defaults.max_bytes = 5000;
    CHECK(aei_encode(&image, &defaults, &one, &one_length, &error) == AEI_STATUS_OK && one_length > 4000 && one_length <= 5000);
    aei_free(one, one_length);
    defaults.max_bytes = 10;
    CHECK(aei_encode(&image, &defaults, &one, &one_length, &error) == AEI_STATUS_PARAMETER && !one);
    defaults.max_bytes = 0;
    defaults.max_memory = 1000;
    CHECK(aei_encode(&image, &defaults, &one, &one_length, &error) == AEI_STATUS_LIMITS && !one);
    image.width = 0x7fffffff;
    CHECK(aei_encode(&image, &defaults, &one, &one_length, &error) == AEI_STATUS_PARAMETER && !one);
    free(samples);
    free(expected);
    free(file);
    return 0;
}
