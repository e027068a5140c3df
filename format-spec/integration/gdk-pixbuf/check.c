/* Opens a picture with gdk-pixbuf, tells what it says of it, and saves it: check FILE [[-s SIDE] OUT TYPE [KEY VALUE]...]. For `try` in the folder above. */
#include <gdk-pixbuf/gdk-pixbuf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failed(GError *error) {
    fprintf(stderr, "%s\n", error->message);
    g_error_free(error);
    return 1;
}

int main(int argc, char **argv) {
    GError *error = NULL;
    int width, height, side = argc > 3 && !strcmp(argv[2], "-s") ? atoi(argv[3]) : 0;
    char **out = argv + (side ? 4 : 2);
    GdkPixbufFormat *format = gdk_pixbuf_get_file_info(argv[1], &width, &height);
    if (format) {
        char *name = gdk_pixbuf_format_get_name(format);
        printf("%s %dx%d\n", name, width, height);
        g_free(name);
    }
    GdkPixbuf *pixbuf = side ? gdk_pixbuf_new_from_file_at_size(argv[1], side, side, &error) : gdk_pixbuf_new_from_file(argv[1], &error);
    if (!pixbuf) return failed(error);
    const char *orientation = gdk_pixbuf_get_option(pixbuf, "orientation"), *icc = gdk_pixbuf_get_option(pixbuf, "icc-profile");
    printf("pixels %dx%d, channels %d, orientation %s, profile %s\n", gdk_pixbuf_get_width(pixbuf), gdk_pixbuf_get_height(pixbuf),
           gdk_pixbuf_get_n_channels(pixbuf), orientation ? orientation : "none", icc ? "yes" : "none");
    int right = 1;
    if (argc - (out - argv) >= 2) {
        char *keys[8] = {0}, *values[8] = {0};
        for (int i = 0; i < 7 && out[2 + 2 * i]; i++) {
            keys[i] = out[2 + 2 * i];
            values[i] = strcmp(out[3 + 2 * i], "same") ? out[3 + 2 * i] : (char *)icc;
        }
        right = gdk_pixbuf_savev(pixbuf, out[0], out[1], keys, values, &error);
    }
    g_object_unref(pixbuf);
    return right ? 0 : failed(error);
}
