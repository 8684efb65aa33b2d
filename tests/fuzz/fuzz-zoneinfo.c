/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "fuzz.h"
#include "host/host-memory.h"

const char *const fuzz_seeds[] = {
        "Node 0, zone      DMA\n  per-node stats\n      nr_inactive_anon 0\n  pages free     3830\n"
        "        min      2\n        spanned  4095\n        present  3997\n        managed  3974\n"
        "        protection: (0, 1754, 64216, 64216)\n  start_pfn:         1\n"
        "Node 0, zone   Normal\n  pages free 7\n        present  1048576\n",
        "Node 0, zone DMA\n present 5\nNode 8, zone Normal\n present 6\nNode 255, zone Movable\n",
        "\nNode 16 MemTotal:      1020176 kB\nNode 16 MemFree:        771808 kB\n",
        "MemTotal:       16265552 kB\nMemAvailable:   15265552 kB\n",
        "",
        NULL,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = fuzz_text(data, size);
        uint64_t bytes = 7;
        Zoneinfo zoneinfo;
        int r;

        if (zoneinfo_parse(text, &zoneinfo) < 0)
                abort();
        for (size_t i = 1; i < zoneinfo.n_nodes; i++)
                FUZZ_EXPECT(zoneinfo.nodes[i - 1].id < zoneinfo.nodes[i].id);
        zoneinfo_done(&zoneinfo);

        r = meminfo_parse(text, "Node 16 ", "MemTotal", &bytes);
        FUZZ_EXPECT(r == 0 || bytes == 7);
        FUZZ_EXPECT(r != 0 || bytes % KiB == 0);
        return 0;
}
