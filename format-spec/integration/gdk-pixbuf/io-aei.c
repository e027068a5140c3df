/* gdk-pixbuf's module for aei: with it GTK programs open and save .aei, and file managers show thumbnails. install.sh beside it builds and installs it. */
#define GDK_PIXBUF_ENABLE_BACKEND
#include <aei.h>
#include <gdk-pixbuf/gdk-pixbuf.h>
#include <gmodule.h>
#include <string.h>

#define LARGEST_FILE ((gsize)1 << 30) /* as aei_decoder_new has it */

static void set_error(GError **error, const AeiError *why) {
    int code = why->status == AEI_STATUS_FORMAT   ? GDK_PIXBUF_ERROR_CORRUPT_IMAGE
               : why->status == AEI_STATUS_LIMITS ? GDK_PIXBUF_ERROR_INSUFFICIENT_MEMORY
                                                  : GDK_PIXBUF_ERROR_FAILED;
    g_set_error(error, GDK_PIXBUF_ERROR, code, "aei: %s", why->message);
}

static gboolean no_memory(GError **error) {
    g_set_error_literal(error, GDK_PIXBUF_ERROR, GDK_PIXBUF_ERROR_INSUFFICIENT_MEMORY, "aei: there is not enough memory for this picture");
    return FALSE;
}

/* Gray and gray with alpha, in place of which gdk-pixbuf has RGB and RGBA: the samples of one row, n_channels of them in front, become those of the pixels. */
static void spread_gray(guchar *row, guint width, guint channels) {
    for (guint x = width; x-- > 0;) {
        guchar gray = row[x * channels], alpha = row[x * channels + channels - 1];
        guchar *pixel = row + x * (channels + 2);
        pixel[0] = pixel[1] = pixel[2] = gray;
        if (channels == 2) pixel[3] = alpha;
    }
}

/* The samples of `decoder` with the profile of `whole`, which a preview does not repeat; or null and an error. */
static GdkPixbuf *decode(const AeiDecoder *decoder, const AeiDecoder *whole, GError **error) {
    AeiError why = {.size = sizeof why};
    AeiInfo info = {.size = sizeof info};
    if (aei_decoder_info(decoder, &info, &why) != AEI_STATUS_OK) {
        set_error(error, &why);
        return NULL;
    }
    gboolean gray = info.channels < 3;
    GdkPixbuf *pixbuf = gdk_pixbuf_new(GDK_COLORSPACE_RGB, info.channels % 2 == 0, 8, (int)info.width, (int)info.height);
    if (!pixbuf) {
        no_memory(error);
        return NULL;
    }
    gsize stride = (gsize)gdk_pixbuf_get_rowstride(pixbuf);
    guchar *pixels = gdk_pixbuf_get_pixels(pixbuf);
    AeiImage image = {.size = sizeof image, .samples = pixels, .stride = stride, .width = info.width, .height = info.height, .channels = info.channels};
    if (aei_decoder_decode(decoder, &image, &why) != AEI_STATUS_OK) {
        set_error(error, &why);
        g_object_unref(pixbuf);
        return NULL;
    }
    for (guint y = 0; gray && y < info.height; y++) spread_gray(pixels + y * stride, info.width, info.channels);
    if (info.orientation != 1) {
        char text[4];
        g_snprintf(text, sizeof text, "%u", info.orientation);
        gdk_pixbuf_set_option(pixbuf, "orientation", text); /* programs turn it by gdk_pixbuf_apply_embedded_orientation, as with JPEG */
    }
    const guint8 *icc;
    gsize length;
    if (!gray && aei_decoder_metadata(whole, AEI_METADATA_ICC, &icc, &length, NULL) == AEI_STATUS_OK && length) {
        char *text = g_base64_encode(icc, length);
        gdk_pixbuf_set_option(pixbuf, "icc-profile", text);
        g_free(text);
    }
    return pixbuf;
}

/* The preview, if there is one that is large enough for width x height; nothing wrong with it is worth an error. */
static GdkPixbuf *decode_preview(const AeiDecoder *decoder, int width, int height) {
    AeiDecoder *preview;
    if (aei_decoder_preview(decoder, &preview, NULL) != AEI_STATUS_OK || !preview) return NULL;
    AeiInfo info = {.size = sizeof info};
    GdkPixbuf *pixbuf = NULL;
    if (aei_decoder_info(preview, &info, NULL) == AEI_STATUS_OK && (guint)width <= info.width && (guint)height <= info.height) pixbuf = decode(preview, decoder, NULL);
    aei_decoder_free(preview);
    return pixbuf;
}

typedef struct {
    GdkPixbufModuleSizeFunc size;
    GdkPixbufModulePreparedFunc prepared;
    GdkPixbufModuleUpdatedFunc updated;
    gpointer user_data;
    guchar *file;
    gsize length, room;
} Loading;

static gpointer begin_load(GdkPixbufModuleSizeFunc size, GdkPixbufModulePreparedFunc prepared, GdkPixbufModuleUpdatedFunc updated, gpointer user_data,
                           GError **error) {
    (void)error;
    Loading *loading = g_new0(Loading, 1);
    *loading = (Loading){.size = size, .prepared = prepared, .updated = updated, .user_data = user_data};
    return loading;
}

static gboolean load_increment(gpointer context, const guchar *bytes, guint count, GError **error) {
    Loading *loading = context;
    if (count > LARGEST_FILE - loading->length) {
        g_set_error_literal(error, GDK_PIXBUF_ERROR, GDK_PIXBUF_ERROR_INSUFFICIENT_MEMORY, "aei: the file is larger than 1 GiB");
        return FALSE;
    }
    if (count > loading->room - loading->length) {
        gsize room = MAX(loading->length + count, MIN(2 * loading->room, LARGEST_FILE));
        guchar *file = g_try_realloc(loading->file, room);
        if (!file) return no_memory(error);
        loading->file = file;
        loading->room = room;
    }
    memcpy(loading->file + loading->length, bytes, count);
    loading->length += count;
    return TRUE;
}

static gboolean stop_load(gpointer context, GError **error) {
    Loading *loading = context;
    AeiError why = {.size = sizeof why};
    AeiDecoder *decoder;
    GdkPixbuf *pixbuf = NULL;
    gboolean wanted = TRUE;
    if (aei_decoder_new(loading->file, loading->length, NULL, &decoder, &why) != AEI_STATUS_OK) {
        set_error(error, &why);
    } else {
        AeiInfo info = {.size = sizeof info};
        aei_decoder_info(decoder, &info, NULL);
        int width = (int)info.width, height = (int)info.height;
        if (loading->size) loading->size(&width, &height, loading->user_data);
        wanted = width > 0 && height > 0; /* who wants to know the size alone asks for no pixels */
        /* previews have no alpha */
        if (wanted && info.channels % 2 && ((guint)width < info.width || (guint)height < info.height)) pixbuf = decode_preview(decoder, width, height);
        if (wanted && !pixbuf) pixbuf = decode(decoder, decoder, error);
        aei_decoder_free(decoder);
    }
    if (pixbuf) {
        if (loading->prepared) loading->prepared(pixbuf, NULL, loading->user_data);
        if (loading->updated) loading->updated(pixbuf, 0, 0, gdk_pixbuf_get_width(pixbuf), gdk_pixbuf_get_height(pixbuf), loading->user_data);
        g_object_unref(pixbuf);
    } else if (!wanted) {
        g_set_error_literal(error, GDK_PIXBUF_ERROR, GDK_PIXBUF_ERROR_FAILED, "aei: no pixels were asked for");
    }
    g_free(loading->file);
    g_free(loading);
    return pixbuf != NULL;
}

static gboolean is_save_option_supported(const gchar *key) {
    return !strcmp(key, "quality") || !strcmp(key, "effort") || !strcmp(key, "icc-profile");
}

/* A whole number of a save option. */
static gboolean number(const char *key, const char *value, gint64 most, gint64 *out, GError **error) {
    GError *why = NULL;
    if (g_ascii_string_to_signed(value, 10, 0, most, out, &why)) return TRUE;
    g_set_error(error, GDK_PIXBUF_ERROR, GDK_PIXBUF_ERROR_BAD_OPTION, "aei: %s: %s", key, why->message);
    g_error_free(why);
    return FALSE;
}

static gboolean save_to_callback(GdkPixbufSaveFunc save, gpointer user_data, GdkPixbuf *pixbuf, gchar **keys, gchar **values, GError **error) {
    AeiEncodeOptions options;
    aei_encode_options_init(&options, sizeof options);
    guchar *icc = NULL;
    for (; keys && *keys; keys++, values++) {
        gint64 n;
        gboolean right = TRUE;
        if (!strcmp(*keys, "quality")) {
            right = number(*keys, *values, 100, &n, error);
            if (right) options.quality_index = (uint32_t)((n * 63 + 50) / 100); /* percent, as of `aei encode -q` */
        } else if (!strcmp(*keys, "effort")) {
            right = number(*keys, *values, 5, &n, error);
            if (right) options.effort = (uint32_t)n;
        } else if (!strcmp(*keys, "icc-profile")) {
            g_free(icc);
            options.icc = icc = g_base64_decode(*values, &options.icc_length);
            right = options.icc_length > 0;
            if (!right) g_set_error_literal(error, GDK_PIXBUF_ERROR, GDK_PIXBUF_ERROR_BAD_OPTION, "aei: icc-profile is not base64");
            /* Of gray files gdk-pixbuf hands on the profile, but not the gray: at byte 16 stands what kind of colours it is for. */
            if (options.icc_length >= 20 && !memcmp(icc + 16, "GRAY", 4)) options.icc_length = 0;
        }
        if (!right) {
            g_free(icc);
            return FALSE;
        }
    }
    AeiImage image = {.size = sizeof image,
                      .samples = (void *)gdk_pixbuf_read_pixels(pixbuf), /* only read from */
                      .stride = (size_t)gdk_pixbuf_get_rowstride(pixbuf),
                      .width = (uint32_t)gdk_pixbuf_get_width(pixbuf),
                      .height = (uint32_t)gdk_pixbuf_get_height(pixbuf),
                      .channels = (uint32_t)gdk_pixbuf_get_n_channels(pixbuf)};
    AeiError why = {.size = sizeof why};
    uint8_t *file;
    size_t length;
    AeiStatus status = aei_encode(&image, &options, &file, &length, &why);
    g_free(icc);
    if (status != AEI_STATUS_OK) {
        set_error(error, &why);
        return FALSE;
    }
    gboolean saved = save((const gchar *)file, length, error, user_data);
    aei_free(file, length);
    return saved;
}

G_MODULE_EXPORT void fill_vtable(GdkPixbufModule *module) {
    module->begin_load = begin_load;
    module->stop_load = stop_load;
    module->load_increment = load_increment;
    module->save_to_callback = save_to_callback;
    module->is_save_option_supported = is_save_option_supported;
}

G_MODULE_EXPORT void fill_info(GdkPixbufFormat *info) {
    static const GdkPixbufModulePattern signature[] = {{"\x89" "AEI\r\n\x1a\n", NULL, 100}, {NULL, NULL, 0}};
    static const gchar *mime_types[] = {"image/x-aei", NULL}, *extensions[] = {"aei", NULL};
    info->name = "aei";
    info->signature = (GdkPixbufModulePattern *)signature;
    info->description = "aei";
    info->mime_types = (gchar **)mime_types;
    info->extensions = (gchar **)extensions;
    info->flags = GDK_PIXBUF_FORMAT_WRITABLE | GDK_PIXBUF_FORMAT_THREADSAFE;
    info->license = "MIT OR Apache-2.0";
}
