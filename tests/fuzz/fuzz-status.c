/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "fuzz.h"
#include "host/status-json.h"

const char *const fuzz_seeds[] = {
        "{\"version\":1,\"source\":\"dmemd\",\"state\":\"drift\",\"backend\":\"dmem\","
        "\"reboot_required\":false,\"configured\":null,\"configured_source\":\"applied\","
        "\"booted\":[\"dmem=0:4G\"],\"requested_bytes\":4294967296,\"granted_bytes\":null,"
        "\"used_bytes\":0,\"free_bytes\":0,\"poisoned_bytes\":0,\"metadata_saved_bytes\":0,"
        "\"nodes\":[{\"id\":0,\"cpus\":\"0-1\",\"configured_bytes\":null,\"booted_bytes\":1,"
        "\"granted_bytes\":2,\"used_bytes\":3,\"free_bytes\":4,\"poisoned_bytes\":5,"
        "\"regions\":[{\"start\":\"0x100000000\",\"end\":\"0x200000000\"}],\"hugepages\":["
        "{\"page_size\":2097152,\"configured\":1,\"booted\":null,\"granted\":2,\"free\":3}]}],"
        "\"mounts\":[{\"where\":\"/run/dmemfs\",\"nodes\":\"all\",\"page_size\":2097152}],"
        "\"findings\":[{\"code\":\"granted-less\",\"severity\":\"warning\",\"node\":0,"
        "\"message\":\"m\"}],\"advice\":\"a\"}",
        "{\"version\":1,\"reboot_required\":true,\"source\":\"\",\"state\":\"none\",\"nodes\":[],"
        "\"mounts\":[],\"findings\":[],\"advice\":\"\"}",
        "[{}]",
        NULL,
};

/* What can be read can be written, and the text of it says the same again. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(status_freep) Status *s = NULL, *again = NULL;
        _cleanup_free_ char *text = fuzz_text(data, size), *first = NULL, *second = NULL;

        if (status_parse(text, &s) < 0)
                return 0;
        FUZZ_EXPECT(status_format(s, &first) == 0);
        FUZZ_EXPECT(status_parse(first, &again) == 0);
        FUZZ_EXPECT(status_format(again, &second) == 0);
        FUZZ_EXPECT(streq(first, second));
        return 0;
}
