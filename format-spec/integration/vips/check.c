/* What `try` asks of libvips' module in memory, as servers call it: check FILE.aei WITH-EXIF.jpg. The picture from a buffer is that of the file, and so is what a buffer
 * saves; tags of EXIF that a program sets and removes are there, and not, in what it saves. */
#include <stdio.h>
#include <vips/vips.h>

static void same_pixels(const char *name) {
    gchar *file;
    gsize length;
    void *saved;
    size_t saved_length;
    double difference[2];
    VipsImage *whole, *read, *again, *errors[2];
    if (!g_file_get_contents(name, &file, &length, NULL) || !(whole = vips_image_new_from_file(name, NULL)) ||
        !(read = vips_image_new_from_buffer(file, length, "", NULL)) || vips_image_write_to_buffer(read, ".aei", &saved, &saved_length, "lossless", TRUE, NULL) ||
        !(again = vips_image_new_from_buffer(saved, saved_length, "", NULL)) || vips_subtract(whole, read, &errors[0], NULL) ||
        vips_subtract(whole, again, &errors[1], NULL))
        vips_error_exit(NULL);
    for (int i = 0; i < 2; i++) {
        if (vips_deviate(errors[i], &difference[i], NULL)) vips_error_exit(NULL);
        g_object_unref(errors[i]);
    }
    printf("loader %s, differences %g and %g\n", vips_foreign_find_load_buffer(file, length), difference[0], difference[1]);
    g_object_unref(again);
    g_object_unref(read);
    g_object_unref(whole);
    g_free(saved);
    g_free(file);
}

/* A copy of a picture, saved and opened again: with a tag, or without it. */
static VipsImage *with_tag(VipsImage *image, const char *tag, const char *value) {
    void *saved;
    size_t length;
    VipsImage *changed, *again, *copy;
    if (vips_copy(image, &changed, NULL)) vips_error_exit(NULL);
    if (value) vips_image_set_string(changed, tag, value);
    else vips_image_remove(changed, tag);
    if (vips_image_write_to_buffer(changed, ".aei", &saved, &length, NULL) || !(again = vips_image_new_from_buffer(saved, length, "", NULL)) ||
        !(copy = vips_image_copy_memory(again)))
        vips_error_exit(NULL);
    g_object_unref(again);
    g_object_unref(changed);
    g_object_unref(image);
    g_free(saved);
    return copy;
}

static void changed_tags(const char *name) {
    VipsImage *image = vips_image_new_from_file(name, NULL);
    if (!image) vips_error_exit(NULL);
    image = with_tag(image, "exif-ifd0-Copyright", "nobody");
    image = with_tag(image, "exif-ifd0-Artist", "somebody");
    printf("set %d %d, ", vips_image_get_typeof(image, "exif-ifd0-Copyright") != 0, vips_image_get_typeof(image, "exif-ifd0-Artist") != 0);
    image = with_tag(image, "exif-ifd0-Artist", NULL);
    printf("removed %d %d, ", vips_image_get_typeof(image, "exif-ifd0-Copyright") == 0, vips_image_get_typeof(image, "exif-ifd0-Artist") == 0);
    printf("orientation %d\n", vips_image_get_orientation(image));
    g_object_unref(image);
}

int main(int count, char **words) {
    if (count != 3 || VIPS_INIT(words[0])) vips_error_exit("usage: check FILE.aei WITH-EXIF.jpg");
    same_pixels(words[1]);
    changed_tags(words[2]);
    vips_shutdown();
    return 0;
}
