/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "basic/id-set.h"
#include "fuzz.h"
#include "host/host-dmem.h"

const char *const fuzz_seeds[] = {
        "0-3,8,16-31\n",
        "0",
        "00000000,00000000,ffffffff,00005555\n",
        "3f",
        "0x100000000-0x140000000\n0x180000000-0x1c0000000\n",
        "\n",
        "",
        NULL,
};

/* What we write, we read back as the same set. */
static void check_set(const IdSet *set) {
        _cleanup_(id_set_done) IdSet again = {};
        _cleanup_free_ char *text = id_set_format(set);

        if (!text)
                abort();
        FUZZ_EXPECT(id_set_parse(text, &again) == 0);
        FUZZ_EXPECT(again.n_ranges == set->n_ranges);
        for (size_t i = 0; i < set->n_ranges; i++) {
                FUZZ_EXPECT(again.ranges[i].first == set->ranges[i].first);
                FUZZ_EXPECT(again.ranges[i].last == set->ranges[i].last);
                FUZZ_EXPECT(set->ranges[i].last < ID_SET_MAX);
                FUZZ_EXPECT(i == 0 || set->ranges[i - 1].last + 1 < set->ranges[i].first);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = fuzz_text(data, size);
        _cleanup_free_ DmemRange *regions = NULL;
        _cleanup_(id_set_done) IdSet list = {}, mask = {};
        size_t n;

        if (id_set_parse(text, &list) >= 0)
                check_set(&list);
        if (id_set_parse_mask(text, &mask) >= 0)
                check_set(&mask);
        if (regions_parse(text, &regions, &n) >= 0)
                for (size_t i = 0; i < n; i++) {
                        FUZZ_EXPECT(regions[i].start < regions[i].end);
                        FUZZ_EXPECT(i == 0 || regions[i - 1].end <= regions[i].start);
                }
        return 0;
}
