/* What `try` asks of libvips' module in memory, as servers call it: check FILE.aei. The picture from a buffer is that of the file, and so is what a buffer saves. */
#include <stdio.h>
#include <vips/vips.h>

int main(int count, char **words) {
    if (count != 2 || VIPS_INIT(words[0])) vips_error_exit("usage: check FILE.aei");
    gchar *file;
    gsize length;
    void *saved;
    size_t saved_length;
    double difference[2];
    VipsImage *whole, *read, *again, *errors[2];
    if (!g_file_get_contents(words[1], &file, &length, NULL) || !(whole = vips_image_new_from_file(words[1], NULL)) ||
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
    vips_shutdown();
    return 0;
}
