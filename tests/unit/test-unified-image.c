/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "host/unified-image.h"
#include "temporary-root.h"
#include "test.h"

/* The headers, two sections, and their texts from byte 512 on. */
static void make_image(uint8_t image[static 1024], uint16_t n_sections, uint32_t size) {
        static const uint8_t coff[] = { 'P', 'E', 0, 0, 0x64, 0x86 };
        uint8_t *section = image + 64 + 24 + 16;

        memset(image, 0, 1024);
        memcpy(image, "MZ", 2);
        image[60] = 64;
        memcpy(image + 64, coff, sizeof(coff));
        image[64 + 6] = (uint8_t)n_sections;
        image[64 + 20] = 16; /* of the optional header */
        memcpy(section, ".uname", 6);
        section[8] = section[16] = 5;
        section[21] = 2; /* 512 */
        memcpy(section + 40, ".cmdline", 8);
        memcpy(section + 40 + 8, &size, sizeof(size));
        section[40 + 16] = 200;
        section[40 + 20] = 8;
        section[40 + 21] = 2;
        memcpy(image + 512, "6.12\0", 5);
        memcpy(image + 520, "root=a dmem=4G", 14);
}

static void write_image(const TemporaryRoot *root, const uint8_t *image, size_t size) {
        _cleanup_close_ int fd =
                openat(root->fd, "x.efi", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

        if (fd < 0 || write(fd, image, size) != (ssize_t)size)
                abort();
}

TEST(read) {
        _cleanup_(temporary_root_done) TemporaryRoot root = temporary_root();
        uint8_t image[1024];
        const struct {
                const char *name;
                uint16_t n_sections;
                uint32_t size;
                size_t file_size;
                int r;
                const char *text;
        } table[] = {
                { ".cmdline", 2, 14, 1024, 0, "root=a dmem=4G" },
                { ".cmdline", 2, 14, 530, -EBADMSG, NULL }, /* cut off */
                { ".cmdline", 2, 4096, 1024, 0, "root=a dmem=4G" },
                { ".uname", 2, 14, 1024, 0, "6.12" },
                { ".osrel", 2, 14, 1024, -ENOENT, NULL },
                { ".cmdline", 1, 14, 1024, -ENOENT, NULL },
                { ".cmdline", 200, 14, 1024, -EBADMSG, NULL },
                { ".cmdline", 2, 14, 100, -EBADMSG, NULL },
                { ".cmdline", 2, 14, 10, -EBADMSG, NULL },
                { ".cmdline", 2, 14, 0, -EBADMSG, NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                char *text = NULL;

                make_image(image, table[i].n_sections, table[i].size);
                write_image(&root, image, table[i].file_size);
                EXPECT_EQ(table[i].name, unified_image_read(root.fd, "x.efi", table[i].name, &text),
                          table[i].r);
                EXPECT_STREQ(table[i].name, text, table[i].text);
                free(text);
        }
        EXPECT_EQ("no file", unified_image_read(root.fd, "y.efi", ".cmdline", &(char *){ NULL }),
                  -ENOENT);
}

TEST_MAIN()
