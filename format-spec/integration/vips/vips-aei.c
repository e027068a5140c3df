/* libvips' module for aei: with it programs that use libvips open and save .aei. install.sh beside it builds and installs it.
 *
 * Operations: aeiload, aeiload_buffer, aeiload_source; aeisave, aeisave_buffer, aeisave_target. */
#include <aei.h>
#include <gmodule.h>
#include <string.h>
#include <vips/vips.h>

#define EXIF_PREFIX "Exif\0" /* and a zero more: what libvips has in front of EXIF blocks, as JPEG files have, and aei has not */
#define EXIF_PREFIX_SIZE 6
#define MOST_PIXELS (1u << 28) /* as aei itself has it: a file of some hundred bytes may claim more */

static const char *suffixes[] = {".aei", NULL};

static int fail(const AeiError *why) {
    vips_error("aei", "%s", why->message);
    return -1;
}

/* Who evaluates an image may stop it. */
static int32_t stop(void *image, uint64_t done, uint64_t total) {
    (void)done, (void)total;
    return image && vips_image_iskilled(image);
}

/* Reading */

typedef struct {
    VipsForeignLoad parent;
    VipsSource *source;
    AeiDecoder *decoder;
    AeiInfo info;
    guint32 depth;
    gboolean unlimited;
} AeiLoad;
typedef VipsForeignLoadClass AeiLoadClass;
static GType load_get_type(void);
G_DEFINE_ABSTRACT_TYPE(AeiLoad, load, VIPS_TYPE_FOREIGN_LOAD)

static void load_dispose(GObject *object) {
    AeiLoad *load = (AeiLoad *)object;
    g_clear_pointer(&load->decoder, aei_decoder_free);
    VIPS_UNREF(load->source);
    G_OBJECT_CLASS(load_parent_class)->dispose(object);
}

static gboolean is_a_buffer(const void *bytes, size_t length) { return length >= 8 && !memcmp(bytes, "\x89" "AEI\r\n\x1a\n", 8); }

static gboolean is_a_source(VipsSource *source) {
    const unsigned char *start = vips_source_sniff(source, 8);
    return start && is_a_buffer(start, 8);
}

static gboolean is_a_file(const char *filename) {
    VipsSource *source = vips_source_new_from_file(filename);
    gboolean is = source && is_a_source(source);
    VIPS_UNREF(source);
    return is;
}

static VipsForeignFlags no_flags(VipsForeignLoad *load) {
    (void)load;
    return VIPS_FOREIGN_NONE;
}

/* Tags of EXIF are fields of an image, for programs to read, change and remove. Functions of libvips that it keeps for its own loaders and savers, and lets modules
 * find, make fields of a block (vips__exif_parse) and a block of fields (vips__exif_update); where they are not found, the block alone is there, as it was. An EXIF block
 * that libvips cannot read is no reason for not showing a picture, or not saving it. */
static void exif_by(const char *function, VipsImage *image) {
    GModule *program = g_module_open(NULL, G_MODULE_BIND_LAZY);
    union {
        gpointer symbol;
        int (*call)(VipsImage *);
    } found = {NULL};
    if (program && g_module_symbol(program, function, &found.symbol) && found.call && found.call(image)) vips_error_clear();
    if (program) g_module_close(program);
}

static int set_exif(VipsImage *out, const uint8_t *exif, size_t length) {
    guint8 *block = g_try_malloc(length + EXIF_PREFIX_SIZE);
    if (!block) {
        vips_error("aei", "there is not enough memory for an EXIF block of %zu bytes", length);
        return -1;
    }
    memcpy(block, EXIF_PREFIX, EXIF_PREFIX_SIZE);
    memcpy(block + EXIF_PREFIX_SIZE, exif, length);
    vips_image_set_blob(out, VIPS_META_EXIF_NAME, (VipsCallbackFn)vips_area_free_cb, block, length + EXIF_PREFIX_SIZE);
    exif_by("vips__exif_parse", out);
    return 0;
}

static int load_header(VipsForeignLoad *foreign) {
    AeiLoad *load = (AeiLoad *)foreign;
    size_t length;
    const void *file = vips_source_map(load->source, &length);
    if (!file) return -1;
    AeiError why = {.size = sizeof why};
    AeiDecodeOptions options;
    aei_decode_options_init(&options, sizeof options);
    options.salvage = foreign->fail_on < VIPS_FAIL_ON_TRUNCATED;
    if (load->unlimited) options.max_pixels = options.max_memory = options.max_file_bytes = UINT64_MAX;
    options.progress = stop;
    options.user_data = foreign->out;
    if (aei_decoder_new(file, length, &options, &load->decoder, &why) != AEI_STATUS_OK) return fail(&why);
    vips_source_minimise(load->source); /* the decoder has a copy */
    load->info = (AeiInfo){.size = sizeof load->info};
    if (aei_decoder_info(load->decoder, &load->info, &why) != AEI_STATUS_OK) return fail(&why);
    const AeiInfo *info = &load->info;
    /* Pixels are counted when they are decoded, which is late for who opens a file. */
    if (!load->unlimited && (guint64)info->width * info->height > MOST_PIXELS) {
        vips_error("aei", "a picture of %ux%u pixels is larger than %u, which is opened with the option unlimited", info->width, info->height, MOST_PIXELS);
        return -1;
    }
    load->depth = info->lossless && info->source_depth > 8 ? 16 : 8;
    gboolean gray = info->channels < 3, deep = load->depth == 16;
    vips_image_init_fields(foreign->out, (int)info->width, (int)info->height, (int)info->channels, deep ? VIPS_FORMAT_USHORT : VIPS_FORMAT_UCHAR, VIPS_CODING_NONE,
                           gray ? (deep ? VIPS_INTERPRETATION_GREY16 : VIPS_INTERPRETATION_B_W) : (deep ? VIPS_INTERPRETATION_RGB16 : VIPS_INTERPRETATION_sRGB), 1.0, 1.0);
    VIPS_SETSTR(foreign->out->filename, vips_connection_filename(VIPS_CONNECTION(load->source)));
    static const struct {
        int32_t kind;
        const char *name;
    } kinds[] = {{AEI_METADATA_ICC, VIPS_META_ICC_NAME}, {AEI_METADATA_XMP, VIPS_META_XMP_NAME}, {AEI_METADATA_EXIF, VIPS_META_EXIF_NAME}};
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        const uint8_t *bytes;
        if (aei_decoder_metadata(load->decoder, kinds[i].kind, &bytes, &length, &why) != AEI_STATUS_OK) return fail(&why);
        if (length && kinds[i].kind == AEI_METADATA_EXIF && set_exif(foreign->out, bytes, length)) return -1;
        if (length && kinds[i].kind != AEI_METADATA_EXIF) vips_image_set_blob_copy(foreign->out, kinds[i].name, bytes, length);
    }
    vips_image_set_int(foreign->out, VIPS_META_ORIENTATION, (int)info->orientation); /* an EXIF block has been set to 1 */
    return vips_image_pipelinev(foreign->out, VIPS_DEMAND_STYLE_THINSTRIP, NULL);
}

/* Large pictures go through in strips, so that libvips may keep them on disk. */
static int load_pixels(VipsForeignLoad *foreign) {
    AeiLoad *load = (AeiLoad *)foreign;
    const AeiInfo *info = &load->info;
    VipsImage *real = foreign->real;
    vips_image_init_fields(real, foreign->out->Xsize, foreign->out->Ysize, foreign->out->Bands, foreign->out->BandFmt, foreign->out->Coding, foreign->out->Type, 1.0, 1.0);
    if (vips_image_pipelinev(real, VIPS_DEMAND_STYLE_THINSTRIP, NULL)) return -1;
    size_t line = VIPS_IMAGE_SIZEOF_LINE(real);
    guint32 rows = info->height;
    if (line * rows > ((size_t)1 << 28)) rows = MIN(rows, 4 * info->tile_size);
    VipsPel *strip = g_try_malloc(line * rows);
    if (!strip) {
        vips_error("aei", "there is not enough memory for %u rows of %u pixels", rows, info->width);
        return -1;
    }
    AeiError why = {.size = sizeof why};
    int failed = 0;
    for (guint32 top = 0; top < info->height && !failed; top += rows) {
        guint32 count = MIN(rows, info->height - top);
        AeiImage image = {.size = sizeof image, .samples = strip, .width = info->width, .height = count, .channels = info->channels, .depth = load->depth};
        failed = aei_decoder_decode_region(load->decoder, 0, top, &image, &why) == AEI_STATUS_OK ? 0 : fail(&why);
        for (guint32 y = 0; y < count && !failed; y++) failed = vips_image_write_line(real, (int)(top + y), strip + line * y);
    }
    g_free(strip);
    if (failed) return -1;
    uint8_t *lines;
    if (aei_decoder_damage(load->decoder, &lines, &line, &why) != AEI_STATUS_OK) return fail(&why);
    if (lines) g_warning("aei: the file is damaged:\n%s", (const char *)lines);
    aei_free(lines, line);
    return 0;
}

static void load_class_init(AeiLoadClass *class) {
    G_OBJECT_CLASS(class)->dispose = load_dispose;
    G_OBJECT_CLASS(class)->set_property = vips_object_set_property;
    G_OBJECT_CLASS(class)->get_property = vips_object_get_property;
    VIPS_OBJECT_CLASS(class)->nickname = "aeiload_base";
    VIPS_OBJECT_CLASS(class)->description = "load aei";
    VIPS_FOREIGN_CLASS(class)->suffs = suffixes;
    class->get_flags = no_flags;
    class->header = load_header;
    class->load = load_pixels;
    VIPS_ARG_BOOL(class, "unlimited", 10, "Unlimited", "Open pictures of any size", VIPS_ARGUMENT_OPTIONAL_INPUT, G_STRUCT_OFFSET(AeiLoad, unlimited), FALSE);
}

static void load_init(AeiLoad *load) { (void)load; }

/* What all operations have: a base, an argument, and how they are built. */
#define OPERATION(Name, name, Base, base, argument)                                                                                              \
    typedef struct {                                                                                                                             \
        Base parent;                                                                                                                             \
        argument;                                                                                                                                \
    } Name;                                                                                                                                      \
    typedef Base##Class Name##Class;                                                                                                             \
    static GType name##_get_type(void);                                                                                                          \
    G_DEFINE_TYPE(Name, name, base##_get_type())                                                                                                 \
    static void name##_init(Name *operation) { (void)operation; }                                                                                \
    static int name##_build(VipsObject *object);                                                                                                 \
    static int name##_build_base(VipsObject *object) { return VIPS_OBJECT_CLASS(name##_parent_class)->build(object); }                           \
    static void name##_name(Name##Class *class, const char *nickname) {                                                                          \
        G_OBJECT_CLASS(class)->set_property = vips_object_set_property;                                                                          \
        G_OBJECT_CLASS(class)->get_property = vips_object_get_property;                                                                          \
        VIPS_OBJECT_CLASS(class)->nickname = nickname;                                                                                           \
        VIPS_OBJECT_CLASS(class)->build = name##_build;                                                                                          \
    }

OPERATION(AeiLoadFile, load_file, AeiLoad, load, char *filename)

static int load_file_build(VipsObject *object) {
    AeiLoadFile *load = (AeiLoadFile *)object;
    if (load->filename && !(load->parent.source = vips_source_new_from_file(load->filename))) return -1;
    return load_file_build_base(object);
}

static void load_file_class_init(AeiLoadFileClass *class) {
    load_file_name(class, "aeiload");
    class->is_a = is_a_file;
    VIPS_ARG_STRING(class, "filename", 1, "Filename", "Filename to load from", VIPS_ARGUMENT_REQUIRED_INPUT, G_STRUCT_OFFSET(AeiLoadFile, filename), NULL);
}

OPERATION(AeiLoadBuffer, load_buffer, AeiLoad, load, VipsArea *buffer)

static int load_buffer_build(VipsObject *object) {
    AeiLoadBuffer *load = (AeiLoadBuffer *)object;
    if (load->buffer && !(load->parent.source = vips_source_new_from_memory(load->buffer->data, load->buffer->length))) return -1;
    return load_buffer_build_base(object);
}

static void load_buffer_class_init(AeiLoadBufferClass *class) {
    load_buffer_name(class, "aeiload_buffer");
    class->is_a_buffer = is_a_buffer;
    VIPS_ARG_BOXED(class, "buffer", 1, "Buffer", "Buffer to load from", VIPS_ARGUMENT_REQUIRED_INPUT, G_STRUCT_OFFSET(AeiLoadBuffer, buffer), VIPS_TYPE_BLOB);
}

OPERATION(AeiLoadSource, load_source, AeiLoad, load, VipsSource *from)

static int load_source_build(VipsObject *object) {
    AeiLoadSource *load = (AeiLoadSource *)object;
    if (load->from) load->parent.source = g_object_ref(load->from);
    return load_source_build_base(object);
}

static void load_source_class_init(AeiLoadSourceClass *class) {
    load_source_name(class, "aeiload_source");
    VIPS_OPERATION_CLASS(class)->flags |= VIPS_OPERATION_NOCACHE;
    class->is_a_source = is_a_source;
    VIPS_ARG_OBJECT(class, "source", 1, "Source", "Source to load from", VIPS_ARGUMENT_REQUIRED_INPUT, G_STRUCT_OFFSET(AeiLoadSource, from), VIPS_TYPE_SOURCE);
}

/* Writing */

typedef struct {
    VipsForeignSave parent;
    int q, effort;
    gboolean lossless, visual, preview;
    char *profile;
    /* What has been made, so that no file is opened before there is something to write. */
    uint8_t *file;
    size_t length;
} AeiSave;
typedef VipsForeignSaveClass AeiSaveClass;
static GType save_get_type(void);
G_DEFINE_ABSTRACT_TYPE(AeiSave, save, VIPS_TYPE_FOREIGN_SAVE)

static void save_dispose(GObject *object) {
    AeiSave *save = (AeiSave *)object;
    aei_free(save->file, save->length);
    save->file = NULL;
    G_OBJECT_CLASS(save_parent_class)->dispose(object);
}

/* Whether a kind of metadata is to be kept. */
static gboolean keeps(const VipsForeignSave *foreign, const char *name) {
#if VIPS_MAJOR_VERSION > 8 || VIPS_MINOR_VERSION >= 15
    gboolean icc = !strcmp(name, VIPS_META_ICC_NAME), exif = !strcmp(name, VIPS_META_EXIF_NAME);
    return (foreign->keep & (icc ? VIPS_FOREIGN_KEEP_ICC : exif ? VIPS_FOREIGN_KEEP_EXIF : VIPS_FOREIGN_KEEP_XMP)) != 0;
#else
    (void)name;
    return !foreign->strip;
#endif
}

/* A piece of metadata that an image has, or null. */
static const uint8_t *metadata(const VipsImage *image, const char *name, size_t *length) {
    const void *bytes = NULL;
    *length = 0;
    if (vips_image_get_typeof(image, name) && vips_image_get_blob(image, name, &bytes, length)) {
        vips_error_clear();
        *length = 0;
    }
    return *length ? bytes : NULL;
}

static int save_build(VipsObject *object) {
    AeiSave *save = (AeiSave *)object;
    VipsForeignSave *foreign = (VipsForeignSave *)object;
    if (VIPS_OBJECT_CLASS(save_parent_class)->build(object)) return -1;
    VipsImage **t = (VipsImage **)vips_object_local_array(object, 2);
    VipsImage *ready = foreign->ready;
    /* 16 bits are those of colours with 16 bits, not large numbers in others. */
    if (ready->BandFmt == VIPS_FORMAT_USHORT && ready->Type != VIPS_INTERPRETATION_RGB16 && ready->Type != VIPS_INTERPRETATION_GREY16) {
        if (vips_cast(ready, &t[0], VIPS_FORMAT_UCHAR, NULL)) return -1;
        ready = t[0];
    }
    if (ready->Bands > 4) {
        vips_error("aei", "pictures have 1 to 4 bands, this one has %d", ready->Bands);
        return -1;
    }
    if (vips_image_wio_input(ready) || vips_copy(ready, &t[1], NULL)) return -1;
    VipsImage *described = t[1]; /* whose metadata may be changed; the pixels are in memory of the other */
    static const char *kinds[] = {VIPS_META_ICC_NAME, VIPS_META_XMP_NAME, VIPS_META_EXIF_NAME};
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++)
        if (!keeps(foreign, kinds[i])) vips_image_remove(described, kinds[i]);
    if (vips_image_get_typeof(described, VIPS_META_EXIF_NAME)) exif_by("vips__exif_update", described);
#if VIPS_MAJOR_VERSION == 8 && VIPS_MINOR_VERSION < 15 /* later ones do that by themselves */
    if (save->profile) {
        VipsBlob *profile;
        if (vips_profile_load(save->profile, &profile, NULL)) return -1;
        vips_image_remove(described, VIPS_META_ICC_NAME);
        if (profile) { /* none for "none" */
            vips_image_set_blob_copy(described, VIPS_META_ICC_NAME, VIPS_AREA(profile)->data, VIPS_AREA(profile)->length);
            vips_area_unref(VIPS_AREA(profile));
        }
    }
#endif
    AeiEncodeOptions options;
    aei_encode_options_init(&options, sizeof options);
    options.quality_index = (uint32_t)((save->q * 63 + 50) / 100); /* per cent, as of `aei encode -q` */
    options.effort = (uint32_t)save->effort;
    options.lossless = save->lossless;
    options.tune = save->visual;
    options.preview = save->preview;
    options.orientation = (uint32_t)vips_image_get_orientation(described);
    options.progress = stop;
    options.user_data = foreign->in;
    options.icc = metadata(described, VIPS_META_ICC_NAME, &options.icc_length);
    options.xmp = metadata(described, VIPS_META_XMP_NAME, &options.xmp_length);
    options.exif = metadata(described, VIPS_META_EXIF_NAME, &options.exif_length);
    if (options.exif_length >= EXIF_PREFIX_SIZE && !memcmp(options.exif, EXIF_PREFIX, EXIF_PREFIX_SIZE)) {
        options.exif += EXIF_PREFIX_SIZE;
        options.exif_length -= EXIF_PREFIX_SIZE;
    }
    AeiImage image = {.size = sizeof image,
                      .samples = VIPS_IMAGE_ADDR(ready, 0, 0), /* only read from */
                      .stride = VIPS_IMAGE_SIZEOF_LINE(ready),
                      .width = (uint32_t)ready->Xsize,
                      .height = (uint32_t)ready->Ysize,
                      .channels = (uint32_t)ready->Bands,
                      .depth = ready->BandFmt == VIPS_FORMAT_USHORT ? 16 : 8};
    AeiError why = {.size = sizeof why};
    return aei_encode(&image, &options, &save->file, &save->length, &why) == AEI_STATUS_OK ? 0 : fail(&why);
}

static int write_file(const AeiSave *save, VipsTarget *target) { return !target || vips_target_write(target, save->file, save->length) || vips_target_end(target) ? -1 : 0; }

static void save_class_init(AeiSaveClass *class) {
    /* What each of libvips' formats of bands becomes: unsigned numbers of 16 bits stay, all others become 8 bits. */
    static VipsBandFormat formats[] = {VIPS_FORMAT_UCHAR, VIPS_FORMAT_UCHAR, VIPS_FORMAT_USHORT, VIPS_FORMAT_USHORT, VIPS_FORMAT_USHORT,
                                       VIPS_FORMAT_USHORT, VIPS_FORMAT_UCHAR, VIPS_FORMAT_UCHAR, VIPS_FORMAT_UCHAR, VIPS_FORMAT_UCHAR};
    G_OBJECT_CLASS(class)->dispose = save_dispose;
    G_OBJECT_CLASS(class)->set_property = vips_object_set_property;
    G_OBJECT_CLASS(class)->get_property = vips_object_get_property;
    VIPS_OBJECT_CLASS(class)->nickname = "aeisave_base";
    VIPS_OBJECT_CLASS(class)->description = "save aei";
    VIPS_OBJECT_CLASS(class)->build = save_build;
    VIPS_FOREIGN_CLASS(class)->suffs = suffixes;
#if VIPS_MAJOR_VERSION > 8 || VIPS_MINOR_VERSION >= 17
    class->saveable = VIPS_FOREIGN_SAVEABLE_MONO | VIPS_FOREIGN_SAVEABLE_RGB | VIPS_FOREIGN_SAVEABLE_ALPHA;
#else
    class->saveable = VIPS_SAVEABLE_RGBA;
#endif
    class->format_table = formats;
    VIPS_ARG_INT(class, "Q", 10, "Q", "Quality in per cent", VIPS_ARGUMENT_OPTIONAL_INPUT, G_STRUCT_OFFSET(AeiSave, q), 0, 100, 60);
    VIPS_ARG_INT(class, "effort", 11, "Effort", "Work that goes into a small file", VIPS_ARGUMENT_OPTIONAL_INPUT, G_STRUCT_OFFSET(AeiSave, effort), 0, 5, 0);
    VIPS_ARG_BOOL(class, "lossless", 12, "Lossless", "Store samples as they are", VIPS_ARGUMENT_OPTIONAL_INPUT, G_STRUCT_OFFSET(AeiSave, lossless), FALSE);
    VIPS_ARG_BOOL(class, "visual", 13, "Visual", "Spend the effort on the look instead of the PSNR", VIPS_ARGUMENT_OPTIONAL_INPUT, G_STRUCT_OFFSET(AeiSave, visual), FALSE);
    VIPS_ARG_BOOL(class, "preview", 14, "Preview", "Store a preview of about 1 KB", VIPS_ARGUMENT_OPTIONAL_INPUT, G_STRUCT_OFFSET(AeiSave, preview), FALSE);
#if VIPS_MAJOR_VERSION == 8 && VIPS_MINOR_VERSION < 15
    VIPS_ARG_STRING(class, "profile", 15, "Profile", "Colour profile to store instead", VIPS_ARGUMENT_OPTIONAL_INPUT, G_STRUCT_OFFSET(AeiSave, profile), NULL);
#endif
}

static void save_init(AeiSave *save) { save->q = 60; }

OPERATION(AeiSaveFile, save_file, AeiSave, save, char *filename)

static int save_file_build(VipsObject *object) {
    AeiSaveFile *save = (AeiSaveFile *)object;
    if (save_file_build_base(object)) return -1;
    VipsTarget *target = vips_target_new_to_file(save->filename);
    int failed = write_file(&save->parent, target);
    VIPS_UNREF(target);
    return failed;
}

static void save_file_class_init(AeiSaveFileClass *class) {
    save_file_name(class, "aeisave");
    VIPS_ARG_STRING(class, "filename", 1, "Filename", "Filename to save to", VIPS_ARGUMENT_REQUIRED_INPUT, G_STRUCT_OFFSET(AeiSaveFile, filename), NULL);
}

OPERATION(AeiSaveBuffer, save_buffer, AeiSave, save, VipsArea *buffer)

static int save_buffer_build(VipsObject *object) {
    AeiSave *save = (AeiSave *)object;
    if (save_buffer_build_base(object)) return -1;
    /* Who gets a blob frees it by g_free, in some languages without asking the blob. */
    void *copy = g_try_malloc(save->length);
    if (!copy) {
        vips_error("aei", "there is not enough memory for a file of %zu bytes", save->length);
        return -1;
    }
    VipsBlob *blob = vips_blob_new((VipsCallbackFn)vips_area_free_cb, memcpy(copy, save->file, save->length), save->length);
    g_object_set(object, "buffer", blob, NULL);
    vips_area_unref(VIPS_AREA(blob));
    return 0;
}

static void save_buffer_class_init(AeiSaveBufferClass *class) {
    save_buffer_name(class, "aeisave_buffer");
    VIPS_ARG_BOXED(class, "buffer", 1, "Buffer", "Buffer to save to", VIPS_ARGUMENT_REQUIRED_OUTPUT, G_STRUCT_OFFSET(AeiSaveBuffer, buffer), VIPS_TYPE_BLOB);
}

OPERATION(AeiSaveTarget, save_target, AeiSave, save, VipsTarget *to)

static int save_target_build(VipsObject *object) {
    AeiSaveTarget *save = (AeiSaveTarget *)object;
    return save_target_build_base(object) ? -1 : write_file(&save->parent, save->to);
}

static void save_target_class_init(AeiSaveTargetClass *class) {
    save_target_name(class, "aeisave_target");
    VIPS_ARG_OBJECT(class, "target", 1, "Target", "Target to save to", VIPS_ARGUMENT_REQUIRED_INPUT, G_STRUCT_OFFSET(AeiSaveTarget, to), VIPS_TYPE_TARGET);
}

/* libvips calls that once it has opened the module, which stays: types cannot go again. */
G_MODULE_EXPORT const gchar *g_module_check_init(GModule *module) {
    load_file_get_type();
    load_buffer_get_type();
    load_source_get_type();
    save_file_get_type();
    save_buffer_get_type();
    save_target_get_type();
    g_module_make_resident(module);
    return NULL;
}
