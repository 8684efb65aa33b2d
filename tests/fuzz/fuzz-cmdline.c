/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "basic/root-fs.h"
#include "fuzz.h"
#include "plan/cmdline.h"
#include "plan/dmem-argument.h"
#include "plan/hugepages-argument.h"

const char *const fuzz_seeds[] = {
        "BOOT_IMAGE=/vmlinuz root=UUID=1-2 ro quiet dmem=0:4G,1:12G hugepagesz=1G hugepages=0:4\n",
        "ro dmem=!2G:1G dmem=1G@0x140000000 hugetlb_free_vmemmap=on -- dmem=5G",
        "dyndbg=\"file a +p; file b +p\" \"dmem=1G\" dmem=\"2G\" hugetlb-free-vmemmap=on",
        "x=\"a dmem=1G",
        "",
        NULL,
};

DEFINE_CLEANUP(char **, strv_free);

static void check_request(char *const *arguments) {
        DmemRequest request;
        uint64_t installed = 64 * GiB;
        DmemAsked asked;

        if (dmem_request_parse(arguments, &request) < 0)
                abort();
        for (unsigned node = 0; node < 3; node++) {
                asked = dmem_request_node(&request, node, &installed);
                FUZZ_EXPECT(asked.known);
                (void)dmem_request_node(&request, node, NULL);
        }
        asked = dmem_request_ranges(&request);
        FUZZ_EXPECT(asked.loss <= asked.bytes);
        dmem_request_done(&request);
}

static void check_pages(char *const *arguments) {
        _cleanup_free_ HugePagesAsked *asked = NULL;
        size_t n;

        if (hugepages_parse(arguments, &asked, &n) < 0)
                abort();
        for (size_t i = 0; i < n; i++) {
                FUZZ_EXPECT(asked[i].count > 0);
                FUZZ_EXPECT(hugepages_find(asked, n, asked[i].node, asked[i].page_size) ==
                            asked[i].count);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *line = fuzz_text(data, size), *same = NULL, *again = NULL,
                            *without = NULL;
        _cleanup_(strv_freep) char **own = NULL, **gone = NULL;

        if (cmdline_extract(line, &own) < 0 || cmdline_replace(line, own, &same) < 0 ||
            cmdline_replace(same, own, &again) < 0 || cmdline_replace(line, NULL, &without) < 0 ||
            cmdline_extract(without, &gone) < 0)
                abort();
        FUZZ_EXPECT(streq(same, again));
        FUZZ_EXPECT(!gone[0]);
        FUZZ_EXPECT(strlen(without) <= strlen(line));
        FUZZ_EXPECT(own[0] || streq(without, line));
        check_request(own);
        check_pages(own);
        return 0;
}
