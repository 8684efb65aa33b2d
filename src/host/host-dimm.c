/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <stdio.h>

#include "basic/root-fs.h"
#include "host/host-dimm.h"
#include "host/poison-text.h"

#define TABLE_PATH "sys/firmware/dmi/tables/DMI"

/* Offsets and types of DSP0134 */
enum {
        HEADER_SIZE = 4,
        TYPE_MEMORY_DEVICE = 17,
        TYPE_END = 127,
        MEMORY_SIZE = 0x0c, /* 16 bits; 0: the slot is empty */
        MEMORY_DEVICE_LOCATOR = 0x10,
        MEMORY_BANK_LOCATOR = 0x11,
        MEMORY_SERIAL = 0x18,
};

/* The strings stand behind the structure; the set ends with an empty one. */
typedef struct Structure {
        const uint8_t *data;
        size_t size; /* without the strings */
        const char *strings, *end;
} Structure;

/* Printable copy of string @data[@offset]. *ret is NULL if there is none or it is blank. */
static int get_string(const Structure *s, size_t offset, char **ret) {
        const char *text = s->strings;
        unsigned number = offset < s->size ? s->data[offset] : 0;
        char copy[65];
        size_t length;

        *ret = NULL;
        if (number == 0)
                return 0;
        while (--number > 0 && text < s->end)
                text += strlen(text) + 1;
        if (text >= s->end)
                return 0;
        text += strspn(text, " ");
        length = strlen(text);
        while (length > 0 && text[length - 1] == ' ')
                length--;
        if (length == 0)
                return 0;
        (void)snprintf(copy, sizeof(copy), "%.*s", (int)length, text);
        *ret = text_printable(copy);
        return *ret ? 0 : -ENOMEM;
}

/* Device locators are not always unique on a host with several sockets; with the bank they are. */
static int read_memory_device(const Structure *s, Dimms *dimms) {
        _cleanup_free_ char *bank = NULL, *device = NULL;
        Dimm *grown, dimm = {};
        int r;

        if (s->size <= MEMORY_BANK_LOCATOR ||
            (s->data[MEMORY_SIZE] == 0 && s->data[MEMORY_SIZE + 1] == 0))
                return 0;
        r = get_string(s, MEMORY_DEVICE_LOCATOR, &device);
        if (r >= 0)
                r = get_string(s, MEMORY_BANK_LOCATOR, &bank);
        if (r < 0)
                return r;
        grown = reallocarray(dimms->items, dimms->n_items + 1, sizeof(Dimm));
        if (!grown)
                return -ENOMEM;
        dimms->items = grown;
        if (bank && device && asprintf(&dimm.locator, "%s %s", bank, device) < 0)
                return -ENOMEM;
        if (!dimm.locator)
                dimm.locator = device ? TAKE_PTR(device) : TAKE_PTR(bank);
        dimms->items[dimms->n_items++] = dimm;
        return get_string(s, MEMORY_SERIAL, &dimms->items[dimms->n_items - 1].serial);
}

/* Returns 1 and the structure at *at, which is moved on; 0 at the end; -EBADMSG. */
static int next_structure(const uint8_t *data, size_t size, size_t *at, Structure *ret) {
        size_t left = size - *at, length, strings;

        if (left == 0)
                return 0;
        if (left < HEADER_SIZE)
                return -EBADMSG;
        length = data[*at + 1];
        if (length < HEADER_SIZE || length > left)
                return -EBADMSG;
        for (strings = length; strings + 1 < left; strings++)
                if (data[*at + strings] == 0 && data[*at + strings + 1] == 0)
                        break;
        if (strings + 1 >= left)
                return -EBADMSG;
        *ret = (Structure){
                .data = data + *at,
                .size = length,
                .strings = (const char *)data + *at + length,
                .end = (const char *)data + *at + strings + 1,
        };
        *at += strings + 2;
        return 1;
}

int dimms_parse(const void *data, size_t size, Dimms *ret) {
        Dimms dimms = {};
        Structure s;
        size_t at = 0;
        int r;

        while ((r = next_structure(data, size, &at, &s)) > 0 && s.data[0] != TYPE_END) {
                if (s.data[0] != TYPE_MEMORY_DEVICE)
                        continue;
                r = read_memory_device(&s, &dimms);
                if (r < 0)
                        break;
        }
        if (r < 0) {
                dimms_done(&dimms);
                return r;
        }
        *ret = dimms;
        return 0;
}

int host_load_dimms(int root_fd, Dimms *ret) {
        _cleanup_free_ char *data = NULL;
        size_t size;
        int r;

        r = root_read_file(root_fd, TABLE_PATH, &data, &size);
        if (r < 0)
                return r;
        return dimms_parse(data, size, ret);
}
