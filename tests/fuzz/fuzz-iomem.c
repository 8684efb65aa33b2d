/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "fuzz.h"
#include "host/host-dmem.h"

const char *const fuzz_seeds[] = {
        "00000000-00000fff : Reserved\n00001000-0009ffff : System RAM\n"
        "100000000-13fffffff : System RAM\n  12c000000-12cffffff : Kernel code\n"
        "140000000-23fffffff : dmem\n",
        "00000000-00000000 : dmem\n00000000-00000000 : PCI Bus 0000:00\n",
        " : dmem",
        "dmem\n",
        "",
        NULL,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = fuzz_text(data, size);
        bool has = iomem_has_dmem(text);

        FUZZ_EXPECT(!has || strstr(text, " : dmem"));
        return 0;
}
