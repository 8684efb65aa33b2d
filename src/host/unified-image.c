/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <endian.h>
#include <fcntl.h>

#include "basic/macro.h"
#include "basic/root-fs.h"
#include "host/unified-image.h"

/* The PE format has room for 96 sections; an image of several profiles has a dozen. */
#define SECTIONS_MAX 96

typedef struct DosHeader {
        uint8_t magic[2];
        uint8_t unused[58];
        uint32_t pe_offset;
} DosHeader;

typedef struct CoffHeader {
        uint8_t magic[4];
        uint16_t machine;
        uint16_t n_sections;
        uint8_t unused[12];
        uint16_t optional_size;
        uint16_t characteristics;
} CoffHeader;

typedef struct Section {
        char name[8]; /* not terminated if it is as long as that */
        uint32_t virtual_size;
        uint32_t virtual_address;
        uint32_t raw_size;
        uint32_t raw_offset;
        uint8_t unused[16];
} Section;

static_assert(sizeof(DosHeader) == 64 && sizeof(CoffHeader) == 24 && sizeof(Section) == 40,
              "headers as the PE format has them");

static int read_text(int fd, const char *path, const Section *section, char **ret) {
        uint32_t size = le32toh(section->virtual_size), raw_size = le32toh(section->raw_size);
        _cleanup_free_ char *text = NULL;
        int r;

        if (size > raw_size)
                size = raw_size;
        if (size > UNIFIED_IMAGE_TEXT_MAX)
                return -EFBIG;
        text = new0(char, size + 1);
        if (!text)
                return -ENOMEM;
        r = root_read_at(fd, path, le32toh(section->raw_offset), text, size);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(text);
        return 0;
}

int unified_image_read(int root_fd, const char *path, const char *name, char **ret) {
        _cleanup_close_ int fd = -EBADF;
        uint64_t offset;
        CoffHeader coff;
        DosHeader dos;
        int r;

        fd = root_openat(root_fd, path, O_RDONLY | O_NOCTTY | O_NONBLOCK, 0);
        if (fd < 0)
                return fd;
        r = root_read_at(fd, path, 0, &dos, sizeof(dos));
        if (r < 0)
                return r;
        offset = le32toh(dos.pe_offset);
        if (memcmp(dos.magic, "MZ", 2) != 0)
                return -EBADMSG;
        r = root_read_at(fd, path, offset, &coff, sizeof(coff));
        if (r < 0)
                return r;
        if (memcmp(coff.magic, "PE\0\0", 4) != 0 || le16toh(coff.n_sections) > SECTIONS_MAX)
                return -EBADMSG;
        offset += sizeof(coff) + le16toh(coff.optional_size);
        for (unsigned i = 0; i < le16toh(coff.n_sections); i++, offset += sizeof(Section)) {
                Section section;

                r = root_read_at(fd, path, offset, &section, sizeof(section));
                if (r < 0)
                        return r;
                if (strncmp(section.name, name, sizeof(section.name)) == 0)
                        return read_text(fd, path, &section, ret);
        }
        return -ENOENT;
}
