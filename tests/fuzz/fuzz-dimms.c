/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "fuzz.h"
#include "host/host-dimm.h"

/* Without a NUL, as seeds are texts; the mutations have them. */
const char *const fuzz_seeds[] = {
        "\x11\x1c\x01\x11\x01\x10\xfe\xff\x48\x01\x40\x01\x01\x40\x09\x01\x01\x02\x1a\x80\x01\x40"
        "\x06\x01\x03\x04\x05\x01",
        "\x7f\x04\x01\x7f",
        NULL,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ uint8_t *copy = malloc(size + 1);
        Dimms dimms;

        FUZZ_EXPECT(copy);
        if (size > 0)
                memcpy(copy, data, size);
        for (unsigned pass = 0; pass < 2; pass++) {
                if (dimms_parse(copy, size, &dimms) == 0)
                        dimms_done(&dimms);
                /* The same once more, with strings that end */
                for (size_t i = 28; i < size; i += 5)
                        copy[i] = 0;
                if (size >= 2)
                        copy[size - 1] = copy[size - 2] = 0;
        }
        return 0;
}
